"""What every test module shares."""

import gc
import os

# A program kept by an earlier run would hide that this one cannot be compiled, or compiles anew.
os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "false"

import jax
import pytest


@pytest.fixture(autouse=True, scope="module")
def _compiled_code_ends_with_its_module():
    # Every compiled function holds memory maps, of which a process may only have so many.
    yield
    jax.clear_caches()
    gc.collect()
