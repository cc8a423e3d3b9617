"""Pictures against the numbers that they are drawn from, and the sentences that bad input gets."""

import re
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest

import jaxinv
from jaxinv import Confidence, FunctionGenerator, Generator, Inversion, SearchReport, Status
from jaxinv.model.image import as_image, image_shape

pytest.importorskip("matplotlib")
from jaxinv import plots

WIDE = Generator.random((3, 20, 80), seed=0)  # of images 8 x 10
COLOUR = Generator.random((3, 20, 3 * 6 * 5), seed=0)
RNG = np.random.default_rng(0)
Z = RNG.standard_normal((4, 3))
X = np.asarray(WIDE(Z)) + 0.1 * RNG.standard_normal((4, 80))


def made(latent, status=None, search=None, allowed=None):
    """An inversion of these latents, as if someone had found them."""
    latent = np.asarray(latent, float)
    there = np.isfinite(latent).all(1)
    status = np.where(there, 0, int(Status.BAD_INPUT)) if status is None else np.asarray(status)
    residual = np.where(there, 0.5, np.nan)
    allowed = residual if allowed is None else allowed
    return Inversion(latent, status, np.zeros(len(latent), int), residual, allowed, search=search)


def drawn_well(figure):
    """Drawn to the end, since text and layout fail no sooner; and known to nobody else."""
    assert figure._repr_png_().startswith(b"\x89PNG")
    return figure


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


def bars(axes):
    return [segment for lines in axes.collections for segment in lines.get_segments()]


def test_intervals_are_bars_from_end_to_end():
    low, high = Z - 0.5, Z + np.array([0.1, 0.2, 0.3])
    figure = plots.latent_intervals(made(Z), (low, high), row=2, truth=Z + 0.05)
    axes = drawn_well(figure).axes[0]
    for entry, segment in enumerate(bars(axes)):
        np.testing.assert_allclose(segment, [[entry, low[2, entry]], [entry, high[2, entry]]])
    points = {line.get_label(): line.get_ydata() for line in axes.lines}
    np.testing.assert_array_equal(points["latent"], Z[2])
    np.testing.assert_array_equal(points["truth"], Z[2] + 0.05)
    assert axes.get_title() == "row 2: SOLVED, residual 0.5"


def test_infinite_ends_and_rows_without_a_latent_are_drawn():
    low, high = Z - 1.0, Z + 1.0
    low[0, 1], high[0, 2] = -np.inf, np.inf
    axes = drawn_well(plots.latent_intervals(made(Z), (low, high))).axes[0]
    least, most = axes.get_ylim()
    assert all(least < end < most for segment in bars(axes) for end in segment[:, 1])
    arrows = [line for line in axes.lines if line.get_marker() in "v^"]
    assert [line.get_xdata().tolist() for line in arrows] == [[1], [2]]
    bad = np.full((1, 3), np.nan)
    axes = drawn_well(plots.latent_intervals(made(bad), (bad, bad))).axes[0]
    assert [text.get_text() for text in axes.texts] == ["no latent"]


def test_a_confidence_that_is_not_reliable_says_so():
    reliable = np.array([True, False, True, True])
    told = Confidence(np.ones(4), np.zeros((4, 3, 3)), Z - 1, Z + 1, np.zeros(4), reliable)
    title = plots.latent_intervals(made(Z), told, row=1).axes[0].get_title()
    assert title.endswith("intervals not reliable")
    assert "reliable" not in plots.latent_intervals(made(Z), told, row=0).axes[0].get_title()


def test_axes_of_the_caller_are_drawn_into():
    from matplotlib.figure import Figure

    own = Figure()
    axes = own.subplots(1, 2)
    assert plots.latent_intervals(made(Z), (Z - 1, Z + 1), ax=axes[1]) is own
    assert plots.error_against_noise(made(Z), Z + 0.1, 0.1, ax=axes[0]) is own
    assert axes[0].lines and axes[1].lines


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"intervals": 3.0}, "intervals are a float; expected what jaxinv.confidence returned, or"),
        ({"intervals": (Z[:2], Z[:2])}, "low ends have shape (2, 3); the latents have (4, 3)"),
        ({"intervals": (Z + 1, Z)}, "a low end lies above its high end; give the pair as (low, hi"),
        ({"truth": Z[0]}, "truth have shape (1, 3); the latents have (4, 3)"),
        ({"row": 9}, "rows=[9] are not there; the inversion has 4 rows"),
        ({"row": [0, 1]}, "row=[0, 1]; expected the number of one row"),
        ({"ax": "here"}, "ax is a str; expected Axes of matplotlib, or None"),
        ({"inversion": None}, "inversion is a NoneType; expected what jaxinv.invert returned"),
    ],
)
def test_intervals_say_what_does_not_fit(change, sentence):
    with pytest.raises(ValueError, match=re.escape(sentence)):
        plots.latent_intervals(**{"inversion": made(Z), "intervals": (Z - 1, Z + 1)} | change)


def test_errors_are_the_distances_to_the_truth():
    latent = np.concatenate([Z, Z])
    truth = latent + np.repeat([0.1, 1.0], 4)[:, None]
    latent[1] = np.nan
    noise = np.repeat([0.01, 0.1], 4)
    status = [0, 5, 2, 0, 0, 0, 7, 0]
    axes = drawn_well(plots.error_against_noise(made(latent, status), truth, noise)).axes[0]
    lines = {line.get_label(): line.get_xydata() for line in axes.lines}
    np.testing.assert_allclose(lines["INEXACT (1)"], [[0.01, 0.1 * np.sqrt(3)]])
    np.testing.assert_allclose(lines["CLOSEST (1)"], [[0.1, np.sqrt(3)]])
    np.testing.assert_allclose(lines["median"], [[0.01, 0.1 * np.sqrt(3)], [0.1, np.sqrt(3)]])
    assert len(lines["BAD_INPUT (1)"]) == 0
    assert len(lines["SOLVED (5)"]) == 5
    assert len(lines["may be off by"]) == 7


def test_no_error_lies_below_the_rounding_of_its_code():
    axes = plots.error_against_noise(made(Z), Z, 1.0).axes[0]
    points = next(line for line in axes.lines if line.get_label().startswith("SOLVED"))
    want = np.finfo(float).eps * np.linalg.norm(Z, axis=1)
    np.testing.assert_allclose(points.get_ydata(), want)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"truth": Z[:2]}, "truth has shape (2, 3); the latents have (4, 3)"),
        ({"noise": np.ones(3)}, "noise has shape (3,); expected one number or (4,)"),
        ({"noise": [0.0, 1.0, 1.0, 1.0]}, "as the axis is logarithmic; leave rows without noise"),
        ({"noise": np.inf}, "noise must be positive and finite"),
        ({"inversion": 3}, "inversion is a int; expected what jaxinv.invert returned"),
        ({"ax": 3}, "ax is a int; expected Axes of matplotlib, or None"),
    ],
)
def test_errors_say_what_does_not_fit(change, sentence):
    with pytest.raises(ValueError, match=re.escape(sentence)):
        plots.error_against_noise(**{"inversion": made(Z), "truth": Z, "noise": 1.0} | change)


def searched(runs, agreeing, start, ending):
    none = np.zeros(len(runs), int)
    counts = (np.asarray(part, int) for part in (runs, none, none, start, agreeing, ending))
    return made(np.zeros((len(runs), 3)), search=SearchReport(*counts, none > 0))


def test_a_search_is_counted():
    r = searched([0, 4, 4, 8], [1, 2, 3, 1], [1, 3, 3, 5], [1, 6, 6, 3])
    runs, start, ending = drawn_well(plots.search_course(r)).axes
    heights = [bar.get_height() for bar in runs.containers[0]]
    assert heights == [1, 0, 0, 0, 2, 0, 0, 0, 1]
    named = [label.get_text() for label in start.get_yticklabels()]
    assert named == ["LAYERWISE", "RANDOM", "NEARBY"]
    assert [bar.get_width() for bar in start.containers[0]] == [1, 2, 1]
    assert [label.get_text() for label in ending.get_yticklabels()] == [
        "REPRODUCED",
        "BUDGET_SPENT",
        "SEARCHED",
    ]


@pytest.mark.parametrize("most", [0, 1, 23, 24, 1000])
def test_every_row_is_in_a_bar_of_its_runs(most):
    r = searched([0, most], [0, most], [3, 3], [3, 3])
    runs = drawn_well(plots.search_course(r)).axes[0]
    assert sum(bar.get_height() for bar in runs.containers[0]) == 2


def test_a_search_of_no_rows_is_drawn():
    assert len(drawn_well(plots.search_course(searched([], [], [], []))).axes) == 3


def test_methods_without_a_search_are_told():
    with pytest.raises(ValueError, match='this inversion has no search report; "auto" and "lm"'):
        plots.search_course(made(Z))
    with pytest.raises(ValueError, match="inversion is a dict; expected"):
        plots.search_course({})


def test_no_state_of_matplotlib_is_touched():
    import matplotlib

    before = dict(matplotlib.rcParams)
    plots.search_course(searched([1], [1], [3], [3]))
    assert dict(matplotlib.rcParams) == before
    code = (
        "import sys, jaxinv.plots; assert 'matplotlib' not in sys.modules\n"
        "from jaxinv.plots.canvas import new_figure\n"
        "new_figure(2, 2); assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_matplotlib_it_says_what_to_install(monkeypatch):
    monkeypatch.delitem(sys.modules, "jaxinv.plots.figure", raising=False)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"jaxinv.plots needs matplotlib: .*'jaxinv\[plots\]'"):
        plots.search_course(searched([1], [1], [3], [3]))
