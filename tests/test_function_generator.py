"""Any JAX function as a decoder: derivatives, precision, arrays of its own, what is refused."""

import copy
import functools
import pickle
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxinv
from jaxinv.model.decoder import Decoder

K = 3
WEIGHT = np.random.default_rng(0).standard_normal((20, K))
KERNEL = jnp.asarray(np.random.default_rng(1).standard_normal((4, 20)), jnp.float32)


def net(z):
    """(3,) -> (2, 2), with a float64 NumPy and a float32 JAX array of its own."""
    return (KERNEL @ jnp.tanh(WEIGHT @ z) + jnp.ones(4)).reshape(2, 2)


def reference(z):
    return np.tanh(z @ WEIGHT.T) @ np.asarray(KERNEL, np.float64).T + 1


def reference_jacobian(z):
    slope = 1 - np.tanh(WEIGHT @ z) ** 2
    return np.asarray(KERNEL, np.float64) @ (slope[:, None] * WEIGHT)


@functools.partial(jax.tree_util.register_dataclass, data_fields=["w"], meta_fields=["act"])
@dataclass
class Module:
    """A pytree that is a function, as modules of Equinox are."""

    w: jax.Array
    act: str

    def __call__(self, z):
        return getattr(jnp, self.act)(self.w @ z)


@pytest.fixture(scope="module")
def g():
    return jaxinv.FunctionGenerator(net, latent_size=K)


@pytest.fixture(scope="module")
def z():
    return np.random.default_rng(2).standard_normal((5, K))


def test_values_in_float64_for_one_and_many(g, z):
    assert isinstance(g, Decoder)
    assert (g.latent_size, g.observation_size, g.observation_shape) == (K, 4, (2, 2))
    assert g.layers == ()
    assert repr(g) == "FunctionGenerator(3 -> (2, 2), net)"
    assert g(z).dtype == np.float64 and not jax.config.jax_enable_x64
    np.testing.assert_allclose(g(z), reference(z), rtol=1e-13)
    np.testing.assert_allclose(g(z[0]), reference(z[0]), rtol=1e-13)
    assert g(np.zeros((0, K))).shape == (0, 4)


def test_jacobian(g, z):
    expected = [reference_jacobian(one) for one in z]
    np.testing.assert_allclose(g.jacobian(z), expected, rtol=1e-12)
    np.testing.assert_allclose(g.jacobian(z[0]), expected[0], rtol=1e-12)


@pytest.mark.parametrize("precision", [jnp.float32, jnp.float64])
@pytest.mark.parametrize("of_z", [jnp.float32, jnp.float64])
def test_value_and_columns_have_their_own_precision(g, z, of_z, precision):
    with jax.enable_x64(True):
        at = jax.jit(lambda g, z: g.linearized(z, precision))(g, jnp.asarray(z, of_z))
    assert (at.value.dtype, at.columns.dtype) == (of_z, precision)
    expected = np.stack([reference_jacobian(one).T for one in z])
    np.testing.assert_allclose(at.value, reference(z), rtol=1e-12 if of_z == jnp.float64 else 1e-5)
    exact = of_z == precision == jnp.float64
    np.testing.assert_allclose(at.columns, expected, atol=1e-12 if exact else 1e-5)


def test_float32_holds_no_float64(g, z):
    """In a caller's x64 as well, where an untyped jnp.ones would be float64."""
    with jax.enable_x64(True):
        program = jax.jit(g.value).lower(jnp.asarray(z, jnp.float32)).as_text()
        inside = jax.make_jaxpr(lambda z: g.value(z))(jnp.asarray(z, jnp.float32))
    assert "f64" in program  # the weight itself, which is rounded first
    assert not any(v.aval.dtype == jnp.float64 for eqn in inside.eqns for v in eqn.outvars)


def test_leading_axes(g, z):
    batch = jnp.asarray(np.stack([z, -z]), jnp.float32)
    value = g.value(batch)
    assert value.shape == (2, 5, 4)
    np.testing.assert_allclose(value[1], g(-z), rtol=1e-4, atol=1e-5)


def test_captured_arrays_are_leaves_once():
    g = jaxinv.FunctionGenerator(net, K)
    leaves = jax.tree.leaves(g)
    assert sorted(a.shape for a in leaves) == [(4, 20), (20, K)]
    module = Module(jnp.ones((5, K)), "sin")
    (leaf,) = jax.tree.leaves(jaxinv.FunctionGenerator(module, K))
    assert np.array_equal(leaf, module.w)


def test_leaves_may_be_replaced(z):
    g = jaxinv.FunctionGenerator(Module(jnp.ones((5, K)), "sin"), K)
    doubled = jax.tree.map(lambda w: 2 * w, g)
    np.testing.assert_allclose(doubled(z), np.sin(2 * z.sum(1))[:, None] * np.ones(5), rtol=1e-6)


def test_a_second_call_compiles_nothing(g, z):
    traces = []

    @jax.jit
    def misfit(g, z):
        traces.append(z)
        return (g.value(z) ** 2).sum()

    with jax.enable_x64(True):
        for _ in range(3):
            misfit(g, jnp.asarray(z))
        misfit(jax.tree.map(lambda w: w + 1, g), jnp.asarray(z))
        program = misfit.lower(g, jnp.asarray(z)).as_text()
    assert len(traces) == 1
    assert 'dense<"0x' not in program and "dense<[" not in program  # arrays are arguments


def test_copies(g, z):
    again = pickle.loads(pickle.dumps(g))
    assert np.array_equal(again(z), g(z))
    assert np.array_equal(copy.deepcopy(g)(z), g(z))


def test_control_flow_and_rules_of_its_own(z):
    @jax.custom_jvp
    def root(x):
        return jnp.sqrt(x)

    root.defjvp(lambda x, t: (jnp.sqrt(x[0]), 7.0 * t[0]))

    def f(z):
        y = jax.lax.fori_loop(0, 3, lambda i, y: jnp.sin(y), z)
        return jax.lax.cond(z[0] > 0, jnp.exp, jnp.cos, y) + root(z**2 + 1)

    g = jaxinv.FunctionGenerator(f, K)
    inner = np.sin(np.sin(np.sin(z)))
    moved = np.where(z[:, :1] > 0, np.exp(inner), np.cos(inner))
    np.testing.assert_allclose(g(z), moved + np.sqrt(z**2 + 1), rtol=1e-13)
    jacobian = g.jacobian(np.ones(K))
    assert jacobian[0, 0] == pytest.approx(
        np.exp(np.sin(np.sin(np.sin(1)))) * np.cos(np.sin(np.sin(1))) * np.cos(np.sin(1))
        * np.cos(1) + 14.0,
        rel=1e-12,
    )  # fmt: skip


def test_some_latents_may_fail():
    """A pole at zero is the function's own affair."""
    g = jaxinv.FunctionGenerator(lambda z: z / jnp.linalg.norm(z), K)
    assert np.isnan(g(np.zeros(K))).all() and np.isfinite(g(np.ones(K))).all()


def changing():
    sizes = iter([4, 5, 4, 5])
    return lambda z: jnp.sin(z.sum() * jnp.arange(1.0, next(sizes)))


def called_back(z):
    return jax.pure_callback(
        np.sin, jax.ShapeDtypeStruct(z.shape, z.dtype), z, vmap_method="expand_dims"
    )


def fails(z):
    raise RuntimeError("no decoder today")


BAD = {
    "size zero": (net, 0, "latent_size is 0; expected a positive integer"),
    "size of another kind": (net, 2.5, "latent_size is 2.5"),
    "size true": (net, True, "latent_size is True"),
    "other size": (net, 4, r"f raises TypeError on an array of shape \(4,\)"),
    "no function": (np.ones(3), K, "f is a ndarray; expected a JAX function"),
    "raises": (fails, K, r"f raises RuntimeError on an array of shape \(3,\): no decoder today"),
    "numpy": (lambda z: np.sin(z), K, "f raises TracerArrayConversionError.*jax.numpy"),
    "branches": (lambda z: z if z[0] > 0 else -z, K, "f raises Tracer.*without branches"),
    "tuple": (lambda z: (z, z), K, "f returns a tuple; expected one array"),
    "nothing": (lambda z: None, K, "f returns a NoneType; expected one array"),
    "complex": (lambda z: jnp.fft.fft(z), K, "f returns complex128 entries"),
    "integers": (lambda z: jnp.round(z).astype(int), K, "f returns int64 entries"),
    "empty": (lambda z: z[:0], K, r"f returns an empty array, of shape \(0,\)"),
    "changing": (changing(), K, r"\(3,\) in float64 and \(4,\) in float32; .* shape changes"),
    "infinite": (lambda z: jnp.log(-(z**2)), K, "f is not finite at z = 0 nor at any"),
    "steep": (
        lambda z: jnp.where(z == z, 1.0, 0.0) + jnp.sqrt(0 * z),
        K,
        "the derivative of f is not finite",
    ),
    "callback": (
        called_back,
        K,
        "f cannot be differentiated for a batch of latents: Pure callbacks do not support JVP",
    ),
    "rounded": (lambda z: jnp.round(z).astype(int) * 1.0, K, "is zero everywhere that was looked"),
    "constant": (lambda z: jnp.ones(4), K, "is zero everywhere"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_decoder_is_refused(case):
    f, size, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        jaxinv.FunctionGenerator(f, latent_size=size)


@pytest.mark.parametrize("shape", [(4,), (2, 4), (2, 2, K), ()])
def test_a_latent_of_another_shape_is_refused(g, shape):
    for call in (g, g.jacobian):
        with pytest.raises(ValueError, match=r"latent has shape .*expected \(3,\) or \(B, 3\)"):
            call(np.zeros(shape))
