"""Every backend against the paper's programs as written in CVXPY, on 300 random layers."""

from dataclasses import replace
from functools import cache

import numpy as np
import paper
import pytest

import jaxinv
from jaxinv.layerwise.constraints import Rows, l1_rows, linf_rows, relaxed_rows
from jaxinv.lp.problem import Slack, certify
from jaxinv.lp.solve import run_backend, solve_certified
from jaxinv.model.activation import Activation

BUILD = {"linf": linf_rows, "l1": l1_rows, "relaxed": relaxed_rows}
SHAPES = ((8, 3), (20, 5), (30, 10), (60, 20), (90, 30), (120, 40))
LAYERS = 17  # of each shape and objective: 306 in all
BACKENDS = {
    "InteriorPoint": jaxinv.InteriorPoint(),
    "ClarabelPool": jaxinv.ClarabelPool(threads=1),
    "HIGHS": jaxinv.CvxpySolver("HIGHS"),
}


def random_layer(rng, shape, number):
    """Odd ones leaky, every third with a bias, ...: all pairs of options occur."""
    n, k = shape
    b = 0.3 * rng.standard_normal(n) if number % 3 == 0 else np.zeros(n)
    omega = rng.uniform(0.5, 2.0, n) if number % 5 < 2 else np.ones(n)
    omega = omega * (rng.random(n) < 0.9) if number % 4 == 1 else omega
    layer = paper.Layer(
        rng.standard_normal((n, k)) / np.sqrt(n),
        b,
        c=(0.0, 0.1, 0.0, 0.5)[number % 4],
        hidden=number % 2 == 0,
        omega=omega,
        box=(-4.0, 4.0) if number % 7 == 0 else (-np.inf, np.inf),
        one_sided=number % 8 == 3,
    )
    z = np.clip(rng.standard_normal(k), *layer.bounds)
    noise = 10.0 ** rng.uniform(-5, -1)
    x = layer.phi(z) + rng.uniform(-noise, noise, n)
    # Far below the noise the relaxation has no point where there is a bias.
    return layer, x, noise * rng.uniform(1.0 if b.any() else 0.3, 3.0) / omega[omega > 0].min()


@cache
def instances(shape, objective):
    """The stacked programs, recentred as the oracle's are, and the oracle's optima."""
    rng = np.random.default_rng([*shape, len(objective)])
    programs, centres, scales, optima = [], [], [], []
    for number in range(LAYERS):
        layer, x, eps = random_layer(rng, shape, number)
        layer.recentre(x, eps)
        k = shape[1]
        box = tuple(np.full((1, k), side) for side in layer.bounds)
        activation = Activation.parse(f"leaky_relu:{layer.c}" if layer.c else "relu")
        rows = Rows(layer.w, layer.b, activation, x[None], layer.omega[None], box, layer.one_sided)
        programs.append(BUILD[objective](rows, np.array([eps])))
        centres.append(layer.centre)
        scales.append(layer.scale)
        value, _ = paper.solve(paper.PROGRAMS[objective](layer, x, eps), layer)
        if objective == "relaxed":
            pull = layer.omega * (x if layer.c and not layer.one_sided else np.maximum(x, 0.0))
            value = -value / np.linalg.norm(pull @ layer.w)
        optima.append(value)
    arrays = {
        name: np.concatenate([getattr(p, name) for p in programs])
        for name in ("lower", "upper", "lower_slack", "upper_slack", "box_lower", "box_upper")
    } | {name: np.concatenate([getattr(p, name) for p in programs]) for name in ("cost", "floor")}
    stacked = replace(programs[0], matrix=np.stack([p.matrix for p in programs]), **arrays)
    return stacked, np.array(centres), np.array(scales), np.array(optima)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("objective", BUILD)
@pytest.mark.parametrize("shape", SHAPES)
def test_every_backend_finds_the_papers_optimum(shape, objective, backend):
    program, centre, scale, optimum = instances(shape, objective)
    recentred = program.recentred(centre, scale)
    bounded = program.slack is not Slack.NONE
    limit = 1e-6 * np.maximum(np.abs(optimum), recentred.floor if bounded else 1.0)
    # What is below the floor is rounding of the data, and as good as zero.
    limit = np.where(bounded & (optimum == 0), recentred.floor, limit)
    found = solve_certified(program, BACKENDS[backend], centre, scale, LAYERS)
    assert found.certified.all()
    offset = (program.cost * centre).sum(-1)
    assert (np.abs((found.objective - offset) / scale - optimum) <= limit).all()
    # A second look at what fails its certificate is allowed, but not to do the backend's work.
    own = certify(recentred, run_backend(recentred, BACKENDS[backend])).objective
    assert (np.abs(own - optimum) <= limit).mean() > 0.8
