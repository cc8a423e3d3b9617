"""One step of the device solver, and how it judges its own position, against plain NumPy."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from dense_newton import densely
from test_interior_point import COLUMNS, programs

from jaxinv.lp import interior_point, slots
from jaxinv.lp.newton import Residuals, least_pivot
from jaxinv.lp.problem import Slack

BATCH = 4
PIVOT = least_pivot(np.dtype(float), fine=False)
BOX_SIDES = ("box_lower", "box_upper")
SIDES = ("lower", "upper", *BOX_SIDES, "slack")


def on_device(program):
    return slots._on_device(program.matrix, np.dtype(float)), slots._program(
        program, np.dtype(float)
    )


def by_side(sides):
    return {name: np.asarray(getattr(sides, name)) for name in SIDES}


def equations(program, kind, latent, margin, multiplier):
    """What is missing in each side's equation and in stationarity, from the program itself."""
    w, s, y = program.matrix, margin["slack"], multiplier
    u = latent @ w.T
    s = s if s.size else np.zeros((BATCH, 1))
    value = {
        "lower": u + program.lower_slack * s - program.lower,
        "upper": program.upper + program.upper_slack * s - u,
        "box_lower": latent - program.box_lower,
        "box_upper": program.box_upper - latent,
        "slack": margin["slack"],
    }
    present = {name: np.isfinite(value[name]) for name in SIDES}
    price = program.lower_slack * y["lower"] + program.upper_slack * y["upper"]
    if kind is Slack.SHARED:
        price = price.sum(-1, keepdims=True)
    cost = program.cost / np.maximum(np.linalg.norm(program.cost, axis=-1, keepdims=True), 1e-300)
    return {
        "matrix": w,
        "a": program.lower_slack,
        "b": program.upper_slack,
        "present": present,
        "margin": margin,
        "multiplier": multiplier,
        "residual": {
            name: np.where(present[name], value[name] - margin[name], 0.0) for name in SIDES
        },
        "latent": cost - (y["lower"] - y["upper"]) @ w - y["box_lower"] + y["box_upper"],
        "slack": 1.0 - price[:, : margin["slack"].shape[1]] - y["slack"],
    }


def furthest(here, values, changes):
    """The largest step in [0, 1] that keeps 0.5% of each positive value."""
    down = [
        -v / d
        for name in SIDES
        for v, d in zip(values[name][here[name]], changes[name][here[name]], strict=True)
        if d < 0
    ]
    return min(1.0, 0.995 * min(down, default=np.inf))


def predictor_corrector(step, kind, row, correctors):
    """The direction of one step (Mehrotra 1992; Gondzio 1996) and its two lengths."""
    m, y, here = (
        {n: step[part][n][row] for n in SIDES} for part in ("margin", "multiplier", "present")
    )

    def towards(aim):
        # `densely` reads one row of a batch.
        found = densely(step | {"aim": {n: {row: aim[n]} for n in SIDES}}, kind, row)
        return found, (furthest(here, m, found["margin"]), furthest(here, y, found["multiplier"]))

    count = sum(here[n].sum() for n in SIDES)
    mean = sum((m[n] * y[n]).sum() for n in SIDES) / count

    def products(change, primal, dual):
        dm, dy = change["margin"], change["multiplier"]
        return {n: (m[n] + primal * dm[n]) * (y[n] + dual * dy[n]) for n in SIDES}

    predictor, lengths = towards({n: -m[n] * y[n] for n in SIDES})
    after = sum(values.sum() for values in products(predictor, *lengths).values()) / count
    target = (after / mean) ** 3 * mean
    dm, dy = predictor["margin"], predictor["multiplier"]
    aim = {n: target - m[n] * y[n] - dm[n] * dy[n] for n in SIDES}
    change, lengths = towards(aim)
    for _ in range(correctors):
        # Products that a step longer by a tenth would lead out of [target / 10, 10 target].
        there = products(change, *(min(length + 0.1, 1.0) for length in lengths))
        back = {n: np.clip(there[n], 0.1 * target, 10 * target) - there[n] for n in SIDES}
        trial = {n: aim[n] + np.maximum(back[n], -10 * target) for n in SIDES}
        other, longer = towards(trial)
        if sum(longer) >= sum(lengths) + 0.01:
            change, aim, lengths = other, trial, longer
    return change, lengths


@pytest.mark.parametrize("kind", Slack)
@pytest.mark.parametrize("correctors", [0, 2])
def test_a_step_is_mehrotras_with_gondzios_correctors(kind, correctors):
    program = programs(np.random.default_rng(11), kind, BATCH)
    with jax.enable_x64(True):
        matrix, device = on_device(program)
        state = interior_point.start(matrix, device, kind)
        for _ in range(3):
            state = state._replace(stuck=jnp.zeros(BATCH, bool), steps=jnp.zeros(BATCH, jnp.int32))
            margin, multiplier = by_side(state.margin), by_side(state.multiplier)
            latent = np.asarray(state.latent)
            step = equations(program, kind, latent, margin, multiplier)
            # A limit of one step: the second is not kept.
            state = interior_point.advance(
                matrix, device, state, BATCH, 1e-9, PIVOT, kind, correctors, 1
            )
            assert np.asarray(state.stuck).all() and (np.asarray(state.steps) == 1).all()
            for row in range(BATCH):
                change, (primal, dual) = predictor_corrector(step, kind, row, correctors)
                expected = latent[row] + primal * change["latent"]
                np.testing.assert_allclose(np.asarray(state.latent)[row], expected, rtol=1e-7)
                for part, length in (("margin", primal), ("multiplier", dual)):
                    for n in SIDES:
                        here = step["present"][n][row]
                        moved = step[part][n][row] + length * change[part][n]
                        ours = np.asarray(getattr(getattr(state, part), n))[row]
                        np.testing.assert_allclose(
                            ours[here], moved[here], rtol=1e-6, err_msg=f"{part} {n}"
                        )


# How large multipliers, sides' residuals and reduced costs are where one of them decides.
LARGEST = {
    "complementarity": (1.0, 1e-13, 1e-12),
    "way to the box": (1.0, 1e-13, 1.0),
    "sides": (1e-9, 1e3, 1e-12),
    "reduced cost": (1e-14, 1e-13, 1e-10),
}


@pytest.mark.parametrize("kind", Slack)
@pytest.mark.parametrize("largest", LARGEST)
def test_the_distance_is_measured_as_the_certificate_measures(kind, largest):
    rng = np.random.default_rng(12)
    program = programs(rng, kind, BATCH)
    program.matrix[:, 1] = program.cost[:, 1] = 0.0  # nothing but its box to be measured by
    dual, side, left_over = LARGEST[largest]
    left = left_over * rng.uniform(1, 2, (BATCH, COLUMNS)) * rng.choice([-1, 1], COLUMNS)
    box = np.full(COLUMNS, 1.0)
    if largest == "way to the box":
        # Far boxes: column 2 is left with rounding, which they must not blow up, column 3 not.
        left[:, 2:4], box[:] = (1e-11, 1e-8), 1e3
        box[2:4] = 1e13
    with jax.enable_x64(True):
        matrix, device = on_device(program)
        state = interior_point.start(matrix, device, kind)
        random = jax.tree.map(lambda m: jnp.asarray(rng.uniform(0.5, 2.0, m.shape)), state.margin)
        far = {name: getattr(state.margin, name) * box for name in BOX_SIDES}
        near = {name: getattr(state.multiplier * random, name) / box for name in BOX_SIDES}
        state = state._replace(
            latent=jnp.asarray(rng.standard_normal((BATCH, COLUMNS))),
            margin=replace(state.margin, **far),
            multiplier=replace(state.multiplier * random, **near) * dual,
        )
        sides = random.where(device.present, 0.0) * side
        residuals = Residuals(sides, jnp.asarray(left), state.margin.slack)
        products, distance = interior_point._distance(matrix, device, state, residuals, kind)
    latent, cost = np.asarray(state.latent), np.asarray(device.cost)
    m, y, r = by_side(state.margin), by_side(state.multiplier), by_side(residuals.sides)
    for i in range(BATCH):
        if kind is Slack.NONE:
            scale = max(abs(cost[i] @ latent[i]), 1.0)
        else:
            scale = max(m["slack"][i].sum(), program.floor[i])
        complementarity = sum((m[n][i] * y[n][i]).sum() for n in SIDES) / scale
        beside = reduced = 0.0
        for c in range(COLUMNS):
            size = abs(program.matrix[:, c]).max() * (y["lower"][i] + y["upper"][i]).max()
            size = max(size, abs(cost[i, c])) or 1.0
            way = abs(latent[i, c])
            if abs(left[i, c]) > 1e-8 * size:
                way += m["box_lower"][i, c] + m["box_upper"][i, c]
            beside += abs(left[i, c]) * way / scale
            reduced = max(reduced, abs(left[i, c]) / size)
        missed = max((abs(r[n][i]) / (m[n][i] + scale)).max(initial=0.0) for n in SIDES)
        parts = dict(zip(LARGEST, (complementarity, beside, missed, reduced), strict=True))
        assert max(parts, key=parts.__getitem__) == largest
        np.testing.assert_allclose(np.asarray(products)[i], complementarity)
        expected = max(complementarity + beside, missed, reduced)
        np.testing.assert_allclose(np.asarray(distance)[i], expected)
