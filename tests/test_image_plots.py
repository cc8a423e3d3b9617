"""Pictures of images against the numbers that they are drawn from."""

import re

import jax.numpy as jnp
import numpy as np
import pytest
from drawn import drawn_well, made

import jaxinv
from jaxinv import FunctionGenerator, Generator, Inversion
from jaxinv.model.image import as_image, image_shape

pytest.importorskip("matplotlib")
from jaxinv import plots

WIDE = Generator.random((3, 20, 80), seed=0)  # of images 8 x 10
COLOUR = Generator.random((3, 20, 3 * 6 * 5), seed=0)
RNG = np.random.default_rng(0)
Z = RNG.standard_normal((4, 3))
X = np.asarray(WIDE(Z)) + 0.1 * RNG.standard_normal((4, 80))


def image_of(axes):
    return np.ma.filled(np.ma.asarray(axes.get_images()[0].get_array(), float), np.nan)


def test_reconstructions_are_x_the_image_and_their_difference():
    r = made(Z)
    figure = drawn_well(plots.reconstructions(WIDE, X, r, image_shape=(8, 10)))
    axes = np.reshape(figure.axes, (3, 4))
    image = np.asarray(WIDE(Z))
    for row in range(4):
        for line, want in enumerate((X[row], image[row], image[row] - X[row])):
            np.testing.assert_allclose(image_of(axes[line, row]), want.reshape(8, 10), atol=1e-12)
        assert axes[0, row].get_title() == f"row {row}\nSOLVED\n0.5"
    low, high = axes[0, 0].get_images()[0].get_clim()
    assert (low, high) == (min(X.min(), image.min()), max(X.max(), image.max()))
    least, most = axes[2, 0].get_images()[0].get_clim()
    assert -least == most == np.abs(image - X).max()


def test_rows_limits_and_one_observation():
    r = made(Z)
    figure = plots.reconstructions(WIDE, X, r, rows=[2, -1], image_shape=(8, 10), limits=(0, 2))
    titles = [axes.get_title().split("\n")[0] for axes in figure.axes[:2]]
    assert titles == ["row 2", "row 3"]
    assert figure.axes[0].get_images()[0].get_clim() == (0.0, 2.0)
    one = Inversion(*(part[0] for part in (r.latent, r.status, r.status, r.residual, r.residual)))
    assert len(drawn_well(plots.reconstructions(WIDE, X[0], one, image_shape=(8, 10))).axes) == 3
    many = made(np.tile(Z, (3, 1)))
    assert (
        len(plots.reconstructions(WIDE, np.tile(X, (3, 1)), many, image_shape=(8, 10)).axes) == 24
    )


def test_colours_come_last_and_differences_are_their_mean():
    z = RNG.standard_normal((2, 3))
    x = np.asarray(COLOUR(z)) + 0.1
    x[1, 7] = np.nan
    shown = plots.reconstructions(COLOUR, x, made(z), image_shape=(3, 6, 5), limits=(0.0, 1.0))
    axes = np.reshape(drawn_well(shown).axes, (3, 2))
    want = np.clip(x[0].reshape(3, 6, 5).transpose(1, 2, 0), 0, 1)
    np.testing.assert_allclose(image_of(axes[0, 0])[..., :3], want)
    np.testing.assert_allclose(image_of(axes[2, 0]), np.full((6, 5), -0.1))
    # An unknown colour leaves its pixel open: 7 is the second line's third pixel.
    assert np.argwhere(image_of(axes[0, 1])[..., 3] == 0).tolist() == [[1, 2]]
    assert np.argwhere(np.isnan(image_of(axes[2, 1]))).tolist() == [[1, 2]]


def test_residual_maps_are_in_units_of_the_noise_and_average_all_rows():
    latent = np.concatenate([Z, np.full((1, 3), np.nan)])
    x = np.concatenate([X, X[:1]])
    noise = np.linspace(0.05, 0.2, 80)
    x[1, 5] = np.nan
    figure = plots.residual_maps(
        WIDE, x, made(latent), noise=noise, rows=[0, 4], image_shape=(8, 10)
    )
    mean, first, last = drawn_well(figure).axes[:3]
    residual = (np.asarray(WIDE(Z)) - x[:4]) / noise
    np.testing.assert_allclose(image_of(first), residual[0].reshape(8, 10))
    assert first.get_images()[0].get_clim() == (-4.0, 4.0)
    want = np.sqrt(np.nanmean(residual**2, axis=0))
    np.testing.assert_allclose(image_of(mean), want.reshape(8, 10))
    assert np.isnan(image_of(last)).all()
    assert mean.get_title() == "all 4 rows,\nroot mean square"


@pytest.mark.parametrize("draw", [plots.reconstructions, plots.residual_maps])
def test_no_rows_and_nan_everywhere_are_drawn(draw):
    drawn_well(draw(WIDE, X[:0], made(np.zeros((0, 3))), image_shape=(8, 10)))
    drawn_well(
        draw(WIDE, np.full((4, 80), np.nan), made(np.full((4, 3), np.nan)), image_shape=(8, 10))
    )
    drawn_well(draw(WIDE, np.asarray(WIDE(Z)), made(Z), image_shape=(8, 10)))


def test_images_of_decoders():
    conv = jaxinv.TransposedConvolution(np.ones((2, 1, 4, 4)), input_shape=(2, 3, 5), stride=2)
    assert image_shape(Generator.from_layers([(conv, None, "relu")])) == (8, 12)
    three = jaxinv.Convolution(np.ones((3, 1, 1, 1)), input_shape=(1, 4, 6))
    assert image_shape(Generator.from_layers([(three, None, "relu")])) == (3, 4, 6)
    line = jaxinv.Convolution(np.ones((3, 1, 1)), input_shape=(1, 5))
    assert image_shape(Generator.from_layers([(line, None, "relu")])) is None
    assert image_shape(FunctionGenerator(lambda z: jnp.outer(z, z), 4)) == (4, 4)
    assert image_shape(FunctionGenerator(lambda z: jnp.ones((1, 3, 2, 2)) * z[0], 1)) == (3, 2, 2)
    assert image_shape(Generator.random((2, 196), seed=0)) == (14, 14)
    assert image_shape(Generator.random((2, 300), seed=0)) == (3, 10, 10)
    assert image_shape(WIDE) is None
    assert as_image(np.arange(12.0), (3, 2, 2))[1, 0].tolist() == [2.0, 6.0, 10.0]


def test_a_convolutional_chain_makes_no_images_of_no_codes():
    conv = jaxinv.TransposedConvolution(np.ones((2, 1, 4, 4)), input_shape=(2, 3, 5), stride=2)
    assert Generator.from_layers([(conv, None, "relu")])(np.zeros((0, 30))).shape == (0, 96)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"inversion": "r"}, "inversion is a str; expected what jaxinv.invert returned"),
        (
            {"observations": X[:2]},
            "observations have shape (2, 80) and latents (4, 3); expected (B",
        ),
        ({"observations": X[:, :7]}, "expected (B, 80) and (B, 3), as this generator makes them"),
        ({"observations": X.astype(str)}, "observations must be an array of real numbers"),
        ({"rows": [4]}, "rows=[4] are not there; the inversion has 4 rows"),
        ({"rows": [1.5]}, "rows=[1.5] are no row numbers; expected integers"),
        ({"rows": [True]}, "rows=[True] are no row numbers; expected integers"),
        ({"rows": "all"}, "rows='all' are no row numbers; expected integers"),
        ({"image_shape": None}, "nothing says what images 80 values are; give image_shape=(h, w)"),
        ({"image_shape": (8, 9)}, "image_shape=(8, 9) holds 72 values, observations 80"),
        ({"image_shape": (2, 8, 5)}, "image_shape=(2, 8, 5); expected (h, w), (1, h, w) or (3,"),
        ({"image_shape": 80}, "image_shape=80; expected (h, w), (1, h, w) or (3, h, w)"),
        ({"image_shape": (-8, -10)}, "image_shape=(-8, -10); expected (h, w), (1, h, w) or (3,"),
    ],
)
@pytest.mark.parametrize("draw", [plots.reconstructions, plots.residual_maps])
def test_images_say_what_does_not_fit(draw, change, sentence):
    given = {"generator": WIDE, "observations": X, "inversion": made(Z), "image_shape": (8, 10)}
    with pytest.raises(ValueError, match=re.escape(sentence)):
        draw(**given | change)


@pytest.mark.parametrize("limits", [(1.0, 0.0), (0.0, np.nan), 3.0])
def test_limits_are_two_numbers_in_order(limits):
    with pytest.raises(ValueError, match="expected two numbers, the value of black first"):
        plots.reconstructions(WIDE, X, made(Z), image_shape=(8, 10), limits=limits)


@pytest.mark.parametrize(
    ("noise", "sentence"),
    [(np.ones(3), "noise has shape (3,); expected one number or (80,)"), (0.0, "must be positive")],
)
def test_the_noise_of_residual_maps_is_a_deviation(noise, sentence):
    with pytest.raises(ValueError, match=re.escape(sentence)):
        plots.residual_maps(WIDE, X, made(Z), noise=noise, image_shape=(8, 10))
