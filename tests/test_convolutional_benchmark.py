"""The convolutional benchmark: its nets, its rival, and what it reports must be what they are."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

import jaxinv

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

torch = pytest.importorskip("torch")

from benchmarks import convolutional_nets as nets
from benchmarks import convolutional_race as races
from benchmarks.peers_descent import Settings


def small(activation="sigmoid"):
    rng = np.random.default_rng(1)
    kernel = rng.standard_normal((3, 2, 4, 4))
    image = jaxinv.TransposedConvolution(kernel, (3, 3, 3), stride=2, padding=1, output_padding=1)
    dense = rng.standard_normal((27, 4))
    layers = [(dense, rng.standard_normal(27), "leaky_relu:0.1"), (image, [0.3, -0.2], activation)]
    return jaxinv.Generator.from_layers(layers)


@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "relu", "identity"])
def test_the_module_is_the_generator(activation):
    generator = small(activation)
    net = nets.module(generator)
    # float32 rounds to 6e-8, a few times over.
    assert nets.parity(generator, net) < 1e-6
    with torch.no_grad():
        net[-2 - 1].weight[0, 0, 0, 0] += 0.1
    with pytest.raises(ValueError, match="another net"):
        nets.parity(generator, net)


def test_random_nets_keep_their_codes():
    for name in nets.RANDOM:
        generator = nets.loaded(name)
        latent = np.random.default_rng(0).standard_normal((4, generator.latent_size))
        singular = np.linalg.svd(np.asarray(generator.jacobian(latent)), compute_uv=False)
        assert (singular[:, -1] > 0.01 * singular[:, 0]).all()


def test_normalised_activations_have_unit_deviation():
    generator = nets.dcgan(quick=True)
    latent = np.random.default_rng(9).standard_normal((64, generator.latent_size))
    before = np.asarray(generator.outputs(latent)[0])
    # max(u, 0) of u ~ N(0, 1) has mean square 1/2; codes are others than those normalised over.
    assert (before**2).mean() == pytest.approx(0.5, rel=0.1)


def test_a_file_says_what_its_layers_are(tmp_path):
    generator = small()
    entries = [
        {"kind": "dense", "activation": "leaky_relu:0.1"},
        {
            "kind": "convt",
            "stride": 2,
            "padding": 1,
            "output_padding": 1,
            "input_shape": [3, 3, 3],
            "activation": "sigmoid",
        },
    ]
    first, second = generator.layers
    arrays = {
        "W0": np.asarray(first.weight),
        "b0": np.asarray(first.bias),
        "W1": np.asarray(second.linear.kernel),
        "b1": np.array([0.3, -0.2]),
    }
    np.savez(tmp_path / "net.npz", meta=json.dumps(entries), **arrays)
    latent = np.ones((2, 4))
    np.testing.assert_array_equal(nets.loaded(str(tmp_path / "net.npz"))(latent), generator(latent))


def test_adam_recovers_and_starts_again_only_for_rows_that_are_missing():
    generator = small()
    truth = np.random.default_rng(0).standard_normal((6, 4))
    x = np.asarray(generator(truth))
    net, settings = nets.module(generator), Settings("adam", 0.3, True, 500)
    answers = list(races.adam(net, settings, 1, generator, x))
    off = np.linalg.norm(answers[-1].latent - truth, axis=1) / np.linalg.norm(truth, axis=1)
    # The net is one to one, so that what is reproduced in float32 is the code.
    assert (off < 1e-3).all()
    assert len(answers) % (settings.length // races.BLOCK) == 0
