"""Whether a device computes fast in double precision, and what follows for the linear programs."""

import jax

MANY_COLUMNS = 128  # beyond which two programs to compile are worth it on a CPU
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


def single_precision_pays(columns: int) -> bool:
    """Whether linear programs with so many unknowns begin in float32 on this process's device."""
    device = jax.local_devices()[0]
    if device.platform == "cpu":
        return columns > MANY_COLUMNS
    return slow_double_precision(device.platform, device.device_kind)


def policy(platform: str, kind: str) -> str:
    """What is computed in which precision on a device of this kind, as a sentence."""
    programs = "linear programs are in float64 throughout"
    if platform == "cpu":
        programs = f"linear programs of more than {MANY_COLUMNS} unknowns begin in float32"
    elif slow_double_precision(platform, kind):
        programs = "linear programs begin in float32, since float64 is slow on this device"
    return f"races and ranks begin in float32, {programs}; residuals and certificates are float64"
