"""What every test module shares."""

import atexit
import gc
import os
import shutil
import tempfile

# Test modules compile the same programs again and again. They are kept for this run alone: one kept
# by an earlier run would hide that it cannot be compiled any more. Workers inherit the folder.
if "JAXINV_TESTS_PROGRAMS" not in os.environ:
    os.environ["JAXINV_TESTS_PROGRAMS"] = tempfile.mkdtemp(prefix="jaxinv-tests-")
    atexit.register(shutil.rmtree, os.environ["JAXINV_TESTS_PROGRAMS"], ignore_errors=True)
os.environ["JAX_COMPILATION_CACHE_DIR"] = os.environ["JAXINV_TESTS_PROGRAMS"]
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.05"
os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"

import jax
import pytest


@pytest.fixture(autouse=True, scope="module")
def _compiled_code_ends_with_its_module():
    # Every compiled function holds memory maps, of which a process may only have so many.
    yield
    jax.clear_caches()
    gc.collect()
