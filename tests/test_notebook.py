"""What a notebook shows of an inversion: counts, histogram, worst rows, for any number of rows."""

import time

import numpy as np
import pytest
from html_page import Page

import jaxinv
from jaxinv import Generator, Inversion, Status
from jaxinv.outcome.notebook import worst_rows
from jaxinv.outcome.svg import histogram

G = Generator.random((3, 10, 30), seed=0)
Z = np.random.default_rng(0).standard_normal((20, 3))


def made(status, residual, k=4):
    """An inversion of rows with these outcomes."""
    rows = len(status)
    latent = np.where(np.isnan(residual)[:, None], np.nan, np.zeros((rows, k)))
    return Inversion(latent, np.asarray(status), np.zeros(rows, int), residual, residual)


def test_it_shows_counts_sentences_and_the_worst_rows():
    x = np.array(G(Z))
    x[3, 0] = np.nan
    x[7] += np.random.default_rng(1).standard_normal(30)
    found = jaxinv.invert(G, x, "exact")
    page = Page(found._repr_html_())
    for status, count in found.counts().items():
        assert f"{count} ({count / 20:.2%})" in page.text
        assert status.sentence in page.text
    assert "20 observations, latents of 3 entries" in page.text
    rows = [cells for cells in page.cells if cells]
    assert rows[0][:4] == ["3", "BAD_INPUT", "none", "none"]
    assert rows[1][0] == "7"
    assert rows[1][2] == f"{float(found.residual[7]):.3g}"
    assert len(rows) == 8
    assert any("Histogram of residuals" in label for label in page.labels)
    assert "<script" not in found._repr_html_()


def test_the_histogram_counts_every_residual():
    residual = np.logspace(-3, 2, 50)
    drawn = histogram(residual, "residual", "told")
    heights = [float(part.split('"')[0]) for part in drawn.split(' height="')[2:]]
    # The tallest bar is 168 high, and stands for two or three of the fifty.
    tallest = max(heights[: drawn.count("<rect")])
    counts = np.histogram(np.log10(residual), 40, (-3, 2))[0]
    shown = np.round(np.array(heights[: drawn.count("<rect")]) / tallest * counts.max())
    np.testing.assert_array_equal(shown, counts)


def test_worst_rows_are_those_without_a_latent_then_the_unconfirmed_then_by_residual():
    solved, inexact, bad = (int(Status[name]) for name in ("SOLVED", "INEXACT", "BAD_INPUT"))
    status = np.array([solved, inexact, solved, bad, inexact, solved])
    residual = np.array([9.0, 1.0, 3.0, np.nan, 2.0, 5.0])
    assert worst_rows(status, residual) == [3, 4, 1, 0, 5, 2]
    assert worst_rows(status, residual, 2) == [3, 4]


def test_no_rows():
    page = Page(jaxinv.invert(G, np.zeros((0, 30)))._repr_html_())
    assert "0 observations, latents of 3 entries: no rows" in page.text
    assert page.tags["svg"] == page.tags["table"] == 0


def test_one_observation_has_no_histogram():
    page = Page(jaxinv.invert(G, G(Z[0]), "exact")._repr_html_())
    assert "1 observation, latents of 3 entries" in page.text
    assert page.tags["svg"] == 0
    assert [cells[1] for cells in page.cells if cells] == ["SOLVED"]


def test_nan_everywhere():
    page = Page(jaxinv.invert(G, np.full((5, 30), np.nan))._repr_html_())
    assert "No row has a residual." in page.text
    assert "5 (100.00%)" in page.text
    assert [cells[2] for cells in page.cells if cells] == ["none"] * 5


@pytest.mark.parametrize(
    "residual",
    [np.zeros(4), np.full(4, 5e-324), np.array([0.0, 5e-324, 1.0, 1.7e308]), np.full(4, np.inf)],
    ids=["zeros", "denormal", "all scales", "infinite"],
)
def test_residuals_of_any_size(residual):
    Page(made([0] * 4, residual)._repr_html_())


def test_a_million_rows_are_shown_at_once_and_in_little_space():
    rng = np.random.default_rng(0)
    residual = 10.0 ** rng.standard_normal(1_000_000)
    residual[::1000] = np.nan
    status = np.where(np.isnan(residual), int(Status.BAD_INPUT), int(Status.SOLVED))
    begin = time.perf_counter()
    page = made(status, residual)._repr_html_()
    # It takes half a second; a loop over rows in Python would take minutes.
    assert time.perf_counter() - begin < 20.0
    assert len(page) < 20_000
    assert "1,000 (0.10%)" in Page(page).text
