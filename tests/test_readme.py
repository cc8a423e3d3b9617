"""The README's Python, run as written, on what its reader is said to have."""

import re
from pathlib import Path

import numpy as np
import pytest

README = (Path(__file__).parents[1] / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def block(holding):
    found = [text for text in BLOCKS if holding in text]
    assert len(found) == 1, f"{len(found)} blocks of the README hold {holding!r}"
    return found[0]


def test_a_picture_of_a_decoder_of_ones_own_takes_ten_lines(tmp_path, monkeypatch, capsys):
    torch = pytest.importorskip("torch")
    pytest.importorskip("matplotlib")
    lines = block("Generator.from_torch(decoder.eval())")
    assert len(lines.strip().splitlines()) <= 10
    torch.manual_seed(0)
    decoder = torch.nn.Sequential(
        torch.nn.Linear(4, 64),
        torch.nn.ReLU(),
        torch.nn.Unflatten(1, (4, 4, 4)),
        torch.nn.ConvTranspose2d(4, 2, 4, stride=2, padding=1),
        torch.nn.BatchNorm2d(2),
        torch.nn.LeakyReLU(0.2),
        torch.nn.ConvTranspose2d(2, 1, 4, stride=2, padding=1),
        torch.nn.Sigmoid(),
    )
    code = torch.randn(6, 4)
    with torch.no_grad():
        images = decoder.eval()(code).numpy()
    monkeypatch.chdir(tmp_path)
    names = {"decoder": decoder, "images": images}
    exec(lines, names)
    assert "SOLVED" in capsys.readouterr().out
    np.testing.assert_allclose(names["latent"], code.numpy(), rtol=1e-3, atol=1e-3)
    assert (tmp_path / "reconstructions.png").read_bytes().startswith(b"\x89PNG")


def test_a_shipped_generator_is_inverted_as_the_readme_says(capsys):
    names = {}
    exec(block('jaxinv.load_generator("mnist-leaky'), names)
    assert "SOLVED" in capsys.readouterr().out
    assert np.asarray(names["r"].ok).all()
