"""Observations from every kind of file: the same rows, or a sentence."""

import json
import zipfile

import numpy as np
import pytest
from PIL import Image

from jaxinv.job.sources import open_mask, open_rows, precision_of, reopen
from jaxinv.job.sources.rows import fingerprint

values = np.random.default_rng(0).standard_normal((23, 12))


def npy(folder):
    np.save(folder / "x.npy", values)
    return folder / "x.npy"


def fortran(folder):
    np.save(folder / "f.npy", np.asfortranarray(values.reshape(23, 3, 4)))
    return folder / "f.npy"


def npz(folder):
    np.savez(folder / "x.npz", other=np.ones(3), observations=values)
    return folder / "x.npz"


def packed(folder):
    np.savez_compressed(folder / "p.npz", values)
    return folder / "p.npz"


def hdf5(folder):
    h5py = pytest.importorskip("h5py")
    with h5py.File(folder / "x.h5", "w") as file:
        file.create_dataset("group/x", data=values, chunks=(4, 12), compression="gzip")
    return folder / "x.h5"


def zarr(folder):
    array = pytest.importorskip("zarr").create_array(
        folder / "x.zarr", shape=values.shape, dtype="f8", chunks=(5, 12)
    )
    array[:] = values
    return folder / "x.zarr"


@pytest.mark.parametrize("make", [npy, fortran, npz, packed, hdf5, zarr])
def test_every_format_gives_the_same_rows_and_fingerprint(make, tmp_path):
    rows = open_rows(make(tmp_path))
    assert (rows.count, rows.width) == values.shape
    for start, stop in [(3, 9), (0, 2), (22, 23), (5, 5)]:
        np.testing.assert_array_equal(rows.read(start, stop), values[start:stop])
    again = reopen(json.loads(json.dumps({k: v for k, v in rows.spec.items() if v is not None})))
    assert fingerprint(again) == fingerprint(open_rows(npy(tmp_path)))


def test_images_become_rows_and_unreadable_ones_nan(tmp_path):
    grey = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20
    Image.fromarray(grey).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_text("no image")
    Image.fromarray(np.zeros((5, 4), np.uint8)).save(tmp_path / "c.png")
    rows = open_rows(tmp_path)
    np.testing.assert_allclose(rows.read(0, 1)[0], grey.reshape(-1) / 255)
    assert np.isnan(rows.read(1, 3)).all()
    np.testing.assert_allclose(open_rows(tmp_path, pixels="signed").read(0, 1).min(), -1)
    colours = tmp_path / "colours"
    colours.mkdir()
    picture = np.random.default_rng(0).integers(0, 256, (3, 4, 3), np.uint8)
    Image.fromarray(picture).save(colours / "a.png")
    np.testing.assert_allclose(
        open_rows(colours).read(0, 1)[0], picture.transpose(2, 0, 1).reshape(-1) / 255
    )


def test_grey_images_of_16_bits_keep_them(tmp_path):
    deep = np.arange(12, dtype=np.uint16).reshape(3, 4) * 5000
    Image.fromarray(deep).save(tmp_path / "a.png")
    Image.fromarray(deep.astype(np.uint8)).save(tmp_path / "b.png")
    rows = open_rows(tmp_path)
    np.testing.assert_allclose(rows.read(0, 1)[0], deep.reshape(-1) / 65535, rtol=1e-15)
    assert precision_of(rows, None) == 1 / 65535
    assert np.isnan(rows.read(1, 2)).all()  # of another depth
    (tmp_path / "a.png").unlink()
    assert precision_of(open_rows(tmp_path), None) == 1 / 255
    assert precision_of(open_rows(tmp_path, pixels="signed"), None) == 2 / 255
    Image.fromarray(np.ones((3, 4), np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(ValueError, match="32 bits a pixel"):
        open_rows(tmp_path)


def test_what_holds_no_rows_is_refused_with_a_sentence(tmp_path):
    whole = npy(tmp_path).read_bytes()
    (tmp_path / "cut.npy").write_bytes(whole[:-8])
    np.save(tmp_path / "complex.npy", values + 1j)
    np.save(tmp_path / "none.npy", np.zeros((3, 0)))
    np.savez(tmp_path / "two.npz", a=values, b=values)
    np.savez_compressed(tmp_path / "cut.npz", values)
    (tmp_path / "cut.npz").write_bytes((tmp_path / "cut.npz").read_bytes()[:-60])
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", whole[:128].replace(b"(23, 12)", b"(9999999, 12)")[:128])
    (tmp_path / "empty").mkdir()
    (tmp_path / "x.csv").write_text("1,2")
    for name, sentence in [
        ("cut.npy", "truncated"),
        ("complex.npy", "real numbers"),
        ("none.npy", "shape"),
        ("two.npz", "--dataset"),
        ("cut.npz", "not a readable"),
        ("bomb.npz", "promises"),
        ("empty", "no images"),
        ("x.csv", "ends in"),
    ]:
        with pytest.raises(ValueError, match=sentence):
            open_rows(tmp_path / name)
    with pytest.raises(FileNotFoundError, match="does not exist"):
        open_rows(tmp_path / "nowhere.npy")


def test_a_file_that_shrinks_while_it_is_read_is_a_sentence_not_a_crash(tmp_path):
    path = npy(tmp_path)
    rows = open_rows(path)
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(ValueError, match="truncated"):
        rows.read(0, 23)


def test_hdf5_that_reaches_out_of_its_file_is_refused(tmp_path):
    h5py = pytest.importorskip("h5py")
    hdf5(tmp_path)
    with h5py.File(tmp_path / "link.h5", "w") as file:
        file["x"] = h5py.ExternalLink("x.h5", "group/x")
    (tmp_path / "raw").write_bytes(values.tobytes())
    with h5py.File(tmp_path / "outside.h5", "w") as file:
        outside = [(str(tmp_path / "raw"), 0, values.nbytes)]
        file.create_dataset("x", shape=values.shape, dtype="f8", external=outside)
    with pytest.raises(ValueError, match="choose one"):
        open_rows(tmp_path / "link.h5")
    with pytest.raises(ValueError, match="no dataset"):
        open_rows(tmp_path / "link.h5", "x")
    with pytest.raises(ValueError, match="other files"):
        open_rows(tmp_path / "outside.h5")


@pytest.mark.parametrize(
    ("version", "separator", "shards", "name"),
    [
        (2, ".", None, "1.0"),
        (2, "/", None, "1/0"),
        (3, "/", None, "c/1/0"),
        (3, ".", None, "c.1.0"),
        (3, "/", (5, 12), "c/1/0"),
    ],
)
def test_a_chunk_that_zarr_lacks_is_told(tmp_path, version, separator, shards, name):
    pytest.importorskip("zarr").create_array(
        tmp_path / "x.zarr",
        data=values,
        chunks=(5, 4 if shards else 12),
        shards=shards,
        zarr_format=version,
        chunk_key_encoding={"name": "v2" if version == 2 else "default", "separator": separator},
    )
    open_rows(tmp_path / "x.zarr")  # whole: no warning
    (tmp_path / "x.zarr" / name).unlink()
    with pytest.warns(UserWarning, match="lacks 1 of 5 files of chunks; they are read as 0"):
        rows = open_rows(tmp_path / "x.zarr")
    assert not rows.read(5, 10).any()
    # One that says of itself that nothing is there needs no word.
    array = pytest.importorskip("zarr").create_array(
        tmp_path / "nan.zarr", shape=(23, 12), dtype="f8", chunks=(5, 12), fill_value=np.nan
    )
    array[5:] = values[5:]
    assert np.isnan(open_rows(tmp_path / "nan.zarr").read(0, 5)).all()


def test_zarr_that_would_unpickle_is_refused(tmp_path):
    pytest.importorskip("zarr")
    folder = tmp_path / "x.zarr"
    folder.mkdir()
    metadata = {"zarr_format": 2, "shape": [2, 3], "chunks": [2, 3], "dtype": "|O"}
    metadata |= {"fill_value": 0, "order": "C", "compressor": None, "filters": [{"id": "pickle"}]}
    (folder / ".zarray").write_text(json.dumps(metadata))
    with pytest.raises(ValueError, match="pickle"):
        open_rows(folder)


def test_masks_must_fit(tmp_path):
    np.save(tmp_path / "m.npy", np.ones(12, bool))
    assert open_mask(tmp_path / "m.npy", 23, 12).count == 1
    for name, mask, sentence in [
        ("a.npy", np.ones(12), "bool"),
        ("b.npy", np.ones((22, 12), bool), "shape"),
    ]:
        np.save(tmp_path / name, mask)
        with pytest.raises(ValueError, match=sentence):
            open_mask(tmp_path / name, 23, 12)
