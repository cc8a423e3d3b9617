"""Two jobs on the same observations: matched by number, counted, and refused where they differ."""

import numpy as np
import pytest
from committed import G, committed, rows_of
from html_page import Page
from typer.testing import CliRunner

from jaxinv.cli import app
from jaxinv.job.report.comparison import write_comparison
from jaxinv.job.report.crossing import crossed, none_below
from jaxinv.outcome.status import Status

KINDS = ["SOLVED", "CLOSEST", "INEXACT", "BAD_INPUT", "UNDERDETERMINED", "STEP_LIMIT"]
# What says more, the most first; the others have no code.
ORDER = {"SOLVED": 0, "CLOSEST": 1, "INEXACT": 2, "UNDERDETERMINED": 2, "STEP_LIMIT": 2}
B = 60


@pytest.fixture
def two(tmp_path):
    """Two jobs of other shard sizes, with statuses and codes at random."""
    rng = np.random.default_rng(0)
    z = rng.standard_normal((B, 3))
    x = np.asarray(G(z))
    np.save(tmp_path / "x.npy", x)
    jobs, rows = [], []
    for name, shard_rows in (("a", 7), ("b", 16)):
        off = rng.choice([0.0, 1e-3, 0.3], B)[:, None] * rng.standard_normal((B, 3))
        rows.append(rows_of(rng.choice(KINDS, B), z + off, x))
        method = {"a": "exact", "b": "linf"}[name]
        jobs.append(committed(tmp_path / name, tmp_path / "x.npy", rows[-1], shard_rows, method))
    return jobs, rows, x


def test_rows_are_matched_by_number_and_compared_one_by_one(two):
    (a, b), rows, x = two
    floor = none_below(a)
    assert floor == pytest.approx(1e-6 * np.median(np.linalg.norm(x, axis=1)))
    found = crossed(a, b, floor)
    table, better, ratios = np.zeros((8, 8), int), [0, 0], []
    for mine, its in zip(*rows, strict=True):
        table[mine["status"], its["status"]] += 1
        ranks = [ORDER.get(Status(int(row["status"])).name, 3) for row in (mine, its)]
        left, right = (max(row["residual"], floor) for row in (mine, its))
        ratios.append(right / left)
        if ranks[0] != ranks[1]:
            better[int(ranks[1] < ranks[0])] += 1
        elif abs(np.log(ratios[-1])) > 1e-2:
            better[int(ratios[-1] < 1)] += 1
    np.testing.assert_array_equal(found.table, table)
    assert found.better == better
    known = np.array(ratios)[np.isfinite(ratios)]
    assert found.ratio.total() == len(known)
    expected = np.quantile(known, 0.25, method="inverted_cdf")
    np.testing.assert_allclose(found.ratio.quantile(0.25), expected, rtol=0.02)


def test_the_page_names_the_better_one_and_what_differs(two, tmp_path):
    (a, b), rows, _ = two
    done = CliRunner().invoke(app, ["report", str(a.folder), str(b.folder)])
    assert done.exit_code == 0, done.exception
    page = Page((a.folder / "compared.html").read_text())
    more, less = crossed(a, b, none_below(a)).better
    winner, loser = ("A", "B") if more > less else ("B", "A")
    assert (
        f"{winner} is better on {max(more, less)} rows, {loser} on {min(more, less)}; " in page.text
    )
    assert "What SOLVED confirms depends on the method." in page.text
    ok = [np.isin(part["status"], [0, 7]) for part in rows]
    told = f"{(ok[0] & ok[1]).sum()} in both"
    assert told in page.text and f"{(ok[0] & ~ok[1]).sum()} in A alone" in page.text
    differing = page.text[page.text.index("What differs") :]
    assert "exact (" in differing and "linf (" in differing and "mask" not in differing
    assert all("of row" in alt for alt in page.alts) and page.alts


def test_a_job_beside_its_copy_is_alike(two, tmp_path):
    (a, _), rows, _ = two
    copy = committed(tmp_path / "copy", tmp_path / "x.npy", rows[0], 10)
    write_comparison(a, copy, tmp_path / "c.html")
    page = Page((tmp_path / "c.html").read_text())
    assert f"A and B are alike on all {B} rows." in page.text
    assert page.text.count("Nowhere.") == 2
    assert "Nothing: both were asked the same." in page.text


def test_rows_that_one_has_not_done_are_left_out_and_counted(two, tmp_path):
    (a, _), rows, _ = two
    half = committed(tmp_path / "half", tmp_path / "x.npy", rows[1][:20], 10)
    write_comparison(a, half, tmp_path / "c.html")
    page = Page((tmp_path / "c.html").read_text())
    assert "20 of 60 rows are done in both; the others are left out." in page.text
    none = committed(tmp_path / "none", tmp_path / "x.npy", rows[1][:0], 10)
    write_comparison(a, none, tmp_path / "c.html")
    assert "No row is done in both." in Page((tmp_path / "c.html").read_text()).text


def test_jobs_on_other_observations_are_refused(two, tmp_path):
    (a, b), rows, x = two
    np.save(tmp_path / "y.npy", x + 1)
    other = committed(tmp_path / "other", tmp_path / "y.npy", rows[0], 10)
    with pytest.raises(ValueError, match="were given other observations: 60 rows of 64 from"):
        write_comparison(a, other, tmp_path / "c.html")
    with pytest.raises(ValueError, match="are the same job"):
        write_comparison(a, a, tmp_path / "c.html")
    with pytest.raises(ValueError, match="a report is a file of HTML"):
        write_comparison(a, b, b.folder / "manifest.json")
    done = CliRunner().invoke(app, ["report", str(a.folder), str(b.folder), "--truth", "z.npy"])
    assert "--truth belongs to the report of one job" in str(done.exception)
    assert not (tmp_path / "c.html").exists()
