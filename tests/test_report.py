"""A job's report: what it says first, that it says it of any job, and that everyone can read it."""

import base64
import io
import os
import shlex
import subprocess
import sys
import time

import numpy as np
import pytest
from committed import G, committed, rows_of
from html_page import Page
from PIL import Image
from typer.testing import CliRunner

import jaxinv
from jaxinv.cli import app
from jaxinv.job import Job, open_retry
from jaxinv.job.log import Log
from jaxinv.job.report import write
from jaxinv.job.report.page import DARK, LIGHT
from jaxinv.job.report.pixels import MISSING, grey, signed

STATUS = (
    ["SOLVED"] * 20 + ["CLOSEST"] * 4 + ["INEXACT"] * 3 + ["BAD_INPUT"] * 2 + ["UNDERDETERMINED"]
)
Z = np.random.default_rng(0).standard_normal((30, 3))
# The code found is off where nothing confirms it.
FOUND = Z + 0.3 * np.array([name == "INEXACT" for name in STATUS])[:, None]


@pytest.fixture
def x(tmp_path):
    x = np.array(G(Z))
    x[[27, 28]] = np.nan
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "z.npy", Z)
    return x


def report(job, path, truth=None):
    write(job, path, truth)
    return Page(path.read_text())


def test_it_says_first_how_many_how_good_which_are_bad_and_what_to_do(x, tmp_path):
    job = committed(tmp_path / "job", tmp_path / "x.npy", rows_of(STATUS, FOUND, x))
    page = report(job, tmp_path / "report.html", tmp_path / "z.npy")
    head = page.text[: page.text.index("Rows by status")]
    for told in (
        "20 of 30 rows (66.7%) are reproduced to rounding or noise.",
        "4 rows (13.3%) have the nearest code there is",
        "1 row (3.33%) could have many codes.",
        "5 rows are bad. 3 INEXACT: nothing confirms the code (rows 24, 25, 26); "
        "2 BAD_INPUT: NaN, infinity or nothing observed (rows 27, 28).",
        "Try the 4 rows again that are not settled",
    ):
        assert told in head
    for name in set(STATUS):
        assert f"{name}: {STATUS.count(name)} (" in page.text
        assert jaxinv.Status[name].sentence in page.text
    assert "Row 24: INEXACT, residual " in page.text
    assert "29 rows" not in page.text and "28 rows: median" in page.text  # recovery errors
    with pytest.raises(ValueError, match="expected \\(30, 3\\)"):
        write(job, tmp_path / "report.html", tmp_path / "x.npy")


def test_the_command_that_it_names_is_taken(x, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "a job; rm"
    committed(folder, "x.npy", rows_of(STATUS, FOUND, x))
    for method, seed in (("auto", None), ("auto", 1)):
        (line,) = report(Job.open("a job; rm"), tmp_path / "report.html").commands
        words = shlex.split(line)
        assert words[:4] == ["jaxinv", "resume", "a job; rm", "--retry-failed"]
        options = dict(zip(words[4::2], words[5::2], strict=True))
        assert options.get("--method", "auto") == method
        assert options.get("--seed") == (seed and str(seed))
        attempt = open_retry(Job.open(words[2]), method, seed)
        assert attempt.shards.rows == 4  # one of many codes may be another's only one
        attempt.shards.commit(0, rows_of(STATUS, FOUND, x)[[24, 25, 26, 29]])


def test_it_stands_alone_and_everything_that_is_drawn_is_told(x, tmp_path):
    job = committed(tmp_path / "job", tmp_path / "x.npy", rows_of(STATUS, FOUND, x))
    page = report(job, tmp_path / "report.html", tmp_path / "z.npy")
    text = (tmp_path / "report.html").read_text()
    assert "http" not in text and "<script" not in text and page.tags["a"] == 0
    assert page.tags["link"] == 0 and all(s.startswith("data:image/png") for s in page.sources)
    assert len(page.alts) == 3 * 8 and all(len(alt) > 10 for alt in page.alts)
    assert page.tags["svg"] == page.tags["svg with a label"] == 2
    assert page.tags["h1"] == page.tags["main"] == 1
    assert '<html lang="en">' in text and "width=device-width" in text and "@media print" in text


def test_pictures_are_the_rows_that_they_name(x, tmp_path):
    job = committed(tmp_path / "job", tmp_path / "x.npy", rows_of(STATUS, FOUND, x))
    page = report(job, tmp_path / "report.html")
    worst = int(np.argmax(np.linalg.norm(np.asarray(G(FOUND)) - x, axis=1)[24:27])) + 24
    assert page.alts[0] == f"observation of row {worst}, 8 by 8 pixels"
    pictures = [_decoded(source) for source in page.sources[:3]]
    made = np.asarray(G(FOUND[worst]))
    low, high = min(0, x[worst].min(), made.min()), max(0, x[worst].max(), made.max())
    for picture, values in zip(pictures, (x[worst], made), strict=False):
        expected = 255 * (values.reshape(8, 8) - low) / (high - low)
        assert np.abs(picture - expected[..., None]).max() <= 0.5 + 1e-9
    difference = (made - x[worst]).reshape(8, 8)
    red, blue = pictures[2][..., 0], pictures[2][..., 2]
    assert (red[difference > 0.05] > blue[difference > 0.05]).all()
    assert (red[difference < -0.05] < blue[difference < -0.05]).all()


def _decoded(source):
    data = base64.b64decode(source.partition(",")[2])
    return np.asarray(Image.open(io.BytesIO(data)), np.float64)


def test_what_is_not_observed_has_a_colour_of_its_own():
    image = np.array([[0.0, np.nan], [1.0, 0.5]])
    for coloured in (grey(image, 0.0, 1.0), signed(image, 1.0)):
        np.testing.assert_array_equal(coloured[0, 1], MISSING)
        assert not np.isclose(coloured[[0, 1, 1], [0, 0, 1]], MISSING).all(-1).any()
    np.testing.assert_array_equal(signed(np.zeros((1, 1)), 0.0), np.ones((1, 1, 3)))


@pytest.mark.parametrize("shape", [(64,), (30, 64)], ids=["one mask", "a mask a row"])
def test_what_a_mask_hides_is_left_out(x, tmp_path, shape):
    seen = np.ones(shape, bool)
    seen[..., :16] = False
    np.save(tmp_path / "mask.npy", seen)
    rows = rows_of(STATUS, FOUND, x)
    rows["residual"] = 2.0
    job = committed(tmp_path / "job", tmp_path / "x.npy", rows, mask=tmp_path / "mask.npy")
    page = report(job, tmp_path / "report.html")
    # 2 / sqrt(48) an entry, where the entries are the same in every row.
    told = "0.29 an entry" if len(shape) == 1 else "2 in ||G(z) - x||"
    assert f"miss their observation by {told}" in page.text
    observation, made, difference = (_decoded(source) for source in page.sources[:3])
    sand = np.round(255 * MISSING)
    assert (observation[:2] == sand).all() and (difference[:2] == sand).all()
    assert not (made == sand).all(-1).any() and not (observation[2:] == sand).all(-1).any()


def test_an_unfinished_job_is_told_as_far_as_it_is_done(x, tmp_path):
    whole = rows_of(STATUS, FOUND, x)
    job = committed(tmp_path / "empty", tmp_path / "x.npy", whole[:0])
    page = report(job, tmp_path / "report.html")
    assert (
        f"Not finished: 0 of 30 rows are done. Go on with jaxinv resume {job.folder}" in page.text
    )
    job = committed(tmp_path / "half", tmp_path / "x.npy", whole[:25])
    page = report(job, tmp_path / "report.html")
    assert "24 of 30 rows are done" in page.text and "20 of 24 rows (83.3%)" in page.text
    assert "No row is bad." in page.text and not page.commands
    some = np.resize(whole[24:27], 8)
    page = report(committed(tmp_path / "bad", tmp_path / "x.npy", some), tmp_path / "report.html")
    assert "When the job is whole, try them again: " in page.text and not page.commands


def test_time_is_told_with_a_line_of_few_points_and_failed_layers_by_number(x, tmp_path):
    rows = rows_of(STATUS, FOUND, x)
    rows["failed_layer"][24:27] = 2, 1, 2
    job = committed(tmp_path / "job", tmp_path / "x.npy", rows)
    log = Log(job.folder / "log.jsonl")
    for i in range(1000):
        times = {"begun": 10.0 + i, "read": 0.25, "computed": 10.75 + i, "finished": 11.0 + i}
        log.write("shard", number=i, counts={"0": 3}, worker=f"w{i % 2}", **times)
    page = report(job, tmp_path / "r.html")
    assert "3,000 rows in 17 minutes, 1,000 shards, 2 at work" in page.text
    assert "8.3 minutes computing (170 ms a row), 4.2 minutes reading" in page.text
    assert (tmp_path / "r.html").read_text().partition('points="')[2].partition('"')[0].count(
        ","
    ) == 200
    assert "The first layer that failed, from the output on: layer 2 (2 rows), layer 1 (1 row)" in (
        page.text
    )


def test_nan_everywhere(x, tmp_path):
    np.save(tmp_path / "nan.npy", np.full((5, 64), np.nan))
    rows = rows_of(["BAD_INPUT"] * 5, np.zeros((5, 3)), np.zeros((5, 64)))
    page = report(committed(tmp_path / "job", tmp_path / "nan.npy", rows), tmp_path / "r.html")
    assert "None of 5 rows is reproduced" in page.text
    assert "5 rows are bad" in page.text and "No row has a residual." in page.text
    assert not page.alts and not page.commands


def test_observations_that_are_gone_are_told_and_the_rest_is_shown(x, tmp_path):
    job = committed(tmp_path / "job", tmp_path / "x.npy", rows_of(STATUS, FOUND, x))
    (tmp_path / "x.npy").unlink()
    page = report(job, tmp_path / "r.html")
    assert "The observations cannot be shown: " in page.text and "does not exist" in page.text
    assert "20 of 30 rows" in page.text and not page.alts


def test_values_of_any_size_are_shown(x, tmp_path):
    huge = np.where(np.arange(64) % 2, 1.7e308, -1.7e308) * np.ones((3, 1))
    huge[1, 5], huge[2] = np.inf, 0.0
    np.save(tmp_path / "huge.npy", huge)
    rows = rows_of(["INEXACT"] * 3, np.zeros((3, 3)), np.zeros((3, 64)))
    rows["residual"] = np.inf, 5e-324, 0.0
    page = report(committed(tmp_path / "job", tmp_path / "huge.npy", rows), tmp_path / "r.html")
    assert "Row 0: INEXACT, residual inf" in page.text and len(page.alts) == 9
    assert "1 at zero, 1 infinite" in page.text


NAMES = ["<script>alert(1)<", 'a & b\'s "job"', "[red]:wave:", os.fsdecode(b"\xff\xfe")]


@pytest.mark.parametrize("name", NAMES, ids=["tag", "quotes", "markup", "no text"])
def test_a_name_is_shown_and_never_obeyed(x, tmp_path, name):
    folder = tmp_path / name
    committed(folder, tmp_path / "x.npy", rows_of(STATUS, FOUND, x), name=name)
    done = CliRunner().invoke(app, ["report", str(folder)])
    assert done.exit_code == 0, done.exception
    page = Page((folder / "report.html").read_bytes().decode())
    shown = name.encode(errors="replace").decode()
    assert f"jaxinv: {shown}" in page.text and f"{shown}, widths 3-9-64" in page.text
    assert page.tags["script"] == 0


def test_a_name_that_is_no_text_is_printed_all_the_same(x, tmp_path):
    folder = tmp_path / NAMES[-1]
    committed(folder, tmp_path / "x.npy", rows_of(STATUS, FOUND, x), name=NAMES[-1])
    command = [sys.executable, "-m", "jaxinv", "status", folder]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert r"\udcff\udcfe, exact, 30 rows" in done.stdout


def test_images_that_are_large_are_made_smaller(tmp_path):
    generator = jaxinv.Generator.random((2, 400 * 400), seed=0)
    z = np.ones((2, 2))
    x = np.array(generator(z)) + 0.1
    np.save(tmp_path / "x.npy", x)
    rows = rows_of(["INEXACT"] * 2, z, x, generator)
    job = committed(tmp_path / "job", tmp_path / "x.npy", rows, generator=generator)
    page = report(job, tmp_path / "r.html")
    assert max(map(max, (_decoded(source).shape for source in page.sources))) <= 160


def test_a_million_rows_take_no_more_room_than_ten(tmp_path):
    rng = np.random.default_rng(0)
    generator = jaxinv.Generator.random((2, 4), seed=0)
    z = np.zeros((1_000_000, 2), np.float32)
    np.save(tmp_path / "x.npy", np.zeros((1_000_000, 4), np.uint8))
    rows = rows_of(["SOLVED"] * 10, z[:10], np.zeros((10, 4)), generator)
    rows = np.resize(rows, 1_000_000)
    rows["residual"] = 10.0 ** rng.standard_normal(1_000_000)
    rows["status"][::1000] = int(jaxinv.Status.INEXACT)
    job = committed(
        tmp_path / "job", tmp_path / "x.npy", rows, shard_rows=50_000, generator=generator
    )
    begun = time.perf_counter()
    page = report(job, tmp_path / "report.html")
    # It takes a second or two; a loop over rows in Python would take minutes.
    assert time.perf_counter() - begun < 60.0
    assert (tmp_path / "report.html").stat().st_size < 60_000
    assert "999,000 of 1,000,000 rows (99.9%) are reproduced" in page.text
    assert "and 992 more" in page.text


def _luminance(colour):
    """As the Web Content Accessibility Guidelines 2.2 define it, of #rrggbb."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("colours", [LIGHT, DARK], ids=["light", "dark"])
def test_everything_can_be_read(colours):
    for name in set(colours) - {"ground", "panel", "rule"}:
        for ground in ("ground", "panel"):
            low, high = sorted(_luminance(colours[one]) for one in (name, ground))
            assert (high + 0.05) / (low + 0.05) >= 4.5, (name, ground)
