"""A job whose device fails: out of memory in mid-job, or lost. Nothing is lost, and it says so."""

from functools import partial

import jax
import numpy as np
import pytest

import jaxinv
from jaxinv.job import Job, executors, results, run, work
from jaxinv.linalg.double_precision import policy, slow_double_precision

CHUNK, SHARD = 4, 8


class Silent:
    def begin(self, rows, done): ...
    def advance(self, done, rows): ...
    def end(self): ...


def compute(job):
    return run(job, partial(executors.threads, None), Silent(), chunk=CHUNK)


@pytest.fixture
def job(tmp_path):
    generator = jaxinv.Generator.random((3, 9, 25), seed=0, activation="leaky_relu:0.3")
    codes = np.random.default_rng(1).standard_normal((40, 3))
    np.save(tmp_path / "x.npy", np.asarray(generator(codes)))

    def begun(name):
        return Job.create(tmp_path / name, generator, tmp_path / "x.npy", "exact", shard_rows=SHARD)

    return begun


@pytest.mark.parametrize(
    ("message", "sentence"),
    [
        # Two shards are in flight: either may be the first to fail.
        ("RESOURCE_EXHAUSTED: Out of memory", "shard [34] does not fit into memory with 4 rows"),
        (
            "INTERNAL: CUDA error: device lost\nmore",
            r"the device failed at shard [34] \(INTERNAL: CUDA error: device lost\). What was "
            "committed is safe: see to the device, then run jaxinv resume",
        ),
    ],
    ids=["memory", "lost"],
)
def test_a_device_that_fails_in_mid_job_loses_nothing(job, monkeypatch, message, sentence):
    whole, broken = job("whole"), job("broken")
    assert compute(whole)
    monkeypatch.setattr(work, "PAUSES", (0.0,))

    def failing(request, data, size, first_row):
        if first_row >= 3 * SHARD:
            raise jax.errors.JaxRuntimeError(message)
        return invert_chunk(request, data, size, first_row)

    invert_chunk = work.invert_chunk
    with monkeypatch.context() as patched:
        patched.setattr(work, "invert_chunk", failing)
        with pytest.raises(ValueError, match=sentence):
            compute(broken)
    assert broken.shards.committed() == [0, 1, 2]
    before = [broken.shards.path(n).read_bytes() for n in range(3)]
    assert compute(broken)
    assert before == [broken.shards.path(n).read_bytes() for n in range(3)]
    for mine, theirs in zip(results(broken), results(whole), strict=True):
        assert mine.tobytes() == theirs.tobytes()


@pytest.mark.parametrize(
    ("kind", "slow"),
    [
        ("NVIDIA H100 80GB HBM3", False),
        ("NVIDIA A100-SXM4-80GB", False),
        ("NVIDIA GH200 480GB", False),
        ("NVIDIA GB200", False),
        ("AMD Instinct MI250X", False),
        ("NVIDIA GeForce RTX 4090", True),
        ("NVIDIA L40S", True),
        ("NVIDIA A10G", True),
        ("Tesla T4", True),
    ],
)
def test_cards_of_slow_double_precision_are_known_by_their_names(kind, slow):
    assert slow_double_precision("gpu", kind) is slow
    assert ("begin in float32, since float64 is slow" in policy("gpu", kind)) is slow
    assert not slow_double_precision("cpu", kind)


def test_a_damaged_shard_of_the_right_length_is_refused(job):
    done = job("damaged")
    assert compute(done)
    path = done.shards.path(1)
    path.write_bytes(b"\0" * len(path.read_bytes()))
    done.shards.check()
    with pytest.raises(ValueError, match="is not a NumPy array"):
        done.shards.read(1)
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(ValueError, match=r"00000001\.npy"):
        done.shards.check()
