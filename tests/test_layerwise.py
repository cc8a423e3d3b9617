"""The layer-wise methods against planted codes and against a literal Algorithm 1."""

import algorithm_1
import numpy as np
import pytest

import jaxinv
from jaxinv import Status
from jaxinv.model.activation import SQUASHES


def recovery_error(found, latent):
    difference = np.linalg.norm(np.asarray(found) - latent, axis=-1)
    return difference / np.linalg.norm(latent, axis=-1)


def planted(widths, activation, rows, noise=0.0, seed=0):
    generator = jaxinv.Generator.random(widths, seed=seed, activation=activation)
    rng = np.random.default_rng(seed + 1)
    latent = rng.standard_normal((rows, widths[0]))
    clean = np.asarray(generator(latent))
    return generator, latent, clean + rng.uniform(-noise, noise, clean.shape)


@pytest.mark.parametrize("activation", ["relu", "leaky_relu:0.1", "identity", *SQUASHES])
def test_exact_recovers_every_planted_code(activation):
    generator, latent, x = planted((10, 50, 200), activation, 64)
    found = jaxinv.invert(generator, x, "exact")
    assert found.counts() == {Status.SOLVED: 64}
    assert recovery_error(found.latent, latent).max() < 1e-9
    assert np.asarray(found.residual).max() < 1e-9


@pytest.mark.parametrize("latents", [20, 60, 90])
def test_exact_recovers_the_papers_nets(latents):
    for seed in range(5):
        generator, latent, x = planted((latents, 250, 600), "relu", 1, seed=seed)
        assert recovery_error(jaxinv.invert(generator, x, "exact").latent, latent).max() < 1e-9


def test_biases_and_masks_are_taken_into_account():
    rng = np.random.default_rng(3)
    shapes = ((40, 8), (160, 40))
    generator = jaxinv.Generator.from_layers(
        [(rng.standard_normal(s), rng.standard_normal(s[0]), "relu") for s in shapes]
    )
    latent = rng.standard_normal((12, 8))
    x = np.array(generator(latent))
    mask = rng.random(x.shape) < 0.8
    x[~mask] = np.nan  # what is not observed may be anything
    for method in ("exact", "linf"):
        found = jaxinv.invert(generator, x, method, mask=mask)
        assert bool(found.ok.all())
        assert recovery_error(found.latent, latent).max() < 1e-7


def test_exact_labels_rows_by_the_rank_of_their_active_rows():
    generator, latent, x = planted((30, 60, 200), "relu", 200)
    first, second = (np.asarray(layer.weight) for layer in generator.layers)
    hidden = np.maximum(latent @ first.T, 0)
    identifiable = np.array(
        [
            np.linalg.matrix_rank(first[h > 0]) == 30 and np.linalg.matrix_rank(second[o > 0]) == 60
            for h, o in zip(hidden, x, strict=True)
        ]
    )
    assert 20 < identifiable.sum() < 180
    found = jaxinv.invert(generator, x, "exact")
    # One of many is named only where it is a preimage.
    misfit = np.maximum(np.maximum(np.asarray(found.latent) @ first.T, 0) @ second.T, 0) - x
    preimage = np.linalg.norm(misfit, axis=1) <= 1e-6 * np.linalg.norm(x, axis=1)
    others = np.where(preimage, Status.UNDERDETERMINED, Status.INEXACT)
    expected = np.where(identifiable, Status.SOLVED, others)
    np.testing.assert_array_equal(np.asarray(found.status), expected)
    assert preimage[~identifiable].mean() > 0.7
    assert recovery_error(found.latent, latent)[identifiable].max() < 1e-9
    assert (np.asarray(found.undetermined) > 0).tolist() == (~identifiable).tolist()


@pytest.mark.parametrize("activation", ["relu", "leaky_relu:0.1"])
@pytest.mark.parametrize("noise", [1e-4, 1e-2])
def test_linf_is_algorithm_1(activation, noise):
    generator, latent, x = planted((6, 24, 80), activation, 6, noise)
    found = jaxinv.invert(generator, x, "linf")
    assert Status.SOLVER_FAILED not in found.counts()
    slope = 0.1 if activation != "relu" else 0.0
    literal = np.empty_like(latent)
    for row, observation in enumerate(x):
        target = observation
        for i in (1, 0):
            w = np.asarray(generator.layers[i].weight)
            hidden = i > 0 and not slope
            eps0 = 1e-6 * np.abs(target).max()
            eps, target = algorithm_1.layer(w, np.zeros(len(w)), target, eps0, 1.2, hidden, slope)
            if i == 1:
                assert eps == pytest.approx(float(found.layers[1].tolerance[row]), rel=1e-9)
        literal[row] = target
    ours, theirs = (np.median(recovery_error(z, latent)) for z in (found.latent, literal))
    assert ours <= 1.1 * theirs


@pytest.mark.parametrize("activation", ["relu", "leaky_relu:0.1", "sigmoid", "tanh"])
def test_the_search_ends_where_the_loop_ends_with_fewer_programs(activation):
    generator, _, x = planted((5, 20, 60), activation, 4, 1e-2)
    quick = jaxinv.invert(generator, x, jaxinv.LinfLP())
    loop = jaxinv.invert(generator, x, jaxinv.LinfLP(schedule="loop"))
    for ours, literal in zip(quick.layers[1:], loop.layers[1:], strict=True):
        np.testing.assert_allclose(ours.tolerance, literal.tolerance, rtol=1e-12)
        assert np.asarray(ours.steps).sum() < 0.5 * np.asarray(literal.steps).sum()
    np.testing.assert_allclose(quick.latent, loop.latent, atol=1e-5)


def test_the_cvxpy_backend_gives_the_same_codes():
    generator, _, x = planted((5, 20, 60), "relu", 3, 1e-2)
    pool = jaxinv.invert(generator, x, jaxinv.LinfLP())
    highs = jaxinv.invert(generator, x, jaxinv.LinfLP(solver=jaxinv.CvxpySolver("HIGHS")))
    assert bool(highs.ok.all())
    np.testing.assert_allclose(pool.latent, highs.latent, atol=1e-5)


def test_a_bad_row_gets_a_status_and_changes_no_other_row():
    generator, _, x = planted((5, 20, 60), "relu", 6, 1e-3)
    damaged = x.copy()
    damaged[2, 7] = np.nan
    damaged[4, 0] = np.inf
    for method in ("exact", "linf"):
        good, bad = jaxinv.invert(generator, x, method), jaxinv.invert(generator, damaged, method)
        assert np.asarray(bad.status)[[2, 4]].tolist() == [Status.BAD_INPUT] * 2
        assert np.isnan(np.asarray(bad.latent)[[2, 4]]).all()
        others = [0, 1, 3, 5]
        assert np.asarray(good.latent)[others].tobytes() == np.asarray(bad.latent)[others].tobytes()


def test_chunks_and_streams_agree_with_one_call():
    generator, _, x = planted((5, 20, 60), "relu", 25)
    stream = list(jaxinv.invert_stream(generator, [x[:10], x[10:20], x[20:]], "exact"))
    assert [len(part.status) for part in stream] == [10, 10, 5]
    chunked = jaxinv.invert(generator, x, "exact", chunk=10)
    joined = np.concatenate([np.asarray(part.latent) for part in stream])
    assert joined.tobytes() == np.asarray(chunked.latent).tobytes()
    one = jaxinv.invert(generator, x[0], "exact")
    assert one.latent.shape == (5,)
    np.testing.assert_allclose(one.latent, joined[0], atol=1e-12)


def test_noise_above_what_is_stated_is_inexact():
    generator, _, x = planted((5, 20, 60), "relu", 4, 1e-2)
    assert jaxinv.invert(generator, x, "exact").counts() == {Status.INEXACT: 4}
    assert jaxinv.invert(generator, x, "linf", noise=1e-1).counts() == {Status.SOLVED: 4}
    assert jaxinv.invert(generator, x, "linf", noise=1e-4).counts() == {Status.INEXACT: 4}


def test_no_observations_give_no_rows():
    generator, _, x = planted((5, 20, 60), "relu", 1)
    assert jaxinv.invert(generator, x[:0], "exact").latent.shape == (0, 5)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"observations": np.zeros((2, 59))}, "59 entries"),
        ({"observations": np.array([["a"] * 60])}, "real numbers"),
        ({"method": "simplex"}, "not known"),
        ({"mask": np.zeros(60, bool)}, "hides every entry"),
        ({"mask": np.ones(60)}, "expected bool"),
        ({"weights": np.zeros(60)}, "positive"),
        ({"chunk": 0}, "chunk=0"),
        ({"latent_bounds": (1.0, 0.0), "method": "linf"}, "not below"),
        ({"latent_bounds": 3.0, "method": "linf"}, "pair"),
        ({"latent_bounds": (-1.0, 1.0)}, "takes no latent_bounds"),
        ({"noise": "a"}, "noise="),
        ({"chunk": 1.5}, "chunk="),
        ({"seed": 2**70}, "seed="),
    ],
)
def test_bad_arguments_are_refused_with_a_sentence(arguments, sentence):
    generator, _, x = planted((5, 20, 60), "relu", 2)
    call = {"observations": x, "method": "exact", **arguments}
    with pytest.raises(ValueError, match=sentence):
        jaxinv.invert(generator, **call)


@pytest.mark.parametrize("settings", [{"growth": 1.0}, {"initial_tolerance": 0.0}])
def test_bad_settings_are_refused(settings):
    with pytest.raises(ValueError, match="must"):
        jaxinv.LinfLP(**settings)


def test_gradient_descent_is_a_method_like_the_others():
    generator, latent, x = planted((5, 40, 120), "relu", 3)
    found = jaxinv.invert(generator, x, "gd")
    assert found.latent.shape == latent.shape
    assert found.layers == ()
