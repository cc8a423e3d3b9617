"""What `jaxinv inspect` foretells of any decoder, against derivatives written out."""

import re

import jax.numpy as jnp
import numpy as np
import pytest
from typer.testing import CliRunner

import jaxinv
from jaxinv.cli import app
from jaxinv.cli.foretold import jointly, memory, size
from jaxinv.outcome.words import number

K = np.arange(1.0, 6.0)


def inspected(*arguments):
    done = CliRunner().invoke(app, ["inspect", *arguments])
    assert done.exit_code == 0, done.exception
    return " ".join(done.stdout.split())


@pytest.fixture
def net(function_file):
    return "net.py:wave"


def test_a_function_is_told_and_a_row_of_it_timed(net):
    told = inspected(net, "--allow-code")
    assert "net.py:wave: FunctionGenerator(2 -> (2, 5), <lambda>)" in told
    assert "It has no layers to look at" in told and "(rank 2)" in told
    assert "Memory ('auto'): 256 rows at a time, 80 B each" in told
    timed = re.search(r"machine\): ([\d.]+) (ms|s|µs) for one planted row", told)
    assert timed and "SOLVED, the code off by" in told and " later call" in told
    assert "Seconds" not in inspected(net, "--allow-code", "--no-measurement")


def test_the_condition_is_that_of_the_jacobian():
    generator = jaxinv.FunctionGenerator(lambda z: jnp.tanh(jnp.outer(z, jnp.asarray(K))), 2)
    z = np.random.default_rng(0).standard_normal((8, 2))
    # Each entry hangs on one latent: the singular values are the norms of two columns.
    gain = np.linalg.norm(K / np.cosh(z[:, :, None] * K) ** 2, axis=-1)
    condition = gain.max(1) / gain.min(1)
    told = jointly(generator)
    assert f"there is {number(np.quantile(condition, 0.5))} in the median" in told
    assert f"{number(condition.min())} to {number(condition.max())}" in told


def test_directions_that_the_image_leaves_free_are_counted():
    lost = jaxinv.FunctionGenerator(lambda z: jnp.tanh((z[0] + z[1]) * jnp.asarray(K)), 3)
    assert "leaves 2 or more directions of the code free" in jointly(lost)


def test_codes_without_a_jacobian_are_left_out():
    half = jaxinv.FunctionGenerator(lambda z: jnp.sqrt(z) * jnp.asarray(K), 1)
    positive = int((np.random.default_rng(0).standard_normal(8) > 0).sum())
    assert f"{positive} of {positive} codes" in jointly(half)


def test_a_jacobian_that_is_too_large_is_not_formed():
    vast = jaxinv.FunctionGenerator(lambda z: jnp.outer(jnp.ones(100), z).reshape(-1), 600)
    assert "entries, too many to look at its rank here" in jointly(vast)
    assert "fitted without a Jacobian" in memory(vast)


def test_a_chain_has_its_layers_and_all_of_the_rest(tmp_path):
    jaxinv.save_generator(jaxinv.Generator.random((2, 8, 20), seed=0), tmp_path / "net.npz")
    told = inspected(str(tmp_path / "net.npz"), "--no-measurement")
    assert "Layer 2: " in told and "All at once: 8 of 8 codes" in told and "Memory" in told
    told = inspected("mnist-conv-vae-13", "--no-measurement")
    assert "(rank 13)" in told and "6.12 KiB each as given" in told


def test_sizes_are_in_the_unit_that_one_would_name():
    assert [size(n) for n in (80, 2048, 3 << 20, 5 << 29)] == ["80 B", "2 KiB", "3 MiB", "2.5 GiB"]
