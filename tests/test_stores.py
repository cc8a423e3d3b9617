"""Data behind URLs: what lies in memory and in a local S3 server is what lies in files.

The S3 server is moto's; it needs more than the test extra: pip install s3fs 'moto[server]', then
pytest tests/test_stores.py.
"""

import json
import threading
from functools import partial

import numpy as np
import pytest
from PIL import Image

import jaxinv
from jaxinv.job import Job, executors, export, run
from jaxinv.job.manifest import Input
from jaxinv.job.place import Stored
from jaxinv.job.sinks import store
from jaxinv.job.sources import open_rows
from jaxinv.job.sources.subset import open_subset

fsspec = pytest.importorskip("fsspec")

values = np.random.default_rng(0).standard_normal((23, 12))


def put(folder, base):
    fs, path = fsspec.core.url_to_fs(base)
    fs.put(f"{folder}/", f"{path}/", recursive=True)


def held(url):
    """All that lies under it, by name."""
    fs, path = fsspec.core.url_to_fs(url)
    fs.invalidate_cache()
    return {name: fs.cat_file(name) for name in fs.find(path)}


def make_arrays(folder):
    np.save(folder / "x.npy", values)
    np.save(folder / "fortran.npy", np.asfortranarray(values.reshape(23, 3, 4)))
    np.savez(folder / "x.npz", other=np.ones(3), observations=values)
    np.savez_compressed(folder / "packed.npz", values)


def make_tables(folder):
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    table = arrow.table({"x": arrow.array(values.tolist())})
    parquet.write_table(table, folder / "x.parquet", row_group_size=7)
    pytest.importorskip("pyarrow.feather").write_feather(table, folder / "x.feather")


def make_chunked(folder):
    h5py, zarr = pytest.importorskip("h5py"), pytest.importorskip("zarr")
    with h5py.File(folder / "x.h5", "w") as file:
        file.create_dataset("x", data=values, chunks=(4, 12), compression="gzip")
    for version in (2, 3):
        zarr.create_array(folder / f"{version}.zarr", data=values, zarr_format=version)
    sharded = folder / "sharded.zarr"
    zarr.create_array(sharded, data=values, chunks=(5, 12), shards=(10, 12))


@pytest.mark.parametrize("make", [make_arrays, make_tables, make_chunked])
def test_every_format_is_read_where_it_lies(make, base, tmp_path):
    make(tmp_path)
    put(tmp_path, base)
    for path in sorted(tmp_path.iterdir()):
        rows = open_rows(f"{base}/{path.name}")
        for start, stop in [(3, 9), (0, 2), (22, 23), (5, 5), (0, 23)]:
            np.testing.assert_array_equal(rows.read(start, stop), values[start:stop])
        known = Input.of(rows)
        assert known.sha256 == Input.of(open_rows(path)).sha256
        assert Input.of(rows, known) is known  # untouched: not read again
        assert json.loads(json.dumps(known.spec))["path"] == f"{base}/{path.name}"


@pytest.mark.parametrize("name", ["x.npy", "fortran.npy", "x.npz", "x.parquet", "x.feather"])
def test_a_file_that_goes_while_it_is_read_is_a_sentence(base, tmp_path, name):
    make_arrays(tmp_path)
    make_tables(tmp_path)
    put(tmp_path, base)
    rows = open_rows(f"{base}/{name}")
    fs, path = Stored(f"{base}/{name}").store
    fs.rm_file(path)
    with pytest.raises((ValueError, FileNotFoundError), match=name):
        rows.read(0, 23)


def test_images_are_read_where_they_lie(base, tmp_path):
    for number in range(3):
        grey = np.random.default_rng(number).integers(0, 256, (3, 4)).astype(np.uint8)
        Image.fromarray(grey).save(tmp_path / f"{number}.png")
    (tmp_path / "empty.png").write_bytes(b"")
    put(tmp_path, base)
    rows, here = open_rows(base), open_rows(tmp_path)
    np.testing.assert_array_equal(rows.read(0, 4), here.read(0, 4))
    assert rows.step == 1 / 255 and rows.read(0, 0).shape == (0, 12)
    known = Input.of(rows)
    assert Input.of(rows, known) is known
    fs, path = Stored(f"{base}/2.png").store
    fs.rm_file(path)
    assert np.isnan(rows.read(2, 3)).all()
    fs.cat_ranges, kept = lambda *_, **__: [OSError("connection lost")], fs.cat_ranges
    try:
        with pytest.raises(ValueError, match="cannot be read: connection lost"):
            rows.read(0, 1)
    finally:
        fs.cat_ranges = kept


def test_what_changes_in_a_store_is_noticed(base, tmp_path):
    np.save(tmp_path / "x.npy", values)
    put(tmp_path, base)
    known = Input.of(open_rows(f"{base}/x.npy"))
    np.save(tmp_path / "x.npy", values + 1)
    put(tmp_path, base)
    with pytest.raises(ValueError, match="has changed since"):
        known.open()


def test_some_rows_are_opened_again(base, tmp_path):
    np.save(tmp_path / "x.npy", values)
    np.save(tmp_path / "index.npy", np.array([2, 3, 20]))
    put(tmp_path, base)
    some = Input.of(open_subset(open_rows(f"{base}/x.npy"), tmp_path / "index.npy"))
    np.testing.assert_array_equal(some.open().read(0, 3), values[[2, 3, 20]])


def test_a_bucket_that_is_not_there_is_a_sentence(s3, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"s3://nobucket/x\.npy does not exist"):
        open_rows("s3://nobucket/x.npy")
    with pytest.raises(ValueError, match=r"nobucket/out\.npz cannot be written: .*bucket"):
        store.probe(Stored("s3://nobucket/out.npz"))


class Watcher:
    """Nobody who looks; stops the run after so many shards."""

    def __init__(self, shards):
        self.stop, self.left = threading.Event(), shards

    def begin(self, rows, done): ...

    def advance(self, done, rows):
        self.left -= 1
        if not self.left:
            self.stop.set()

    def end(self): ...


@pytest.fixture(scope="module")
def net():
    return jaxinv.Generator.random((3, 9, 25), seed=0, activation="leaky_relu:0.3")


def compute(job, shards=99):
    watcher = Watcher(shards)
    chunk = None if job.layout else 8
    return run(job, partial(executors.threads, None), watcher, chunk=chunk, stop=watcher.stop)


def test_a_job_reads_from_a_store_and_writes_into_it(net, base, keys, tmp_path):
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    x = np.array(net(np.random.default_rng(1).standard_normal((70, 3)))).tolist()
    x[11] = None
    (tmp_path / "data").mkdir()
    parquet.write_table(arrow.table({"x": x}), tmp_path / "data/x.parquet", row_group_size=16)
    put(tmp_path / "data", base)
    jobs = []
    for name, observations in [("far", f"{base}/x.parquet"), ("near", tmp_path / "data/x.parquet")]:
        job = Job.create(tmp_path / name, net, observations, "exact", shard_rows=8)
        assert not compute(job, 2)
        assert compute(Job.open(tmp_path / name))
        jobs.append(job)
    assert jobs[0].manifest.observations.spec == {"path": f"{base}/x.parquet"}
    for ending in (".npz", ".parquet", ".arrow"):
        for _ in range(2):
            export(jobs[0], f"{base}/out{ending}")
        export(jobs[1], tmp_path / f"out{ending}")
        found = held(f"{base}/out{ending}")
        assert list(found.values()) == [(tmp_path / f"out{ending}").read_bytes()]
    assert parquet.read_table(tmp_path / "out.parquet")["status"][11].as_py() == "BAD_INPUT"
    with pytest.raises(ValueError, match="is the file of the observations"):
        export(jobs[0], f"{base}/x.parquet")
    for path in (tmp_path / "far").rglob("*"):
        if path.is_file():
            assert not any(secret.encode() in path.read_bytes() for secret in keys.values())


@pytest.fixture
def finished(net, tmp_path):
    np.save(tmp_path / "x.npy", np.array(net(np.random.default_rng(1).standard_normal((20, 3)))))
    job = Job.create(tmp_path / "job", net, tmp_path / "x.npy", "exact", shard_rows=8)
    compute(job)
    return job


def test_a_zarr_group_appears_in_a_store_when_it_is_whole(finished, base, tmp_path, monkeypatch):
    zarr = pytest.importorskip("zarr")
    url = f"{base}/out.zarr"
    for _ in range(2):
        export(finished, url)
    export(finished, tmp_path / "out.npz")
    near = np.load(tmp_path / "out.npz")
    group = zarr.open_group(url, mode="r")
    for name in near:
        np.testing.assert_array_equal(group[name][:], near[name])
    np.testing.assert_array_equal(open_rows(url, "latent").read(0, 20), near["latent"])
    fs, path = fsspec.core.url_to_fs(f"{base}/data.zarr")
    fs.pipe_file(f"{path}/precious", b"x")
    with pytest.raises(ValueError, match="something else than results"):
        export(finished, f"{base}/data.zarr")


def cut_short(fs, name, monkeypatch):
    """Let this way to move files take all but the last, and fail."""
    whole = getattr(fs, name)

    def some(sources, targets):
        if isinstance(sources, list) and sources[:-1]:
            whole(sources[:-1], targets[:-1])
        raise OSError("connection lost")

    monkeypatch.setattr(fs, name, some)


def test_a_zarr_group_that_is_replaced_is_never_lost(finished, base, tmp_path, monkeypatch):
    pytest.importorskip("zarr")
    url = f"{base}/out.zarr"
    fs, path = Stored(url).store
    lost = r"out.zarr cannot be written: connection lost"
    with monkeypatch.context() as patch:
        cut_short(fs, "put", patch)
        with pytest.raises(ValueError, match=lost):
            export(finished, url)
    assert not held(base)  # nothing is left that the next export would take for somebody else's
    export(finished, url)
    before = held(base)
    with monkeypatch.context() as patch:
        cut_short(fs, "put", patch)
        with pytest.raises(ValueError, match=lost):
            export(finished, url)
    assert held(base) == before
    with monkeypatch.context() as patch:
        cut_short(fs, "copy", patch)
        with pytest.raises(ValueError, match=f"{lost}; the results .* whole at .*out.zarr") as told:
            export(finished, url)
    beside = str(told.value).rpartition(" at ")[2]
    arrived = {name.removeprefix(beside): data for name, data in held(base).items()}
    assert all(arrived[name.removeprefix(path)] == data for name, data in before.items())


def test_a_file_that_is_replaced_is_never_lost(finished, base, monkeypatch):
    url = f"{base}/out.npz"
    export(finished, url)
    before = held(base)
    monkeypatch.setattr(store, "WHOLE", ())  # as in a store where a file grows while it is written
    fs = Stored(url).store[0]
    with monkeypatch.context() as patch:
        cut_short(fs, "mv", patch)
        with pytest.raises(ValueError, match=r"connection lost; the results .* whole at .*out.npz"):
            export(finished, url)
    assert next(iter(before.values())) in held(base).values()


def test_a_store_that_fails_leaves_no_half_file(finished, base, monkeypatch):
    url = f"{base}/out.npz"
    export(finished, url)
    before = held(base)
    monkeypatch.setattr(store, "WHOLE", ())  # as in a store where a file grows while it is written
    export(finished, url)
    assert held(base) == before
    fs = Stored(url).store[0]
    put_file = fs.put_file

    def half(here, path):
        put_file(here, path)
        raise OSError("connection lost")

    monkeypatch.setattr(fs, "put_file", half)
    with pytest.raises(ValueError, match=r"out.npz cannot be written: connection lost"):
        export(finished, url)
    assert held(base) == before
    assert not list(finished.folder.glob(".writing*"))
