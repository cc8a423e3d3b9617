"""Where a report goes, and what it is made from: other files stay whole, damage is a sentence."""

import numpy as np
import pytest
from committed import G, committed, rows_of
from html_page import Page

from jaxinv.job.log import Log
from jaxinv.job.report import write

Z = np.random.default_rng(6).standard_normal((7, 3))


@pytest.fixture
def job(tmp_path, monkeypatch):
    """All of it in one folder, which is the current one."""
    monkeypatch.chdir(tmp_path)
    x = np.array(G(Z))
    np.save("x.npy", x)
    np.save("z.npy", Z)
    return committed(tmp_path / "job", tmp_path / "x.npy", rows_of(["SOLVED"] * 7, Z, x))


@pytest.mark.parametrize(
    ("out", "sentence"),
    [
        ("net.npz", "a report is a file of HTML"),
        ("folder.html", "is a folder"),
        ("nowhere/report.html", "there is no folder"),
        ("s3://bucket/report.html", "a report is a file of this machine, which s3:// is not"),
    ],
)
def test_a_report_takes_nothing_else_s_place(job, tmp_path, out, sentence):
    (tmp_path / "net.npz").write_text("precious")
    (tmp_path / "folder.html").mkdir()
    with pytest.raises(ValueError, match=sentence):
        write(job, out)
    assert (tmp_path / "net.npz").read_text() == "precious"
    with pytest.raises(ValueError, match="true codes is a file of this machine"):
        write(job, "report.html", "s3://bucket/z.npy")
    here = tmp_path / "here.htm"
    assert write(job, f"file://{here}", f"file://{tmp_path / 'z.npy'}") == here and here.exists()


def test_lines_of_a_log_that_are_damaged_are_left_out(job, tmp_path):
    before = Page(write(job, tmp_path / "a.html").read_text()).text
    for facts in ({}, {"begun": 1.0, "read": None, "computed": 2.0, "finished": "3"}):
        Log(job.folder / "log.jsonl").write("shard", **facts)
    assert Page(write(job, tmp_path / "b.html").read_text()).text == before
