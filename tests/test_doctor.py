"""`jaxinv doctor --require-gpu` fails loudly, and names the first thing that is missing."""

import os
import subprocess
import sys

import jax
import pytest
from typer.testing import CliRunner

from jaxinv.cli import app
from jaxinv.cli.gpu import Host, missing, this_host

HAS_GPU = any(device.platform == "gpu" for device in jax.devices())
WORKING = Host("", ("jax-cuda12-plugin",), True, "NVRM version: 470.57.02")


@pytest.mark.skipif(HAS_GPU, reason="this machine has a GPU")
def test_a_required_gpu_that_is_not_there_is_a_failure():
    done = CliRunner().invoke(app, ["doctor", "--require-gpu"])
    assert done.exit_code == 1
    assert "FAILED a GPU is required and JAX has none." in done.output
    assert missing(this_host()) in done.output
    assert "recovers" not in done.output


def test_without_the_option_the_cpu_will_do():
    done = CliRunner().invoke(app, ["doctor"])
    assert done.exit_code == 0, done.output
    assert "FAILED" not in done.output
    assert done.output.count("recovers four codes") == 2


@pytest.mark.skipif(HAS_GPU, reason="this machine has a GPU")
@pytest.mark.parametrize("platforms", ["cuda", "no-such-platform"])
def test_a_platform_that_is_not_there_is_a_sentence(platforms):
    done = subprocess.run(
        [sys.executable, "-m", "jaxinv", "doctor"],
        env=os.environ | {"JAX_PLATFORMS": platforms},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1
    assert f"FAILED JAX has no device with JAX_PLATFORMS='{platforms}'" in done.stdout
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"platforms": "cpu"}, "JAX_PLATFORMS is 'cpu': unset it"),
        ({"plugins": ()}, "--build-arg JAX_EXTRA=cuda12 or cuda13"),
        ({"device": False}, "start the container with --gpus all"),
        ({}, "CUDA 12 needs driver 525 or newer"),
        ({"driver": ""}, "Driver: none found"),
        ({"platforms": "cuda,cpu"}, "a device is visible, and JAX cannot use it"),
    ],
)
def test_the_first_missing_link_is_named(change, sentence):
    assert sentence in missing(WORKING._replace(**change))
