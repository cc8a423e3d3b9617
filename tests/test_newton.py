"""Newton's direction of the device solver against the whole linear system, solved densely by NumPy.

A sign wrong in the elimination of the slack would only cost steps, or digits, in the solver's own
answers; here it changes the direction.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from dense_newton import densely

from jaxinv.linalg.normal_matrix import pair_products
from jaxinv.lp.device_program import DeviceMatrix, Program, State
from jaxinv.lp.newton import Residuals, direction_to, least_pivot, newton_matrix
from jaxinv.lp.problem import Slack
from jaxinv.lp.sides import Sides

BATCH, ROWS, COLUMNS = 4, 9, 3
PIVOT = least_pivot(np.dtype(float), fine=False)
WIDTH = {Slack.SHARED: 1, Slack.SEPARATE: ROWS, Slack.NONE: 0}
SHAPES = {"lower": ROWS, "upper": ROWS, "box_lower": COLUMNS, "box_upper": COLUMNS}


def random_step(rng, kind):
    """Some sides missing, margins and multipliers over four decades, residuals of order one."""
    sizes = SHAPES | {"slack": WIDTH[kind]}
    present = {name: rng.random((BATCH, size)) < 0.8 for name, size in sizes.items()}
    present["slack"][:] = True

    def sides(draw, elsewhere):
        return {name: np.where(here, draw(here.shape), elsewhere) for name, here in present.items()}

    def positive(shape):
        return 10.0 ** rng.uniform(-2, 2, shape)

    return {
        "matrix": rng.standard_normal((ROWS, COLUMNS)),
        "a": positive((BATCH, ROWS)),
        "b": positive((BATCH, ROWS)),
        "present": present,
        "margin": sides(positive, 1.0),
        "multiplier": sides(positive, 0.0),
        "aim": sides(rng.standard_normal, 0.0),
        "residual": sides(rng.standard_normal, 0.0) | {"slack": np.zeros((BATCH, WIDTH[kind]))},
        "latent": rng.standard_normal((BATCH, COLUMNS)),
        "slack": rng.standard_normal((BATCH, WIDTH[kind])),
    }


def on_device(step):
    """The arguments of `newton_matrix` and `direction_to`, and the aim."""

    def sides(name):
        return Sides(**{side: jnp.asarray(values) for side, values in step[name].items()})

    rows = jnp.asarray(step["matrix"])
    zero = jnp.zeros(BATCH, bool)
    program = Program(
        ends=sides("aim"),  # no part of a direction
        present=sides("present"),
        lower_slack=jnp.asarray(step["a"]),
        upper_slack=jnp.asarray(step["b"]),
        cost=jnp.zeros((BATCH, COLUMNS)),
        floor=jnp.ones(BATCH),
    )
    latent, steps = jnp.zeros((BATCH, COLUMNS)), jnp.zeros(BATCH, jnp.int32)
    state = State(latent, sides("margin"), sides("multiplier"), steps, zero, zero)
    residuals = Residuals(
        sides("residual"), jnp.asarray(step["latent"]), jnp.asarray(step["slack"])
    )
    return DeviceMatrix(rows, pair_products(rows)), program, state, residuals, sides("aim")


@pytest.mark.parametrize("kind", Slack)
def test_the_direction_solves_every_equation(kind):
    step = random_step(np.random.default_rng(0), kind)
    with jax.enable_x64(True):
        matrix, program, state, residuals, aim = on_device(step)
        newton = newton_matrix(matrix, program, state, PIVOT, kind)
        found = direction_to(matrix, program, state, residuals, newton, kind, aim)
    for row in range(BATCH):
        expected = densely(step, kind, row)
        np.testing.assert_allclose(found.latent[row], expected.pop("latent"), rtol=1e-8)
        for part, changes in expected.items():
            for side, change in changes.items():
                ours = getattr(getattr(found, part), side)[row]
                np.testing.assert_allclose(ours, change, rtol=1e-7, err_msg=f"{part} {side}")


@pytest.mark.parametrize("kind", Slack)
def test_a_factor_slightly_wrong_is_refined_against_the_matrix(kind):
    rng = np.random.default_rng(0)
    step = random_step(rng, kind)
    with jax.enable_x64(True):
        matrix, program, state, residuals, aim = on_device(step)
        newton = newton_matrix(matrix, program, state, PIVOT, kind)
        wrong = jax.tree.map(
            lambda y: y * (1.0 + 1e-3 * rng.uniform(-1, 1, y.shape)), state.multiplier
        )
        other = newton_matrix(matrix, program, state._replace(multiplier=wrong), PIVOT, kind)
        mixed = newton._replace(unit=other.unit, factor=other.factor)
        found = direction_to(matrix, program, state, residuals, mixed, kind, aim)
    for row in range(BATCH):
        # Weights off by a thousandth move a direction by about as much; refined, by its square.
        expected = densely(step, kind, row)["latent"]
        error = np.asarray(found.latent)[row] - expected
        assert np.linalg.norm(error) < 1e-5 * np.linalg.norm(expected)
