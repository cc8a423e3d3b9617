"""Every status, and an observation that earns it."""

import numpy as np
import pytest

import jaxinv
from jaxinv import Status

NET = jaxinv.Generator.random((3, 9, 30), seed=0)
SUM = jaxinv.Generator.from_layers([([[1.0, 1.0]], None, "identity")])
# Columns whose products with one another overflow, and underflow: beyond any solver.
STEEP = jaxinv.Generator.from_layers(
    [(np.random.default_rng(0).standard_normal((12, 3)) * [1e-150, 1.0, 1e150], None, "identity")]
)
LEVEL = jaxinv.Generator.from_layers([(np.ones((30, 1)), None, "identity")])
POOL = jaxinv.ClarabelPool(threads=1)
TOO_SMALL = jaxinv.LinfLP(schedule="fixed", initial_tolerance=1e-5, solver=POOL)

EARNED = {
    Status.SOLVED: (NET, "exact", {}),
    Status.UNDERDETERMINED: (SUM, "exact", {}),
    Status.INEXACT: (NET, "exact", {"noise": 0.1}),
    Status.TOLERANCE_EXHAUSTED: (NET, TOO_SMALL, {"noise": 0.1}),
    Status.STEP_LIMIT: (NET, jaxinv.LevenbergMarquardt(restarts=1, steps=1), {}),
    Status.BAD_INPUT: (NET, "exact", {"noise": np.nan}),
    Status.CLOSEST: (LEVEL, "auto", {"checked": 1.0}),
    Status.SOLVER_FAILED: (STEEP, jaxinv.LinfLP(solver=POOL), {"noise": 0.1}),
}
EXPLAINED = (Status.SOLVED, Status.UNDERDETERMINED)


@pytest.mark.parametrize("status", Status)
def test_every_status_is_earned_by_a_row(status):
    generator, method, damage = EARNED[status]
    rng = np.random.default_rng(1)
    x = np.array(generator(rng.standard_normal((4, generator.latent_size))))
    x += damage.get("noise", 0.0) * np.abs(x).max() * rng.standard_normal(x.shape)
    x += damage.get("checked", 0.0) * (-1.0) ** np.arange(x.shape[1])  # no noise is so regular
    found = jaxinv.invert(generator, x, method)
    assert found.counts() == {status: 4}
    assert np.isfinite(found.latent).all(-1).tolist() == [status.has_latent] * 4
    assert np.isfinite(found.residual).tolist() == [status.has_latent] * 4
    assert np.asarray(found.ok).tolist() == [status.ok] * 4
    assert np.asarray(found.explained).tolist() == [status in EXPLAINED] * 4


def test_an_answer_whose_residual_overflows_is_none():
    # Each program is solved and certified, and none can be judged: the row must say so.
    x = np.asarray(NET([1.0, -1.0, 0.5])) + 0.1
    weights = np.logspace(-150, 150, 30)
    found = jaxinv.invert(NET, x, jaxinv.RelaxedLP(solver=POOL), weights=weights)
    assert Status(int(found.status)) is Status.SOLVER_FAILED
    assert np.isnan(found.latent).all()
