"""Who computes the shards: threads of this process, spawned processes, or a Dask cluster."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing.connection import wait
from pathlib import Path

from jaxinv.call.in_flight import IN_FLIGHT, chosen_devices


@contextmanager
def threads(devices: int | None) -> Iterator[Executor]:
    """Threads of this process, two a device: one shard computes while the other reads or writes."""
    count = IN_FLIGHT * len(chosen_devices(devices))
    with ThreadPoolExecutor(count, thread_name_prefix="shard") as executor:
        yield executor


@contextmanager
def processes(count: int) -> Iterator[Executor]:
    """Processes that end with this one; spawned, since JAX's threads do not survive a fork."""
    context = multiprocessing.get_context("spawn")
    executor = ProcessPoolExecutor(count, mp_context=context, initializer=_end_with_parent)
    try:
        yield executor
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


@contextmanager
def cluster(address: str) -> Iterator[Executor]:
    """The workers of a Dask scheduler, given by address (tcp://...) or by its scheduler file.

    They must see the job directory and the observations under the same paths.
    """
    try:
        from distributed import Client
    except ImportError as error:
        raise ImportError("--cluster needs distributed: pip install 'jaxinv[cluster]'") from error
    where = {"scheduler_file": address} if Path(address).is_file() else {"address": address}
    try:
        client = Client(**where, timeout=30)
    except (OSError, TimeoutError, ValueError) as error:
        raise ValueError(f"no Dask scheduler answers at {address}: {error}") from None
    with client:
        # A shard may be computed twice and is committed once: tasks need not be pure.
        yield client.get_executor(pure=False)


def worker_count(executor: Executor) -> int:
    """How many shards the executor works on at the same time."""
    size = getattr(executor, "_max_workers", None)
    if isinstance(size, int):
        return size
    client = getattr(executor, "_client", None)
    return max(1, sum(client.nthreads().values())) if client is not None else 1


def _end_with_parent() -> None:
    # Signals to the whole process group are the parent's to answer.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        # A worker whose parent was killed would wait for work forever.
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
