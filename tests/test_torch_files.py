"""Generators out of PyTorch's files: state dicts, parts of them, and files that mean harm."""

import pickle
import zipfile

import numpy as np
import pytest

import jaxinv

torch = pytest.importorskip("torch")
nn = torch.nn


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
    old = {"_use_new_zipfile_serialization": False}
    torch.save({"a": Bomb(tmp_path / "ran")}, tmp_path / "old bomb.pt", **old)
    torch.save({"a.weight": torch.ones(3, 2)}, tmp_path / "cut.pt", **old)
    (tmp_path / "cut.pt").write_bytes((tmp_path / "cut.pt").read_bytes()[:-8])
    sizes = {"storage": (b"K\x06tq", b"J\x00\xe1\xf5\x7ftq"), "shape": (b"K\x03K\x02", b"MffK\x02")}
    for name, (old, new) in sizes.items():
        with (
            zipfile.ZipFile(tmp_path / "good.pt") as good,
            zipfile.ZipFile(tmp_path / f"{name}.pt", "w") as bad,
        ):
            for member in good.namelist():
                assert member[-8:] != "data.pkl" or old in good.read(member)
                bad.writestr(member, good.read(member).replace(old, new, 1))
    for name in ("bomb", "pickle", "module", "old bomb", "cut", "storage", "shape"):
        with pytest.raises(ValueError, match=f"{name}.pt"):
            jaxinv.load_generator(tmp_path / f"{name}.pt", layers=["a", "relu"])
    assert not (tmp_path / "ran").exists()


def encoder_and_decoder():
    decoder = nn.Sequential(
        nn.Linear(3, 32),
        nn.ReLU(),
        nn.Unflatten(1, (8, 2, 2)),
        nn.ConvTranspose2d(8, 6, (4, 3), stride=2, padding=1),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True),
        nn.Conv2d(6, 4, 3, padding=1, groups=2),
        nn.PixelShuffle(2),
        nn.Sigmoid(),
    )
    decoder[4].running_mean.normal_()
    return nn.ModuleDict({"encoder": nn.Linear(5, 3), "decoder": decoder}).eval()


DECODER = ["0", "relu", "reshape:8x2x2", "3:transposed,stride=2,padding=1", "4", "relu"]
DECODER += [
    "upsample:2,bilinear,align_corners",
    "7:padding=1,groups=2",
    "pixel_shuffle:2",
    "sigmoid",
]


@pytest.mark.parametrize("zipped", [True, False])
def test_a_part_of_a_file_is_read_by_its_prefix(tmp_path, zipped):
    nets = encoder_and_decoder()
    path = tmp_path / "vae.pt"
    torch.save(nets.state_dict(), path, _use_new_zipfile_serialization=zipped)
    generator = jaxinv.load_generator(path, layers=DECODER, prefix="decoder.")
    z = np.random.default_rng(0).standard_normal((4, 3))
    expected = jaxinv.Generator.from_torch(nets["decoder"])(z)
    np.testing.assert_allclose(generator(z), expected, rtol=1e-12)
    for layers, prefix, sentence in [
        (DECODER, "", "no such parameters"),
        (DECODER, "generator.", "no name starts with"),
        (None, "decoder.", "pass layers="),
        (DECODER[:6], "decoder.", "leaves out"),
        ([*DECODER[:3], "3:transposed,strides=2"], "decoder.", "not understood"),
        ([*DECODER[:3], "3:transposed,stride=-2"], "decoder.", "not a size"),
        ([*DECODER[:3], "3:transposed,stride=2x2x2"], "decoder.", "names 3 axes"),
        (["0", "relu", "3:transposed"], "decoder.", "needs an image"),
        (["0", "relu", "reshape:9x2x2"], "decoder.", "32 values arrive"),
        (["0", "flatten:2"], "decoder.", "no options"),
        (["0", "reshape:8x2x2", "upsample:2,cubic"], "decoder.", "write upsample:2"),
    ]:
        with pytest.raises(ValueError, match=sentence):
            jaxinv.load_generator(path, layers=layers, prefix=prefix)
