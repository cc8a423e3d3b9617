"""Every linear map against its own matrix, its adjoint, and PyTorch's module of the same kind."""

import pickle

import jax
import numpy as np
import pytest

import jaxinv
from jaxinv.model.linear.composed import Composition, composed, scaled, scaling
from jaxinv.model.linear.convolution import Convolution, TransposedConvolution
from jaxinv.model.linear.dense import Dense
from jaxinv.model.linear.map import applied
from jaxinv.model.linear.resampling import (
    adaptive_average,
    average,
    linear,
    nearest,
    padded,
    pixel_shuffle,
    pixel_shuffle_by_block,
    separable,
    transposed,
)

rng = np.random.default_rng(0)
CONVOLUTIONS = {
    "1d": ((4, 6, 3), (6, 9), {}),
    "1d strides": ((4, 6, 3), (6, 9), {"stride": 3, "padding": 2, "dilation": 2}),
    "2d": ((3, 4, 3, 3), (4, 5, 6), {"padding": 1}),
    "2d strides": ((3, 4, 2, 3), (4, 7, 8), {"stride": (3, 2), "padding": (1, 0)}),
    "2d groups": ((6, 2, 3, 3), (4, 5, 5), {"groups": 2, "dilation": (2, 1)}),
    "2d to more": ((9, 2, 3, 3), (2, 5, 5), {"stride": 2}),
    "3d": ((2, 3, 2, 2, 2), (3, 3, 4, 3), {"stride": (1, 2, 1), "padding": 1}),
}
TRANSPOSED = {
    "1d": ((4, 3, 3), (4, 5), {"stride": 3, "output_padding": 2}),
    "1d dilated": ((4, 3, 3), (4, 5), {"stride": 2, "dilation": 3, "padding": 2}),
    "2d": ((4, 3, 4, 4), (4, 3, 3), {"stride": 2, "padding": 1}),
    "2d uneven": (
        (4, 2, 2, 5),
        (4, 3, 2),
        {"stride": (3, 2), "padding": (0, 1), "output_padding": (1, 0)},
    ),
    "2d groups": ((4, 3, 3, 3), (4, 3, 3), {"groups": 2, "stride": 2, "output_padding": 1}),
    "3d": ((2, 3, 2, 2, 3), (2, 2, 3, 2), {"stride": 2, "dilation": (1, 2, 1)}),
}


def kernel(shape):
    return np.random.default_rng(1).standard_normal(shape)


def dense(n, k):
    with jax.enable_x64(True):
        return Dense(jax.numpy.asarray(kernel((n, k))))


MAPS = {
    "dense": dense(7, 5),
    **{f"conv {n}": Convolution(kernel(k), s, **o) for n, (k, s, o) in CONVOLUTIONS.items()},
    **{f"up {n}": TransposedConvolution(kernel(k), s, **o) for n, (k, s, o) in TRANSPOSED.items()},
    "separable": separable([nearest(3, 6), linear(4, 7)], (2, 3, 4)),
    "separable 1d": separable([average(7, 3, 2, 1)], (2, 7)),
    "separable 3d": separable([padded(2, 1, 2), padded(3, -1, 0), np.eye(2)], (2, 2, 3, 2)),
    "shuffle": pixel_shuffle(2, (8, 3, 2)),
    "shuffle by block": pixel_shuffle_by_block(2, (8, 3, 2)),
    "transposed": transposed((2, 3, 4), (2, 0, 1)),
    "scaling": scaling(kernel((12,)), (3, 4)),
    "composition": composed(
        dense(18, 4),
        Convolution(kernel((8, 2, 2, 2)), (2, 3, 3)),
        pixel_shuffle(2, (8, 2, 2)),
        separable([nearest(4, 8), nearest(4, 8)], (2, 4, 4)),
    ),
}


def close(found, expected, tolerance=1e-12):
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * np.abs(expected).max())


@pytest.fixture(autouse=True)
def in_float64():
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize("name", MAPS)
def test_a_map_is_its_matrix(name):
    mapped = MAPS[name]
    matrix = mapped.matrix()
    assert matrix.shape == (mapped.width, mapped.width_in)
    for batch in ((), (3,), (2, 1, 3)):
        z = rng.standard_normal((*batch, mapped.width_in))
        close(applied(mapped, z), z @ matrix.T)
    close(jax.jit(lambda m: m.columns())(mapped), matrix.T)
    z = jax.numpy.zeros(mapped.width_in)
    y = rng.standard_normal(mapped.width)
    adjoint = jax.jit(lambda m, y: jax.linear_transpose(m, z)(y)[0])
    close(adjoint(mapped, y), matrix.T @ y)
    single = mapped.astype(np.float32)
    z = rng.standard_normal((2, mapped.width_in)).astype(np.float32)
    assert applied(single, z).dtype == np.float32
    close(applied(single, z), z @ matrix.T, 1e-5)
    again = pickle.loads(pickle.dumps(jax.tree.map(np.asarray, mapped)))
    np.testing.assert_array_equal(again.matrix(), matrix)


@pytest.mark.parametrize("name", MAPS)
def test_a_factor_goes_within_or_behind(name):
    mapped = MAPS[name]
    channels, *sizes = mapped.output_shape
    for factor in (
        rng.standard_normal(mapped.width),
        np.repeat(rng.standard_normal(channels), int(np.prod(sizes))),
    ):
        close(scaled(mapped, factor).matrix(), factor[:, None] * mapped.matrix())
    if isinstance(mapped, Convolution | TransposedConvolution):
        assert isinstance(scaled(mapped, factor), type(mapped))


@pytest.mark.parametrize("name", MAPS)
def test_a_map_is_an_argument_of_jit_and_traced_once(name):
    mapped, traced = MAPS[name], []

    @jax.jit
    def once(given, z):
        traced.append(given)
        return given(z)

    z = rng.standard_normal((2, mapped.width_in))
    doubled = jax.tree.map(lambda leaf: 2 * leaf, mapped)
    close(once(mapped, z), z @ mapped.matrix().T)
    close(once(doubled, z), z @ doubled.matrix().T)
    assert len(traced) == 1


@pytest.mark.parametrize("name", [*CONVOLUTIONS, *(f"up {n}" for n in TRANSPOSED)])
def test_convolutions_are_those_of_torch(name):
    torch = pytest.importorskip("torch")
    up = name.startswith("up ")
    shape, images, options = TRANSPOSED[name[3:]] if up else CONVOLUTIONS[name]
    function = getattr(torch.nn.functional, f"conv{'_transpose' * up}{len(shape) - 2}d")
    x = rng.standard_normal((3, *images))
    expected = function(torch.from_numpy(x), torch.from_numpy(kernel(shape)), **options).numpy()
    mapped = (TransposedConvolution if up else Convolution)(kernel(shape), images, **options)
    assert mapped.output_shape == expected.shape[1:]
    close(applied(mapped, x.reshape(3, -1)), expected.reshape(3, -1))


@pytest.mark.parametrize("size_out", [3, 5, 7, 10, 14])
def test_resampling_of_an_axis_is_that_of_torch(size_out):
    torch = pytest.importorskip("torch")
    f = torch.nn.functional
    x = rng.standard_normal((2, 1, 5))
    given = torch.from_numpy(x)
    for matrix, expected in [
        (nearest(5, size_out), f.interpolate(given, size_out)),
        (linear(5, size_out), f.interpolate(given, size_out, mode="linear")),
        (
            linear(5, size_out, align_corners=True),
            f.interpolate(given, size_out, mode="linear", align_corners=True),
        ),
        (adaptive_average(5, size_out), f.adaptive_avg_pool1d(given, size_out)),
        (average(5, 3, 2, 1, False), f.avg_pool1d(given, 3, 2, 1, count_include_pad=False)),
        (padded(5, 2, 1, "reflect"), f.pad(given, (2, 1), mode="reflect")),
        (padded(5, 2, 1, "replicate"), f.pad(given, (2, 1), mode="replicate")),
        (padded(5, 2, 1, "circular"), f.pad(given, (2, 1), mode="circular")),
        (padded(5, -1, 2), f.pad(given, (-1, 2))),
    ]:
        close(x @ matrix.T, expected.numpy())


def test_nearest_by_whole_numbers_is_not_rounded():
    for size, factor in ((2, 49), (3, 107), (5, 161)):
        picked = nearest(size, size * factor).argmax(1)
        np.testing.assert_array_equal(picked, np.repeat(np.arange(size), factor))


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Convolution(np.ones((2, 3, 3)), (4, 5)), "has 4"),
        (lambda: Convolution(np.ones((3, 2, 3)), (4, 5), groups=2), "groups=2"),
        (lambda: Convolution(np.ones((2, 4, 6)), (4, 5)), "come out as"),
        (lambda: Convolution(np.ones((2, 4, 3)), (4, 5), stride=(1, 2)), "stride"),
        (lambda: Convolution(np.ones((2, 4, 3)), (4, 5), padding=-1), "padding=-1"),
        (lambda: Convolution(np.ones((2, 4, 3)), (4, 5), groups=0), "groups=0"),
        (lambda: Convolution(np.full((2, 4, 3), np.nan), (4, 5)), "NaN"),
        (lambda: Convolution(np.ones((2, 4)), (4, 5)), "axes of channels"),
        (lambda: Convolution(np.ones((2, 4, 3)), (4, 5, 5)), "input_shape"),
        (lambda: TransposedConvolution(np.ones((3, 2, 3)), (4, 5)), "has 4"),
        (lambda: TransposedConvolution(np.ones((4, 2, 1)), (4, 1), padding=1), "come out as"),
        (lambda: pixel_shuffle(2, (6, 4, 4)), "multiple of 4"),
        (lambda: separable([np.eye(3)], (2, 4)), "do not fit"),
        (lambda: transposed((2, 3), (0, 0)), "no order"),
        (
            lambda: jaxinv.Generator.from_layers(
                [(scaling(np.array([np.inf]), (1,)), None, "relu")]
            ),
            "NaN or infinity",
        ),
    ],
)
def test_maps_that_do_not_fit_are_refused(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()


def layered():
    """Every kind of map, one a layer, each taking what the one before gives."""
    maps = [
        MAPS["composition"],
        Convolution(kernel((4, 2, 3, 3)), (2, 8, 8), padding=1),
        TransposedConvolution(kernel((4, 2, 2, 2)), (4, 8, 8), stride=2, groups=2),
        separable([average(16, 4, 4), average(16, 4, 4)], (4, 16, 16)),
        pixel_shuffle(2, (4, 4, 4)),
        scaling(kernel((64,)), (1, 8, 8)),
    ]
    layers = [(m, rng.standard_normal(m.output_shape[0]), "leaky_relu:0.2") for m in maps]
    layers += [(dense(9, 64), None, "silu"), (dense(6, 9), rng.standard_normal(6), "sigmoid")]
    return jaxinv.Generator.from_layers(layers)


@pytest.mark.parametrize("ending", ["npz", "safetensors"])
def test_every_kind_comes_back_from_a_file_bit_for_bit(tmp_path, ending):
    generator, path = layered(), tmp_path / f"net.{ending}"
    jaxinv.save_generator(generator, path)
    loaded = jaxinv.load_generator(path)
    assert jax.tree.structure(loaded) == jax.tree.structure(generator)
    for mine, its in zip(jax.tree.leaves(generator), jax.tree.leaves(loaded), strict=True):
        np.testing.assert_array_equal(mine, its)
    assert isinstance(loaded.layers[0].linear, Composition)


def test_what_a_file_promises_is_checked(tmp_path):
    path = tmp_path / "net.npz"
    conv = TransposedConvolution(kernel((2, 3, 2)), (2, 4), stride=2)
    jaxinv.save_generator(jaxinv.Generator.from_layers([(conv, None, "relu")]), path)
    with np.load(path) as held:
        arrays = dict(held)
    assert arrays.keys() == {"W0", "activations", "layers"}
    whole = str(arrays["layers"])
    for old, new, sentence in [
        ('"stride": [2]', '"stride": [60000000]', "above the limits"),
        ('"stride": [2]', '"stride": [2.5]', "whole numbers"),
        ('"stride": [2]', '"stride": [1000000000000]', "whole numbers"),
        ('"input_shape": [2, 4]', '"input_shape": [2, 4, 4]', "input_shape"),
        ('"input_shape": [2, 4]', '"input_shape": [3, 4]', "channels"),
        ('"transposed convolution"', '"subprocess"', "none of the kinds"),
        ('"transposed convolution"', '"scaling"', "factors"),
        ('"transposed convolution"', '"separable"', "missing"),
        ('"transposed convolution"', '"rearrangement"', "not understood"),
        (whole, "[]", "must list 1"),
        (whole, "[", "not JSON"),
        (whole, '[{"kind": "composition", "maps": []}]', "1 to 64 maps"),
    ]:
        assert old in whole
        np.savez(path, **arrays | {"layers": np.array(whole.replace(old, new))})
        with pytest.raises(ValueError, match=sentence) as raised:
            jaxinv.load_generator(path)
        assert "net.npz" in str(raised.value)
