"""What every test module shares."""

import atexit
import gc
import importlib.util
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


@pytest.fixture(scope="module")
def keys():
    """What opens the S3 server, and must be written nowhere."""
    return {"AWS_ACCESS_KEY_ID": "visiblekey", "AWS_SECRET_ACCESS_KEY": "visiblesecret"}


@pytest.fixture(scope="module")
def s3(keys):
    """A bucket of a server of S3 on this machine."""
    if not all(importlib.util.find_spec(name) for name in ("moto", "s3fs", "flask")):
        pytest.skip("needs s3fs and moto[server]")
    import fsspec
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in keys.items():
            patch.setenv(name, value)
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        fsspec.filesystem("s3").mkdir("bucket")
        yield "s3://bucket"
    server.stop()


@pytest.fixture(params=["memory", "s3"])
def base(request, tmp_path):
    """A place of its own in each store."""
    if request.param == "memory":
        return f"memory://{tmp_path.name}"
    return f"{request.getfixturevalue('s3')}/{tmp_path.name}"


@pytest.fixture
def function_file(tmp_path, monkeypatch):
    """The working folder, in which net.py holds `wave`, a function of two latents."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(
        "import jax.numpy as jnp\nimport jaxinv\nk = jnp.arange(1.0, 6.0)\n"
        "wave = jaxinv.FunctionGenerator(lambda z: jnp.tanh(jnp.outer(z, k)), 2)\n"
    )
    return tmp_path
