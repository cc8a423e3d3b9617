"""A decoder in a file of Python code: run only when asked for."""

import numpy as np
import pytest
from typer.testing import CliRunner

from jaxinv.cli import app

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


def refused(*arguments):
    done = CliRunner().invoke(app, ["invert", *arguments])
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


def test_what_cannot_be_taken_says_why(folder):
    rest = ("x.npy", "--out", "z.npz", "--allow-code")
    assert "is a int; expected a decoder" in refused("net.py:number", *rest)
    assert "defines no 'other'" in refused("net.py:other", *rest)
    assert "is not a file" in refused("none.py:wave", *rest)
    (folder / "bad.py").write_text("1 / 0")
    assert "fails with ZeroDivisionError" in refused("bad.py:wave", *rest)
    job = refused("net.py:wave", "x.npy", "--out", "JOB", "--allow-code")
    assert "a job needs a chain of layers" in job and not (folder / "JOB").exists()
