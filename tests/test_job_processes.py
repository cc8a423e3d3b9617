"""Jobs as processes: killed, interrupted, out of disk or memory, on many devices, on a cluster."""

import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import jaxinv
from jaxinv.job import Job, executors, export, run

CHUNK = 8
ROWS, SHARD_ROWS = 400, 16


class Silent:
    def begin(self, rows, done): ...

    def advance(self, done, rows): ...

    def end(self): ...


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A generator, observations, and what an uninterrupted run in threads exports."""
    folder = tmp_path_factory.mktemp("work")
    generator = jaxinv.Generator.random((3, 9, 25), seed=0)
    x = np.array(generator(np.random.default_rng(1).standard_normal((ROWS, 3))))
    x[7] = np.nan
    np.save(folder / "x.npy", x)
    jaxinv.save_generator(generator, folder / "net.npz")
    job = Job.create(folder / "quiet", generator, folder / "x.npy", "exact", shard_rows=SHARD_ROWS)
    assert run(job, partial(executors.threads, None), Silent(), chunk=CHUNK)
    return folder


def quiet(work):
    export(Job.open(work / "quiet"), work / "quiet.npz")
    return (work / "quiet.npz").read_bytes()


def exported(folder):
    export(Job.open(folder), folder / "out.npz")
    return (folder / "out.npz").read_bytes()


def invert(work, folder, *more):
    arguments = ["invert", work / "net.npz", work / "x.npy", "--method", "exact", "--out", folder]
    arguments += ["--chunk", CHUNK, "--shard-rows", SHARD_ROWS, "--interval", 0.1, *more]
    return started(arguments)


def started(arguments, limit="true"):
    """A jaxinv command, under a limit that the shell sets."""
    command = ["bash", "-c", f'{limit}; exec "$@"', "bash", sys.executable, "-m", "jaxinv"]
    return subprocess.Popen([*command, *map(str, arguments)], stderr=subprocess.PIPE, text=True)


def committed(folder):
    return {p.name: p.stat().st_ino for p in (folder / "shards").glob("*.npy")}


def wait_for_a_shard(process, folder):
    while len(committed(folder)) < 2:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.005)


def test_killed_with_its_workers_and_resumed_the_job_is_the_same(work, tmp_path):
    folder = tmp_path / "job"
    process = invert(work, folder, "--workers", 2)
    wait_for_a_shard(process, folder)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    process.kill()
    process.communicate()
    before = committed(folder)
    process = started(["resume", folder, "--workers", 2])
    assert process.communicate()[1]
    assert process.returncode == 1  # one row is bad input
    assert exported(folder) == quiet(work)
    assert committed(folder).items() >= before.items()
    assert not any(Path(f"/proc/{child}").exists() for child in children)


def test_signals_and_a_full_disk_lose_nothing(work, tmp_path):
    folder = tmp_path / "job"
    process = invert(work, folder)
    wait_for_a_shard(process, folder)
    process.send_signal(signal.SIGTERM)
    told = process.communicate()[1]
    assert process.returncode == 75
    assert "jaxinv resume" in told.replace("\n", " ")
    assert "rows/s" in told
    before = committed(folder)
    summary = json.loads((folder / "summary.json").read_text())
    assert not summary["complete"]
    assert summary["finished"] == SHARD_ROWS * len(before)

    process = started(["resume", folder], limit="ulimit -f 0")
    told = process.communicate()[1].replace("\n", " ")
    assert process.returncode == 2
    assert "File too large" in told
    assert "is safe" in told
    assert "Traceback" not in told
    assert committed(folder) == before
    process = started(["resume", folder])
    process.communicate()
    assert process.returncode == 1
    assert exported(folder) == quiet(work)


@pytest.mark.parametrize("place", ["file/job", "/proc/job"])
def test_a_place_where_nothing_can_be_kept_is_a_sentence(work, tmp_path, place):
    (tmp_path / "file").write_text("")
    generator = jaxinv.load_generator(work / "net.npz")
    with pytest.raises(ValueError, match="no job can be kept"):
        Job.create(tmp_path / place, generator, work / "x.npy", "exact")


def test_memory_that_does_not_suffice_halves_the_batch_and_freezes_it(tmp_path):
    generator = jaxinv.Generator.random((100, 104), seed=0, activation="leaky_relu:0.5")
    jaxinv.save_generator(generator, tmp_path / "net.npz")
    codes = np.random.default_rng(0).standard_normal((40, 100))
    np.save(tmp_path / "x.npy", np.asarray(generator(codes)))
    folder = tmp_path / "job"
    arguments = ["invert", tmp_path / "net.npz", tmp_path / "x.npy", "--method", "exact"]
    arguments += ["--out", folder, "--chunk", 1 << 17, "--shard-rows", 1 << 17]
    # 131,072 normal matrices of 100 x 100 take 10 GB; the address space is 8.
    process = started(arguments, limit=f"ulimit -v {8 << 20}")
    told = process.communicate()[1]
    assert process.returncode == 0, told
    chunk = Job.open(folder).layout.chunk
    assert 1 < chunk < 1 << 17
    assert not chunk & (chunk - 1)
    found = Job.open(folder).shards.read(0)
    np.testing.assert_allclose(found["latent"], codes, atol=1e-9)


DEVICES = """
import sys
from functools import partial

import jaxinv
from jaxinv.job import Job, executors, run, work

sys.path.insert(0, sys.argv[3])
from test_job_processes import Silent

folder = sys.argv[1]
generator = jaxinv.load_generator(folder + "/net.npz")
job = Job.create(sys.argv[2], generator, folder + "/x.npy", "exact", shard_rows=16)
assert run(job, partial(executors.threads, None), Silent(), chunk=8)
opened = work._open(work.Work(str(job.folder.resolve()), 0, 8))
print(len({layer.weight.device for g in opened.generators for layer in g.layers}))
"""


def test_all_devices_are_used_and_change_no_bit(work, tmp_path):
    script = tmp_path / "devices.py"
    script.write_text(DEVICES)
    environment = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=4"}
    folder = tmp_path / "job"
    command = [sys.executable, script, work, folder, Path(__file__).parent]
    told = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert told.stdout.split() == ["4"]
    assert exported(folder) == quiet(work)


def test_a_cluster_that_loses_a_worker_finishes_the_same_job(work, tmp_path):
    distributed = pytest.importorskip("distributed")
    folder = tmp_path / "job"
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    ) as cluster:
        with distributed.Client(cluster) as client:
            workers = client.run(os.getpid)
        process = invert(work, folder, "--cluster", cluster.scheduler_address)
        wait_for_a_shard(process, folder)
        os.kill(next(iter(workers.values())), signal.SIGKILL)
        process.communicate()
    assert process.returncode == 1
    assert exported(folder) == quiet(work)
