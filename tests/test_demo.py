"""`jaxinv demo`: what it is asked for, and what it refuses."""

import pytest
from typer.testing import CliRunner

from jaxinv.cli import app


def test_a_generator_that_is_not_shipped_is_refused_by_name(tmp_path):
    asked = ["demo", "--out", str(tmp_path / "demo.png"), "--generator", "mnist-gan"]
    done = CliRunner().invoke(app, asked)
    with pytest.raises(ValueError, match="mnist-gan is not a shipped generator: mnist-conv"):
        raise done.exception
    assert not (tmp_path / "demo.png").exists()
