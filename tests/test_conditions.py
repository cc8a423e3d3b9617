"""What the figures' data keep: every row once, failures too, and only under the same settings."""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import pytest

import jaxinv

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import figure1
from benchmarks.conditions import Data, arguments, columns, errors


def given(path: Path, *words: str) -> argparse.Namespace:
    return arguments("A figure.", "figure").parse_args(["--out", str(path), *words])


def test_a_row_without_an_answer_is_a_row():
    generator = jaxinv.Generator.random((3, 20, 60), seed=0)
    latent = np.random.default_rng(1).standard_normal((3, 3))
    x = np.array(generator(latent))
    x[1, 0] = np.nan
    kept = columns(jaxinv.invert(generator, x, "exact"), latent)
    assert kept["error"][1] is None
    assert kept["status"] == [0, int(jaxinv.Status.BAD_INPUT), 0]
    assert errors(kept)[1] == np.inf
    assert (errors(kept)[[0, 2]] < 1e-10).all()


def test_what_is_in_the_file_is_found_again_and_counts_as_measured(tmp_path):
    path = tmp_path / "data.json"
    Data("figure", given(path), {"widths": (2, 4)}).keep({"k": 3, "error": [0.5, None]})
    again = Data("figure", given(path), {"widths": (2, 4)})
    assert again.find(k=3) == {"k": 3, "error": [0.5, None]}
    assert again.find(k=4) is None
    assert errors(again.find(k=3)).tolist() == [0.5, np.inf]


def test_data_of_other_settings_are_refused(tmp_path):
    path = tmp_path / "data.json"
    Data("figure", given(path), {"noise": 0.1}).keep({"k": 3})
    with pytest.raises(SystemExit, match=r"measured with .*0\.1.*not with .*0\.2"):
        Data("figure", given(path), {"noise": 0.2})


def test_nothing_is_measured_that_was_not_asked_for_or_after_the_limit(tmp_path):
    path = tmp_path / "data.json"
    some = Data("figure", given(path, "--methods", "linf"), {})
    assert some.wants("linf")
    assert not some.wants("auto")
    assert not Data("figure", given(path, "--plot"), {}).wants("auto")
    assert not Data("figure", given(path, "--limit", "0"), {}).wants("auto")


def test_figure_1_goes_on_where_it_stopped(monkeypatch):
    monkeypatch.setattr(figure1, "WIDTHS", (30, 80))
    once = figure1.more_rows({"k": 12}, "exact", 6)
    twice = figure1.more_rows(figure1.more_rows({"k": 12}, "exact", 2), "exact", 6)
    assert len(once["error"]) == 6
    assert once["status"] == twice["status"]
    assert np.allclose(errors(once), errors(twice), rtol=1e-6, atol=1e-12)


def test_figure_1s_active_rows_foretell_exact_net_by_net(monkeypatch, tmp_path):
    monkeypatch.setattr(figure1, "WIDTHS", (30, 80))
    data = Data("figure", given(tmp_path / "data.json"), {})
    active = [figure1.active_rows(*figure1.net(14, row)) for row in range(30)]
    data.keep({"method": "active rows", "k": 14, "active": active})
    expected = figure1.identifiable(data, 14)
    exact = figure1.more_rows({"k": 14}, "exact", 30)
    assert 0 < expected.sum() < 30
    assert (expected == (errors(exact) <= 1e-3)).all()


def test_data_are_json_that_others_read(tmp_path):
    path = tmp_path / "data.json"
    Data("figure", given(path), {}).keep({"k": 3, "error": [None], "status": [5]})
    content = json.loads(path.read_text())
    assert content["conditions"] == [{"k": 3, "error": [None], "status": [5]}]
    assert content["status"]["BAD_INPUT"] == 5
