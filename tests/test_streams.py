"""Streams: memory bounded by the chunk, and what the command line says while it works."""

import re

import numpy as np
from typer.testing import CliRunner

import jaxinv
from jaxinv.cli import app
from jaxinv.invert import IN_FLIGHT


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
