"""Method "exact" without noise: success, identifiability, speed, memory.

    python -m benchmarks.exact [--quick] [--out benchmarks/results/exact.json]

Success is ||z - z*|| / ||z*|| <= 1e-3 for codes z* ~ N(0, I). A code is identifiable layer by layer
where at the truth every layer's active rows (all rows, unless it is ReLU) have full column rank: by
NumPy's singular values, apart from anything the method computes. Peak memory is that of a process
of its own, which makes and inverts its observations chunk by chunk through `invert_stream`.
"""

import argparse
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import jaxinv
from benchmarks.record import machine

OUT = Path(__file__).parent / "results" / "exact.json"
SUCCESS, CLOSE = 1e-3, 1e-9
LATENTS = (20, 60, 90)
WIDTHS = (20, 100, 500)
STREAM_CHUNK = 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a twentieth of everything")
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--stream", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.stream:
        print(json.dumps(stream(arguments.stream)))
        return
    scale = 20 if arguments.quick else 1
    begin = time.perf_counter()
    results: dict[str, Any] = {
        "machine": machine(),
        "random nets": [random_nets(k, 200 // scale) for k in LATENTS],
        "one net": one_net(4096 // scale),
        "shipped": [shipped(name, 1000 // scale) for name in jaxinv.shipped_generators()],
        "stream": [child(rows // scale) for rows in (10_000, 100_000)],
    }
    results["seconds"] = round(time.perf_counter() - begin, 1)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(results, indent=1) + "\n")
    print(f"{results['seconds']} s; written to {arguments.out}")


def random_nets(k: int, nets: int) -> dict[str, Any]:
    """One code through each of many nets k-250-600; each net is a batch of its own."""
    errors = []
    for seed in range(nets):
        generator = jaxinv.Generator.random((k, 250, 600), seed=seed)
        latent = np.random.default_rng([k, seed]).standard_normal((1, k))
        found = jaxinv.invert(generator, np.asarray(generator(latent)), "exact")
        errors.append(recovery_error(found, latent)[0])
    return shown(
        {
            "net": f"{k}-250-600",
            "nets": nets,
            "success": float(np.mean(np.array(errors) <= SUCCESS)),
            "largest error": float(np.max(errors)),
        }
    )


def one_net(rows: int) -> dict[str, Any]:
    """Many codes through one net, all of which must come back to 1e-9."""
    generator = jaxinv.Generator.random(WIDTHS, seed=0)
    latent = np.random.default_rng(0).standard_normal((rows, WIDTHS[0]))
    error = recovery_error(jaxinv.invert(generator, np.asarray(generator(latent)), "exact"), latent)
    return shown(
        {
            "net": "-".join(map(str, WIDTHS)),
            "rows": rows,
            "within 1e-9": float(np.mean(error <= CLOSE)),
            "largest error": float(error.max()),
        }
    )


def shipped(name: str, codes: int) -> dict[str, Any]:
    """Success and identifiability of a trained net, code by code."""
    generator = jaxinv.load_generator(name)
    latent = np.random.default_rng(0).standard_normal((codes, generator.latent_size))
    observations = np.asarray(generator(latent))
    jaxinv.invert(generator, observations, "exact")
    begin = time.perf_counter()
    found = jaxinv.invert(generator, observations, "exact")
    seconds = time.perf_counter() - begin
    success = recovery_error(found, latent) <= SUCCESS
    expected = identifiable(generator, latent)
    labelled = np.asarray(found.status) == jaxinv.Status.UNDERDETERMINED
    return shown(
        {
            "net": name,
            "codes": codes,
            "success": float(success.mean()),
            "identifiable": float(expected.mean()),
            "agree": float(np.mean(success == expected)),
            "others labelled UNDERDETERMINED": int((labelled & ~expected).sum()),
            "others": int((~expected).sum()),
            "codes/s, compiled": round(codes / seconds, 1),
        }
    )


def identifiable(generator: jaxinv.Generator, latent: np.ndarray) -> np.ndarray:
    """(B,) whether every layer's active rows at the truth have full column rank."""
    full, x = np.ones(len(latent), bool), latent
    for layer in generator.layers:
        w, activation = np.asarray(layer.weight), layer.activation
        u = x @ w.T + np.asarray(layer.bias)
        if activation.kind == "relu":
            full &= [np.linalg.matrix_rank(w[row > 0]) == w.shape[1] for row in u]
        else:
            full &= np.linalg.matrix_rank(w) == w.shape[1]
        # Hidden layers are ReLU or LeakyReLU here; what the last layer makes is not needed.
        x = np.where(u > 0, u, activation.slope * u)
    return full


def recovery_error(found: jaxinv.Inversion, latent: np.ndarray) -> np.ndarray:
    """||z - z*|| / ||z*||, infinite where there is no latent."""
    distance = np.linalg.norm(np.asarray(found.latent) - latent, axis=1)
    return np.nan_to_num(distance / np.linalg.norm(latent, axis=1), nan=np.inf)


def child(rows: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.exact", "--stream", str(rows)]
    answer = subprocess.run(command, check=True, capture_output=True, text=True)
    return shown(json.loads(answer.stdout))


def stream(rows: int) -> dict[str, Any]:
    """Time and peak memory of one stream, everything of the process included."""
    generator = jaxinv.Generator.random(WIDTHS, seed=0)
    size = min(STREAM_CHUNK, rows)
    starts = range(0, rows, size)

    def latents(start: int) -> np.ndarray:
        return np.random.default_rng(start).standard_normal((size, WIDTHS[0]))

    def chunks() -> Iterator[np.ndarray]:
        for start in starts:
            yield np.asarray(generator(latents(start)))

    begin = time.perf_counter()
    worst = 0.0
    for start, found in zip(
        starts, jaxinv.invert_stream(generator, chunks(), "exact"), strict=True
    ):
        worst = max(worst, float(recovery_error(found, latents(start)).max()))
    seconds = time.perf_counter() - begin
    return {
        "net": "-".join(map(str, WIDTHS)),
        "rows": rows,
        "chunk": size,
        "seconds, with compilation": round(seconds, 2),
        "peak MiB": round(peak_memory() / 2**20, 1),
        "largest error": worst,
    }


def peak_memory() -> int:
    """Bytes this process has held at most (Linux).

    Not getrusage's ru_maxrss, which a child started from a larger process inherits.
    """
    status = Path("/proc/self/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found
    return int(found[1]) * 1024


def shown(entry: dict[str, Any]) -> dict[str, Any]:
    print(entry, flush=True)
    return entry


if __name__ == "__main__":
    main()
