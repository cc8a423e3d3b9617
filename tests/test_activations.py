"""Every squashing activation: its five functions are those of one map and of its inverse."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxinv.model.activation import SQUASHES, Activation

U = np.linspace(-4.0, 4.0, 81)


@pytest.fixture(params=SQUASHES)
def phi(request):
    return Activation.parse(request.param)


def on_device(function, *arguments):
    with jax.enable_x64(True):
        return np.asarray(function(*map(jnp.asarray, arguments)))


def test_host_and_device_agree(phi):
    np.testing.assert_allclose(on_device(phi, U), phi.on_host(U), rtol=1e-13, atol=1e-15)


def test_the_slope_is_the_derivative(phi):
    step = 1e-6
    numeric = (phi.on_host(U + step) - phi.on_host(U - step)) / (2 * step)
    np.testing.assert_allclose(on_device(phi.derivative, U), numeric, rtol=1e-6, atol=1e-9)
    assert (numeric > 0).all()


def test_the_slope_of_an_output_is_the_slope_where_it_comes_from(phi):
    slope = on_device(phi.derivative, U)
    np.testing.assert_allclose(phi.slope_of_output(phi.on_host(U)), slope, rtol=1e-11)
    np.testing.assert_allclose(
        on_device(lambda x: phi.slope_of_output(x, jnp), phi.on_host(U)), slope, rtol=1e-11
    )


def test_the_inverse_undoes_it(phi):
    np.testing.assert_allclose(phi.inverse(phi.on_host(U)), U, rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(
        on_device(lambda x: phi.inverse(x, jnp), phi.on_host(U)), U, rtol=1e-11, atol=1e-12
    )


def test_outside_the_range_the_inverse_is_infinite(phi):
    low, high = phi.range
    assert phi.inverse(np.array([low - 1.0, low])).tolist() == [-np.inf, -np.inf]
    assert phi.inverse(np.array([high, high + 1.0])).tolist() == [np.inf, np.inf]
    values = phi.on_host(np.array([-1e9, 1e9]))
    np.testing.assert_allclose(values, [low, high], rtol=1e-8, atol=1e-8)
