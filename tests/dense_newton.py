"""One Newton step of an interval linear program, all equations at once, dense and in NumPy."""

import numpy as np

from jaxinv.lp.problem import Slack


def densely(step, kind, row):
    """dz, and by side dm and dy, of one instance: nothing is eliminated.

    step: arrays (B, ...) by name. matrix, a, b: of the program. present, margin, multiplier, aim,
    residual: dictionaries by side. latent, slack: the residuals of stationarity in z and s.

    Side by side, g the gradient in (z, s) of what the side's margin should be and r by how much it
    misses that:

        dm - g'(dz, ds) = r,     m dy + y dm = aim,     sum_sides g dy = residuals in (z, s)
    """
    w, a, b = step["matrix"], step["a"][row], step["b"][row]
    n, k = w.shape
    m = {Slack.SHARED: 1, Slack.SEPARATE: n, Slack.NONE: 0}[kind]
    for_rows = np.ones((n, 1)) if kind is Slack.SHARED else np.eye(n)[:, :m]
    identity = np.eye(k)
    gradient = {
        "lower": np.hstack([w, a[:, None] * for_rows]),
        "upper": np.hstack([-w, b[:, None] * for_rows]),
        "box_lower": np.hstack([identity, np.zeros((k, m))]),
        "box_upper": np.hstack([-identity, np.zeros((k, m))]),
        "slack": np.hstack([np.zeros((m, k)), np.eye(m)]),
    }
    here = {name: np.flatnonzero(step["present"][name][row]) for name in gradient}

    def listed(values):
        return np.concatenate([values[name][row][here[name]] for name in gradient])

    g = np.concatenate([gradient[name][here[name]] for name in gradient])
    margin, multiplier = np.diag(listed(step["margin"])), np.diag(listed(step["multiplier"]))
    count, unknowns = len(g), k + m
    none, one = np.zeros((count, count)), np.eye(count)
    system = np.block(
        [
            [-g, one, none],
            [np.zeros((count, unknowns)), multiplier, margin],
            [np.zeros((unknowns, unknowns)), np.zeros((unknowns, count)), g.T],
        ]
    )
    right = np.r_[
        listed(step["residual"]), listed(step["aim"]), step["latent"][row], step["slack"][row]
    ]
    solution = np.linalg.solve(system, right)
    changes: dict = {"latent": solution[:k], "margin": {}, "multiplier": {}}
    for part, start in (("margin", unknowns), ("multiplier", unknowns + count)):
        ends = np.cumsum([start, *(len(index) for index in here.values())])
        for i, (name, index) in enumerate(here.items()):
            changes[part][name] = np.zeros(len(step["present"][name][row]))
            changes[part][name][index] = solution[ends[i] : ends[i + 1]]
    return changes
