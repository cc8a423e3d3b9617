"""`jaxinv demo`: what it is asked for, and what it refuses."""

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import jaxinv
from jaxinv.call.request import Options, requested
from jaxinv.cli import app
from jaxinv.cli.demo import trials
from jaxinv.cli.picture import Panel, draw


def test_a_generator_that_is_not_shipped_is_refused_by_name(tmp_path):
    asked = ["demo", "--out", str(tmp_path / "demo.png"), "--generator", "mnist-gan"]
    done = CliRunner().invoke(app, asked)
    with pytest.raises(ValueError, match="mnist-gan is not a shipped generator: mnist-conv"):
        raise done.exception
    assert not (tmp_path / "demo.png").exists()


@pytest.mark.parametrize("name", jaxinv.shipped_generators())
def test_every_shipped_generator_is_tried_by_methods_that_take_it(name):
    generator = jaxinv.load_generator(name)
    tried = trials(generator, 2, 0.2, 0)
    for method in {method for trial in tried for method in trial.methods}:
        requested(generator, 784, method, Options())
    real = [trial for trial in tried if trial.latent is None]
    assert len(real) == (generator.layers[-1].activation.kind == "sigmoid")


def test_a_line_of_panels_is_as_high_as_its_tallest(tmp_path):
    images = np.zeros((8, 784))
    short = Panel("short", {"a": images, "b": images})
    tall = Panel("tall", dict.fromkeys("abcd", images))
    draw([short, tall, short], tmp_path / "picture.png")
    with Image.open(tmp_path / "picture.png") as picture:
        assert picture.size == (2 * (52 + 8 * 56), (16 + 4 * 56) + (16 + 2 * 56))
