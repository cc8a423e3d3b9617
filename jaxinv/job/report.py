"""One HTML file on a job, readable without a network: counts, histograms, worst rows, timing."""

from collections import Counter
from dataclasses import dataclass
from html import escape
from pathlib import Path
from string import Template

import numpy as np
from jaxtyping import Float

from jaxinv.formats.arrays import read_npy
from jaxinv.job import durable
from jaxinv.job.inputs import refuse_replacing, refuse_replacing_inputs_of
from jaxinv.job.job import Job
from jaxinv.job.log import Log
from jaxinv.job.retry import results, retries
from jaxinv.linalg.double_precision import policy
from jaxinv.model.image import as_image, image_shape
from jaxinv.outcome import svg
from jaxinv.outcome.status import Status

WORST = 8
# Histograms of larger jobs are drawn from this many rows, evenly spread.
DRAWN = 1_000_000


@dataclass
class Found:
    """What the report needs of the results, gathered shard by shard.

    residual: ||G(z) - x|| and, with planted codes, error ||z - z*|| / ||z*||, of the rows
    drawn. worst: numbers and residuals of the rows with the largest residuals.
    """

    counts: Counter[int]
    residual: Float[np.ndarray, " B"]
    error: Float[np.ndarray, " B"]
    worst: list[tuple[float, int]]
    failed: list[tuple[int, int, int]]


def write(job: Job, path: Path, truth: Path | None = None) -> None:
    """Write the report of a complete job; truth: planted codes (B, k), an .npy file."""
    if job.shards.missing():
        raise ValueError(f"{job.folder} is not complete; run: jaxinv resume {job.folder}")
    refuse_replacing_inputs_of(job, path)
    refuse_replacing(path, {"planted codes": truth})
    found = _gather(job, None if truth is None else _planted(job, truth))
    sections = [
        ("Outcome", _outcome(found)),
        ("Residuals", svg.histogram(found.residual, "||G(z) - x||, rows with a latent")),
    ]
    if truth is not None:
        sections.append(("Recovery errors", svg.histogram(found.error, "||z - z*|| / ||z*||")))
    sections += [
        ("Largest residuals", _worst(job, found)),
        ("Rows without a latent", _failures(found)),
        ("Timing", _timing(job)),
        ("What was computed", _settings(job)),
    ]
    body = "".join(f"<h2>{escape(title)}</h2>{content}" for title, content in sections)
    page = _PAGE.substitute(title=escape(f"jaxinv: {job.folder.resolve().name}"), body=body)
    durable.replace(path, lambda file: file.write(page.encode()))


def _planted(job: Job, truth: Path) -> np.ndarray:
    codes = read_npy(truth)
    expected = (job.shards.rows, job.manifest.widths[0])
    if codes.shape != expected:
        raise ValueError(f"{truth} has shape {codes.shape}; expected {expected}")
    return codes


def _gather(job: Job, truth: np.ndarray | None) -> Found:
    found = Found(Counter(), np.zeros(0), np.zeros(0), [], [])
    step = max(1, -(-job.shards.rows // DRAWN))
    residuals, errors = [], []
    for number, rows in enumerate(results(job)):
        start, stop = job.shards.span(number)
        found.counts.update(rows["status"].tolist())
        residuals.append(rows["residual"][::step])
        if truth is not None:
            planted = np.asarray(truth[start:stop:step])
            misfit = np.linalg.norm(rows["latent"][::step] - planted, axis=1)
            errors.append(misfit / np.linalg.norm(planted, axis=1))
        order = np.argsort(-np.nan_to_num(rows["residual"], nan=-1.0))[:WORST]
        pairs = [(float(rows["residual"][i]), start + int(i)) for i in order]
        found.worst = sorted([*found.worst, *(p for p in pairs if np.isfinite(p[0]))])[-WORST:]
        if len(found.failed) < WORST:
            bad = np.flatnonzero(np.isnan(rows["residual"]))[: WORST - len(found.failed)]
            found.failed += [
                (start + int(i), int(rows["status"][i]), int(rows["failed_layer"][i])) for i in bad
            ]
    found.residual = np.concatenate(residuals)
    found.error = np.concatenate(errors) if errors else found.error
    return found


def _outcome(found: Found) -> str:
    statuses = [Status(value) for value, _ in found.counts.most_common()]
    colours = [svg.BLUE if s.ok else svg.RED for s in statuses]
    drawn = svg.bars([s.name for s in statuses], [found.counts[s] for s in statuses], colours)
    words = "".join(f"<dt>{s.name}</dt><dd>{escape(s.sentence)}</dd>" for s in statuses)
    return f"{drawn}<dl>{words}</dl>"


def _worst(job: Job, found: Found) -> str:
    if not found.worst:
        return "<p>No row has a latent.</p>"
    observations = job.manifest.observations.open()
    shape = image_shape(job.generator)
    lines = ["<tr><th>row</th><th>residual</th>"]
    lines += ["<th>observation</th><th>G(z)</th><th>difference</th></tr>" if shape else "</tr>"]
    for residual, number in reversed(found.worst):
        cells = f"<td>{number}</td><td>{residual:.3g}</td>"
        if shape:
            row = job.shards.between(number, number + 1)[0]
            seen = np.asarray(observations.read(number, number + 1)[0], np.float64)
            made = np.asarray(job.generator(row["latent"]))
            low, high = min(seen.min(), made.min(), 0.0), max(seen.max(), made.max(), 1e-300)
            gap = np.abs(made - seen)
            images = [(seen - low) / (high - low), (made - low) / (high - low)]
            images.append(gap / max(gap.max(), 1e-300))
            titles = ("observation", "G(z)", "difference")
            for title, image in zip(titles, images, strict=True):
                cells += f"<td>{svg.picture(as_image(image, shape), f'{title} {number}')}</td>"
        lines.append(f"<tr>{cells}</tr>")
    note = "<p>Each difference is scaled to its own maximum.</p>" if shape else ""
    return f"<table>{''.join(lines)}</table>{note}"


def _failures(found: Found) -> str:
    if not found.failed:
        return "<p>None: every row has a latent.</p>"
    lines = "".join(
        f"<tr><td>{number}</td><td>{Status(status).name}</td><td>{layer or '-'}</td></tr>"
        for number, status, layer in found.failed
    )
    return f"<table><tr><th>row</th><th>status</th><th>layer</th></tr>{lines}</table>"


def _timing(job: Job) -> str:
    shards = [entry for entry in Log(job.folder / "log.jsonl") if entry["event"] == "shard"]
    if not shards:
        return "<p>The log holds no shards.</p>"
    shards.sort(key=lambda entry: entry["finished"])
    begun = min(entry["begun"] for entry in shards)
    elapsed = np.array([entry["finished"] - begun for entry in shards])
    rows = np.cumsum([sum(entry["counts"].values()) for entry in shards])
    reading = sum(entry["read"] for entry in shards)
    writing = sum(entry["finished"] - entry["computed"] for entry in shards)
    computing = sum(entry["computed"] - entry["begun"] - entry["read"] for entry in shards)
    workers = len({entry["worker"] for entry in shards})
    return (
        svg.line(elapsed, rows.astype(float), "seconds since the first shard", "rows done")
        + f"<p>{len(shards)} shards, {workers} at work; summed over shards {computing:.4g} s "
        f"computing, {reading:.3g} s reading, {writing:.3g} s committing.</p>"
    )


def _settings(job: Job) -> str:
    manifest, layout = job.manifest, job.layout
    facts = {
        "generator": f"{manifest.generator_name}, widths {'-'.join(map(str, manifest.widths))}",
        "observations": f"{Path(manifest.observations.spec['path']).name}, "
        f"{manifest.observations.rows} rows, SHA-256 {manifest.observations.sha256}",
        "method": str(manifest.method),
        "noise, seed": f"{manifest.noise}, {manifest.seed}",
        "retries": ", ".join(
            f"{a.manifest.observations.rows} rows by {a.manifest.method['name']}"
            for a in retries(job)
        )
        or "none",
    }
    if layout is not None:
        facts["computed"] = f"{layout.chunk} rows at a time on {layout.device_kind}"
        facts["precision"] = policy(layout.platform, layout.device_kind)
        facts["versions"] = ", ".join(f"{k} {v}" for k, v in layout.versions.items())
    lines = "".join(f"<tr><th>{escape(k)}</th><td>{escape(v)}</td></tr>" for k, v in facts.items())
    return f'<table class="facts">{lines}</table>'


_PAGE = Template("""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>$title</title><style>
body { font: 15px/1.45 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem;
  color: #222 }
h1 { font-size: 1.5rem } h2 { font-size: 1.1rem; margin-top: 2rem }
svg text { font: 12px system-ui, sans-serif; fill: #333 }
svg, img { max-width: 100% } img { image-rendering: pixelated }
table { border-collapse: collapse } td, th { padding: .25rem .8rem .25rem 0; text-align: left;
  vertical-align: top } .facts td { overflow-wrap: anywhere }
dt { font-weight: 600 } dd { margin: 0 0 .4rem 1rem }
</style></head><body><h1>$title</h1>$body</body></html>
""")
