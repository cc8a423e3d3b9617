"""What a benchmark writes down: its results, and the machine they were measured on."""

import json
import os
import platform
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    import jax  # its devices are taken here: what only writes must leave them to others

    return {
        "platform": f"{platform.system()} {platform.machine()}",
        "device": jax.devices()[0].platform,
        "cores": os.cpu_count(),
        "load_average_at_start": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        "jax": jax.__version__,
        "optax": version("optax"),
        "numpy": version("numpy"),
        "dtype": "float64",
    }


def write(path: Path, content: dict[str, Any]) -> None:
    """JSON with one row of results a line."""
    text = json.dumps(content, indent=1)
    path.parent.mkdir(exist_ok=True)
    path.write_text(re.sub(r"\{[^{}]*\}", lambda flat: " ".join(flat[0].split()), text) + "\n")
