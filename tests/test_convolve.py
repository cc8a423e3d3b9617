"""Convolutions by a product and by XLA agree with PyTorch's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxinv.linalg import convolve

torch = pytest.importorskip("torch")

# channels in, out, image, taps, stride, padding, output padding, dilation, groups
CASES = {
    "1d": (3, 4, (9,), (4,), (2,), (1,), (0,), (1,), 1),
    "1d odd stride": (3, 2, (7,), (2,), (3,), (0,), (2,), (1,), 1),
    "1d gaps": (2, 2, (5,), (3,), (4,), (1,), (1,), (2,), 2),
    "2d": (4, 6, (5, 6), (4, 4), (2, 2), (1, 1), (0, 0), (1, 1), 1),
    "2d output padding": (4, 2, (5, 4), (3, 3), (2, 2), (1, 1), (1, 1), (1, 1), 1),
    "2d stride 1": (6, 3, (5, 5), (3, 3), (1, 1), (1, 1), (0, 0), (1, 1), 1),
    "2d more padding than reach": (6, 3, (7, 7), (2, 2), (1, 1), (3, 2), (0, 0), (1, 1), 1),
    "2d unequal": (4, 6, (5, 6), (5, 2), (3, 1), (2, 0), (2, 0), (1, 3), 2),
    "2d dilated": (4, 4, (7, 7), (3, 3), (2, 3), (2, 1), (0, 1), (2, 2), 1),
    "2d depthwise": (4, 4, (6, 6), (3, 3), (1, 1), (1, 1), (0, 0), (1, 1), 4),
    "2d one pixel": (4, 6, (1, 1), (4, 4), (1, 1), (0, 0), (0, 0), (1, 1), 1),
    "3d ungrouped": (2, 3, (4, 3, 5), (2, 3, 4), (2, 1, 3), (1, 1, 1), (1, 0, 2), (1, 1, 1), 1),
    "3d": (2, 4, (4, 3, 5), (2, 3, 4), (2, 1, 3), (1, 1, 1), (1, 0, 2), (1, 1, 1), 2),
}


def drawn(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape)


def pytorch(name, axes, *arguments):
    return getattr(torch.nn.functional, f"{name}{axes}d")(*arguments).numpy()


def close(found, expected, tolerance=1e-13):
    assert found.shape == expected.shape
    assert np.abs(np.asarray(found) - expected).max() <= tolerance * np.abs(expected).max()


RULES = ["product", "xla"]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("case", CASES)
def test_transposed_convolution_is_pytorchs(case, rule):
    c, o, space, taps, *settings, dilation, groups = CASES[case]
    x, kernel = drawn(0, 3, c, *space), drawn(1, c, o // groups, *taps)
    expected = pytorch(
        "conv_transpose", len(taps), torch.from_numpy(x), torch.from_numpy(kernel), None,
        *settings, groups, dilation,
    )  # fmt: skip
    with jax.enable_x64(True):
        apply = getattr(convolve, f"transposed_by_{rule}")
        found = jax.jit(lambda x, kernel: apply(x, kernel, *settings, dilation, groups))(x, kernel)
    close(found, expected)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("case", [name for name in CASES if name != "2d one pixel"])
def test_convolution_is_pytorchs(case, rule):
    c, o, space, taps, stride, padding, _, dilation, groups = CASES[case]
    x, kernel = drawn(0, 3, c, *space), drawn(1, o, c // groups, *taps)
    expected = pytorch(
        "conv", len(taps), torch.from_numpy(x), torch.from_numpy(kernel), None,
        stride, padding, dilation, groups,
    )  # fmt: skip
    with jax.enable_x64(True):
        apply = getattr(convolve, f"convolution_by_{rule}")
        found = jax.jit(lambda x, kernel: apply(x, kernel, stride, padding, dilation, groups))(
            x, kernel
        )
    close(found, expected)


def test_any_leading_axes_and_either_precision():
    c, o, space, taps, *settings, dilation, groups = CASES["2d"]
    x, kernel = drawn(0, 2, 3, c, *space), drawn(1, c, o, *taps)
    stride, padding, _ = settings
    one = convolve.transposed_convolution(
        jnp.asarray(x, jnp.float32), jnp.asarray(kernel), *settings, dilation, groups
    )
    assert one.dtype == jnp.float32
    with jax.enable_x64(True):
        many = convolve.transposed_convolution(
            jnp.asarray(x), jnp.asarray(kernel, jnp.float32), *settings, dilation, groups
        )
        single = convolve.convolution(
            jnp.asarray(x[0, 0]), jnp.asarray(kernel.swapaxes(0, 1)), stride, padding, dilation
        )
    assert many.dtype == jnp.float64 and many.shape == (2, 3, 6, 10, 12)
    assert single.shape == (6, 2, 3)
    close(one, np.asarray(many), 1e-5)


# Not "3d": XLA's simplifier aborts the process on its own grouped pullback with unequal strides.
@pytest.mark.parametrize("case", ["2d", "2d stride 1", "2d unequal", "3d ungrouped"])
def test_pullback_and_pushes_are_those_of_xla(case):
    """Under vmap, jvp and vjp, which is how a Jacobian uses them."""
    c, o, space, taps, *settings, dilation, groups = CASES[case]
    stride, padding, _ = settings
    with jax.enable_x64(True):
        x = jnp.asarray(drawn(0, 2, c, *space))
        up, down = jnp.asarray(drawn(1, c, o // groups, *taps)), drawn(2, o, c // groups, *taps)
        maps = {
            rule: (
                lambda x, rule=rule: getattr(convolve, f"transposed_by_{rule}")(
                    x, up, *settings, dilation, groups
                ),
                lambda x, rule=rule: getattr(convolve, f"convolution_by_{rule}")(
                    x, jnp.asarray(down), stride, padding, dilation, groups
                ),
            )
            for rule in RULES
        }
        tangents = jnp.asarray(drawn(3, 5, *x.shape))
        for pair in zip(maps["product"], maps["xla"], strict=True):
            cotangent = jnp.asarray(drawn(4, *jax.eval_shape(pair[0], x).shape))

            def both_ways(x, h, cotangent=cotangent):
                pushed = jax.vmap(lambda t: jax.jvp(h, (x,), (t,))[1])(tangents)
                return pushed, jax.vjp(h, x)[1](cotangent)[0]

            found, expected = (jax.jit(both_ways, static_argnums=1)(x, h) for h in pair)
            close(found[0], np.asarray(expected[0]))
            close(found[1], np.asarray(expected[1]))
