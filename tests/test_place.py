"""Which names are paths, which are URLs, and which of these are refused before they are used."""

import sys

import numpy as np
import pytest
from typer.testing import CliRunner

import jaxinv
from jaxinv.cli import app
from jaxinv.job.place import place
from jaxinv.job.sources import open_mask, open_rows

pytest.importorskip("fsspec")


def test_a_file_url_is_a_path(tmp_path):
    np.save(tmp_path / "m.npy", np.ones((23, 12), bool))
    assert open_rows(f"file://{tmp_path}/m.npy").path == tmp_path / "m.npy"
    assert open_mask(f"file://{tmp_path}/m.npy", 23, 12).count == 23


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("s3://key:hidden@bucket/x.npy", "s3://bucket/x.npy was given with a user's password"),
        ("https://hidden@host/x.npy", "https://host/x.npy was given with a user's password"),
        ("https://host/x.npy?X-Amz-Signature=hidden", "https://host/x.npy was given with a query"),
        ("nowhere://bucket/x.npy", "no file system is known by nowhere://"),
        ("zip://x.npy::memory://x.zip", "chain of file systems"),
        ("memory://none.npy", "memory://none.npy does not exist or cannot be reached"),
    ],
)
def test_urls_that_are_not_read_are_sentences(url, sentence):
    with pytest.raises((ValueError, OSError), match=sentence) as told:
        open_rows(url)
    assert "hidden" not in str(told.value)


def test_without_fsspec_a_url_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(ImportError, match=r"pip install 'jaxinv\[stores\]'"):
        place("s3://bucket/x.npy")
    assert str(place("x.npy")) == "x.npy"


def test_a_job_s_directory_is_no_url(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", np.ones((2, 25)))
    jaxinv.save_generator(jaxinv.Generator.random((3, 9, 25)), "net.npz")
    for asked in (
        ["invert", "net.npz", "x.npy", "--out", "s3://bucket/job"],
        ["resume", "s3://bucket/job"],
        ["status", "memory://job"],
        ["export", "s3://bucket/job", "out.npz"],
    ):
        done = CliRunner().invoke(app, asked)
        assert isinstance(done.exception, ValueError)
        assert "must lie on this machine or on a shared file system" in str(done.exception)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["net.npz", "x.npy"]
