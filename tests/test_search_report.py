"""What "auto" and "lm" say they did for each row."""

import numpy as np
import pytest

import jaxinv
from jaxinv import Ending, Start


def planted(widths, rows=8, seed=0):
    generator = jaxinv.Generator.random(widths, seed=seed)
    latent = np.random.default_rng(seed + 1).standard_normal((rows, widths[0]))
    return generator, latent, np.array(generator(latent))


def test_rows_that_layers_determine_need_no_run():
    generator, _, x = planted((6, 30, 100))
    search = jaxinv.invert(generator, x).search
    assert np.asarray(search.start).tolist() == [Start.LAYERWISE] * 8
    assert np.asarray(search.peeled).tolist() == [2] * 8
    assert np.asarray(search.ending).tolist() == [Ending.REPRODUCED] * 8
    assert np.asarray(search.runs).tolist() == [0] * 8
    assert not np.asarray(search.prefix_runs).any()


def test_a_last_layer_that_contracts_is_not_peeled():
    generator, _, x = planted((12, 40, 20))
    found = jaxinv.invert(generator, x)
    search = found.search
    assert not np.asarray(search.peeled).any()
    starts = set(np.asarray(search.start).tolist())
    assert Start.SOFTENED in starts and starts <= {Start.RANDOM, Start.SOFTENED, Start.NEARBY}
    reproduced = np.asarray(search.ending) == Ending.REPRODUCED
    small = np.asarray(found.residual) <= 1e-6 * np.linalg.norm(x, axis=-1)
    assert reproduced.tolist() == small.tolist() and reproduced.sum() >= 7


def test_behind_a_middle_layer_that_contracts_a_prefix_is_solved_first():
    generator, _, x = planted((8, 40, 20, 100), rows=3)
    search = jaxinv.invert(generator, x).search
    assert np.asarray(search.start).tolist() == [Start.PREFIX] * 3
    assert np.asarray(search.peeled).tolist() == [1] * 3
    assert (np.asarray(search.prefix_runs) >= 1).all()
    assert np.asarray(search.ending).tolist() == [Ending.REPRODUCED] * 3


def test_what_is_not_reproduced_ends_by_agreement_or_with_its_budget():
    generator, _, x = planted((6, 30, 100))
    rng = np.random.default_rng(2)
    noisy = x + 0.01 * rng.standard_normal(x.shape)
    agreed = jaxinv.invert(generator, noisy).search
    assert np.asarray(agreed.ending).tolist() == [Ending.AGREED] * 8
    assert (np.asarray(agreed.agreeing) >= 2).all()
    # Positive and far from all that the net makes: no noise explains it.
    never = jaxinv.Auto(runs=5, chance=0.0)
    far = jaxinv.invert(generator, rng.uniform(0.5, 1.5, x.shape), never).search
    assert np.asarray(far.ending).tolist() == [Ending.BUDGET_SPENT] * 8
    assert np.asarray(far.runs).tolist() == [5] * 8


def test_reports_follow_rows_through_chunks_and_single_observations():
    generator, _, x = planted((8, 40, 32), rows=7)
    x[2] = np.nan
    whole = jaxinv.invert(generator, x)
    parts = jaxinv.invert(generator, x, chunk=3)
    assert parts.search.ending.shape == (7,)
    assert int(whole.search.start[2]) == Start.NONE and int(whole.search.runs[2]) == 0
    assert int(whole.search.ending[2]) == Ending.NONE
    assert int(jaxinv.invert(generator, x[0]).search.runs) >= 1
    assert "runs a row" in repr(whole) and "1 BAD_INPUT" in repr(whole)


def test_restarts_report_too_and_layerwise_methods_have_their_layers():
    generator, _, x = planted((6, 30, 100))
    lm = jaxinv.invert(generator, x, jaxinv.LevenbergMarquardt(restarts=3))
    assert np.asarray(lm.search.runs).tolist() == [3] * 8
    assert np.asarray(lm.search.start).tolist() == [Start.RANDOM] * 8
    exact = jaxinv.invert(generator, x, "exact", refine="lm")
    assert exact.search is None and len(exact.layers) == 2
    assert "runs" not in repr(exact)


@pytest.mark.parametrize("word", [*Start, *Ending])
def test_every_word_has_its_sentence(word):
    assert word.sentence.endswith(".")
