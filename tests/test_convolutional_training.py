"""The convolutional generators: what is written is the net that was trained."""

import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

torch = pytest.importorskip("torch")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import convolutional_card as cards
from benchmarks import train_convolutional
from benchmarks.convolutional_layers import draws, folded, forward
from jaxinv.formats import load_generator

# torch.func compiles its derivatives with what torch itself has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script. is:DeprecationWarning")
NAMES = sorted(train_convolutional.RECIPES)


def net_of(name):
    """A fresh net, its normalisations with moments, scales and shifts as training would leave."""
    torch.manual_seed(0)
    recipe = train_convolutional.RECIPES[name]
    new = {"sigmoid": train_convolutional.new_decoder, "tanh": train_convolutional.new_dcgan}
    net = new[recipe.output](recipe)
    for part in net:
        if isinstance(part, torch.nn.BatchNorm2d):
            for moment in (part.running_mean, part.running_var, part.weight, part.bias):
                torch.nn.init.uniform_(moment, 0.5, 2.0)
    return recipe, net.eval()


def transposed_convolution(x, layer):
    """By its definition: every input pixel adds its multiple of the kernel to the output."""
    channels, height, width = layer.input_shape
    _, outputs, rows, columns = layer.weight.shape
    stride, cut = layer.stride, layer.padding
    size = [(n - 1) * stride + m for n, m in ((height, rows), (width, columns))]
    y = np.zeros((outputs, *size))
    for c, i, j in np.ndindex(channels, height, width):
        a, b = stride * i, stride * j
        y[:, a : a + rows, b : b + columns] += x[c, i, j] * layer.weight[c]
    return y[:, cut : size[0] - cut, cut : size[1] - cut] + layer.bias[:, None, None]


@pytest.mark.parametrize("name", NAMES)
def test_folded_layers_are_the_net_and_transposed_convolutions(name):
    recipe, net = net_of(name)
    layers = folded(net, recipe.output)
    z = draws(layers, 5, 0)
    with torch.no_grad():
        expected = net.double()(z)
    if recipe.output == "sigmoid":
        expected = torch.sigmoid(expected)
    # The folded layers are rounded to float32, the net is not.
    np.testing.assert_allclose(forward(layers, z), expected.flatten(1), atol=1e-5)

    x = z[0].numpy()
    squash = {"relu": lambda u: np.maximum(u, 0), "tanh": np.tanh}
    squash["sigmoid"] = lambda u: 1 / (1 + np.exp(-u))
    for layer in layers:
        x = x.reshape(layer.input_shape)
        dense = layer.kind == "dense"
        u = layer.weight @ x + layer.bias if dense else transposed_convolution(x, layer)
        x = squash[layer.activation](u)
    np.testing.assert_allclose(x.ravel(), forward(layers, z)[0], atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_the_jacobians_ratio_is_that_of_finite_differences(name, monkeypatch):
    monkeypatch.setattr(cards, "CODES", 1)
    recipe, net = net_of(name)
    layers = folded(net, recipe.output)
    z, step = draws(layers, 1, 2), 1e-6
    moved = step * torch.eye(z.shape[1], dtype=z.dtype)
    jacobian = (forward(layers, z + moved) - forward(layers, z - moved)) / (2 * step)
    sigma = np.linalg.svd(jacobian.numpy(), compute_uv=False)
    np.testing.assert_allclose(cards.jacobian_ratios(layers), [sigma[-1] / sigma[0]], rtol=1e-4)


def test_dead_latents_are_left_at_zero():
    recipe, net = net_of("mnist-conv-vae-13")
    alive = torch.arange(recipe.latent) % 5 != 0
    fewer = train_convolutional.kept(net, alive)
    z = draws(folded(fewer, "sigmoid"), 4, 0).float()
    whole = torch.zeros(4, recipe.latent)
    whole[:, alive] = z
    np.testing.assert_allclose(fewer(z).detach(), net(whole).detach(), atol=1e-5)
    with pytest.raises(ValueError, match="train for more epochs"):
        train_convolutional.kept(net, alive & ~alive)


@pytest.mark.parametrize("name", NAMES)
def test_the_command_writes_the_same_net_twice(name, tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    digits = rng.integers(0, 256, (400, 28, 28)).astype(np.uint8)
    np.savez(tmp_path / "digits.npz", train_images=digits, test_images=digits[:50])
    monkeypatch.setattr(cards, "CODES", 2)
    monkeypatch.setattr(cards, "SAMPLES", 200)
    monkeypatch.setattr(train_convolutional, "MOMENTS", 2000)
    monkeypatch.setattr(train_convolutional, "DEAD", 0.0)  # noise teaches no latent anything
    written = []
    threads = torch.get_num_threads()
    for out in (tmp_path / "one", tmp_path / "two"):
        options = ["--mnist", str(tmp_path / "digits.npz"), "--epochs", "1", "--out", str(out)]
        monkeypatch.setattr(sys, "argv", ["train_convolutional", name, *options])
        try:
            train_convolutional.main()
        finally:
            torch.set_num_threads(threads)
        assert (out / f"{name}.png").stat().st_size
        assert f"train_convolutional {name} --epochs 1 --seed 0" in (out / f"{name}.md").read_text()
        written.append(load_file(out / f"{name}.safetensors"))
    one, two = written
    assert one.keys() == two.keys()
    assert all(np.array_equal(one[key], two[key]) for key in one)
    assert {array.dtype for array in one.values()} == {np.dtype(np.float32)}
    generator = load_generator(out / f"{name}.safetensors")
    assert generator.observation_size == 784
    assert not generator.is_dense
