"""Parameters of other JAX libraries through `from_layers`."""

import jax
import numpy as np
import pytest

import jaxinv


def test_a_tree_of_kernels_and_biases_as_flax_keeps_it():
    keys = jax.random.split(jax.random.key(0), 2)
    params = {
        "Dense_0": {"kernel": jax.random.normal(keys[0], (3, 8)), "bias": np.ones(8, np.float32)},
        "Dense_1": {"kernel": jax.random.normal(keys[1], (8, 20)), "bias": np.zeros(20)},
    }
    generator = jaxinv.Generator.from_layers(
        (layer["kernel"].T, layer["bias"], activation)
        for layer, activation in zip(params.values(), ["relu", "sigmoid"], strict=True)
    )
    z = np.random.default_rng(0).standard_normal((5, 3))
    h = np.maximum(z @ np.asarray(params["Dense_0"]["kernel"], np.float64) + 1, 0)
    x = 1 / (1 + np.exp(-h @ np.asarray(params["Dense_1"]["kernel"], np.float64)))
    np.testing.assert_allclose(generator(z), x, rtol=1e-12)


def test_the_layers_of_an_equinox_perceptron():
    eqx = pytest.importorskip("equinox")
    net = eqx.nn.MLP(3, 20, 8, 1, activation=jax.nn.relu, key=jax.random.key(0))
    layers = [(layer.weight, layer.bias, "relu") for layer in net.layers[:-1]]
    last = net.layers[-1]
    generator = jaxinv.Generator.from_layers([*layers, (last.weight, last.bias, "identity")])
    z = np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32)
    np.testing.assert_allclose(generator(z), jax.vmap(net)(z), rtol=1e-5, atol=1e-6)
