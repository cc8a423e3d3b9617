"""A decoder in a file of Python code: run only when asked for."""

import jax.numpy as jnp
import numpy as np
import pytest
from typer.testing import CliRunner

import jaxinv
from jaxinv.cli import app
from jaxinv.formats.code import Code
from jaxinv.job.job import Job

CODE = """
import jax.numpy as jnp
import jaxinv

open("ran", "w").close()

def f(z):
    return jnp.tanh(jnp.outer(z, jnp.arange(1.0, 6.0)))

wave = jaxinv.FunctionGenerator(f, latent_size=2)
number = 3
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(CODE)
    z = np.array([[0.3, -0.4], [0.1, 0.2]])
    np.save("x.npy", np.tanh(z[:, :, None] * np.arange(1.0, 6.0)).reshape(2, 10))
    return tmp_path


def refused(*arguments, command="invert"):
    done = CliRunner().invoke(app, [command, *arguments])
    assert done.exception is not None
    return str(done.exception)


def test_code_is_run_when_it_is_allowed_and_not_before(folder):
    asked = ("net.py:wave", "x.npy", "--out", "z.npz")
    assert "pass --allow-code" in refused(*asked)
    assert not (folder / "ran").exists()
    done = CliRunner().invoke(app, ["invert", *asked, "--allow-code"])
    assert done.exit_code == 0
    with np.load("z.npz") as found:
        np.testing.assert_allclose(found["latent"], [[0.3, -0.4], [0.1, 0.2]], atol=1e-9)


def test_a_file_may_define_dataclasses(folder):
    """As modules of Flax and Equinox are; they look their own module up by its name."""
    lines = ("from __future__ import annotations", "from dataclasses import dataclass")
    kept = "@dataclass\nclass Kept:\n    size: int = 2\n"
    (folder / "net.py").write_text("\n".join((*lines, kept, CODE)))
    assert Code.of("net.py:wave").load().latent_size == 2


def test_what_cannot_be_taken_says_why(folder):
    rest = ("x.npy", "--out", "z.npz", "--allow-code")
    assert "is a int; expected a decoder" in refused("net.py:number", *rest)
    assert "defines no 'other'" in refused("net.py:other", *rest)
    assert "is not a file" in refused("none.py:wave", *rest)
    (folder / "bad.py").write_text("1 / 0")
    assert "fails with ZeroDivisionError" in refused("bad.py:wave", *rest)


@pytest.mark.parametrize("workers", [(), ("--workers", "2")], ids=["threads", "processes"])
def test_a_job_runs_code_that_is_allowed_each_time(folder, workers):
    asked = ("invert", "net.py:wave", "x.npy", "--out", "JOB", "--shard-rows", "1", *workers)
    assert "pass --allow-code" in refused(*asked[1:])
    assert not (folder / "JOB").exists()
    done = CliRunner().invoke(app, [*asked, "--allow-code"])
    assert done.exit_code == 0, done.output
    assert not (folder / "JOB" / "generator.safetensors").exists()
    CliRunner().invoke(app, ["export", "JOB", "z.npz"])
    with np.load("z.npz") as found:
        np.testing.assert_allclose(found["latent"], [[0.3, -0.4], [0.1, 0.2]], atol=1e-9)
    (folder / "ran").unlink()
    sorted((folder / "JOB" / "shards").iterdir())[-1].unlink()
    assert "pass --allow-code" in refused("JOB", command="resume")
    assert not (folder / "ran").exists()
    assert CliRunner().invoke(app, ["resume", "JOB", "--allow-code"]).exit_code == 0
    assert "pass --allow-code" in refused("JOB", command="report")
    assert CliRunner().invoke(app, ["report", "JOB", "--allow-code"]).exit_code == 0


def test_a_job_holds_to_the_code_it_began_with(folder):
    asked = ["invert", "net.py:wave", "x.npy", "--out", "JOB", "--allow-code"]
    assert CliRunner().invoke(app, asked).exit_code == 0
    (folder / "net.py").write_text(CODE.replace("6.0", "6.0, 1.0"))
    assert "another generator" in refused(*asked[1:])
    next((folder / "JOB" / "shards").iterdir()).unlink()
    assert "has changed" in refused("JOB", "--allow-code", command="resume")


def test_a_function_without_its_code_is_no_job(folder):
    wave = jaxinv.FunctionGenerator(lambda z: jnp.outer(z, jnp.arange(5.0)), latent_size=2)
    with pytest.raises(ValueError, match="a FunctionGenerator alone is neither"):
        Job.create(folder / "JOB", wave, folder / "x.npy")
    assert not (folder / "JOB").exists()
