"""Streams: memory bounded by the chunk, and what the command line says while it works."""

import re

import numpy as np
import pytest
from typer.testing import CliRunner

import jaxinv
from jaxinv.call.in_flight import IN_FLIGHT
from jaxinv.cli import app


def test_a_stream_takes_no_more_chunks_than_it_holds():
    generator = jaxinv.Generator.random((5, 20, 60), seed=0)
    latent = np.random.default_rng(1).standard_normal((12, 4, 5))
    taken = 0

    def chunks():
        nonlocal taken
        for z in latent:
            taken += 1
            yield np.asarray(generator(z))

    for given, found in enumerate(jaxinv.invert_stream(generator, chunks(), "exact")):
        assert taken <= given + IN_FLIGHT
        np.testing.assert_allclose(found.latent, latent[given], atol=1e-9)
    assert taken == 12


def test_the_command_line_shows_rows_rate_and_time_left(tmp_path):
    generator = jaxinv.Generator.random((5, 20, 60), seed=0)
    net, data, out = (tmp_path / name for name in ("g.npz", "x.npy", "r.npz"))
    jaxinv.save_generator(generator, net)
    np.save(data, np.asarray(generator(np.random.default_rng(1).standard_normal((50, 5)))))
    arguments = ["invert", str(net), str(data), "--method", "exact", "--chunk", "8"]
    found = CliRunner().invoke(app, [*arguments, "--out", str(out)])
    assert found.exit_code == 0
    bar = next(line for line in found.stderr.splitlines() if "exact" in line)
    assert "50/50" in bar
    assert float(re.search(r"([\d.e+]+) rows/s", bar)[1]) > 0
    assert re.search(r"\d+:\d\d:\d\d", bar)


def test_a_place_that_cannot_be_written_is_refused_before_the_work(tmp_path, monkeypatch):
    net = jaxinv.Generator.random((2, 6, 12), seed=0)
    jaxinv.save_generator(net, tmp_path / "net.npz")
    np.save(tmp_path / "x.npy", np.asarray(net(np.ones((2, 2)))))
    (tmp_path / "codes.npz").mkdir()

    def work(*_, **__):
        raise AssertionError("work was begun")

    monkeypatch.setattr("jaxinv.cli.invert.invert_stream", work)
    asked = ["invert", str(tmp_path / "net.npz"), str(tmp_path / "x.npy"), "--out"]
    done = CliRunner().invoke(app, [*asked, str(tmp_path / "codes.npz")])
    with pytest.raises(ValueError, match=r"codes\.npz is a folder; name a file"):
        raise done.exception
    # A folder that takes no file, whoever asks.
    done = CliRunner().invoke(app, [*asked, "/proc/codes.npz"])
    with pytest.raises(ValueError, match=r"/proc/codes\.npz cannot be written"):
        raise done.exception
