"""Convolutional decoders through the methods that treat all layers at once."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxinv
from jaxinv import Status


def drawn(output="sigmoid", seed=0):
    """A small convolutional decoder, 5 -> (6, 3, 3) -> (8, 6, 6) -> (1, 12, 12), as VAEs have."""
    rng = np.random.default_rng(seed)

    def kernel(into, out):
        return rng.standard_normal((into, out, 4, 4)) / np.sqrt(4 * into)

    up = [
        jaxinv.TransposedConvolution(kernel(6, 8), (6, 3, 3), stride=2, padding=1),
        jaxinv.TransposedConvolution(kernel(8, 1), (8, 6, 6), stride=2, padding=1),
    ]
    dense = rng.standard_normal((54, 5)), rng.standard_normal(54), "relu"
    return jaxinv.Generator.from_layers(
        [dense, (up[0], 0.1 * rng.standard_normal(8), "relu"), (up[1], [0.1], output)]
    )


G = drawn()
Z = np.random.default_rng(1).standard_normal((12, 5))
X = np.asarray(G(Z))


def errors(found, z=Z):
    return np.linalg.norm(np.asarray(found.latent) - z, axis=1) / np.linalg.norm(z, axis=1)


def test_every_code_is_recovered_to_rounding():
    found = jaxinv.invert(G, X)
    assert found.ok.all()
    assert (np.asarray(found.undetermined) == 0).all()
    assert errors(found).max() < 1e-9


@pytest.mark.parametrize("name", ["mnist-conv-vae-13", "mnist-dcgan-64"])
def test_shipped_convolutional_generators_give_their_codes_back(name):
    generator = jaxinv.load_generator(name)
    assert not generator.is_dense
    z = np.random.default_rng(3).standard_normal((4, generator.latent_size))
    found = jaxinv.invert(generator, generator(z))
    solved = np.asarray(found.ok)
    assert solved.sum() >= 3
    assert errors(found, z)[solved].max() < 1e-3


def test_the_minimum_under_noise_is_the_dense_chains():
    x = X + 0.02 * np.random.default_rng(2).standard_normal(X.shape)
    start = jaxinv.invert(G, x, jaxinv.LevenbergMarquardt(restarts=6))
    dense = jaxinv.invert(G.dense(10**6), x, jaxinv.LevenbergMarquardt(restarts=6))
    ours, theirs = (np.asarray(r.residual) for r in (start, dense))
    # A minimum at a kink is approached from cell to cell: there either may end a hair higher.
    np.testing.assert_allclose(ours, theirs, rtol=1e-4)
    same = np.isclose(ours, theirs, rtol=1e-9)
    assert same.mean() >= 0.5
    ours, theirs = (np.asarray(r.latent)[same] for r in (start, dense))
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_masks_weights_bounds_and_an_operator_reach_the_last_steps():
    rng = np.random.default_rng(4)
    mask = rng.random(X.shape) < 0.5
    weights = rng.uniform(0.5, 2.0, X.shape)
    garbage = np.where(mask, X, 1e3)
    found = jaxinv.invert(G, garbage, mask=mask, weights=weights)
    assert errors(found).max() < 1e-8
    inside = np.abs(Z).max(1) < 1.5
    boxed = jaxinv.invert(G, X, latent_bounds=(-1.5, 1.5))
    assert (np.abs(boxed.latent) <= 1.5).all()
    assert errors(boxed)[inside].max() < 1e-8
    matrix = rng.standard_normal((40, X.shape[1]))
    measured = jaxinv.invert(G, X @ matrix.T, operator=matrix)
    assert errors(measured).max() < 1e-6


def test_a_bad_observation_harms_no_other():
    spoiled = X.copy()
    spoiled[3, 0], spoiled[7] = np.nan, 1e200
    good, beside = (jaxinv.invert(G, x) for x in (X, spoiled))
    rest = np.delete(np.arange(len(X)), [3, 7])
    np.testing.assert_array_equal(np.asarray(good.latent)[rest], np.asarray(beside.latent)[rest])
    assert int(beside.status[3]) == Status.BAD_INPUT


def test_rank_intervals_and_what_is_not_known():
    known = jaxinv.identifiability(G, Z)
    dense = jaxinv.identifiability(G.dense(10**6), Z)
    assert known.rank.tolist() == dense.rank.tolist()
    np.testing.assert_array_equal(known.layer_ranks, dense.layer_ranks)
    rng = np.random.default_rng(5)
    x = X + 1e-3 * rng.standard_normal(X.shape)
    found = jaxinv.invert(G, x)
    ours = jaxinv.confidence(G, x, found)
    theirs = jaxinv.confidence(G.dense(10**6), x, found)
    np.testing.assert_allclose(ours.covariance, theirs.covariance, rtol=1e-6)
    np.testing.assert_array_equal(ours.ambiguous, theirs.ambiguous)
    inside = (ours.low < Z) & (ours.high > Z)
    assert inside.mean() > 0.8


@pytest.mark.parametrize("method", ["exact", "linf"])
def test_layerwise_methods_name_the_layer_that_is_too_large(method):
    generator = jaxinv.load_generator("mnist-dcgan-64")
    with pytest.raises(ValueError, match=r"layer 2, a transposed convolution .*largest_matrix"):
        jaxinv.invert(generator, np.zeros(784), method)


def test_layerwise_methods_write_a_smaller_matrix_out():
    generator = drawn("identity")
    x = np.asarray(generator(Z))
    # The last layer contracts, so that only the word is compared, with the dense chain's.
    found = [jaxinv.invert(g, x, "exact") for g in (generator, generator.dense(10**6))]
    np.testing.assert_array_equal(found[0].status, found[1].status)
    with pytest.raises(ValueError, match="above largest_matrix=100"):
        jaxinv.invert(generator, x, jaxinv.Exact(largest_matrix=100))


@pytest.mark.parametrize("activation", ["elu", "softplus", "silu", "gelu"])
def test_smooth_activations_are_for_methods_over_all_layers(activation):
    rng = np.random.default_rng(6)
    layers = [
        (rng.standard_normal((30, 3)), None, activation),
        (rng.standard_normal((50, 30)), None, "tanh"),
    ]
    generator = jaxinv.Generator.from_layers(layers)
    z = rng.standard_normal((6, 3))
    found = jaxinv.invert(generator, generator(z))
    assert errors(found, z)[np.asarray(found.ok)].max() < 1e-6
    with pytest.raises(ValueError, match=f"cannot undo layer 1's activation, {activation}"):
        jaxinv.invert(generator, generator(z), "exact")


def test_a_function_is_inverted_like_the_chain_that_it_computes():
    def f(z):
        h = jax.nn.relu(jnp.asarray(G.layers[0].weight) @ z + G.layers[0].bias)
        for layer in G.layers[1:]:
            h = layer(h)
        return h.reshape(12, 12)

    g = jaxinv.FunctionGenerator(f, latent_size=5)
    found = jaxinv.invert(g, X)
    assert found.ok.all() and errors(found).max() < 1e-9
    assert jaxinv.identifiability(g, Z).locally_unique.all()
    assert not jaxinv.identifiability(g, Z).unique.any()
    confident = jaxinv.confidence(g, X + 1e-3, found)
    assert confident.covariance.shape == (12, 5, 5)
    descent = jaxinv.GradientDescent(learning_rate=0.05, optimizer="adam", steps=800, restarts=4)
    assert (errors(jaxinv.invert(g, X, descent)) < 0.05).mean() > 0.5
    with pytest.raises(ValueError, match="has no layers to go by"):
        jaxinv.invert(g, X, "linf")
    with pytest.raises(ValueError, match="a FunctionGenerator has none"):
        jaxinv.rigorous_radius(g, X, 1e-6)
    with pytest.raises(ValueError, match="cannot be saved"):
        jaxinv.save_generator(g, "function.npz")
    matrix = np.random.default_rng(7).standard_normal((60, 144))
    measured = jaxinv.invert(g, X @ matrix.T, operator=matrix)
    assert errors(measured).max() < 1e-6


def test_a_row_whose_jacobian_is_not_finite_has_a_status():
    # Its slope at 0 is infinite, where every latent but one keeps away from.
    g = jaxinv.FunctionGenerator(lambda z: jnp.sqrt(jnp.abs(z)) @ jnp.ones((2, 6)), latent_size=2)
    found = jaxinv.invert(g, np.stack([np.full(6, 1.5), np.full(6, np.inf)]))
    assert int(found.status[1]) == Status.BAD_INPUT
    assert int(found.status[0]) in (Status.UNDERDETERMINED, Status.INEXACT, Status.STEP_LIMIT)


def test_long_latents_are_fitted_without_a_jacobian(monkeypatch):
    monkeypatch.setattr("jaxinv.joint.descent.lanes.LONG_LATENT", 5)
    found = jaxinv.invert(G, X)
    assert found.ok.all()
    assert errors(found).max() < 1e-6
    boxed = jaxinv.invert(G, X, latent_bounds=(-1.5, 1.5))
    assert (np.abs(boxed.latent) <= 1.5).all()


def test_a_jacobian_in_parts_is_the_whole_one(monkeypatch):
    whole = np.asarray(G.jacobian(Z))
    function = jaxinv.FunctionGenerator(lambda z: jnp.tanh(jnp.outer(z, z) * 0.3), latent_size=5)
    pushed = np.asarray(function.jacobian(Z))
    jax.clear_caches()
    for room in ("walk", "function"):
        monkeypatch.setattr(f"jaxinv.model.{room}.COLUMN_BYTES", 1 << 12)
    np.testing.assert_allclose(G.jacobian(Z), whole, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(function.jacobian(Z), pushed, rtol=1e-12, atol=1e-14)
    jax.clear_caches()


def test_memory_decides_how_many_runs_stand_together():
    few = jaxinv.invert(G, X, jaxinv.Auto(memory=1))
    many = jaxinv.invert(G, X, jaxinv.Auto(lanes=12))
    assert few.ok.all() and many.ok.all()
    with pytest.raises(ValueError, match="memory=0 must be a number of bytes"):
        jaxinv.Auto(memory=0)


@pytest.mark.parametrize("output", ["sigmoid", "tanh"])
@pytest.mark.parametrize("kind", [np.float64, np.float32])
def test_saturated_images_are_fitted_on_their_preactivations(output, kind):
    drawn_from = drawn(output, seed=2)
    *head, last = drawn_from.layers
    steep = jaxinv.TransposedConvolution(
        20.0 * np.asarray(last.linear.kernel), (8, 6, 6), stride=2, padding=1
    )
    layers = [(layer.linear, np.asarray(layer.bias), "relu") for layer in head]
    generator = jaxinv.Generator.from_layers([*layers, (steep, None, output)])
    x = np.asarray(generator(Z)).astype(kind)
    low, high = last.activation.range
    assert (np.minimum(x - low, high - x) < 1e-3).mean() > 0.3
    found = jaxinv.invert(generator, x)
    assert found.ok.all()
    assert errors(found).max() < (1e-9 if kind is np.float64 else 1e-3)
    # Noise puts entries outside the range, where no pre-activation is known.
    noisy = x + 0.05 * np.random.default_rng(8).standard_normal(x.shape)
    residual = np.asarray(jaxinv.invert(generator, noisy).residual)
    assert (residual <= 1.05 * np.linalg.norm(noisy - x, axis=1)).mean() > 0.9
