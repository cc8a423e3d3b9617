"""Generators from PyTorch agree with its own forward pass, or are refused by name."""

import pickle
import zipfile

import numpy as np
import pytest

import jaxinv

torch = pytest.importorskip("torch")
nn = torch.nn


def decoder():
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.BatchNorm1d(4),
        nn.Linear(4, 12),
        nn.BatchNorm1d(12),
        nn.LeakyReLU(0.2),
        nn.BatchNorm1d(12),
        nn.Dropout(0.5),
        nn.Linear(12, 18, bias=False),
        nn.ReLU(),
        nn.Unflatten(1, (2, 3, 3)),
        nn.ConvTranspose2d(2, 3, 4, stride=2, padding=1, output_padding=1),
        nn.BatchNorm2d(3),
        nn.Tanh(),
        nn.Flatten(),
        nn.Linear(147, 20),
        nn.Sigmoid(),
    )
    for module in net.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
    return net.eval()


class Written(nn.Module):
    """A forward pass in plain functions."""

    def __init__(self):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(3, 8), nn.Linear(8, 16)

    def forward(self, z):
        h = torch.nn.functional.leaky_relu(self.fc1(z), 0.3)
        return torch.sigmoid(self.fc2(h)).view(-1, 4, 4).flatten(1)


@pytest.mark.parametrize("module", [decoder(), Written()], ids=["sequential", "functions"])
def test_a_module_and_its_generator_agree(module):
    generator = jaxinv.Generator.from_torch(module)
    z = np.random.default_rng(1).standard_normal((9, generator.latent_size))
    with torch.no_grad():
        expected = module(torch.from_numpy(z).float()).numpy()
    np.testing.assert_allclose(generator(z), expected, rtol=1e-4, atol=1e-5)
    assert next(module.parameters()).dtype == torch.float32
    assert next(module.parameters()).requires_grad


def test_linear_layers_without_an_activation_become_one():
    net = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 5), nn.ReLU()).eval()
    assert jaxinv.Generator.from_torch(net).widths == (2, 5)


class Branch(nn.Module):
    def forward(self, z):
        return torch.relu(z) + z


class Stretched(nn.Linear):
    def forward(self, z):
        return super().forward(z) * 1.01


def hooked():
    """Its layers say one thing and its forward pass does another."""
    net = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
    net[0].register_forward_hook(lambda module, inputs, output: output * 1.01)
    return net


@pytest.mark.parametrize(
    ("module", "sentence"),
    [
        (nn.Sequential(nn.Linear(2, 3), nn.GELU()), "GELU"),
        (nn.Sequential(nn.Linear(2, 3), nn.LeakyReLU(-0.1)), "slope -0.1"),
        (nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)), "eval"),
        (nn.Sequential(nn.ReLU(), nn.Linear(2, 3)), "begins with a linear"),
        (nn.Sequential(nn.Linear(2, 3), Branch()), "one chain"),
        (nn.Sequential(Stretched(2, 3), nn.ReLU()), "outside a known layer"),
        (hooked(), "differs from its own forward pass"),
        (
            nn.Sequential(
                nn.Linear(9, 8192), nn.Unflatten(1, (512, 4, 4)), nn.ConvTranspose2d(512, 256, 4, 2)
            ),
            "above the limit",
        ),
        (
            nn.Sequential(nn.Unflatten(1, (2, 1, 1)), nn.ConvTranspose2d(3, 2, 4)),
            "needs 3 channels",
        ),
        ("decoder", "torch.nn.Module"),
    ],
)
def test_what_cannot_be_represented_is_refused_by_name(module, sentence):
    with pytest.raises(ValueError, match=sentence):
        jaxinv.Generator.from_torch(module)


def test_a_state_dict_needs_its_layers_named(tmp_path):
    net = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 9), nn.Tanh())
    net[1].running_mean.normal_()
    net.eval()
    torch.save({"state_dict": net.state_dict(), "note": 1}, tmp_path / "net.pt")
    spec = ["0", "1", "relu", "3", "tanh"]
    generator = jaxinv.load_generator(tmp_path / "net.pt", layers=spec)
    z = np.random.default_rng(0).standard_normal((5, 3))
    np.testing.assert_array_equal(generator(z), jaxinv.Generator.from_torch(net)(z))
    plain = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 9))
    torch.save(plain.state_dict(), tmp_path / "plain.pt")
    found = jaxinv.load_generator(tmp_path / "plain.pt", layers=["relu", "identity"])
    np.testing.assert_array_equal(found(z), jaxinv.Generator.from_torch(plain)(z))
    for path, layers, sentence in [
        ("plain.pt", None, "pass layers="),
        ("plain.pt", ["relu"], "Name the layers"),
        ("net.pt", ["0", "relu"], "leaves out"),
        ("net.pt", ["0", "2", "relu"], "no such parameters"),
        ("net.pt", "relu", "must be a list"),
    ]:
        with pytest.raises(ValueError, match=sentence):
            jaxinv.load_generator(tmp_path / path, layers=layers)


class Bomb:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return (open, (str(self.target), "w"))


def test_hostile_files_run_nothing_and_take_no_memory(tmp_path):
    torch.save({"a.weight": torch.ones(3, 2)}, tmp_path / "good.pt")
    torch.save({"a": Bomb(tmp_path / "ran")}, tmp_path / "bomb.pt")
    (tmp_path / "pickle.pt").write_bytes(pickle.dumps(Bomb(tmp_path / "ran")))
    torch.save(nn.Linear(2, 2), tmp_path / "module.pt")
    torch.save({"a": torch.ones(2)}, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    sizes = {"storage": (b"K\x06tq", b"J\x00\xe1\xf5\x7ftq"), "shape": (b"K\x03K\x02", b"MffK\x02")}
    for name, (old, new) in sizes.items():
        with (
            zipfile.ZipFile(tmp_path / "good.pt") as good,
            zipfile.ZipFile(tmp_path / f"{name}.pt", "w") as bad,
        ):
            for member in good.namelist():
                assert member[-8:] != "data.pkl" or old in good.read(member)
                bad.writestr(member, good.read(member).replace(old, new, 1))
    for name in ("bomb", "pickle", "module", "old", "storage", "shape"):
        with pytest.raises(ValueError, match=f"{name}.pt"):
            jaxinv.load_generator(tmp_path / f"{name}.pt", layers=["a", "relu"])
    assert not (tmp_path / "ran").exists()
