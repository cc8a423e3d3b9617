"""Generators in and out of files, the shipped ones, and the command line."""

import copy
import json
import pickle
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from typer.testing import CliRunner

import jaxinv
from jaxinv.cli import app


@pytest.fixture
def generator():
    rng = np.random.default_rng(0)
    return jaxinv.Generator.from_layers(
        [
            (rng.standard_normal((12, 3)), rng.standard_normal(12), "leaky_relu:0.2"),
            (rng.standard_normal((30, 12)), None, "sigmoid"),
        ]
    )


@pytest.mark.parametrize("ending", ["npz", "safetensors"])
def test_a_saved_generator_comes_back_bit_for_bit(generator, tmp_path, ending):
    path = tmp_path / f"net.{ending}"
    jaxinv.save_generator(generator, path)
    z = np.random.default_rng(1).standard_normal((4, 3))
    loaded = jaxinv.load_generator(path)
    assert repr(loaded) == repr(generator)
    assert np.asarray(loaded(z)).tobytes() == np.asarray(generator(z)).tobytes()


def test_the_forward_pass_and_jacobian_are_those_of_numpy(generator):
    z = np.random.default_rng(1).standard_normal(3)
    (first, second) = generator.layers
    u = np.asarray(first.weight) @ z + np.asarray(first.bias)
    h = np.where(u > 0, u, 0.2 * u)
    x = 1 / (1 + np.exp(-np.asarray(second.weight) @ h))
    np.testing.assert_allclose(generator(z), x, rtol=1e-13)
    step = 1e-6 * np.eye(3)
    numeric = (np.asarray(generator(z + step)) - np.asarray(generator(z - step))).T / 2e-6
    np.testing.assert_allclose(generator.jacobian(z), numeric, atol=1e-8)


DENSE = [n for n in jaxinv.shipped_generators() if jaxinv.load_generator(n).is_dense]


@pytest.mark.parametrize("name", DENSE)
def test_shipped_generators_are_inverted_or_labelled(name):
    generator = jaxinv.load_generator(name)
    z = np.random.default_rng(5).standard_normal((16, 20))
    found = jaxinv.invert(generator, np.asarray(generator(z)), "exact")
    error = np.linalg.norm(np.asarray(found.latent) - z, axis=1) / np.linalg.norm(z, axis=1)
    identifiable = []
    h = z
    for output, layer in zip(generator.outputs(z), generator.layers, strict=True):
        w, h = np.asarray(layer.weight), np.asarray(output)
        rows = h > 0 if layer.activation.kind == "relu" else np.ones(h.shape, bool)
        identifiable.append([np.linalg.matrix_rank(w[r]) == w.shape[1] for r in rows])
    expected = np.all(identifiable, axis=0)
    assert np.asarray(found.ok).tolist() == expected.tolist()
    assert error[expected].max() < 1e-6


@pytest.mark.parametrize(
    ("layers", "sentence"),
    [
        ([], "empty"),
        ([(np.ones((3, 2)), None, "relu"), (np.ones((3, 4)), None, "relu")], "expected"),
        ([(np.full((3, 2), np.nan), None, "relu")], "NaN"),
        ([(np.ones((3, 2)), None, "mish")], "not known"),
        ([(np.ones((3, 2)), np.ones(2), "relu")], "bias"),
        ([(np.array([["a"]]), None, "relu")], "real numbers"),
    ],
)
def test_layers_that_do_not_fit_are_refused(layers, sentence):
    with pytest.raises(ValueError, match=sentence):
        jaxinv.Generator.from_layers(layers)


def test_damaged_and_hostile_files_are_refused(generator, tmp_path):
    path = tmp_path / "net.npz"
    jaxinv.save_generator(generator, path)
    (tmp_path / "cut.npz").write_bytes(path.read_bytes()[:-200])
    np.savez(tmp_path / "object.npz", W0=np.array([None]), activations=np.array(["relu"]))
    with zipfile.ZipFile(tmp_path / "huge.npz", "w") as archive:
        header = "{'descr': '<f8', 'fortran_order': False, 'shape': (1000000, 1000000), }"
        padded = header.ljust(117) + "\n"
        magic = b"\x93NUMPY\x01\x00" + len(padded).to_bytes(2, "little")
        archive.writestr("W0.npy", magic + padded.encode())
    tensors = tmp_path / "net.safetensors"
    jaxinv.save_generator(generator, tensors)
    (tmp_path / "cut.safetensors").write_bytes(tensors.read_bytes()[:-8])
    (tmp_path / "huge.safetensors").write_bytes((1 << 60).to_bytes(8, "little") + b"{}")
    (tmp_path / "text.npz").write_text("not a zip")
    for bad in (
        "cut.npz",
        "object.npz",
        "huge.npz",
        "text.npz",
        "cut.safetensors",
        "huge.safetensors",
    ):
        with pytest.raises(ValueError, match=bad):
            jaxinv.load_generator(tmp_path / bad)


def test_the_command_line_inverts_a_file(generator, tmp_path):
    net, data, out = (tmp_path / n for n in ("g.npz", "x.npy", "r.npz"))
    jaxinv.save_generator(generator, net)
    z = np.random.default_rng(1).standard_normal((5, 3))
    np.save(data, np.asarray(generator(z)))
    arguments = ["invert", str(net), str(data), "--method", "exact", "--out", str(out)]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    with np.load(out) as found:
        np.testing.assert_allclose(found["latent"], z, atol=1e-9)
        assert set(found) == {"latent", "status", "residual", "undetermined", "allowed_error"}
    np.save(data, np.full((2, 30), np.nan))
    assert CliRunner().invoke(app, arguments).exit_code == 1
    shown = CliRunner().invoke(app, ["inspect", str(net), "--no-measurement"])
    assert shown.exit_code == 0
    assert "leaky_relu:0.2" in shown.stdout


def test_bad_input_ends_the_command_with_2_and_one_sentence(tmp_path):
    (tmp_path / "x.npy").write_text("nonsense")
    command = [sys.executable, "-m", "jaxinv", "invert", "mnist-vae-20-400-784"]
    command += [str(tmp_path / "x.npy"), "--out", str(tmp_path / "r.npz")]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert run.returncode == 2
    assert "not a NumPy array" in run.stderr
    assert "Traceback" not in run.stderr


def test_help_starts_without_jax():
    code = "import sys, jaxinv.cli, jaxinv; print('jax' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert json.loads(run.stdout.lower()) is False


def test_a_pickled_generator_is_the_same_one():
    """In float64, whatever JAX's setting is where it arrives, and without what was kept for it."""
    generator = jaxinv.Generator.random((3, 12, 40), activation="leaky_relu:0.1")
    before = len(pickle.dumps(generator))
    x = np.asarray(generator(np.random.default_rng(0).standard_normal((2, 3))))
    jaxinv.invert(generator, x)
    sent = pickle.dumps(generator)
    assert len(sent) == before
    for arrived in (pickle.loads(sent), copy.deepcopy(generator)):
        assert arrived.layers[0].weight.dtype == np.float64
        for mine, its in zip(generator.layers, arrived.layers, strict=True):
            np.testing.assert_array_equal(mine.weight, its.weight)
            assert mine.activation == its.activation


def test_the_command_line_reads_a_part_of_a_state_dict(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {"d.fc.weight": rng.standard_normal((8, 2)), "d.up.weight": np.ones((2, 1, 2, 2))}
    np.savez(tmp_path / "vae.npz", **arrays, **{"e.fc.weight": np.ones((2, 8))})
    layers = "fc relu reshape:2x2x2 up:transposed,stride=2 tanh"
    arguments = ["inspect", str(tmp_path / "vae.npz"), "--no-measurement"]
    arguments += ["--layers", layers, "--prefix", "d."]
    shown = CliRunner().invoke(app, arguments)
    assert shown.exit_code == 0, shown
    assert "1x4x4" in shown.stdout and "tanh" in shown.stdout
    with pytest.raises(ValueError, match="pass layers="):
        jaxinv.load_generator(tmp_path / "vae.npz", prefix="d.")
    with pytest.raises(ValueError, match="leave layers= and prefix= out"):
        jaxinv.load_generator("mnist-relu-20-60-784", prefix="d.")
