"""Methods side by side on a sample: the figures, the one that is recommended, and what fails."""

import json
import shlex

import numpy as np
import pytest
from typer.testing import CliRunner

import jaxinv
from jaxinv.cli import app
from jaxinv.cli.compare import sampled
from jaxinv.cli.recommendation import figures, recommended
from jaxinv.cli.trials import Trial, fitting, settings_of

SOLVED, INEXACT, CLOSEST = (int(jaxinv.Status[n]) for n in ("SOLVED", "INEXACT", "CLOSEST"))
NONE = np.zeros(4)


def trial(name, seconds, residual, status=(SOLVED,) * 4):
    return Trial(name, 2 * seconds, (seconds,), np.array(residual, float), np.array(status))


def test_figures_are_over_the_lowest_of_each_row():
    rng = np.random.default_rng(0)
    residuals = rng.uniform(1, 2, (3, 50))
    residuals[1, 7] = np.nan
    told = figures(
        [trial(str(i), 1, r, [SOLVED] * 50) for i, r in enumerate(residuals)], 0 * rng.random(50)
    )
    for i, found in enumerate(told):
        ratio = residuals[i] / np.nanmin(residuals, 0)
        ratio[np.isnan(ratio)] = np.inf
        assert found.median == np.sort(ratio)[25] and found.tail == np.sort(ratio)[47]


def test_the_cheapest_that_loses_nothing_is_taken():
    exact, near = [1.0, 1, 1, 1], [1.0, 1.001, 1, 1.02]
    dear, cheap = trial("auto", 4, exact), trial("auto:fast", 1, near)
    poor, blind = (
        trial("gd", 0.1, [3.0, 3, 3, 3]),
        trial("lm", 0.1, exact, [SOLVED] * 3 + [INEXACT]),
    )
    found = recommended([dear, cheap, poor, blind], NONE)
    assert found.name == "auto:fast"
    assert "of the 2 methods of which that is so none is quicker" in found.reason
    found = recommended([dear, poor, blind], NONE)
    assert found.name == "auto"
    assert "no other does as well, and gd, lm would be quicker" in found.reason


def test_what_is_as_quick_within_a_tenth_leaves_the_order_as_it_is():
    one = [1.0] * 4
    assert recommended([trial("auto", 1.05, one), trial("lm", 1.0, one)], NONE).name == "auto"
    assert recommended([trial("auto", 1.2, one), trial("lm", 1.0, one)], NONE).name == "lm"


def test_a_residual_that_is_rounding_counts_as_none():
    tiny = [trial("auto", 2, [1e-9] * 4), trial("exact", 1, [1e-16] * 4)]
    assert recommended(tiny, np.full(4, 1e-6)).name == "exact"
    assert all(found.median == 1.0 for found in figures(tiny, np.full(4, 1e-6)))
    assert figures(tiny, NONE)[0].median == pytest.approx(1e7)


def test_solved_programs_are_no_rows_to_lose():
    auto = trial("auto", 2, [1.0] * 4, [CLOSEST] * 4)
    programs = trial("linf", 1, [1.0, 1, 1, 1.3])
    assert [found.lost for found in figures([auto, programs], NONE)] == [0, 0]
    assert recommended([auto, programs], NONE).name == "auto"


def test_where_none_is_best_everywhere_it_says_what_the_best_loses():
    a = trial("auto", 1, [1.0, 1, 1, 2], [SOLVED] * 3 + [INEXACT])
    b = trial("lm", 1, [1.0, 1, 2, 1], [INEXACT] * 2 + [SOLVED] * 2)
    found = recommended([a, b], NONE)
    assert found.name == "auto" and "loses least: 1 row that another solved" in found.reason


def test_nothing_found_is_nothing_recommended():
    bad = trial("auto", 1, [np.nan] * 4, [int(jaxinv.Status.BAD_INPUT)] * 4)
    failed = Trial("exact", failure="it has no layers")
    assert recommended([failed], NONE).name is recommended([bad, failed], NONE).name is None
    assert "No method found a code" in recommended([bad, failed], NONE).reason
    assert recommended([failed, trial("lm", 1, [1.0] * 4)], NONE).name == "lm"


def test_the_sample_is_the_same_for_the_same_seed():
    assert sampled(5, 32, 0).tolist() == [0, 1, 2, 3, 4]
    some = sampled(1_000_000, 32, 3)
    assert (np.diff(some) > 0).all() and some.tolist() == sampled(1_000_000, 32, 3).tolist()
    assert some.tolist() != sampled(1_000_000, 32, 4).tolist()


def test_methods_are_tried_that_fit():
    chain = jaxinv.Generator.random((2, 6, 12))
    assert fitting(chain, 32)[-2:] == ("exact", "linf") and fitting(chain, 65)[-1] == "exact"
    assert fitting(chain, 32, prior=True) == fitting(chain, 32)[:-2]
    smooth = jaxinv.Generator.from_layers([(np.ones((3, 2)), None, "gelu")])
    function = jaxinv.FunctionGenerator(lambda z: z**2, 2)
    convolutional = jaxinv.load_generator("mnist-conv-vae-13")
    for generator in (smooth, function, convolutional):
        assert fitting(generator, 32) == ("auto:fast", "auto", "lm", "gd")
    assert settings_of("auto:fast") == jaxinv.Auto(effort="fast")
    for name in ("auto:slow", "lm:fast", "simplex", ""):
        with pytest.raises(ValueError, match="expected"):
            settings_of(name)


@pytest.fixture
def work(function_file):
    z = np.random.default_rng(0).uniform(-0.5, 0.5, (9, 2))
    np.save("x.npy", np.tanh(z[:, :, None] * np.arange(1.0, 6.0)).reshape(9, 10))
    return function_file


def test_a_method_that_fails_is_a_line_and_the_others_go_on(work):
    asked = ["compare", "net.py:wave", "x.npy", "--allow-code", "--methods", "exact,lm"]
    done = CliRunner().invoke(app, [*asked, "--sample", "4", "--json"])
    assert done.exit_code == 0, done.exception
    told = json.loads(done.stdout)
    failed, tried = told["methods"]
    assert "has none: it has no layers" in failed["failure"] and not failed["status"]
    assert tried["status"] == {"SOLVED": 4} and tried["residual_over_lowest_median"] == 1
    assert tried["first_call_seconds"] > tried["seconds_a_row"] > 0
    assert (told["rows"], told["sample"], told["recommended"]) == (9, 4, "lm")
    words = shlex.split(told["command"])
    assert words[:4] == ["jaxinv", "invert", "net.py:wave", "x.npy"] and "--allow-code" in words
    assert words[words.index("--method") + 1] == "lm"
    done = CliRunner().invoke(app, [*asked, "--sample", "4"])
    assert "exact failed: Exact goes layer by layer" in " ".join(done.stdout.split())
    assert "4 of 9 rows" in done.stdout and "All 9 rows would take about" in done.stdout


def test_rows_that_nothing_inverts_are_told(work):
    np.save("nan.npy", np.full((3, 10), np.nan))
    asked = ["compare", "net.py:wave", "nan.npy", "--allow-code", "--methods", "lm"]
    done = CliRunner().invoke(app, asked)
    assert done.exit_code == 1 and "3 BAD_INPUT" in done.stdout
    assert "No method found a code of any of these rows." in done.stdout


def test_entries_that_a_mask_hides_are_not_asked_about(work):
    x, seen = np.load("x.npy"), np.ones((9, 10), bool)
    seen[:, 3], seen[0] = False, False
    x[:, 3] = np.nan
    np.save("hidden.npy", x)
    np.save("mask.npy", seen)
    asked = ["compare", "net.py:wave", "hidden.npy", "--allow-code", "--methods", "lm,lm", "--json"]
    told = json.loads(CliRunner().invoke(app, [*asked, "--mask", "mask.npy"]).stdout)
    (tried,) = told["methods"]
    assert tried["status"] == {"SOLVED": 8, "BAD_INPUT": 1}
    assert "--mask mask.npy" in told["command"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["net.py:wave", "x.npy"], "pass --allow-code"),
        (["net.py:wave", "y.npy", "--allow-code"], "y.npy does not exist"),
        (["net.py:wave", "empty.npy", "--allow-code"], "holds no rows"),
        (["mnist-conv-vae-13", "x.npy"], "10 entries a row; the generator makes 784"),
        (["net.py:wave", "x.npy", "--methods", "auto,,lm"], "method '' is not known"),
    ],
)
def test_bad_input_is_refused_before_anything_is_tried(work, arguments, sentence):
    np.save("empty.npy", np.zeros((0, 10)))
    done = CliRunner().invoke(app, ["compare", *arguments])
    assert sentence in str(done.exception) and not done.stdout
