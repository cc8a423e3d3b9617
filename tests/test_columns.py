"""Rows out of columns of Parquet and Arrow files, against the array that they were made of."""

import subprocess
import sys

import numpy as np
import pytest

arrow = pytest.importorskip("pyarrow")
from pyarrow import feather, parquet

from jaxinv.job.sources import arrow as source
from jaxinv.job.sources import open_mask, open_rows, open_start, precision_of

RNG = np.random.default_rng(2)
values = np.random.default_rng(0).standard_normal((23, 12))
bytes_ = np.random.default_rng(1).integers(0, 256, (23, 12)).astype(np.uint8)
SPANS = [(3, 9), (0, 2), (22, 23), (5, 5), (0, 23), (7, 20)]
DOUBLE = arrow.float64()


def written(folder, columns, ending):
    """The file of a table, in several groups of rows."""
    table = columns if isinstance(columns, arrow.Table) else arrow.table(columns)
    path = folder / f"x{ending}"
    if ending == ".parquet":
        parquet.write_table(table, path, row_group_size=5)
    else:
        feather.write_feather(table, path, chunksize=4)
    return path


def lists(rows, kind=None):
    return arrow.array([None if row is None else list(row) for row in rows], kind)


def tensors(permutation):
    kind = arrow.fixed_shape_tensor(DOUBLE, (3, 4), permutation=permutation)
    storage = lists(values.tolist(), arrow.list_(DOUBLE, 12))
    return arrow.ExtensionArray.from_storage(kind, storage)


MADE = {
    "fixed": {"id": range(23), "x": lists(values.tolist(), arrow.list_(DOUBLE, 12))},
    "lists": {"x": lists(values.tolist())},
    "large": {"x": lists(values.tolist(), arrow.large_list(DOUBLE))},
    "nested": {"x": arrow.array(values.reshape(23, 3, 4).tolist())},
    "tensors": {"x": tensors(None)},
    "numbers": {f"p{i}": values[:, i] for i in range(12)},
    "preferred": {"other": lists(values.tolist()), "observations": lists(values.tolist())},
}


@pytest.mark.parametrize("ending", [".parquet", ".arrow"])
@pytest.mark.parametrize("made", MADE.values(), ids=MADE)
def test_columns_of_every_kind_give_the_same_rows(tmp_path, made, ending):
    rows = open_rows(written(tmp_path, made, ending))
    assert (rows.count, rows.width, rows.dtype) == (23, 12, np.float64)
    for start, stop in SPANS:
        np.testing.assert_array_equal(rows.read(start, stop), values[start:stop])


def test_a_tensor_s_axes_are_in_their_logical_order(tmp_path):
    made = tensors([1, 0])
    rows = open_rows(written(tmp_path, {"x": made}, ".arrow"))
    np.testing.assert_array_equal(rows.read(0, 23), made.to_numpy_ndarray().reshape(23, 12))


def test_a_name_or_a_pattern_chooses_columns(tmp_path):
    made = {"label": ["a"] * 23, "a": lists(values.tolist()), "b": lists((2 * values).tolist())}
    path = written(tmp_path, made | {f"pixel{i}": values[:, i] for i in range(12)}, ".parquet")
    np.testing.assert_array_equal(open_rows(path, "b").read(0, 23), 2 * values)
    np.testing.assert_array_equal(open_rows(path, "pixel*").read(0, 23), values)
    assert open_rows(path, "pixel?").width == 10


@pytest.mark.parametrize("nulls", [False, True])
def test_wide_tables_are_read_by_some_columns_at_a_time(nulls, tmp_path, monkeypatch):
    # Five columns at once, or fewer, and windows of three rows in groups of five.
    monkeypatch.setattr(source, "OPEN", 5 * 64)
    monkeypatch.setattr(source, "PAGES", 64)
    monkeypatch.setattr(source, "WINDOW", 3 * 12 * 8)
    asked = []
    batches = parquet.ParquetFile.iter_batches

    def told(self, *sizes, columns, **options):
        asked.append(len(columns))
        return batches(self, *sizes, columns=columns, **options)

    monkeypatch.setattr(parquet.ParquetFile, "iter_batches", told)
    held = values.copy()
    if nulls:
        held[RNG.random(held.shape) < 0.2] = np.nan
    columns = {f"pixel{i}": arrow.array(held[:, i], from_pandas=True) for i in range(12)}
    rows = open_rows(written(tmp_path, columns, ".parquet"))
    for start, stop in SPANS:
        np.testing.assert_array_equal(rows.read(start, stop), held[start:stop])
    assert set(asked) == {4}


def test_the_memory_of_a_wide_table_does_not_grow_with_its_columns(tmp_path):
    # All columns' pages and dictionaries take 95 MB; a window of rows, and what is open, 50.
    code = (
        "import sys, numpy as np, pyarrow as arrow\n"
        "from pyarrow import parquet\n"
        "from jaxinv.job.sources import arrow as source, open_rows\n"
        "source.OPEN = source.WINDOW = 1 << 24\n"
        "draw = np.random.default_rng(0).standard_normal\n"
        "table = {str(i): draw(100_000).astype(np.float32) for i in range(200)}\n"
        "parquet.write_table(arrow.table(table), 'x.parquet')\n"
        "pool = arrow.system_memory_pool()\n"
        "arrow.set_memory_pool(pool)\n"
        "rows = open_rows('x.parquet')\n"
        "for start in range(0, 100_000, 10_000):\n"
        "    part = rows.read(start, start + 10_000)\n"
        "    assert (part[:, 199] == table['199'][start : start + 10_000]).all()\n"
        "print(pool.max_memory())"
    )
    run = [sys.executable, "-c", code]
    said = subprocess.run(run, check=True, capture_output=True, text=True, cwd=tmp_path)
    assert int(said.stdout) < 70e6


@pytest.mark.parametrize("ending", [".parquet", ".arrow"])
@pytest.mark.parametrize("kind", [arrow.list_(arrow.uint8(), 12), arrow.list_(arrow.uint8())])
def test_null_is_nan_and_bytes_keep_their_precision(tmp_path, kind, ending):
    rows = open_rows(written(tmp_path, {"x": lists(bytes_.tolist(), kind)}, ending))
    assert (rows.dtype, precision_of(rows, None)) == (np.uint8, 1.0)
    np.testing.assert_array_equal(rows.read(0, 23), bytes_)
    holed, expected = bytes_.tolist(), bytes_.astype(float)
    holed[0], holed[6][2], expected[0], expected[6, 2] = None, None, np.nan, np.nan
    holed[10:15], expected[10:15] = [None] * 5, np.nan  # a whole group of the file
    rows = open_rows(written(tmp_path, {"x": lists(holed, kind)}, ending))
    assert (rows.dtype, precision_of(rows, None)) == (np.float64, 1.0)
    np.testing.assert_array_equal(rows.read(0, 23), expected)


@pytest.mark.parametrize("ending", [".parquet", ".arrow"])
def test_null_inside_lists_of_lists_is_nan_in_its_place(tmp_path, ending):
    holed, expected = values.reshape(23, 3, 4).tolist(), values.copy()
    holed[7][1], holed[8][0][0], holed[11] = None, None, [None] * 3
    expected[7, 4:8], expected[8, 0], expected[11] = np.nan, np.nan, np.nan
    rows = open_rows(written(tmp_path, {"x": arrow.array(holed)}, ending))
    np.testing.assert_array_equal(rows.read(0, 23), expected)
    columns = {f"p{i}": arrow.array([r[i] for r in bytes_.tolist()]) for i in range(11)}
    columns["last"] = arrow.array([None, *range(22)])
    rows = open_rows(written(tmp_path, columns, ending))
    assert np.isnan(rows.read(0, 23)).sum() == 1 and np.isnan(rows.read(0, 1)[0, 11])


def cut(rows, row, *to):
    rows = rows.tolist()
    rows[row] = list(to)
    return arrow.array(rows)


@pytest.mark.parametrize("ending", [".parquet", ".arrow"])
@pytest.mark.parametrize(
    ("columns", "dataset", "sentence"),
    [
        ({"x": cut(values, 13, 1.0)}, None, "row 13: a list of 1, where others have 12"),
        ({"x": cut(values.reshape(23, 3, 4), 17, [1.0], [2.0], [3.0])}, None, "row 17"),
        ({"x": lists(["a"] * 23)}, None, "has the columns x .*; choose one of lists of numbers"),
        ({"x": range(23), "y": ["a"] * 23}, None, r"x \(int64\), y \(string\); choose"),
        ({"x": lists(values), "y": lists(values)}, None, "choose one of lists"),
        ({"x": lists(values)}, "z", "has no column 'z'; it has x"),
        ({"x": lists(values), "y": range(23)}, "y", "'y' holds int64; expected lists"),
        ({"x": lists([None] * 23, arrow.list_(DOUBLE))}, None, "null or empty lists alone"),
        ({"x": lists([[]] * 23, arrow.list_(DOUBLE))}, None, "null or empty lists alone"),
        ({"x": lists([], arrow.list_(DOUBLE, 3))}, None, "holds no rows"),
        ({"x": lists([[True] * 12] * 22 + [None])}, None, "null among its booleans"),
        ({f"p{i}": ["a"] * 23 for i in range(99)}, None, "91 more"),
    ],
)
def test_what_holds_no_rows_is_a_sentence(tmp_path, columns, dataset, sentence, ending):
    path = written(tmp_path, columns, ending)
    with pytest.raises(ValueError, match=sentence):
        open_rows(path, dataset).read(0, 23)


def test_a_row_that_cannot_be_read_harms_no_other(tmp_path):
    rows = open_rows(written(tmp_path, {"x": cut(values, 13, 1.0)}, ".parquet"))
    for _ in range(2):
        np.testing.assert_array_equal(rows.read(0, 10), values[:10])
        with pytest.raises(ValueError, match="row 13"):
            rows.read(10, 20)
        np.testing.assert_array_equal(rows.read(15, 23), values[15:])


def test_damaged_files_and_streams_are_sentences(tmp_path):
    for ending, kind in [(".parquet", "readable Parquet"), (".arrow", "Arrow")]:
        path = written(tmp_path, MADE["lists"], ending)
        whole = path.read_bytes()
        for size in (0, 5, 100, len(whole) - 5):
            path.write_bytes(whole[:size])
            with pytest.raises(ValueError, match=kind):
                open_rows(path)
    table = arrow.table(MADE["lists"])
    with arrow.ipc.new_stream(tmp_path / "s.arrow", table.schema) as stream:
        stream.write_table(table)
    (tmp_path / "many.parquet").mkdir()
    for name, sentence in [("s.arrow", "no index of its rows"), ("many.parquet", "is a folder")]:
        with pytest.raises(ValueError, match=sentence):
            open_rows(tmp_path / name)


def test_offsets_that_lead_out_of_a_file_are_a_sentence(tmp_path):
    table = arrow.table(MADE["lists"])
    with arrow.ipc.new_file(tmp_path / "x.arrow", table.schema) as file:
        file.write_table(table)
    data = (tmp_path / "x.arrow").read_bytes()
    offsets = np.arange(0, 24 * 12, 12, dtype="<i4")
    far = np.where(offsets == 120, 1 << 30, offsets).astype("<i4")
    assert data.count(offsets.tobytes()) == 1
    (tmp_path / "x.arrow").write_bytes(data.replace(offsets.tobytes(), far.tobytes()))
    with pytest.raises(ValueError, match="not a readable Arrow file"):
        open_rows(tmp_path / "x.arrow")


def test_masks_and_starts_lie_in_columns_too(tmp_path):
    mask = values > 0
    path = written(tmp_path, {"seen": lists(mask.tolist())}, ".parquet")
    np.testing.assert_array_equal(open_mask(path, 23, 12).read(4, 9), mask[4:9])
    path = written(tmp_path, {"latent": lists(values.tolist())}, ".arrow")
    np.testing.assert_array_equal(open_start(path, 23, 4).read(4, 9), values[4:9])
