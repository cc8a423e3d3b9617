"""Whether a device computes fast in double precision, and what follows for the linear programs."""

import jax

# Those that do half as much in float64 as in float32, by words of their names; a card that none of
# them describes does a thirty-second or a sixty-fourth.
FAST = ("P100", "V100", "A100", "A30", "A800", "H100", "H200", "H800", "B100", "B200")


def slow_double_precision(platform: str, kind: str) -> bool:
    """Whether float64 is many times slower than float32 on a device of this kind.

    kind: as JAX names it, such as "NVIDIA A100-SXM4-80GB".
    """
    words = kind.upper().replace("-", " ").split()
    # GB200 holds a B200, and AMD's Instinct cards are all made for double precision.
    fast = any(word.removeprefix("G") in FAST or word.startswith("MI") for word in words)
    return platform == "gpu" and not fast


def single_precision_pays() -> bool:
    """Whether this process's device is such a one."""
    device = jax.local_devices()[0]
    return slow_double_precision(device.platform, device.device_kind)


def policy(platform: str, kind: str) -> str:
    """What is computed in which precision on a device of this kind, as a sentence."""
    programs = (
        "linear programs begin in float32, since float64 is slow on this device"
        if slow_double_precision(platform, kind)
        else "linear programs are in float64 throughout"
    )
    return f"races and ranks begin in float32, {programs}; residuals and certificates are float64"
