"""Jobs: the rows of `invert`, whatever the executor, the interruptions and the neighbours."""

import json
import threading
from functools import partial

import numpy as np
import pytest

import jaxinv
from jaxinv.job import Job, executors, export, open_retry, results, run
from jaxinv.job.layout import Layout
from jaxinv.job.lock import exclusive
from jaxinv.job.settings import from_record, to_record
from jaxinv.settings import METHODS

CHUNK = 8


class Watcher:
    """Counts shards, and stops the run after some of them."""

    def __init__(self, stop_after=None):
        self.stop, self.seen, self.stop_after = threading.Event(), [], stop_after

    def begin(self, rows, done):
        self.rows, self.done_before = rows, done

    def advance(self, done, rows):
        self.seen.append(done.number)
        if self.stop_after and len(self.seen) >= self.stop_after:
            self.stop.set()

    def end(self): ...


def compute(job, watcher=None, **options):
    watcher = watcher or Watcher()
    options.setdefault("chunk", None if job.layout else CHUNK)
    return run(job, partial(executors.threads, None), watcher, stop=watcher.stop, **options)


@pytest.fixture
def generator():
    return jaxinv.Generator.random((3, 9, 25), seed=0, activation="leaky_relu:0.3")


@pytest.fixture
def planted(generator, tmp_path):
    rng = np.random.default_rng(1)
    x = np.array(generator(rng.standard_normal((70, 3))))
    x[11] = np.nan
    x[20] += rng.normal(0, 0.1, 25)
    np.save(tmp_path / "x.npy", x)
    return x


def exported(job, path):
    export(job, path)
    return path.read_bytes()


def test_a_job_finds_what_invert_finds_bit_for_bit(generator, planted, tmp_path):
    whole = jaxinv.invert(generator, planted, "exact", chunk=CHUNK)
    files = []
    for shard_rows in (16, 40):
        job = Job.create(
            tmp_path / f"job-{shard_rows}",
            generator,
            tmp_path / "x.npy",
            "exact",
            shard_rows=shard_rows,
        )
        assert compute(job)
        files.append(exported(job, tmp_path / f"{shard_rows}.npz"))
    assert files[0] == files[1]
    with np.load(tmp_path / "16.npz") as found:
        for name in ("latent", "status", "residual", "undetermined"):
            assert np.array_equal(found[name], np.asarray(getattr(whole, name)), equal_nan=True)
        assert found["failed_layer"].tolist() == [0] * 70
    export(job, tmp_path / "z.npy")
    latent = np.load(tmp_path / "z.npy")
    assert np.array_equal(latent, np.asarray(whole.latent), equal_nan=True)
    summary = json.loads((job.folder / "summary.json").read_text())
    assert summary["status"] == {"SOLVED": 68, "BAD_INPUT": 1, "INEXACT": 1}
    assert summary["complete"]
    assert 0 <= summary["last_run"]["idle_share"] <= 1


def test_resume_computes_what_is_missing_and_nothing_else(generator, planted, tmp_path):
    begin = partial(Job.create, generator=generator, observations=tmp_path / "x.npy")
    job = begin(tmp_path / "job", method="exact", shard_rows=8)
    first = Watcher(stop_after=2)
    assert not compute(job, first)
    with pytest.raises(ValueError, match="jaxinv resume"):
        export(job, tmp_path / "early.npz")
    stamps = {p.name: (p.stat().st_ino, p.stat().st_mtime_ns) for p in job.shards.folder.iterdir()}
    (job.shards.folder / f".writing-elsewhere-1-{'ab' * 16}").write_bytes(b"cut")
    again = begin(tmp_path / "job", method="exact")
    second = Watcher()
    assert compute(again, second)
    assert sorted(first.seen + second.seen) == list(range(9))
    for name, stamp in stamps.items():
        status = (job.shards.folder / name).stat()
        assert (status.st_ino, status.st_mtime_ns) == stamp
    quiet = begin(tmp_path / "quiet", method="exact", shard_rows=8)
    compute(quiet)
    assert exported(again, tmp_path / "a.npz") == exported(quiet, tmp_path / "b.npz")
    third = Watcher()
    assert compute(again, third)
    assert third.seen == []


def test_another_job_in_the_directory_is_refused(generator, planted, tmp_path):
    folder, data = tmp_path / "job", tmp_path / "x.npy"
    job = Job.create(folder, generator, data, "exact", shard_rows=32)
    compute(job)
    other = jaxinv.Generator.random((3, 9, 25), seed=1)
    np.save(tmp_path / "other.npy", planted + 1)
    np.save(tmp_path / "narrow.npy", planted[:, :-1])
    for arguments, sentence in [
        ((generator, data, "linf"), "another method"),
        ((generator, data, jaxinv.Exact(tolerance=1e-3)), "another method"),
        ((other, data, "exact"), "another generator"),
        ((generator, tmp_path / "other.npy", "exact"), "another observations"),
        ((generator, tmp_path / "narrow.npy", "exact"), "24 entries a row"),
    ]:
        with pytest.raises(ValueError, match=sentence):
            Job.create(folder, *arguments)
    with pytest.raises(ValueError, match="not empty"):
        Job.create(tmp_path, generator, data, "exact")
    with pytest.raises(ValueError, match="rows at a time"):
        compute(job, chunk=CHUNK + 1)
    with (
        exclusive(folder / "lock"),
        pytest.raises(ValueError, match=r"in use by another run \(process"),
    ):
        compute(job)


def test_a_job_of_an_older_version_is_the_same_job(generator, planted, tmp_path):
    """A setting that did not exist when it began has the value that `resume` runs it with."""
    folder, data = tmp_path / "job", tmp_path / "x.npy"
    job = Job.create(folder, generator, data, "auto", shard_rows=32)
    path = folder / "manifest.json"
    written = json.loads(path.read_text())
    del written["method"]["chance"], written["method"]["candidates"]
    path.write_text(json.dumps(written))
    assert Job.create(folder, generator, data, "auto").method == job.method
    with pytest.raises(ValueError, match="another method"):
        Job.create(folder, generator, data, jaxinv.Auto(chance=0.4))
    written["method"]["patience"] = 3
    path.write_text(json.dumps(written))
    for again in (
        lambda: Job.create(folder, generator, data, "auto"),
        lambda: Job.open(folder).method,
    ):
        with pytest.raises(ValueError, match="'patience', which this version does not know"):
            again()


def test_what_changed_between_runs_is_refused(generator, planted, tmp_path):
    job = Job.create(tmp_path / "job", generator, tmp_path / "x.npy", "exact", shard_rows=8)
    assert not compute(job, Watcher(stop_after=1))
    before = job.shards.committed()
    np.save(tmp_path / "x.npy", np.where(np.arange(70)[:, None] == 40, planted + 1, planted))
    with pytest.raises(ValueError, match="has changed since"):
        compute(Job.open(tmp_path / "job"))
    assert job.shards.committed() == before
    np.save(tmp_path / "x.npy", planted)
    layout = job.layout_path.read_text()
    job.layout_path.write_text(layout.replace(Layout.here(8).versions["numpy"], "1.0"))
    (job.folder / "manifest.json").touch()
    with pytest.raises(ValueError, match=r"begun with numpy 1\.0"):
        compute(Job.open(tmp_path / "job"))
    job.layout_path.write_text(layout)
    shard = job.shards.path(job.shards.committed()[0])
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-1])
    with pytest.raises(ValueError, match="truncated"):
        compute(Job.open(tmp_path / "job"))
    shard.write_bytes(whole)
    jaxinv.save_generator(jaxinv.Generator.random((3, 9, 25)), job.folder / "generator.safetensors")
    with pytest.raises(ValueError, match="another generator"):
        compute(Job.open(tmp_path / "job"))


def test_masks_stand_beside_the_observations(generator, planted, tmp_path):
    mask = np.random.default_rng(3).random(planted.shape) < 0.8
    hidden = planted.copy()
    hidden[~mask] = np.nan
    mask[33] = False
    np.save(tmp_path / "hidden.npy", hidden)
    np.save(tmp_path / "mask.npy", mask)
    job = Job.create(
        tmp_path / "job", generator, tmp_path / "hidden.npy", "exact", mask=tmp_path / "mask.npy"
    )
    compute(job)
    whole = jaxinv.invert(generator, hidden, "exact", mask=mask, chunk=CHUNK)
    found = np.concatenate(list(job.shards))
    assert np.array_equal(found["latent"], np.asarray(whole.latent), equal_nan=True)
    assert found["status"][33] == jaxinv.Status.BAD_INPUT


def test_rows_not_solved_are_tried_again_and_the_rest_is_left_alone(generator, planted, tmp_path):
    job = Job.create(tmp_path / "job", generator, tmp_path / "x.npy", "exact", shard_rows=16)
    compute(job)
    before = np.concatenate(list(job.shards))
    with pytest.raises(ValueError, match="tried exact with seed 0 already"):
        open_retry(job, None, None)
    attempt = open_retry(job, "linf", None)
    assert attempt.shards.rows == 1
    assert open_retry(job, None, None).folder == attempt.folder  # unfinished: taken up again
    compute(attempt)
    after = np.concatenate(list(results(job)))
    same = np.arange(70) != 20
    assert after[same].tobytes() == before[same].tobytes()
    assert jaxinv.Status(before["status"][20]) is jaxinv.Status.INEXACT
    alone = jaxinv.invert(generator, planted[20], "linf", chunk=CHUNK)
    assert after["status"][20] == int(alone.status) == jaxinv.Status.SOLVED
    np.testing.assert_allclose(after["latent"][20], alone.latent, atol=1e-9)
    assert open_retry(job, "gd", None) is None


@pytest.mark.parametrize("name", METHODS)
def test_settings_survive_the_manifest(name):
    settings = METHODS[name]()
    assert from_record(json.loads(json.dumps(to_record(settings)))) == settings


def test_settings_that_are_objects_are_refused():
    import optax

    with pytest.raises(ValueError, match=r"method\.optimizer is a .* cannot write down"):
        to_record(jaxinv.GradientDescent(optimizer=optax.adam(0.1)))
