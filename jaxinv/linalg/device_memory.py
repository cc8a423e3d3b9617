"""What the device says it has, from which the sizes of batches, lanes, slots and blocks follow.

A figure is taken down to a power of two: a row's last bits depend on the shape of the batch that it
is computed in, and no two processes leave exactly as much of a card to each other. A CPU states
nothing: its sizes are constants, chosen by what its cache holds.
"""

import jax


def stated_memory() -> int | None:
    """Bytes of the device that JAX may use, down to a power of two; None where it does not say."""
    bytes_limit = (jax.local_devices()[0].memory_stats() or {}).get("bytes_limit")
    return 1 << (bytes_limit.bit_length() - 1) if bytes_limit else None


def share_of_memory(parts: int, otherwise: int) -> int:
    """One of so many parts of the device's memory; `otherwise` where it does not say."""
    stated = stated_memory()
    return otherwise if stated is None else stated // parts
