"""What is published: the wheel holds the package and nothing else, and needs nothing else."""

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from jaxinv.formats import shipped_generators

ROOT = Path(__file__).parent.parent
NAMES = """
import jaxinv, numpy as np
from jaxinv.formats import shipped_generators
print(jaxinv.__file__, *shipped_generators())
for name in shipped_generators():
    generator = jaxinv.load_generator(name)
    assert np.isfinite(generator(np.zeros(generator.latent_size))).all()
"""


@pytest.fixture(scope="module")
def dist(tmp_path_factory):
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "hatchling", "build", "--directory", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True, timeout=120)
    return folder


def test_the_wheel_is_the_package(dist):
    with zipfile.ZipFile(next(dist.glob("*.whl"))) as wheel:
        held = {name for name in wheel.namelist() if ".dist-info/" not in name}
        metadata = wheel.read(next(n for n in wheel.namelist() if n.endswith("/METADATA"))).decode()
    package = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "jaxinv").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert held == package
    for extra in ("torch", "onnx", "images", "cluster", "export", "cuda12", "cuda13"):
        assert f"Provides-Extra: {extra}\n" in metadata


def test_the_wheel_needs_no_sources(dist, tmp_path):
    with zipfile.ZipFile(next(dist.glob("*.whl"))) as wheel:
        wheel.extractall(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", NAMES],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    where, *names = done.stdout.split()
    assert Path(where).is_relative_to(tmp_path)
    assert names == list(shipped_generators())


def test_the_source_archive_can_test_itself_and_build_the_image(dist):
    with tarfile.open(next(dist.glob("*.tar.gz"))) as archive:
        held = {Path(*Path(name).parts[1:]).as_posix() for name in archive.getnames()}
    needed = {"Makefile", "LICENSE", ".dockerignore", "docker/Dockerfile", "tests/conftest.py"}
    pins = {f"requirements/{name}.txt" for name in ("base", "test", "cuda12", "cuda13")}
    assert needed | pins <= held
    assert not any("__pycache__" in name or name.startswith("dist/") for name in held)
