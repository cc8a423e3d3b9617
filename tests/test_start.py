"""Starting points of the caller's own: used, checked, clipped, left out where not finite."""

import numpy as np
import pytest
from typer.testing import CliRunner

import jaxinv
from jaxinv import Start, Status
from jaxinv.cli import app

ROWS = 6


@pytest.fixture(scope="module")
def generator():
    return jaxinv.Generator.random((3, 9, 12), seed=3, activation="tanh")


@pytest.fixture(scope="module")
def planted(generator):
    latent = np.random.default_rng(0).standard_normal((ROWS, 3))
    return latent, np.asarray(generator(latent))


@pytest.fixture(scope="module")
def off(generator):
    """Observations that the generator does not make, and two stationary points of each."""
    x = np.random.default_rng(1).standard_normal((ROWS, 12))
    runs = [jaxinv.invert(generator, x, "lm", seed=seed) for seed in (0, 1)]
    return x, np.stack([np.asarray(run.latent) for run in runs], 1)


@pytest.mark.parametrize("method", ["lm", jaxinv.LevenbergMarquardt(restarts=3)])
def test_lm_runs_from_the_points_given_and_from_no_other(generator, planted, method):
    latent, x = planted
    found = jaxinv.invert(generator, x, method, start=latent + 0.01)
    np.testing.assert_allclose(found.latent, latent, atol=1e-9)
    assert (np.asarray(found.search.runs) == 1).all()
    assert (np.asarray(found.search.start) == Start.GIVEN).all()


def test_shapes_that_mean_the_same_give_the_same(generator, off):
    x, points = off
    one = points[0, 0]
    shared = [
        jaxinv.invert(generator, x, "lm", start=start)
        for start in (one, np.tile(one, (ROWS, 1)), np.tile(one, (ROWS, 1, 1)))
    ]
    for other in shared[1:]:
        np.testing.assert_array_equal(other.latent, shared[0].latent)
    assert (np.asarray(jaxinv.invert(generator, x, "lm", start=points).search.runs) == 2).all()


def test_auto_begins_there_and_ends_no_higher(generator, off):
    x, points = off
    alone = jaxinv.invert(generator, x, jaxinv.Auto(runs=4))
    led = jaxinv.invert(generator, x, jaxinv.Auto(runs=4), start=points)
    low = np.asarray(jaxinv.invert(generator, x, "lm", start=points).residual)
    assert (np.asarray(led.residual) <= np.minimum(low, alone.residual) * (1 + 1e-9)).all()


def test_a_point_given_many_times_confirms_nothing(generator, off):
    """Runs from copies of one point agree with each other, and say nothing of other minima."""
    x, points = off
    copies = np.repeat(points[:, :1], 40, axis=1)
    found = jaxinv.invert(generator, x, jaxinv.Auto(runs=1, nearby=0), start=copies)
    assert (np.asarray(found.search.agreeing) <= 2).all()
    assert not np.asarray(found.ok).any()


def test_points_that_are_not_finite_are_left_out(generator, planted):
    latent, x = planted
    start = np.stack([latent + 0.01, latent], 1)
    start[0], start[1, 0, 2] = np.nan, np.inf
    assert (np.asarray(jaxinv.invert(generator, x, start=start).status) == Status.SOLVED).all()
    found = jaxinv.invert(generator, x, "lm", start=start)
    assert (np.asarray(found.status) == Status.SOLVED).all()
    assert np.asarray(found.search.runs)[:2].tolist() == [jaxinv.LevenbergMarquardt.restarts, 1]
    assert int(found.search.start[0]) != Start.GIVEN
    spoiled = np.asarray(found.latent)
    whole = np.asarray(
        jaxinv.invert(generator, x, "lm", start=np.stack([latent + 0.01, latent], 1)).latent
    )
    np.testing.assert_array_equal(spoiled[2:], whole[2:])


def test_points_outside_the_bounds_are_clipped_and_said_to_be(generator, planted):
    latent, x = planted
    start = latent.copy()
    start[2] += 100.0
    bounds = (-5.0, 5.0)
    found = jaxinv.invert(generator, x, "lm", start=start, latent_bounds=bounds)
    assert np.asarray(found.search.clipped).tolist() == [i == 2 for i in range(ROWS)]
    assert (np.abs(np.asarray(found.latent)) <= 5).all()
    assert "1 with a given start clipped" in str(found.search)


def test_gradient_descent_begins_there_too(generator, planted):
    latent, x = planted
    still = jaxinv.GradientDescent(steps=0)
    start = latent.copy()
    start[0] = np.nan
    found = np.asarray(jaxinv.invert(generator, x, still, start=start).latent)
    np.testing.assert_array_equal(found[1:], latent[1:])
    assert np.isfinite(found[0]).all()


@pytest.mark.parametrize("shape", [(2,), (ROWS + 1, 3), (ROWS, 4), (ROWS, 0, 3), (ROWS, 2, 2), ()])
def test_another_shape_is_refused(generator, planted, shape):
    with pytest.raises(ValueError, match=r"start has shape .*expected \(3,\), \(6, 3\)"):
        jaxinv.invert(generator, planted[1], start=np.zeros(shape))


def test_methods_that_go_layer_by_layer_take_none():
    chain = jaxinv.Generator.random((2, 8, 20), seed=0)
    with pytest.raises(ValueError, match="start= is for 'auto', 'lm' and 'gd'; Exact"):
        jaxinv.invert(chain, np.zeros((1, 20)), "exact", start=np.zeros(2))


def test_a_stream_takes_each_chunks_own(generator, planted):
    latent, x = planted
    starts = iter([latent[:4] + 0.01, latent[4:] + 0.01])
    parts = jaxinv.invert_stream(generator, [x[:4], x[4:]], "lm", start=starts)
    runs = np.concatenate([np.asarray(part.search.runs) for part in parts])
    assert runs.tolist() == [1] * ROWS


@pytest.mark.parametrize("out", ["z.npz", "JOB"])
def test_the_command_line_and_jobs_take_a_file(generator, planted, tmp_path, monkeypatch, out):
    monkeypatch.chdir(tmp_path)
    latent, x = planted
    jaxinv.save_generator(generator, "g.npz")
    np.save("x.npy", x)
    np.save("start.npy", np.stack([latent + 0.01] * 2, 1))
    asked = ["invert", "g.npz", "x.npy", "--method", "lm", "--start", "start.npy", "--chunk", "4"]
    jobs = ["--shard-rows", "4"] if out == "JOB" else []
    done = CliRunner().invoke(app, [*asked, "--out", out, *jobs])
    assert done.exit_code == 0, done.output
    if out == "JOB":
        CliRunner().invoke(app, ["export", out, "z.npz"])
        np.save("start.npy", np.stack([latent] * 2, 1))
        again = CliRunner().invoke(app, [*asked, "--out", out, *jobs])
        assert "another start" in str(again.exception)
    with np.load("z.npz") as found:
        np.testing.assert_allclose(found["latent"], latent, atol=1e-9)
    np.save("start.npy", np.zeros((ROWS, 4)))
    refused = CliRunner().invoke(app, [*asked, "--out", "other" + out])
    assert "start.npy holds 6 rows of 4 numbers" in str(refused.exception)
