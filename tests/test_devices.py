"""Several devices share the rows, and a chunk that does not fit is halved."""

import os
import subprocess
import sys

import jax
import numpy as np
import pytest

import jaxinv
from jaxinv.call import in_flight

ON_FOUR = """
import jax, numpy as np, jaxinv
from jaxinv.call.chunk import invert_chunk
from jaxinv.call import in_flight

used = set()
def watched(request, *rest):
    found = invert_chunk(request, *rest)
    used.update(found.latent.devices())
    return found
in_flight.invert_chunk = watched

assert len(jax.local_devices()) == 4
g = jaxinv.Generator.random((3, 8, 20), seed=0, activation="leaky_relu:0.1")
z = np.random.default_rng(1).normal(size=(22, 3))
x = np.asarray(g(z))
for method in ("exact", "linf"):
    used.clear()
    shared = jaxinv.invert(g, x, method)
    assert len(used) == 4, used
    assert shared.latent.dtype == np.float64
    assert len(shared.latent.devices()) == 1
    alone = jaxinv.invert(g, x, method, devices=1)
    np.testing.assert_allclose(np.asarray(shared.latent), z, atol=1e-9)
    np.testing.assert_allclose(np.asarray(alone.latent), z, atol=1e-9)
pair = list(jaxinv.invert_stream(g, [x[:11], x[11:]], "exact", devices=jax.local_devices()[2:]))
np.testing.assert_allclose(np.concatenate([np.asarray(p.latent) for p in pair]), z, atol=1e-9)
"""


def test_four_devices_share_the_rows():
    flags = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=4"}
    done = subprocess.run(
        [sys.executable, "-c", ON_FOUR], env=flags, capture_output=True, text=True, timeout=250
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("devices", [0, 99, True, [], ["cpu"], 1.5])
def test_devices_that_are_not_there_are_refused(devices):
    g = jaxinv.Generator.random((2, 6), seed=0)
    with pytest.raises(ValueError, match="devices="):
        jaxinv.invert(g, np.ones((1, 6)), "exact", devices=devices)


def test_a_chunk_that_does_not_fit_is_halved(monkeypatch):
    g = jaxinv.Generator.random((3, 8, 20), seed=0, activation="leaky_relu:0.1")
    z = np.random.default_rng(1).normal(size=(13, 3))
    shapes = []

    def small_memory(request, data, size, first_row):
        shapes.append(size)
        if size > 4:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")
        return invert_chunk(request, data, size, first_row)

    invert_chunk = in_flight.invert_chunk
    monkeypatch.setattr(in_flight, "invert_chunk", small_memory)
    found = jaxinv.invert(g, np.asarray(g(z)), "exact")
    np.testing.assert_allclose(np.asarray(found.latent), z, atol=1e-9)
    assert shapes[0] == 13
    assert min(shapes) == 4

    def no_memory(*_):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")

    monkeypatch.setattr(in_flight, "invert_chunk", no_memory)
    with pytest.raises(jax.errors.JaxRuntimeError, match="RESOURCE_EXHAUSTED"):
        jaxinv.invert(g, np.asarray(g(z)), "exact")
