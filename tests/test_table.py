"""An inversion as NumPy arrays, a pandas DataFrame and an Arrow table, against its own fields."""

import sys

import numpy as np
import pytest

import jaxinv
from jaxinv import Ending, GaussianPrior, Generator, Start, Status

G = Generator.random((3, 10, 30), seed=0)
Z = np.random.default_rng(0).standard_normal((5, 3))
PLAIN = ["latent", "status", "ok", "explained", "residual", "undetermined", "allowed_error"]


@pytest.fixture(scope="module")
def mixed():
    """Rows that are solved, and one that is bad input."""
    x = np.array(G(Z))
    x[2, 0] = np.nan
    return jaxinv.invert(G, x)


def test_a_dict_has_the_fields_as_they_are_and_words_for_numbers(mixed):
    columns = mixed.to_dict()
    assert list(columns)[: len(PLAIN)] == PLAIN
    for name in ("latent", "residual", "undetermined", "allowed_error", "ok", "explained"):
        np.testing.assert_array_equal(columns[name], np.asarray(getattr(mixed, name)))
    assert columns["status"].tolist() == [Status(int(s)).name for s in mixed.status]
    assert columns["status"][2] == "BAD_INPUT"
    assert columns["search_start"].tolist() == [Start(int(s)).name for s in mixed.search.start]
    assert columns["search_ending"].tolist() == [Ending(int(e)).name for e in mixed.search.ending]
    np.testing.assert_array_equal(columns["search_runs"], np.asarray(mixed.search.runs))


def test_one_observation_has_no_batch_axis():
    columns = jaxinv.invert(G, G(Z[0])).to_dict()
    assert columns["latent"].shape == (3,)
    assert columns["status"] == "SOLVED" and columns["ok"]
    assert all(np.ndim(part) == 0 for name, part in columns.items() if name != "latent")


def test_layers_and_priors_have_columns_of_their_own():
    columns = jaxinv.invert(G, G(Z), "linf").to_dict()
    assert {"layer_1_tolerance", "layer_2_status", "layer_2_fallback"} <= set(columns)
    assert columns["layer_2_status"].tolist() == ["SOLVED"] * 5
    assert "search_runs" not in columns and "objective" not in columns
    found = jaxinv.invert(G, G(Z), noise=0.1, prior=GaussianPrior())
    np.testing.assert_array_equal(found.to_dict()["prior_pull"], np.asarray(found.prior_pull))


@pytest.mark.parametrize("rows", [slice(0), slice(1), slice(None)])
@pytest.mark.parametrize("method", ["auto", "exact"])
def test_a_frame_and_a_table_hold_what_the_dict_holds(rows, method):
    x = np.array(G(Z))
    x[2, 0] = np.nan
    found = jaxinv.invert(G, x[rows], method)
    columns, frame = found.to_dict(), found.to_pandas()
    table = found.to_arrow()
    assert len(frame) == table.num_rows == len(x[rows])
    for name, values in columns.items():
        if name == "latent":
            held = frame[[f"latent_{i}" for i in range(3)]].to_numpy()
            flat = table.column(name).combine_chunks().flatten().to_numpy()
            np.testing.assert_array_equal(held, values)
            np.testing.assert_array_equal(flat.reshape(-1, 3), values)
        else:
            assert frame[name].tolist() == table.column(name).to_pylist() or np.isnan(values).any()
            np.testing.assert_array_equal(np.asarray(frame[name]), values)
    assert list(frame.columns[-3:]) == ["latent_0", "latent_1", "latent_2"]


def test_one_observation_is_one_row_of_a_frame_and_of_a_table():
    found = jaxinv.invert(G, G(Z[0]), "exact")
    assert found.to_pandas()["status"].tolist() == ["SOLVED"]
    assert found.to_arrow().to_pylist()[0]["latent"] == pytest.approx(Z[0].tolist(), abs=1e-9)


def test_frames_of_different_batches_keep_their_categories_together(mixed):
    import pandas as pd

    good = jaxinv.invert(G, G(Z)).to_pandas()
    both = pd.concat([good, mixed.to_pandas()])
    assert both["status"].dtype == good["status"].dtype
    assert both["status"].cat.categories.tolist() == [status.name for status in Status]
    assert both.groupby("status", observed=True).size().to_dict() == {"SOLVED": 9, "BAD_INPUT": 1}


def test_a_table_survives_parquet(mixed, tmp_path):
    from pyarrow import parquet

    parquet.write_table(mixed.to_arrow(), tmp_path / "rows.parquet")
    assert parquet.read_table(tmp_path / "rows.parquet").schema == mixed.to_arrow().schema


@pytest.mark.parametrize(
    ("library", "method", "extra"),
    [("pandas", "to_pandas", "pandas"), ("pyarrow", "to_arrow", "export")],
)
def test_without_the_library_it_says_what_to_install(mixed, monkeypatch, library, method, extra):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ImportError, match=rf"{method} needs {library}: .*jaxinv\[{extra}\]"):
        getattr(mixed, method)()
