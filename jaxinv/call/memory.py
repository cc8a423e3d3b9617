"""When memory ends, on the host or on a device: what counts as that."""

import jax

# What a computation raises whose arrays do not fit; other errors of the device are among them.
MEMORY_ERRORS = (MemoryError, jax.errors.JaxRuntimeError)


def memory_ended(error: Exception) -> bool:
    """Whether a smaller batch may succeed where this error was raised."""
    return isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error)
