"""Which runs are made: waves, starts near the lowest minima, layers near saturation."""

import jax
import jax.numpy as jnp
import numpy as np

import jaxinv
from jaxinv import Start, Status
from jaxinv.joint.search.peeling import peel
from jaxinv.joint.search.portfolio import waves
from jaxinv.joint.search.starts import starting_points
from jaxinv.layerwise.active_rows import linear_rows
from jaxinv.layerwise.least_squares import centre


def test_waves_make_every_run_of_the_budget_once():
    for runs, nearby in ((64, 128), (5, 0), (1, 40), (70, 16)):
        made = {Start.RANDOM: [], Start.NEARBY: []}
        for start, wave in waves(runs, nearby):
            made[start] += range(wave.start, wave.stop)
        assert made == {Start.RANDOM: list(range(runs)), Start.NEARBY: list(range(nearby))}
    order = [start for start, _ in waves(64, 128)]
    # Five waves, 16 runs, from anywhere; then both kinds in turn.
    assert order[:9] == [Start.RANDOM] * 5 + [Start.NEARBY, Start.RANDOM] * 2


def test_points_do_not_depend_on_the_wave_they_are_drawn_in():
    with jax.enable_x64(True):
        ids = np.arange(3)
        together = np.asarray(starting_points(7, ids, 8, 5, 1.0))
        later = np.asarray(starting_points(7, ids, 4, 5, 1.0, 4))
    np.testing.assert_array_equal(later, together[:, 4:])


def test_starts_near_the_lowest_minima_solve_what_random_ones_do_not():
    generator = jaxinv.Generator.random((60, 250, 150), seed=19)
    latent = np.random.default_rng([19, 31]).standard_normal((1, 60))
    x = np.asarray(generator(latent))
    # Points that are left to chance: a start chosen among many finds this code by itself.
    random = jaxinv.invert(generator, x, jaxinv.Auto(nearby=0, candidates=1))
    misfit = float(np.asarray(random.residual)[0]) / np.linalg.norm(x)
    assert 1e-6 < misfit < 0.1
    assert int(random.search.runs[0]) == 64 and not bool(random.ok[0])
    found = jaxinv.invert(generator, x, jaxinv.Auto(candidates=1))
    assert int(found.status[0]) == Status.SOLVED
    np.testing.assert_allclose(found.latent, latent, atol=1e-9)
    assert int(found.search.start[0]) == Start.NEARBY
    assert int(found.search.runs[0]) < 64 + 128


def test_an_exact_image_near_saturation_is_peeled():
    rng = np.random.default_rng(0)
    # Thirty pixels of the digit cannot fix forty units; the background, dark to 1e-5, does.
    bias = np.r_[np.zeros(30), rng.uniform(-9.0, -6.0, 270)]
    generator = jaxinv.Generator.from_layers(
        [
            (rng.standard_normal((40, 10)) / np.sqrt(10), None, "relu"),
            (rng.standard_normal((300, 40)) / np.sqrt(40), bias, "tanh"),
        ]
    )
    latent = rng.standard_normal((12, 10))
    hidden, x = (np.asarray(output) for output in generator.outputs(latent))
    with jax.enable_x64(True):
        seen = jnp.ones(x.shape)
        rows = linear_rows(generator.layers[1], jnp.asarray(x), seen, jnp.zeros(12), 0.0)
        by_weight = centre(generator.layers[1].weight, rows)
        peeled = peel(generator, jnp.asarray(x), seen)
    assert not np.asarray(by_weight.full_rank).any()  # weights from 1 to 1e-8 hide the rank
    error = np.linalg.norm(np.asarray(peeled.inputs[1]) - hidden, axis=-1)
    assert (error < 1e-5 * np.linalg.norm(hidden, axis=-1)).all()
