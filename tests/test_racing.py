"""Runs in single precision that race, and when another run is worth making."""

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from typer.testing import CliRunner

import jaxinv
from jaxinv.cli import app
from jaxinv.joint.descent.chords import cycle
from jaxinv.joint.descent.levenberg_marquardt import Box
from jaxinv.joint.descent.race import track
from jaxinv.joint.search.stopping import chance_of_lower

NET = jaxinv.Generator.random((6, 40, 90), seed=2, activation="leaky_relu:0.2")
ANYWHERE = Box(np.full(6, -np.inf), np.full(6, np.inf))


def far_off(rows, seed=0):
    """Observations that no code makes."""
    return np.random.default_rng(seed).standard_normal((rows, 90))


def single(x):
    return jnp.asarray(x, jnp.float32)


def one_cycle(generator, x, z, box=ANYWHERE):
    parts = x, np.ones_like(x), z, np.full(len(z), 1e-2), np.zeros(len(z))
    low, high = (single(side) for side in box)
    with jax.enable_x64(True):
        return [np.asarray(p) for p in cycle(generator, *map(single, parts), Box(low, high))]


def test_a_cycle_ends_in_the_least_squares_solution_of_an_affine_decoder():
    rng = np.random.default_rng(1)
    matrix, bias = rng.standard_normal((30, 4)), rng.standard_normal(30)
    affine = jaxinv.Generator.from_layers([(matrix, bias, "identity")])
    x = rng.standard_normal((3, 30))
    box = Box(np.full(4, -np.inf), np.full(4, np.inf))
    latent, loss, _, before = one_cycle(affine, x, rng.standard_normal((3, 4)), box)
    best, rest, _, _ = np.linalg.lstsq(matrix, (x - bias).T, rcond=None)
    assert latent.dtype == np.float32
    np.testing.assert_allclose(latent, best.T, atol=1e-4)
    np.testing.assert_allclose(loss, rest, rtol=1e-4)
    assert (before >= loss).all()


def test_a_cycle_keeps_to_the_box_and_never_climbs():
    z = np.random.default_rng(2).uniform(-0.1, 0.1, (8, 6))
    box = Box(np.full(6, -0.1), np.full(6, 0.1))
    latent, loss, _, before = one_cycle(NET, far_off(8), z, box)
    assert (np.abs(latent) <= np.float32(0.1)).all()
    assert (loss <= before).all() and (loss < before).any()


@pytest.mark.parametrize("starts", [1, 2, 4, 8])
def test_a_race_keeps_a_quarter_and_none_is_worse_than_where_it_began(starts):
    x, rng = far_off(5), np.random.default_rng(3)
    start = rng.standard_normal((5, starts, 6))
    with jax.enable_x64(True):
        run = track(NET, x, np.ones_like(x), ANYWHERE, 16)
        owner, _, runs = run.race(np.arange(5), start, np.zeros(starts))
    kept = starts if starts < 4 else starts // 4
    assert owner.tolist() == np.repeat(np.arange(5), kept).tolist()
    misfit = ((np.asarray(NET(runs.latent)) - x[owner]) ** 2).sum(1)
    np.testing.assert_allclose(runs.loss, misfit, rtol=1e-4)
    began = ((np.asarray(NET(start.reshape(-1, 6))) - np.repeat(x, starts, 0)) ** 2).sum(1)
    assert (misfit.reshape(5, -1).min(1) <= began.reshape(5, -1).min(1)).all()
    assert (np.diff(runs.loss.reshape(5, -1), axis=1) >= 0).all()


def test_rows_of_a_race_do_not_see_each_other():
    x, start = far_off(12), np.random.default_rng(4).standard_normal((12, 4, 6))
    soft = np.array([0.5, 0.0, 0.5, 0.0])
    spoiled = x.copy()
    spoiled[3], spoiled[7] = np.nan, 1e300
    with jax.enable_x64(True):
        one = track(NET, x, np.ones_like(x), ANYWHERE, 16).race(np.arange(12), start, soft)[2]
        other = track(NET, spoiled, np.ones_like(x), ANYWHERE, 16)
        both = other.race(np.arange(12), start, soft)[2]
        order = np.array([5, 2, 11, 0])
        some = other.race(order, start[order], soft)[2]
    whole = np.setdiff1d(np.arange(12), [3, 7])
    np.testing.assert_array_equal(one.latent[whole], both.latent[whole])
    np.testing.assert_array_equal(one.latent[order], some.latent)
    assert not np.isfinite(both.loss[3])


def test_the_chance_of_a_lower_minimum():
    inf = np.inf
    losses = np.array(
        [
            [4.0, 4.0, inf, inf],  # two that agree
            [4.0, 4.01, 4.0, 4.02],  # four whose residuals are within 1%
            [1.0, 4.0, 9.0, 16.0],  # four that differ
            [9.0, 1.0, 1.0, 9.0],  # two classes, each met twice
            [inf, inf, inf, inf],
            [0.0, 0.0, 4.0, inf],
        ]
    )
    made = np.isfinite(losses).sum(axis=1)
    expected = [1 / 6, 1 / 10, 1 / 5, 1 / 15, 1.0, 2 / 12]
    np.testing.assert_allclose(chance_of_lower(losses, made), expected)
    np.testing.assert_allclose(chance_of_lower(losses[:, ::-1], made), expected)
    # Two that agree before six fell behind.
    np.testing.assert_allclose(chance_of_lower(losses[:1], np.array([8])), [1 / 18])
    assert chance_of_lower(np.empty((2, 0)), np.zeros(2, int)).tolist() == [1.0, 1.0]


def test_more_effort_makes_more_runs_and_no_higher_residual():
    net = jaxinv.Generator.random((8, 30, 60), seed=5)
    x = np.abs(np.random.default_rng(6).standard_normal((24, 60)))
    fast, usual, thorough = (
        jaxinv.invert(net, x, jaxinv.Auto(effort=effort))
        for effort in ("fast", "default", "thorough")
    )
    runs = [np.asarray(r.search.runs) for r in (fast, usual, thorough)]
    residual = [np.asarray(r.residual) for r in (fast, usual, thorough)]
    assert runs[0].max() <= 9  # eight, and the layer-wise start
    assert (runs[0] <= runs[1]).all() and runs[1].sum() < runs[2].sum()
    for less, more in pairwise(residual):
        assert (more <= less * (1 + 1e-6)).all()
    searched = np.asarray(usual.search.ending) == jaxinv.Ending.SEARCHED
    assert searched.mean() > 0.5
    unexplained = [int(jaxinv.Status.INEXACT), int(jaxinv.Status.CLOSEST)]
    assert np.isin(np.asarray(usual.status)[searched], unexplained).all()


def test_an_effort_is_a_plan_in_which_each_part_can_be_stated():
    assert jaxinv.Auto().plan == (64, 128, 0.03)
    assert jaxinv.Auto(effort="fast").plan == (8, 0, 0.12)
    assert jaxinv.Auto(effort="thorough", runs=7, chance=0.5).plan == (7, 128, 0.5)
    with pytest.raises(ValueError, match="effort"):
        jaxinv.Auto(effort="lazy")
    with pytest.raises(ValueError, match=r"chance=1.5 must be in \[0, 1\)"):
        jaxinv.Auto(chance=1.5)
    with pytest.raises(ValueError, match="nearby=-1"):
        jaxinv.Auto(nearby=-1)


def test_observations_far_from_one_are_scaled_before_single_precision():
    z = np.random.default_rng(7).standard_normal((6, 6))
    for scale in (1e-30, 1e30):
        layers = [
            (np.asarray(NET.layers[0].weight), None, "leaky_relu:0.2"),
            (np.asarray(NET.layers[1].weight) * scale, None, "identity"),
        ]
        net = jaxinv.Generator.from_layers(layers)
        found = jaxinv.invert(net, net(z), jaxinv.Auto(candidates=1))
        np.testing.assert_allclose(found.latent, z, atol=1e-8)


def test_effort_on_the_command_line_is_for_auto_alone(tmp_path):
    np.save(tmp_path / "x.npy", np.asarray(NET(np.ones((2, 6)))))
    jaxinv.save_generator(NET, tmp_path / "net.npz")
    arguments = [str(tmp_path / "net.npz"), str(tmp_path / "x.npy"), "--effort", "fast"]
    one = CliRunner().invoke(app, ["invert", *arguments, "--out", str(tmp_path / "z.npz")])
    assert one.exit_code == 0 and np.load(tmp_path / "z.npz")["latent"].shape == (2, 6)
    job = CliRunner().invoke(app, ["invert", *arguments, "--out", str(tmp_path / "job")])
    assert job.exit_code == 0
    assert '"effort": "fast"' in (tmp_path / "job" / "manifest.json").read_text()
    wrong = ["invert", *arguments, "--method", "lm", "--out", str(tmp_path / "y.npz")]
    with pytest.raises(ValueError, match="--effort fast is for --method auto, not lm"):
        CliRunner().invoke(app, wrong, catch_exceptions=False)
