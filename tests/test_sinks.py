"""Results in every kind of file: the rows of the job or the call, whole or not at all."""

import os
import shutil
import socket
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest
from typer.testing import CliRunner

import jaxinv
from jaxinv.cli import app
from jaxinv.job import Job, durable, executors, export, run, sinks
from jaxinv.job.export import ARRAYS

arrow = pytest.importorskip("pyarrow")
from pyarrow import feather, parquet


class Silent:
    def begin(self, rows, done): ...

    def advance(self, done, rows): ...

    def end(self): ...


@pytest.fixture(scope="module")
def net():
    return jaxinv.Generator.random((3, 9, 25), seed=0, activation="leaky_relu:0.3")


@pytest.fixture(scope="module")
def observed(net, tmp_path_factory):
    folder = tmp_path_factory.mktemp("observed")
    x = np.array(net(np.random.default_rng(1).standard_normal((70, 3))))
    x[11] = np.nan
    np.save(folder / "x.npy", x)
    jaxinv.save_generator(net, folder / "net.npz")
    return folder


@pytest.fixture(scope="module")
def job(net, observed):
    made = Job.create(observed / "job", net, observed / "x.npy", "exact", shard_rows=16)
    run(made, partial(executors.threads, None), Silent(), chunk=8)
    return made


def read(path):
    """Columns by name; statuses as words, as a table has them."""
    if path.suffix == ".zarr":
        group = pytest.importorskip("zarr").open_group(path, mode="r")
        assert group.metadata.zarr_format == 3
        columns = {name: group[name][:] for name in group}
        words = group["status"].attrs["words"]
        return columns | {"status": [words[str(s)] for s in columns["status"]]}
    if path.suffix == ".npz":
        columns = dict(np.load(path))
        return columns | {"status": [jaxinv.Status(int(s)).name for s in columns["status"]]}
    table = {".parquet": parquet.read_table}.get(path.suffix, feather.read_table)(path)
    found = {name: table[name].to_numpy() for name in table.column_names}
    return found | {"latent": np.stack(found["latent"]), "status": table["status"].to_pylist()}


@pytest.mark.parametrize("ending", [".npz", ".parquet", ".arrow", ".feather", ".zarr"])
def test_every_kind_of_file_holds_the_rows_of_the_job(job, tmp_path, ending, monkeypatch):
    if ending == ".zarr":
        pytest.importorskip("zarr")
    # No whole number of shards of 16 rows.
    monkeypatch.setattr(sys.modules[export.__module__], "GROUP", 20)
    path = tmp_path / f"out{ending}"
    for _ in range(2):  # the second time in place of the first
        export(job, path)
    found, rows = read(path), np.concatenate(list(job.shards))
    for name in ARRAYS:
        if name != "status":
            np.testing.assert_array_equal(found[name], rows[name])
    assert list(found["status"]) == [jaxinv.Status(s).name for s in rows["status"].tolist()]
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_a_table_s_columns_are_those_of_an_inversion(net, job, observed, tmp_path):
    export(job, tmp_path / "out.arrow")
    found = feather.read_table(tmp_path / "out.arrow")
    whole = jaxinv.invert(net, np.load(observed / "x.npy"), "exact", chunk=8).to_arrow()
    shared = [name for name in found.column_names if name in whole.column_names]
    assert [name for name in found.column_names if name not in shared] == ["failed_layer"]
    assert shared == whole.column_names[: len(shared)]
    for name in ("status", "ok", "explained", "undetermined"):
        assert found[name].to_pylist() == whole[name].to_pylist()
    for name in shared:
        assert found.schema.field(name).type == whole.schema.field(name).type


def test_what_is_not_results_is_not_replaced(job, tmp_path):
    pytest.importorskip("zarr")
    other = tmp_path / "data.zarr"
    other.mkdir()
    (other / "precious").write_text("x")
    (tmp_path / "folder.npz").mkdir()
    for name, sentence in [
        ("data.zarr", "something else than results"),
        ("folder.npz", "is a folder"),
        ("x.csv", "ends in '.csv'; expected one of"),
        ("nowhere/x.npz", "there is no folder"),
    ]:
        with pytest.raises(ValueError, match=sentence):
            export(job, tmp_path / name)
    assert (other / "precious").read_text() == "x"


def test_a_zarr_group_that_is_not_finished_does_not_take_the_place(job, tmp_path):
    zarr = pytest.importorskip("zarr")
    path = tmp_path / "out.zarr"
    export(job, path)
    before = {p: p.read_bytes() for p in path.rglob("*") if p.is_file()}

    def full():
        yield {"latent": np.zeros((20, 3))}
        raise OSError(28, "No space left on device")

    broken = sinks.Results(70, full, lambda: iter(()))
    with pytest.raises(ValueError, match="No space left"):
        sinks.write(broken, path, tmp_path)
    assert {p: p.read_bytes() for p in path.rglob("*") if p.is_file()} == before
    assert zarr.open_group(path)["latent"].shape == (70, 3)
    assert [p.name for p in tmp_path.iterdir()] == ["out.zarr"]


def test_a_chunk_that_is_lost_is_no_result(job, tmp_path):
    zarr = pytest.importorskip("zarr")
    path = tmp_path / "out.zarr"
    export(job, path)
    group = zarr.open_group(path, mode="r")
    for name in ARRAYS:
        assert group[name].nchunks_initialized == group[name].nchunks
        for chunk in (path / name / "c").iterdir():
            (shutil.rmtree if chunk.is_dir() else Path.unlink)(chunk)
    assert all(np.isnan(group[name][:]).all() for name in ("latent", "residual", "allowed_error"))
    known = {int(status) for status in jaxinv.Status}
    assert not known & set(group["status"][:].tolist())
    assert (group["undetermined"][:] < 0).all()


def left_by(folder, host, pid):
    left = folder / f"{durable.PREFIX}-{host}-{pid}-{uuid4().hex}"
    left.mkdir()
    (left / "part").write_text("x")
    return left


def aged(path, days=2):
    then = time.time() - days * 86400
    os.utime(path, (then, then))


def test_folders_that_killed_writers_left_are_swept(tmp_path):
    with durable.scratch(tmp_path) as left:
        gone = left_by(tmp_path, socket.gethostname(), 999999999)
        durable.sweep(tmp_path)
        assert left.exists() and not gone.exists()
    assert not left.exists()


def test_only_what_nobody_can_be_writing_is_swept(tmp_path):
    busy = left_by(tmp_path, "elsewhere", 1)
    aged(busy)  # a file in it is new
    old = left_by(tmp_path, "elsewhere", 2)
    strangers = tmp_path / f"{durable.PREFIX}-my-own-notes"
    strangers.write_text("x")
    for path in (old / "part", old, strangers):
        aged(path)
    durable.sweep(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted([busy, strangers])


@pytest.mark.parametrize("ending", [".npy", ".zarr"])
def test_the_next_export_sweeps_what_a_killed_one_left(ending, tmp_path):
    results = sinks.Results(2, lambda: iter([{"latent": np.ones((2, 3))}]), lambda: iter([]))
    if ending == ".zarr":
        pytest.importorskip("zarr")
    gone = left_by(tmp_path, socket.gethostname(), 999999999)
    alive = left_by(tmp_path, socket.gethostname(), os.getpid())
    sinks.write(results, tmp_path / f"codes{ending}", tmp_path)
    assert alive.exists() and not gone.exists()


def test_a_folder_that_a_killed_writer_had_moved_away_is_put_back(tmp_path):
    """The writer's process ends between its two renames."""
    ends = """
import os, sys
from pathlib import Path
from jaxinv.job import durable
renamed = Path.rename
Path.rename = lambda one, other: os._exit(9) if one.name == "new" else renamed(one, other)
durable.replace_folder(Path(sys.argv[1]), lambda folder: (folder / "part").write_text("new"))
"""
    path = tmp_path / "out.zarr"
    path.mkdir()
    (path / "part").write_text("old")
    assert subprocess.run([sys.executable, "-c", ends, path]).returncode == 9
    assert not path.exists()
    durable.sweep(tmp_path)
    assert (path / "part").read_text() == "old" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("ending", [".npz", ".npy", ".parquet", ".feather", ".zarr"])
def test_invert_writes_every_kind_of_file(observed, tmp_path, ending):
    if ending == ".zarr":
        pytest.importorskip("zarr")
    out = tmp_path / f"codes{ending}"
    asked = ["invert", observed / "net.npz", observed / "x.npy", "--method", "exact"]
    asked += ["--chunk", "8", "--out", out]
    assert CliRunner().invoke(app, [str(word) for word in asked]).exit_code == 1  # the row of NaN
    latent = np.load(out) if ending == ".npy" else read(out)["latent"]
    assert latent.shape == (70, 3) and np.isnan(latent[11]).all() and np.isfinite(latent[12]).all()
    if ending in (".parquet", ".feather"):
        assert "layer_1_status" in read(out)
