"""What happened, one JSON object a line: appended whole, never rewritten."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jaxinv.job import durable


class Log:
    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, event: str, **facts: Any) -> None:
        """Append one line; a line that a crash cut short is skipped when reading."""
        line = json.dumps({"time": round(time.time(), 3), "event": event, **facts}) + "\n"
        try:
            with open(self.path, "ab", buffering=0) as file:
                file.write(line.encode())
        except OSError as error:
            raise durable.unwritable(self.path, error) from None

    def __iter__(self) -> Iterator[dict[str, Any]]:
        if not self.path.exists():
            return
        with open(self.path, encoding="utf-8", errors="replace") as file:
            for line in file:
                try:
                    entry = json.loads(line)
                except ValueError:
                    continue
                if isinstance(entry, dict) and "event" in entry:
                    yield entry
