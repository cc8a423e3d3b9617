"""Damaged and hostile files into every loader: a sentence, or a result; no crash, no blow-up.

Mutations of valid files (flipped, cut, repeated and spliced bytes, numbers made huge) go to the
loaders in a process of its own, with limited memory and an audit hook that sees code being run.
"""

import json
import os
import resource
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

import jaxinv

ADDRESS_SPACE = 12 << 30
SUSPECT_EVENTS = ("os.system", "os.exec", "os.posix_spawn", "subprocess.Popen", "socket.connect")


def loaders(scratch: Path, seconds: float) -> dict[str, Any]:
    """Restart the fuzzing process whenever it dies, until the time is up."""
    begin, seed = time.monotonic(), 0
    tried: Counter[str] = Counter()
    refused: Counter[str] = Counter()
    faults: list[str] = []
    peak, base = 0.0, 0.0
    while (left := seconds - (time.monotonic() - begin)) > 0:
        command = [
            sys.executable,
            "-m",
            "benchmarks.job_loaders",
            str(scratch),
            str(left),
            str(seed),
        ]
        seed += 1
        run = subprocess.run(command, capture_output=True, text=True)
        lines = run.stdout.splitlines()
        if run.returncode or not lines:
            case = (scratch / "case").read_text() if (scratch / "case").exists() else "start"
            faults.append(f"{case}: exit {run.returncode}: {run.stderr[-300:]}")
            continue
        told = json.loads(lines[-1])
        tried.update(told["tried"])
        refused.update(told["refused"])
        faults += told["faults"]
        base, peak = max(base, told["base MiB"]), max(peak, told["peak MiB"])
    return {
        "seconds": round(time.monotonic() - begin, 1),
        "files tried": dict(tried),
        "refused with a sentence": dict(refused),
        "faults": faults[:20],
        "number of faults": len(faults),
        "MiB before": base,
        "peak MiB": peak,
        "processes": seed,
    }


def fuzz(scratch: Path, seconds: float, seed: int) -> dict[str, Any]:
    """Mutate and load until the time is up; what a loader raises beyond its promise is a fault."""
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    rng = np.random.default_rng(seed)
    cases = list(seeds(scratch))
    for path, load in cases:
        load(path)  # imports and compiles whatever the loaders need
    faults: list[str] = []
    watch(faults)
    tried: Counter[str] = Counter()
    refused: Counter[str] = Counter()
    base = peak_mebibytes()
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        path, load = cases[rng.integers(len(cases))]
        original = path.read_bytes()
        name = path.name
        (scratch / "case").write_text(f"{name}, seed {seed}, number {sum(tried.values())}")
        path.write_bytes(mutated(original, rng))
        tried[name] += 1
        begun = time.monotonic()
        try:
            load(path)
        except (ValueError, FileNotFoundError):
            refused[name] += 1
        except BaseException as error:
            faults.append(f"{name}: {type(error).__name__}: {str(error)[:200]}")
        finally:
            path.write_bytes(original)
        if time.monotonic() - begun > 20:
            faults.append(f"{name}: took {time.monotonic() - begun:.0f} s")
    return {
        "tried": tried,
        "refused": refused,
        "faults": faults,
        "base MiB": base,
        "peak MiB": peak_mebibytes(),
    }


def seeds(scratch: Path) -> Iterator[tuple[Path, Callable[[Path], Any]]]:
    """Small valid files of every kind that can be written here, and what loads each."""
    from PIL import Image

    from jaxinv.job.sources import open_rows

    def generator(path: Path) -> Any:
        return jaxinv.load_generator(path)

    def rows(path: Path) -> Any:
        source = open_rows(path)
        return source.read(0, min(source.count, 4))

    def bare(path: Path) -> Any:
        return jaxinv.load_generator(path, layers=["relu", "tanh"])

    net = jaxinv.Generator.random((3, 8, 16), seed=0)
    for ending in ("npz", "safetensors"):
        jaxinv.save_generator(net, scratch / f"net.{ending}")
        yield scratch / f"net.{ending}", generator
    values = np.random.default_rng(0).standard_normal((20, 16))
    np.save(scratch / "rows.npy", values)
    np.savez(scratch / "rows.npz", values)
    np.savez_compressed(scratch / "packed.npz", values)
    for name in ("rows.npy", "rows.npz", "packed.npz"):
        yield scratch / name, rows
    folder = scratch / "images"
    folder.mkdir(exist_ok=True)
    Image.fromarray((255 * np.abs(np.tanh(values[:16, :16]))).astype(np.uint8)).save(
        folder / "0.png"
    )
    yield folder / "0.png", lambda path: rows(path.parent)
    try:
        import torch

        weights = {f"{i}.weight": torch.ones(n, k) for i, (n, k) in enumerate(((8, 3), (16, 8)))}
        torch.save(weights, scratch / "net.pt")
        yield scratch / "net.pt", bare
    except ImportError:
        print("torch is not installed: .pt left out", file=sys.stderr)
    try:
        import h5py

        with h5py.File(scratch / "rows.h5", "w") as file:
            file.create_dataset("x", data=values, chunks=(5, 16), compression="gzip")
        yield scratch / "rows.h5", rows
    except ImportError:
        print("h5py is not installed: .h5 left out", file=sys.stderr)
    try:
        import zarr

        array = zarr.create_array(
            scratch / "rows.zarr", shape=values.shape, dtype="f8", chunks=(5, 16), overwrite=True
        )
        array[:] = values
        yield scratch / "rows.zarr" / "zarr.json", lambda path: rows(path.parent)
    except ImportError:
        print("zarr is not installed: .zarr left out", file=sys.stderr)
    try:
        from onnx import TensorProto, helper, numpy_helper, save

        graph = helper.make_graph(
            [helper.make_node("Gemm", ["z", "W"], ["a"]), helper.make_node("Relu", ["a"], ["x"])],
            "net",
            [helper.make_tensor_value_info("z", TensorProto.FLOAT, ("B", 4))],
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, None)],
            [numpy_helper.from_array(np.ones((4, 6), np.float32), "W")],
        )
        save(helper.make_model(graph), scratch / "net.onnx")
        yield scratch / "net.onnx", generator
    except ImportError:
        print("onnx is not installed: .onnx left out", file=sys.stderr)


def mutated(data: bytes, rng: np.random.Generator) -> bytes:
    """One to four random changes."""
    changed = bytearray(data)
    for _ in range(rng.integers(1, 5)):
        if not changed:
            break
        place = int(rng.integers(len(changed)))
        # Headers are where the harm is: half of the changes go to the first or last 300 bytes.
        if rng.random() < 0.5:
            place = min(int(rng.integers(300)), len(changed) - 1)
            place = place if rng.random() < 0.5 else len(changed) - 1 - place
        kind = rng.integers(6)
        if kind == 0:
            changed[place] ^= 1 << int(rng.integers(8))
        elif kind == 1:
            changed[place] = int(rng.choice([0, 1, 0x7F, 0x80, 0xFF, 57]))
        elif kind == 2:
            del changed[place:]
        elif kind == 3:
            width = int(rng.choice([2, 4, 8]))
            changed[place : place + width] = b"\xff" * (width - 1) + b"\x7f"
        elif kind == 4:
            length = int(rng.integers(1, 64))
            changed[place:place] = changed[place : place + length]
        else:
            other = int(rng.integers(len(changed)))
            changed[place : place + 16] = changed[other : other + 16]
    return bytes(changed)


def watch(faults: list[str]) -> None:
    """Report what would mean that a file's content was executed."""

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event in SUSPECT_EVENTS:
            faults.append(f"ran {event} {arguments!r:.200}")

    sys.addaudithook(hook)


def peak_mebibytes() -> float:
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)


if __name__ == "__main__":
    # A loader that crashes takes this process along; its parent starts another.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    told = fuzz(Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]))
    print(json.dumps(told))
