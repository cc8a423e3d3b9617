"""Why JAX shows no GPU: the first link missing between the package and the card."""

import os
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

PLUGINS = ("jax-cuda12-plugin", "jax-cuda13-plugin")
DEVICES = (Path("/dev/nvidiactl"), Path("/dev/dxg"))  # Linux, and Linux under Windows
DRIVER = Path("/proc/driver/nvidia/version")


class Host(NamedTuple):
    """What JAX needs of a machine to use its NVIDIA cards."""

    platforms: str  # JAX_PLATFORMS, empty where JAX may choose
    plugins: tuple[str, ...]
    device: bool
    driver: str  # the driver's own line, empty where the kernel has none


def this_host() -> Host:
    return Host(
        platforms=os.environ.get("JAX_PLATFORMS", ""),
        plugins=tuple(name for name in PLUGINS if _installed(name)),
        device=any(path.exists() for path in DEVICES),
        driver=DRIVER.read_text().splitlines()[0] if DRIVER.exists() else "",
    )


def missing(host: Host) -> str:
    """The first thing that keeps JAX from a GPU on this host, and what to do about it."""
    if host.platforms and not {"cuda", "gpu"} & set(host.platforms.split(",")):
        return f"JAX_PLATFORMS is {host.platforms!r}: unset it, or let it begin with cuda."
    if not host.plugins:
        return (
            "This JAX computes on the CPU alone: install jaxinv[cuda12] or jaxinv[cuda13], or "
            "build the image with --build-arg JAX_EXTRA=cuda12 or cuda13."
        )
    plugins = " and ".join(host.plugins)
    if not host.device:
        return (
            f"{plugins} is installed and no NVIDIA device is visible: start the container with "
            "--gpus all (podman: --device nvidia.com/gpu=all), or install NVIDIA's driver."
        )
    return (
        f"{plugins} is installed, a device is visible, and JAX cannot use it. CUDA 12 needs "
        "driver 525 or newer, CUDA 13 needs 580 or newer, and a container needs "
        f"NVIDIA_DRIVER_CAPABILITIES=compute,utility. Driver: {host.driver or 'none found'}"
    )


def _installed(name: str) -> bool:
    try:
        return bool(version(name))
    except PackageNotFoundError:
        return False
