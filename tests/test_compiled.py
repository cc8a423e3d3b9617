"""Programs that the command line keeps: found by the next process, private, bounded, never in the
way."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import jaxlib
import numpy as np
import pytest

import jaxinv
from jaxinv.job.compiled import place, trim

LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
sys.argv[0] = "jaxinv"
from jaxinv.cli import main
main()
"""
LIBRARY = """
import jax, jaxinv, numpy as np
before = dict(jax.config.values)
g = jaxinv.load_generator("net.npz")
jaxinv.invert(g, g(np.ones((2, 3))), "exact")
assert dict(jax.config.values) == before
"""


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A folder with a generator and noisy observations."""
    folder = tmp_path_factory.mktemp("compiled")
    net = jaxinv.Generator.random((3, 8, 20), seed=0)
    rng = np.random.default_rng(0)
    x = np.asarray(net(rng.standard_normal((4, 3))))
    jaxinv.save_generator(net, folder / "net.npz")
    np.save(folder / "x.npy", x + 1e-3 * rng.standard_normal(x.shape))
    return folder


def environment(cache):
    """As a user's: without what the tests set for themselves."""
    own = {k: v for k, v in os.environ.items() if not k.startswith(("JAX_", "XDG_CACHE"))}
    return own | {"XDG_CACHE_HOME": str(cache)}


def called(work, cache, *arguments, program=("-m", "jaxinv")):
    return subprocess.run(
        [sys.executable, *program, *arguments],
        cwd=work,
        env=environment(cache),
        capture_output=True,
        text=True,
        timeout=200,
    )


def inverted(work, cache, out, *options, program=("-m", "jaxinv")):
    """The arrays that `invert` writes, and what it says on stderr."""
    asked = ("invert", "net.npz", "x.npy", "--method", "exact", "--out", out, *options)
    done = called(work, cache, *asked, program=program)
    assert done.returncode in (0, 1), done.stderr
    with np.load(work / out) as found:
        return dict(found), done.stderr


def told(stderr):
    """The lines about programs; a traceback or a warning anywhere is a failure."""
    assert "Traceback" not in stderr and "Warning" not in stderr
    return [line for line in stderr.splitlines() if "ompiled programs" in line]


def same(first, second):
    return all(np.array_equal(first[name], second[name], equal_nan=True) for name in first)


@pytest.fixture(scope="module")
def filled(work):
    """A cache that one process has filled, and that process's answer."""
    cache = work / "cache"
    answer, stderr = inverted(work, cache, "filled.npz")
    assert told(stderr) == []
    return cache, answer


def place_of(cache):
    """This version's folder, whatever others stand beside it."""
    return next(p for p in (cache / "jaxinv" / "compiled").iterdir() if "jaxlib0.1-" not in p.name)


def test_the_folder_is_private_and_named_by_versions(filled, monkeypatch):
    cache, _ = filled
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    folder = place_of(cache)
    assert folder == place()
    assert folder.name.startswith(f"jax{jax.__version__}-jaxlib{jaxlib.__version__}-")
    private = (folder, *folder.parents[:2])
    assert {p.stat().st_mode & 0o777 for p in private} == {0o700}
    assert len(list(folder.iterdir())) > 5
    monkeypatch.setenv("XDG_CACHE_HOME", "not/absolute")
    assert place().parent == Path.home() / ".cache" / "jaxinv" / "compiled"


def test_kept_programs_give_the_same_bits_and_no_word(work, filled):
    cache, answer = filled
    before = {p: p.stat().st_mtime_ns for p in place_of(cache).iterdir()}
    again, stderr = inverted(work, cache, "again.npz")
    assert same(answer, again)
    assert {p: p.stat().st_mtime_ns for p in place_of(cache).iterdir()} == before
    nowhere = work / "nowhere"
    fresh, usual = inverted(work, nowhere, "fresh.npz", "--no-cache")
    assert same(answer, fresh)
    assert not nowhere.exists()
    # No word of XLA's on loading a program either: both say the same, times apart.
    assert len(stderr.splitlines()) == len(usual.splitlines())


def test_damaged_programs_are_told_once_and_made_anew(work, filled):
    cache, answer = filled
    other = cache / "jaxinv" / "compiled" / "jax0.1-jaxlib0.1-00000000" / "other-cache"
    other.parent.mkdir(mode=0o700)
    other.write_bytes(b"another version's")
    damages = (lambda b: b[: len(b) // 2], lambda b: b"", lambda b: bytes(len(b)))
    paths = sorted(place_of(cache).iterdir())
    whole = {path: path.read_bytes() for path in paths}
    for number, path in enumerate(paths):
        path.write_bytes(damages[number % 3](whole[path]))
    spoilt = {path: path.read_bytes() for path in paths}
    again, stderr = inverted(work, cache, "damaged.npz")
    (line,) = told(stderr)
    assert line.startswith(f"jaxinv: Compiled programs in {place_of(cache)} were damaged (")
    assert same(answer, again)
    assert sorted(place_of(cache).iterdir()) == paths
    assert not any(path.read_bytes() == spoilt[path] for path in paths)
    assert other.read_bytes() == b"another version's"
    other.unlink()
    other.parent.rmdir()


def _link(cache):
    (cache.parent / "elsewhere").mkdir(exist_ok=True)
    (cache / "jaxinv").symlink_to(cache.parent / "elsewhere")


def _foreign(cache):
    if os.geteuid() != 0:
        pytest.skip("only root can give a folder away")
    (cache / "jaxinv").mkdir(0o700)
    os.chown(cache / "jaxinv", 12345, 12345)


def _open(cache):
    (cache / "jaxinv").mkdir()
    (cache / "jaxinv").chmod(0o777)


def _read_only(cache):
    if os.geteuid() == 0:
        pytest.skip("root writes everywhere")
    (cache / "jaxinv").mkdir(0o500)


@pytest.mark.parametrize(
    ("prepare", "reason"),
    [
        (_link, "a symbolic link stands there"),
        (_foreign, "it belongs to somebody else"),
        (_open, "others may write to it"),
        (_read_only, "Permission denied"),
        (lambda cache: (cache / "jaxinv").write_text(""), "no folder stands there"),
    ],
)
def test_a_folder_that_cannot_be_trusted_is_told_and_left_alone(work, tmp_path, prepare, reason):
    prepare(tmp_path)
    done = called(work, tmp_path, "inspect", "net.npz", "--no-measurement")
    assert done.returncode == 0
    told_of = tmp_path / "jaxinv"
    assert done.stderr == f"jaxinv: Compiled programs are not kept ({reason}: {told_of}).\n"
    assert not list(work.joinpath("elsewhere").glob("*"))
    assert not told_of.is_dir() or not list(told_of.iterdir())


@pytest.mark.skipif(not Path("/sys/kernel").is_dir(), reason="a place where root cannot write")
def test_a_place_that_cannot_be_written_to_is_told(work):
    done = called(work, "/sys", "inspect", "net.npz", "--no-measurement")
    assert done.returncode == 0
    (line,) = done.stderr.splitlines()
    assert line.startswith("jaxinv: Compiled programs are not kept (")
    assert line.endswith(": /sys/jaxinv).")


def test_a_disk_that_fills_up_is_told_once_and_no_part_stays(work, filled, tmp_path):
    found, stderr = inverted(work, tmp_path, "full.npz", program=("-c", LIMITED))
    (line,) = told(stderr)
    assert line.startswith(f"jaxinv: Compiled programs are no longer kept in {place_of(tmp_path)}")
    assert same(filled[1], found)
    assert list(place_of(tmp_path).iterdir()) == []


def test_workers_keep_their_programs_too(work, filled, tmp_path):
    asked = ("invert", "net.npz", "x.npy", "--method", "exact", "--out", str(tmp_path / "job"))
    done = called(work, tmp_path, *asked, "--workers", "1")
    assert done.returncode in (0, 1), done.stderr
    assert told(done.stderr) == []
    # The process that hands out the shards compiles little of what a shard needs.
    needed = kinds(filled[0])
    assert 2 * len(needed & kinds(tmp_path)) > len(needed)


def kinds(cache):
    return {path.name.rpartition("-")[0].rpartition("-")[0] for path in place_of(cache).iterdir()}


def test_a_library_call_changes_no_setting(work, tmp_path):
    done = called(work, tmp_path, program=("-c", LIBRARY))
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.iterdir()) == []


def test_what_was_longest_not_used_goes_first(tmp_path):
    for age, name in enumerate(("newest", "middle", "oldest")):
        path = tmp_path / "version" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(bytes(100))
        os.utime(path, (1e9 - age, 1e9 - 10 + age))  # the access counts where it is later
    trim(tmp_path, 300)
    assert len(list((tmp_path / "version").iterdir())) == 3
    trim(tmp_path, 299)
    assert {p.name for p in (tmp_path / "version").iterdir()} == {"newest", "middle"}
    trim(tmp_path, 150)
    assert {p.name for p in (tmp_path / "version").iterdir()} == {"newest"}


def test_doctor_shows_place_size_and_use(work, filled):
    cache, _ = filled
    line = next(
        line
        for line in called(work, cache, "doctor", "--require-gpu").stdout.splitlines()
        if line.startswith("compiled programs: ")
    )
    size = sum(p.stat().st_size for p in place_of(cache).iterdir()) / 2**20
    start = f"compiled programs: {place_of(cache)}, "
    assert line.startswith(start) and line.endswith(" MiB, in use, 256 MiB at most")
    assert float(line.removeprefix(start).split()[0]) == pytest.approx(size, abs=0.051)
