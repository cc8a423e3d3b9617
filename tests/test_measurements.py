"""Measurements that are not linear, complex matrices, cells: planted codes, NumPy, refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage, sparse

import jaxinv
from jaxinv import Status, measurements
from jaxinv.model.measurement import measured_through
from jaxinv.model.nonlinear import measured_by

ROWS = 12


def decoder():
    return jaxinv.Generator.random((6, 30, 100), seed=0, activation="leaky_relu:0.1")


def planted():
    z = np.random.default_rng(0).standard_normal((ROWS, 6))
    return z, np.asarray(decoder()(z))


def recovery_error(found, latent):
    difference = np.linalg.norm(np.asarray(found) - latent, axis=-1)
    return difference / np.linalg.norm(latent, axis=-1)


REAL = np.random.default_rng(1).standard_normal((60, 100))
COMPLEX = REAL + 1j * np.random.default_rng(2).standard_normal((60, 100))
CASES = {
    "magnitude": (measurements.magnitude(REAL), lambda x: np.abs(x @ REAL.T)),
    "complex magnitude": (measurements.magnitude(COMPLEX), lambda x: np.abs(x @ COMPLEX.T)),
    "clip": (measurements.clip(-0.1, 0.3), lambda x: np.clip(x, -0.1, 0.3)),
    "square": (lambda p: p**2, lambda x: x**2),
    "captured": (lambda p: jnp.abs(jnp.asarray(COMPLEX) @ p), lambda x: np.abs(x @ COMPLEX.T)),
    "in order": ([REAL, measurements.clip(-2, 2)], lambda x: np.clip(x @ REAL.T, -2, 2)),
    "complex matrix": (COMPLEX[:20], lambda x: x @ COMPLEX[:20].T),
    "sparse complex": (sparse.csr_array(COMPLEX[:20]), lambda x: x @ COMPLEX[:20].T),
    "subsample": (measurements.subsample(range(0, 100, 2)), lambda x: x[:, ::2]),
}


@pytest.mark.parametrize("name", CASES)
def test_planted_codes_are_found_behind_a_measurement(name):
    z, x = planted()
    operator, measure = CASES[name]
    r = jaxinv.invert(decoder(), measure(x), operator=operator)
    assert r.counts() == {Status.SOLVED: ROWS}
    assert recovery_error(r.latent, z).max() < 1e-10


@pytest.mark.parametrize("name", ["magnitude", "complex magnitude", "clip", "square", "captured"])
def test_a_measured_decoders_value_and_jacobian_are_those_of_differences(name):
    z, x = planted()
    operator, measure = CASES[name]
    whole = measured_by(decoder(), operator)
    np.testing.assert_allclose(whole(z), measure(x), atol=1e-12)
    with jax.enable_x64(True):
        for precision, bound in ((jnp.float64, 1e-5), (jnp.float32, 1e-3)):
            columns = np.asarray(whole.linearized(jnp.asarray(z), precision).columns)
            for i in range(6):
                step = 1e-6 * np.eye(6)[i]
                slope = (np.asarray(whole(z + step)) - np.asarray(whole(z - step))) / 2e-6
                close = np.abs(columns[:, i] - slope) <= bound
                # A difference across a kink is no derivative.
                assert close.mean() > 0.995


def test_a_function_is_read_once():
    def f(p):
        f.calls += 1
        return p**2

    f.calls = 0
    _, x = planted()
    for _ in range(2):
        jaxinv.invert(decoder(), x[:1] ** 2, "lm", operator=f)
    assert f.calls == 2  # once in each precision


def test_an_entry_at_a_rail_is_an_inequality():
    g = jaxinv.Generator.from_layers([(np.eye(2), None, "identity")])
    operator = measurements.clip(-1.0, 1.0)
    r = jaxinv.invert(g, [[0.5, 1.0]], operator=operator, start=[0.0, 3.0])
    np.testing.assert_allclose(r.latent, [[0.5, 3.0]], atol=1e-9)
    np.testing.assert_allclose(r.residual, 0.0, atol=1e-9)
    # The entry beyond the rail determines nothing.
    assert r.counts() == {Status.UNDERDETERMINED: 1} and int(np.asarray(r.undetermined)[0]) == 1


@pytest.mark.parametrize("step", [0.02, 0.3])
def test_quantised_rows_end_inside_every_cell(step):
    z, x = planted()
    y = np.round(x / step) * step
    r = jaxinv.invert(decoder(), y, operator=measurements.quantise(step))
    assert r.counts() == {Status.SOLVED: ROWS}
    np.testing.assert_array_equal(r.residual, 0.0)
    assert np.abs(np.asarray(decoder()(r.latent)) - y).max() <= step / 2 * (1 + 1e-12)
    # Least squares on the middles of the cells leaves them: this is what the cells add.
    middle = jaxinv.invert(decoder(), y, precision=step)
    assert np.abs(np.asarray(decoder()(middle.latent)) - y).max() > step / 2
    # So coarse a cell leaves much open, and no more than is said.
    away = np.linalg.norm(np.asarray(r.latent) - z, axis=1)
    assert (away <= np.asarray(r.allowed_error)).all()


def test_what_no_code_makes_is_not_inside_cells():
    _, x = planted()
    noise = np.random.default_rng(3).uniform(-1, 1, x.shape)
    r = jaxinv.invert(decoder(), np.round(noise / 0.1) * 0.1, operator=measurements.quantise(0.1))
    assert set(r.counts()) <= {Status.INEXACT} and (np.asarray(r.residual) > 0.1).all()


def test_blur_is_scipys_convolution():
    rng = np.random.default_rng(0)
    kernel, image = rng.standard_normal((3, 5)), rng.standard_normal((2, 7, 8))
    whole = measurements.blur(kernel, (2, 7, 8)).map(112)
    want = [ndimage.convolve(channel, kernel, mode="constant") for channel in image]
    with jax.enable_x64(True):
        np.testing.assert_allclose(whole(jnp.asarray(image.ravel())), np.ravel(want), atol=1e-12)


@pytest.mark.parametrize("last", ["sigmoid", "relu", "identity"])
def test_linear_measurements_stay_layers_of_a_chain(last):
    rng = np.random.default_rng(0)
    g = jaxinv.Generator.from_layers(
        [(rng.standard_normal((9, 3)), None, "tanh"), (rng.standard_normal((64, 9)), None, last)]
    )
    z = rng.standard_normal((4, 3))
    x = np.asarray(g(z))
    chosen = measured_through(g, measurements.subsample([5, 3, 3, 60]).map(64))
    assert chosen.depth == 2 and chosen.is_dense
    np.testing.assert_allclose(chosen(z), x[:, [5, 3, 3, 60]], atol=1e-14)
    operator = measurements.blur(np.ones((3, 3)), (8, 8))
    blurred = [ndimage.convolve(i.reshape(8, 8), np.ones((3, 3)), mode="constant") for i in x]
    y = np.reshape(blurred, (4, 64))
    r = jaxinv.invert(g, y, operator=operator)
    np.testing.assert_allclose(r.latent, z, atol=1e-7)
    function = jaxinv.FunctionGenerator(g.value, 3)
    r = jaxinv.invert(function, y, "lm", operator=operator, start=z + 0.01)
    np.testing.assert_allclose(r.latent, z, atol=1e-7)


def test_masks_and_deviations_speak_of_both_parts_of_complex_entries():
    z, x = planted()
    a = COMPLEX[:30]
    y = x @ a.T
    mask = np.arange(30) > 3
    y[:, :4] = 1e6
    r = jaxinv.invert(decoder(), y, operator=a, mask=mask, noise=np.full(30, 1e-3))
    assert recovery_error(r.latent, z).max() < 1e-10


def test_a_bad_row_changes_no_bit_of_another():
    _, x = planted()
    for operator, y in (
        (CASES["magnitude"][0], np.abs(x @ REAL.T)),
        (measurements.quantise(0.1), np.round(x / 0.1) * 0.1),
    ):
        bad = y.copy()
        bad[4] = np.nan
        whole, some = (jaxinv.invert(decoder(), v, operator=operator) for v in (y, bad))
        rest = np.arange(ROWS) != 4
        for name in ("latent", "status", "residual"):
            before, after = (np.asarray(getattr(r, name))[rest] for r in (whole, some))
            assert before.tobytes() == after.tobytes(), name
        assert int(np.asarray(some.status)[4]) == Status.BAD_INPUT


def _changing(p):
    return p if p.dtype == jnp.float64 else p[:3]


@pytest.mark.parametrize(
    ("operator", "sentence"),
    [
        (lambda p: p * np.nan, "operator is not finite"),
        (lambda p: jnp.round(p), "derivative of operator is zero"),
        (lambda p: p[:7], "to 7 entries; observations have 100"),
        (lambda p: (p, p), "operator returns a tuple"),
        (_changing, "shape must not change"),
        (lambda p: p if p[0] > 0 else -p, "operator raises"),
        ([measurements.quantise(0.1), REAL], "must be the last"),
        (measurements.blur(np.ones((3, 3)), (9, 9)), "images of shape"),
        (measurements.subsample([100]), "asks for entry 100"),
        (COMPLEX, "expected complex numbers"),
    ],
)
def test_operators_that_are_none_are_refused(operator, sentence):
    _, x = planted()
    with pytest.raises(ValueError, match=sentence):
        jaxinv.invert(decoder(), x, operator=operator)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: measurements.quantise(), "needs its step"),
        (lambda: measurements.quantise(-1.0), "must be positive"),
        (lambda: measurements.clip(1.0, 1.0), "must be below"),
        (lambda: measurements.clip("a"), "must be an array of real numbers"),
        (lambda: measurements.blur(np.ones((2, 3)), (8, 8)), "both odd"),
        (lambda: measurements.blur(np.ones((3, 3)), (8,)), "expected"),
        (lambda: measurements.subsample([-1]), "whole numbers"),
        (lambda: measurements.subsample([0.5]), "whole numbers"),
        (lambda: measurements.magnitude([1.0]), r"expected finite numbers \(m, n\)"),
        (lambda: measurements.magnitude([[np.nan]]), "expected finite numbers"),
    ],
)
def test_measurements_that_are_none_are_refused(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()


@pytest.mark.parametrize("method", ["exact", "linf"])
@pytest.mark.parametrize(
    "operator", [measurements.clip(0, 1), measurements.quantise(0.1), lambda p: p**2]
)
def test_layer_by_layer_there_is_no_way_through_a_function(method, operator):
    _, x = planted()
    with pytest.raises(ValueError, match="layer by layer"):
        jaxinv.invert(decoder(), x, method, operator=operator)


def test_quantise_and_precision_are_one_thing():
    _, x = planted()
    with pytest.raises(ValueError, match="leave precision= out"):
        jaxinv.invert(decoder(), x, operator=measurements.quantise(0.1), precision=0.1)
