"""Convolutions by a product and by XLA agree with PyTorch's."""

from functools import partial

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


@pytest.mark.parametrize(
    ("padding", "output_padding"), [((0, 0), (0, 0)), ((1, 2), (0, 0)), ((0, 1), (2, 1))]
)
def test_of_one_pixel_a_transposed_convolution_is_one_product(padding, output_padding):
    x, kernel = drawn(2, 3, 4, 1, 1), drawn(3, 4, 5, 6, 7)
    settings = (3, 4), padding, output_padding, (1, 1)
    with jax.enable_x64(True):
        found = convolve.transposed_convolution(x, kernel, *settings)
        expected = convolve.transposed_by_product(jnp.asarray(x), jnp.asarray(kernel), *settings, 1)
    close(found, np.asarray(expected))


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


@pytest.mark.parametrize("case", ["2d", "2d stride 1", "2d unequal", "3d"])
def test_pushes_and_pullback_are_the_map_and_its_adjoint(case):
    """J t = A t under vmap, and <A t, c> = <t, A'c>, for both maps, which are linear."""
    c, o, space, taps, *settings, dilation, groups = CASES[case]
    stride, padding, _ = settings
    x, tangents = drawn(0, 2, c, *space), drawn(3, 5, 2, c, *space)
    up, down = drawn(1, c, o // groups, *taps), drawn(2, o, c // groups, *taps)

    def transposed(x):
        return convolve.transposed_by_product(x, jnp.asarray(up), *settings, dilation, groups)

    def straight(x):
        return convolve.convolution_by_product(
            x, jnp.asarray(down), stride, padding, dilation, groups
        )

    @partial(jax.jit, static_argnums=0)
    def all_of(apply, x, tangents):
        value, pull = jax.vjp(apply, x)
        pushed = jax.vmap(lambda t: jax.jvp(apply, (x,), (t,))[1])(tangents)
        return jax.lax.map(apply, tangents), pushed, value, pull(value)[0]

    with jax.enable_x64(True):
        for apply in (transposed, straight):
            images, pushed, value, pulled = map(np.asarray, all_of(apply, x, tangents))
            close(pushed, images)
            for image, tangent in zip(images, tangents, strict=True):
                assert np.vdot(image, value) == pytest.approx(np.vdot(tangent, pulled), rel=1e-11)
