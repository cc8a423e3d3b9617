"""Is what is said of a row true? Random problems that nobody tuned to, judged by NumPy and SciPy.

    python -m benchmarks.honesty [--problems N] [--seed S] [--seconds T] [--out FILE] [--quick]
    python -m benchmarks.honesty --problem NUMBER --seed S     # one of them, with all that is known

Nets of one shape are compiled for once, which takes longer than to invert their rows. Every failure
is kept with its problem's number. The file is written after each shape.
"""

import argparse
import json
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

import jaxinv
from benchmarks.honesty_judge import SHARES, Told, judged, row_of
from benchmarks.honesty_problems import NETS, ROWS, Batch, draw_batch
from benchmarks.honesty_rates import rates, table
from benchmarks.joint import rounded
from benchmarks.record import RESULTS, machine
from jaxinv.certify.uncertainty import UnderCoverage

CLASSES = ("method", "dtype", "noise", "net", "status")
CURVED = ("tanh", "sigmoid")


def told(batch: Batch) -> list[Told]:
    """What jaxinv says of every row."""
    net, x = batch.net, batch.observation
    r = jaxinv.invert(
        net.generator(),
        x,
        batch.method,
        mask=batch.mask,
        weights=batch.weights,
        operator=net.operator,
    )
    latent, whole = np.asarray(r.latent), net.generator(with_operator=True)
    ranks = [jaxinv.identifiability(whole, z, batch.mask) for z in (batch.latent, latent)]
    intervals = None
    seen = np.ones(x.shape, bool) if batch.mask is None else np.broadcast_to(batch.mask, x.shape)
    if seen.sum(1).min() > latent.shape[1]:
        intervals = jaxinv.confidence(whole, x, r, mask=batch.mask, weights=batch.weights)
    fields = [
        np.asarray(part).tolist()
        for part in (r.status, r.undetermined, r.residual, r.allowed_error)
    ]
    return [
        Told(
            latent[i],
            *(field[i] for field in fields),
            None if intervals is None else bool(intervals.reliable[i]),
            None if intervals is None else intervals.low[i],
            None if intervals is None else intervals.high[i],
            None if intervals is None else float(intervals.noise[i]),
            (bool(ranks[0].unique[i]), bool(ranks[1].unique[i])),
            batch.method == "exact",
        )
        for i in range(len(latent))
    ]


def kind(batch: Batch) -> str:
    """A word for the net: whether its hidden layers are curved, whether there are images."""
    specs = batch.net.shape.layers
    if any(spec.kind != "matrix" for spec in specs):
        return "convolutional"
    if any(spec.activation in CURVED for spec in specs):
        return "curved"
    return "affine" if all(s.activation == "identity" for s in specs) else "piecewise linear"


def records(seed: int, number: int) -> list[dict[str, Any]]:
    """One a problem of net `number`: what it is, what was said, how that was judged."""
    batch = draw_batch(seed, number)
    common = {
        "seed": seed,
        "method": batch.method,
        "dtype": batch.dtype,
        "net": kind(batch),
        "widths": [batch.net.layers[0].matrix.shape[1], *(len(a.bias) for a in batch.net.layers)],
        "activations": [spec.activation for spec in batch.net.shape.layers],
        "what": batch.net.what,
        "masked": batch.mask is not None,
        "weighted": batch.weights is not None,
        "operator": batch.net.operator is not None,
    }
    begin, said, error = time.perf_counter(), None, None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            said = told(batch)
        except Exception as raised:  # whatever it is, it is a finding
            error = f"{type(raised).__name__}: {raised}"
    seconds = time.perf_counter() - begin
    warned = sorted(
        {
            f"{Path(w.filename).name}:{w.lineno}: {w.message}"
            for w in caught
            if not issubclass(w.category, UnderCoverage)
        }
    )
    found = []
    for i, noise in enumerate(batch.noise):
        row = {"problem": number * ROWS + i, "noise": noise, **common, "status": "none"}
        row["judged"] = {"exception": error is not None, "warning": bool(warned)}
        row["figures"] = {"exception": error} if error else {}
        row["figures"] |= {"warnings": warned} if warned else {}
        if said is not None:
            verdicts, figures = judged(row_of(batch, i), said[i], seed)
            row["status"] = jaxinv.Status(said[i].status).name
            row["judged"] |= verdicts
            row["figures"] |= figures | {"undetermined": said[i].undetermined}
        found.append(row)
    # By which the share of jaxinv in the time is told.
    found[0]["seconds"] = seconds
    return found


def failed(row: dict[str, Any]) -> list[str]:
    """The names of the judgements that went against a row."""
    return [name for name, wrong in row["judged"].items() if wrong and name not in SHARES]


def summary(rows: list[dict[str, Any]], seconds: float) -> dict[str, Any]:
    """Rates by class, and every failure."""
    return {
        "problems": len(rows),
        "seconds": round(seconds, 1),
        "problems per second": len(rows) / seconds,
        "seconds in jaxinv": round(sum(row.get("seconds", 0.0) for row in rows), 1),
        "statuses": dict(Counter(row["status"] for row in rows)),
        "another preimage": sum(bool(row["figures"].get("another preimage")) for row in rows),
        "rates": rates(rows, CLASSES),
        "failures": [row | {"failed": failed(row)} for row in rows if failed(row)],
    }


def run(seed: int, problems: int, seconds: float) -> Iterator[tuple[list[dict[str, Any]], float]]:
    """All rows so far, and the seconds they took, after each shape."""
    rows: list[dict[str, Any]] = []
    begin = time.perf_counter()
    for number in range(-(-problems // ROWS)):
        rows += records(seed, number)
        spent = time.perf_counter() - begin
        if spent > seconds:
            break
        if (number + 1) % NETS == 0:
            jax.clear_caches()  # the next net is of another shape
            yield rows, spent
    yield rows, time.perf_counter() - begin


def plain(value: Any) -> Any:
    """Of NumPy's values Python's, of numbers that JSON has not their names."""
    if isinstance(value, dict):
        return {str(name): plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [plain(part) for part in value]
    if isinstance(value, np.generic):
        value = value.item()
    return str(value) if isinstance(value, float) and not np.isfinite(value) else value


def show(problem: int, seed: int) -> None:
    """One problem: how it was judged, its codes, its net."""
    number, i = divmod(problem, ROWS)
    batch = draw_batch(seed, number)
    print(json.dumps(rounded(plain(records(seed, number)[i])), indent=1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the record has them
        said, row = told(batch)[i], row_of(batch, i)
    print("true code", row.truth, "\nanswer   ", said.latent, "\nsaid", said)
    print("observation", row.x, "\nseen", row.seen.astype(int), "\nclean", batch.clean[i])
    print("noise's standard deviation", batch.spread[i])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--problems", type=int, default=8192)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=3600.0, help="no net is begun after these")
    parser.add_argument("--problem", type=int, help="this one alone, in detail")
    parser.add_argument("--quick", action="store_true", help="one shape")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    if given.problem is not None:
        show(given.problem, given.seed)
        return
    out = given.out or RESULTS / f"honesty{'_quick' if given.quick else ''}.json"
    problems = min(given.problems, ROWS * NETS) if given.quick else given.problems
    described, found = machine(), {}
    for rows, spent in run(given.seed, problems, given.seconds):
        found = {"machine": described, "seed": given.seed} | summary(rows, spent)
        out.parent.mkdir(exist_ok=True)
        out.write_text(json.dumps(rounded(plain(found)), indent=1) + "\n")
        print(f"{len(rows)} problems, {spent:.0f} s, {len(found['failures'])} failed", flush=True)
    print(table(found["rates"]))


if __name__ == "__main__":
    main()
