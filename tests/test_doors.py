"""What arrives at the doors: taken for what it means, or refused with a sentence."""

from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import sparse

import jaxinv
from jaxinv import Status

G = jaxinv.Generator.random((3, 9, 20), seed=0)
Z = np.random.default_rng(0).standard_normal((4, 3))
X = np.asarray(G(Z))


class Frame:
    """As little of a pandas DataFrame as NumPy asks for: it reads them by `__array__`."""

    def __init__(self, values):
        self.values = values

    def __array__(self, dtype=None, copy=None):
        return np.array(self.values, dtype)


def _bits(left, right):
    for name in ("latent", "status", "residual"):
        np.testing.assert_array_equal(getattr(left, name), getattr(right, name))


# Arrays of many makes


def _read_only(x):
    copy = x.copy()
    copy.setflags(write=False)
    return copy


@pytest.mark.parametrize(
    "make",
    [
        _read_only,
        lambda x: np.asfortranarray(x),
        lambda x: np.repeat(x, 2, axis=1)[:, ::2],
        lambda x: x[::-1][::-1],
        lambda x: x.astype(">f8"),
        lambda x: x.astype(np.longdouble),
        lambda x: x.tolist(),
        lambda x: np.ma.array(x),
        list,
        Frame,
    ],
)
def test_the_same_numbers_give_the_same_bits_however_they_lie(make):
    _bits(jaxinv.invert(G, make(X), "exact"), jaxinv.invert(G, X, "exact"))


@pytest.mark.parametrize(
    "dtype", ["float16", "float32", "int8", "uint16", "int64", "bool", jnp.bfloat16]
)
def test_numbers_of_every_dtype_are_taken_at_their_value(dtype):
    x = np.round(4 * X).astype(dtype)
    plain = jaxinv.invert(G, x.astype(float), "lm", precision=0.5)
    for arrived in (x, Frame(x), jnp.asarray(x)):
        _bits(jaxinv.invert(G, arrived, "lm", precision=0.5), plain)


def test_what_overflowed_on_its_way_is_a_bad_row_alone():
    with np.errstate(over="ignore"):
        half = np.where(np.arange(4)[:, None] == 1, 1e6, X).astype(np.float16)
    wide = np.where(np.arange(4)[:, None] == 1, np.longdouble("1e4000"), X.astype(np.longdouble))
    for x in (half, wide):
        found = jaxinv.invert(G, x, "lm")
        assert np.asarray(found.status)[1] == Status.BAD_INPUT
        assert (np.asarray(found.status)[[0, 2, 3]] != Status.BAD_INPUT).all()


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (X.astype(object), "dtype object"),
        ([[Fraction(1, 2)] * 20], "dtype object"),
        (X.astype(str), "real numbers"),
        ("digits.npy", "real numbers"),
        ([[1.0, 2.0], [3.0]], "real numbers"),
        (None, "dtype object"),
        (X + 0j, r"complex128; stack real and imaginary"),
        (np.zeros((4, 20), "M8[s]"), "dtype datetime64"),
        (np.zeros(4, "f8,f8"), "real numbers"),
        (sparse.csr_array(X), "dtype object"),
        (iter(X), "dtype object"),
    ],
)
def test_what_is_no_array_of_real_numbers_is_refused(values, sentence):
    with pytest.raises(ValueError, match=f"observations must be an array.*{sentence}"):
        jaxinv.invert(G, values, "exact")
    with pytest.raises(ValueError, match=f"chunk 0 must be an array.*{sentence}"):
        list(jaxinv.invert_stream(G, [values], "exact"))
    for name in ("weights", "start"):
        with pytest.raises(ValueError, match=f"{name} must be an array.*{sentence}"):
            jaxinv.invert(G, X, "lm", **{name: values if values is not None else X.astype(object)})


def test_subnormal_weights_of_a_net_are_taken():
    rng = np.random.default_rng(0)
    small = 1e-310 * rng.standard_normal((20, 3))
    assert (np.abs(small) < np.finfo(float).tiny).all()
    net = jaxinv.Generator.from_layers([(small, np.ones(20), "identity")])
    x = np.asarray(net(Z))
    for method in ("auto", "lm", "exact", "linf", "gd"):
        found = jaxinv.invert(net, x, method)
        assert set(found.counts()) <= set(Status)
        assert not np.isnan(np.asarray(found.residual)[np.asarray(found.ok)]).any()


# PyTorch


def test_tensors_are_taken_wherever_they_come_from():
    torch = pytest.importorskip("torch")
    x, start = torch.tensor(X, requires_grad=True), torch.tensor(Z, requires_grad=True)
    seen = torch.ones(20, dtype=torch.bool)
    seen[:3] = False
    plain = jaxinv.invert(G, X, "lm", mask=seen.numpy(), weights=np.full(20, 2.0), start=Z)
    weights = torch.full((20,), 2.0, requires_grad=True)
    _bits(jaxinv.invert(G, x, "lm", mask=seen, weights=weights, start=start), plain)
    _bits(jaxinv.invert(G, x.T.contiguous().T, "exact"), jaxinv.invert(G, X, "exact"))
    _bits(jaxinv.invert(G, torch.tensor(X).to_sparse(), "exact"), jaxinv.invert(G, X, "exact"))
    _bits(jaxinv.invert(G, torch.nn.Parameter(x), "exact"), jaxinv.invert(G, X, "exact"))
    coarse = torch.tensor(X).bfloat16()
    values = coarse.double().numpy()
    _bits(jaxinv.invert(G, coarse), jaxinv.invert(G, values, precision="bfloat16"))
    known = jaxinv.confidence(G, x, plain, mask=seen, weights=weights)
    np.testing.assert_array_equal(
        known.low, jaxinv.confidence(G, X, plain, mask=seen.numpy(), weights=np.full(20, 2.0)).low
    )
    with pytest.raises(ValueError, match="observations must be an array"):
        jaxinv.invert(G, torch.zeros((4, 20), device="meta"))
    with pytest.raises(ValueError, match="complex64; stack"):
        jaxinv.invert(G, torch.zeros((4, 20), dtype=torch.complex64))
    with pytest.raises(ValueError, match="mask has dtype uint8"):
        jaxinv.invert(G, X, mask=seen.to(torch.uint8))


# Masked arrays


@pytest.mark.filterwarnings("ignore::jaxinv.certify.uncertainty.UnderCoverage")
def test_what_a_masked_array_hides_is_not_observed():
    noise = 1e-3 * np.random.default_rng(1).standard_normal(X.shape)
    hidden = np.random.default_rng(2).random(X.shape) < 0.2
    masked = np.ma.array(np.where(hidden, 1e3, X + noise), mask=hidden)
    seen = ~hidden
    plain = jaxinv.invert(G, X + noise, "lm", mask=seen)
    _bits(jaxinv.invert(G, masked, "lm"), plain)
    _bits(jaxinv.invert(G, list(masked), "lm"), plain)
    _bits(next(jaxinv.invert_stream(G, [masked], "lm")), plain)
    half = np.arange(20) < 15
    _bits(
        jaxinv.invert(G, masked, "lm", mask=half),
        jaxinv.invert(G, X + noise, "lm", mask=seen & half),
    )
    one = jaxinv.invert(G, masked[0], "lm")
    np.testing.assert_allclose(one.latent, plain.latent[0], atol=1e-9)
    known, expected = (
        jaxinv.confidence(G, *given, plain, mask=mask)
        for given, mask in (((masked,), None), ((X + noise,), seen))
    )
    np.testing.assert_array_equal(known.low, expected.low)


def test_a_row_that_a_masked_array_hides_is_bad_input_alone():
    hidden = np.arange(4)[:, None] == np.full(20, 2)
    found = jaxinv.invert(G, np.ma.array(X, mask=hidden), "exact")
    others = np.arange(4) != 2
    assert int(found.status[2]) == Status.BAD_INPUT
    plain = jaxinv.invert(G, X, "exact")
    np.testing.assert_array_equal(
        np.asarray(found.latent)[others], np.asarray(plain.latent)[others]
    )


@pytest.mark.parametrize("name", ["mask", "weights", "start"])
def test_a_mask_elsewhere_would_be_lost_and_is_refused(name):
    given = {"mask": np.ones(20, bool), "weights": np.ones(20), "start": np.ones(3)}[name]
    with pytest.raises(ValueError, match=f"{name} is a masked array"):
        jaxinv.invert(G, X, "lm", **{name: np.ma.array(given, mask=np.arange(len(given)) == 0)})


# Traced arrays


@pytest.mark.parametrize("change", [jax.jit, jax.vmap, lambda f: jax.grad(lambda x: f(x).sum())])
def test_inversion_inside_a_traced_function_is_refused(change):
    with pytest.raises(ValueError, match=r"observations is traced by jax\.jit, vmap or grad"):
        change(lambda x: jaxinv.invert(G, x, "exact").latent)(jnp.asarray(X, jnp.float32))


def test_other_traced_arguments_are_refused():
    def traced(call, what, argument):
        with pytest.raises(ValueError, match=f"{what} is traced"):
            jax.jit(call)(argument)

    traced(lambda g: jaxinv.invert(g, X).latent, "generator", G)
    traced(lambda w: jaxinv.invert(G, X, weights=w).latent, "weights", jnp.ones(20))
    traced(lambda m: jaxinv.invert(G, X, mask=m).latent, "mask", jnp.ones(20, bool))
    traced(lambda z: jaxinv.invert(G, X, start=z).latent, "start", jnp.ones(3))
    traced(lambda x: jaxinv.invert(G, [x, x]).latent, "observations", jnp.ones(20))
    found = jaxinv.invert(G, X)
    traced(lambda x: jaxinv.confidence(G, x, found).low, "observations", jnp.ones((4, 20)))


# Operators


@pytest.mark.parametrize(
    ("operator", "sentence"),
    [
        (np.ones((5, 20)) + 1j, "expected complex numbers"),
        (sparse.csr_array(np.ones((5, 20)) + 1j), "expected complex numbers"),
        (
            (lambda v: (1 + 1j) * v[:5], lambda v: (1 - 1j) * np.r_[v, np.zeros(15)]),
            "stack real and imaginary parts",
        ),
    ],
)
def test_a_complex_operator_of_real_observations_is_refused(operator, sentence):
    with pytest.raises(ValueError, match=sentence):
        jaxinv.invert(G, X[:, :5], operator=operator)


def test_a_complex_operator_in_parts_is_taken():
    a = np.random.default_rng(0).standard_normal((8, 20, 2)) @ [1, 1j]
    y = X @ a.T
    found = jaxinv.invert(
        G, np.concatenate([y.real, y.imag], 1), operator=np.concatenate([a.real, a.imag])
    )
    np.testing.assert_allclose(found.latent, Z, atol=1e-7)


# Empty batches


@pytest.mark.parametrize("method", ["auto", "lm", "exact", "linf", "gd"])
def test_no_rows_are_an_answer_of_no_rows(method):
    given = {"mask": np.ones((0, 20), bool), "weights": np.ones((0, 20))}
    found = jaxinv.invert(G, X[:0], method, **given)
    assert found.latent.shape == (0, 3) and found.counts() == {}
    assert jaxinv.confidence(G, X[:0], found, **given).low.shape == (0, 3)


# Weights of intervals


@pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0, -1.0])
def test_weights_of_intervals_are_checked_as_those_of_an_inversion(bad):
    found = jaxinv.invert(G, X)
    for weights in (bad, np.where(np.arange(20) == 3, bad, 1.0), np.full((4, 20), bad)):
        for door in (jaxinv.invert, jaxinv.confidence):
            arguments = (G, X) if door is jaxinv.invert else (G, X, found)
            with pytest.raises(ValueError, match="positive and finite; use mask="):
                door(*arguments, weights=weights)
    with pytest.raises(ValueError, match=r"weights has shape \(19,\)"):
        jaxinv.confidence(G, X, found, weights=np.ones(19))


# Stated noise


@pytest.mark.parametrize("noise", [np.nan, np.inf, -np.inf, -1.0, True, np.True_, "0.1"])
def test_noise_that_is_no_standard_deviation_is_refused(noise):
    with pytest.raises(ValueError, match=r"noise=.* must be a standard deviation"):
        jaxinv.invert(G, X, noise=noise)
    with pytest.raises(ValueError, match=r"noise=.* must be a standard deviation"):
        next(jaxinv.invert_stream(G, [X], noise=noise))


@pytest.mark.parametrize("method", ["auto", "lm", "exact"])
@pytest.mark.parametrize("noise", [0, 0.0, 1e-300, np.float32(0.0)])
def test_rows_that_are_reproduced_are_no_less_so_where_no_noise_is_stated(method, noise):
    for seed in range(3):
        net = jaxinv.Generator.random((3, 9, 24), seed=seed, activation="leaky_relu:0.1")
        x = np.asarray(net(Z))
        stated = jaxinv.invert(net, x, method, noise=noise)
        assert (np.asarray(stated.status) == Status.SOLVED).all()
        _bits(stated, jaxinv.invert(net, x, method))
    off = x + 1e-3 * np.random.default_rng(0).standard_normal(x.shape)
    assert not np.asarray(jaxinv.invert(net, off, method, noise=noise).ok).any()
