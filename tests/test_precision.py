"""The rounding of the data is part of the problem."""

import jax.numpy as jnp
import numpy as np
import pytest

import jaxinv
from jaxinv import Status
from jaxinv.model.precision import Rounding, byte_steps, entry_rounding, rounding_of

UNIT = {np.float64: 2.0**-53, np.float32: 2.0**-24, np.float16: 2.0**-11}


def test_what_arrives_says_how_it_was_rounded():
    for dtype, unit in UNIT.items():
        assert rounding_of(np.ones(3, dtype), None) == Rounding(unit, None)
        assert rounding_of(np.ones(3), np.dtype(dtype).name) == Rounding(unit)
    assert rounding_of(jnp.ones(3, jnp.bfloat16), None) == Rounding(2.0**-8, None)
    assert rounding_of([1.0, 2.0], None) == Rounding(2.0**-53, None)
    assert rounding_of(np.ones(3, np.uint8), None).step == 1.0
    assert rounding_of(np.ones(3), "uint8").step == 1.0 / 255.0
    assert rounding_of(np.ones(3), 0.5) == Rounding(2.0**-53, 0.5)
    for wrong in ("float8", -1.0, np.nan, True):
        with pytest.raises(ValueError, match="precision="):
            jaxinv.invert(jaxinv.Generator.random((2, 8), seed=0), np.ones(8), precision=wrong)


@pytest.mark.parametrize("method", ["exact", "auto"])
@pytest.mark.parametrize(
    ("widths", "activation"),
    [((20, 100, 500), "relu"), ((10, 40, 120), "leaky_relu:0.1"), ((6, 30, 90, 200), "relu")],
)
def test_codes_of_float32_observations_are_recovered(method, widths, activation):
    g = jaxinv.Generator.random(widths, seed=0, activation=activation)
    z = np.random.default_rng(1).standard_normal((24, widths[0]))
    x = np.asarray(g(z)).astype(np.float32)
    unique = np.asarray(jaxinv.identifiability(g, z).unique)
    found = jaxinv.invert(g, x, method)
    error = np.linalg.norm(np.asarray(found.latent) - z, axis=1) / np.linalg.norm(z, axis=1)
    assert unique.sum() >= 20
    assert error[unique].max() < 1e-5
    assert (np.asarray(found.status)[unique] == Status.SOLVED).all()
    absolute = np.linalg.norm(np.asarray(found.latent) - z, axis=1)
    assert (absolute <= np.asarray(found.allowed_error)).all()


def test_a_forward_pass_in_float32_is_such_data():
    g = jaxinv.Generator.random((8, 40, 150), seed=2)
    z = np.random.default_rng(3).standard_normal((16, 8))
    value = z.astype(np.float32)
    for layer in g.layers:
        value = np.maximum(value @ np.asarray(layer.weight, np.float32).T, 0)
    found = jaxinv.invert(g, value, "exact")
    assert found.counts() == {Status.SOLVED: 16}
    assert np.abs(np.asarray(found.latent) - z).max() < 1e-5


@pytest.mark.parametrize("dtype", [np.float16, "uint8"])
def test_coarse_data_are_reproduced_up_to_their_rounding(dtype):
    g = jaxinv.Generator.random((4, 30, 80), seed=4, activation="sigmoid")
    z = np.random.default_rng(5).standard_normal((12, 4))
    x = np.asarray(g(z))
    if dtype == "uint8":
        found = jaxinv.invert(g, np.round(x * 255) / 255, precision="uint8")
    else:
        found = jaxinv.invert(g, x.astype(dtype))
    assert np.asarray(found.explained).all()
    assert float(np.asarray(found.search.runs).mean()) < 10
    inside = np.linalg.norm(np.asarray(found.latent) - z, axis=1) <= np.asarray(found.allowed_error)
    assert inside.all()


@pytest.mark.parametrize("kind", [np.float64, np.float32])
@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-1.0, 1.0)])
def test_rows_that_were_bytes_are_known_to_be(kind, low, high):
    rng = np.random.default_rng(0)
    level = rng.integers(0, 256, (4, 30))
    level[1] = 51 * (level[1] // 51)  # fifths, as written by hand
    level[1, 0] = 85  # a third
    x = (low + (high - low) * level / 255).astype(kind)
    x[2, 5] += 0.2 * (high - low) / 255
    seen = np.ones(x.shape, bool)
    step = (high - low) / 255
    found = byte_steps(x.astype(float), seen)
    np.testing.assert_allclose(found, [step, 0.0, 0.0, step])
    seen[2, 5] = False
    np.testing.assert_allclose(byte_steps(x.astype(float), seen)[2], step)
    few = low + (high - low) * np.array([[0, 0, 7, 0, 131, 0]]) / 255
    np.testing.assert_allclose(byte_steps(few.astype(kind).astype(float), few == few), step)
    assert not byte_steps(rng.random((1000, 30)), np.ones((1000, 30), bool)).any()
    # A value alone, as exactly as single precision can be; 1e-4 of a step off it is no byte.
    alone = low + (high - low) * np.array([[0, 255, 51, 7], [0, 255, 51, 7 + 1e-4]]) / 255
    np.testing.assert_allclose(byte_steps(alone.astype(kind), alone == alone), [step, 0.0])


def test_a_stated_precision_is_believed_before_the_values():
    g = jaxinv.Generator.random((2, 12, 40), seed=0, activation="leaky_relu:0.2")
    x = np.round(255 * np.clip(0.5 + np.asarray(g(np.ones((1, 2)))), 0, 1)) / 255
    one = np.ones(x.shape)
    assert entry_rounding(rounding_of(x, None), x, one, g).min() > 1e-3
    assert entry_rounding(rounding_of(x, "float64"), x, one, g).max() < 1e-14
