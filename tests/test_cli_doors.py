"""What the command line refuses before it writes: inputs stay whole, and no folder is left."""

import os
from importlib import import_module

import numpy as np
import pytest
from typer.testing import CliRunner

import jaxinv
from jaxinv.call.invert import default_chunk
from jaxinv.cli import app
from jaxinv.job.export import export
from jaxinv.job.job import Job
from jaxinv.job.report import write

# The module; jaxinv.cli.invert is the command.
cli_invert = import_module("jaxinv.cli.invert")


def refused(arguments, sentence, kind=ValueError):
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    with pytest.raises(kind, match=sentence):
        raise done.exception


@pytest.fixture
def work(tmp_path, monkeypatch):
    """A folder with a generator, observations, a mask and a start, as the current one."""
    net = jaxinv.Generator.random((2, 6, 12), seed=0)
    z = np.random.default_rng(0).standard_normal((3, 2))
    jaxinv.save_generator(net, tmp_path / "net.npz")
    np.savez(tmp_path / "x.npz", np.asarray(net(z)))
    np.savez(tmp_path / "mask.npz", np.ones(12, bool))
    np.savez(tmp_path / "start.npz", z)
    monkeypatch.chdir(tmp_path)
    return tmp_path


ASKED = ["invert", "net.npz", "x.npz", "--mask", "mask.npz", "--start", "start.npz"]


@pytest.mark.parametrize("name", ["net", "x", "mask", "start"])
def test_no_input_is_replaced_by_the_codes(work, name):
    words = {"net": "generator", "x": "observations", "start": "starting points"}
    before = (work / f"{name}.npz").read_bytes()
    (work / "link.npz").symlink_to(f"{name}.npz")
    os.link(work / f"{name}.npz", work / "hard.npz")
    (work / "sub").mkdir()
    outs = [f"{name}.npz", work / f"{name}.npz", f"sub/../{name}.npz", "link.npz", "hard.npz"]
    for out in outs:
        refused(
            [*ASKED, "--out", out],
            f"is the file of the {words.get(name, name)}, {name}.npz, which would be replaced",
        )
    assert (work / f"{name}.npz").read_bytes() == before
    assert (work / "link.npz").is_symlink()


@pytest.mark.parametrize(
    "option", [["--interval", "30"], ["--workers", "2"], ["--shard-rows", "8"]], ids=lambda o: o[0]
)
def test_what_belongs_to_a_job_is_refused_beside_a_file(work, option):
    refused([*ASKED, "--out", "codes.npz", *option], f"{option[0]}.* need a directory")
    assert not (work / "codes.npz").exists()


def test_main_ends_with_two(work, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["jaxinv", *ASKED, "--out", "net.npz"])
    with pytest.raises(SystemExit) as ended:
        jaxinv.cli.main()
    assert ended.value.code == 2
    assert "which would be replaced" in capsys.readouterr().err


def test_other_files_are_replaced_as_before(work):
    asked = [*ASKED, "--method", "lm", "--out", "codes.npz"]
    for _ in range(2):
        assert CliRunner().invoke(app, asked).exit_code == 0


def test_a_job_s_results_do_not_replace_what_it_reads_or_keeps(work):
    np.save("x.npy", np.load("x.npz")["arr_0"])
    asked = ["invert", "net.npz", "x.npy", "--method", "lm", "--mask", "mask.npz"]
    assert CliRunner().invoke(app, [*asked, "--out", "job"]).exit_code == 0
    job = Job.open(work / "job")
    files = {path: path.read_bytes() for path in work.rglob("*") if path.is_file()}
    os.link("x.npy", "hard.npy")
    for out in ("x.npy", "hard.npy", "mask.npz", "net.npz"):
        with pytest.raises(ValueError, match="which would be replaced"):
            export(job, work / out)
    with pytest.raises(ValueError, match="lies among the job's results"):
        export(job, work / "job/shards/00000000.npy")
    np.save("truth.npy", np.load("start.npz")["arr_0"])
    for out in ("x.npy", "job/manifest.json", "job/generator.safetensors", "net.npz"):
        with pytest.raises(ValueError, match="a report is a file of HTML"):
            write(job, work / out, work / "truth.npy")
    assert all(path.read_bytes() == data for path, data in files.items())
    export(job, work / "codes.npy")
    export(job, work / "codes.npy")


def test_the_shards_and_retries_of_any_job_are_never_a_place_for_results(work):
    folder = work / "other"
    (folder / "shards").mkdir(parents=True)
    (folder / "manifest.json").write_text("{}")
    for out in (folder / "shards/00000000.npy", folder / "rows.npy"):
        out.write_text("precious")
        refused([*ASKED, "--out", out], "lies among the job's results")
        assert out.read_text() == "precious"


@pytest.mark.parametrize("name", ["codes.csv", "codes.h5", "codes.NPZ"])
def test_a_job_s_directory_is_not_named_as_a_file_by_mistake(work, name):
    asked = ["invert", "net.npz", "x.npz", "--method", "lm", "--out"]
    refused([*asked, name], f"--out {name}: results in one file end in .*write {name}/")
    assert not (work / name).exists()
    if name == "codes.csv":
        for out in (f"{name}/", name):  # asked for, and then there
            assert CliRunner().invoke(app, [*asked, out]).exit_code == 0
        assert Job.open(work / name).shards.rows == 3


def test_memory_sets_how_many_rows_are_computed_together_for_a_file_too(work, monkeypatch):
    net = jaxinv.load_generator("net.npz")
    assert default_chunk(net, "lm", 1) == 1 < default_chunk(net, "lm")
    stream, chunks = cli_invert.invert_stream, []

    def watched(*arguments, chunk, **options):
        chunks.append(chunk)
        return stream(*arguments, chunk=chunk, **options)

    monkeypatch.setattr(cli_invert, "invert_stream", watched)
    asked = [*ASKED, "--method", "lm", "--out", "codes.npz"]
    for room in ("1", "1G"):
        assert CliRunner().invoke(app, [*asked, "--memory", room]).exit_code == 0
    assert chunks == [1, 3]
    refused([*asked, "--memory", "lots"], "--memory 'lots' is not a size")


@pytest.mark.parametrize("name", ["empty.npy", "empty.npz", "empty.h5"])
def test_observations_of_no_rows_are_refused_into_a_file_and_into_a_job(work, name):
    nothing = np.zeros((0, 12))
    if name.endswith("h5"):
        h5py = pytest.importorskip("h5py")
        with h5py.File(name, "w") as file:
            file["x"] = nothing
    else:
        (np.save if name.endswith("npy") else np.savez)(name, nothing)
    for out in ("codes.npz", "job"):
        refused(["invert", "net.npz", name, "--out", out], f"{name} holds no rows")
        assert not (work / out).exists()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--devices", "99"], "devices=99; this process has"),
        (["--workers", "2", "--devices", "99"], "devices=99; this process has"),
        (["--memory", "lots"], "--memory 'lots' is not a size"),
        (["--workers", "2", "--cluster", "tcp://nowhere:1"], "--cluster has its own workers"),
        (["--noise", "inf"], "noise=inf must be a standard deviation"),
        (["--seed", str(2**70)], "seed="),
        (["--precision", "float12"], "precision='float12' is not known"),
        (["--method", "simplex"], "not known"),
    ],
)
def test_a_job_that_is_refused_leaves_no_folder(work, options, sentence):
    refused(["invert", "net.npz", "x.npz", "--out", "job", *options], sentence)
    assert not (work / "job").exists()


def test_a_method_that_cannot_undo_the_generator_is_refused_before_there_is_a_folder(work):
    asked = ["invert", "mnist-conv-vae-13", "pixels.npy", "--method", "exact", "--out", "job"]
    np.save("pixels.npy", np.zeros((1, 784)))
    refused(asked, "above largest_matrix")
    assert not (work / "job").exists()
