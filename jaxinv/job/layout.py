"""What a row's last bits depend on, frozen by the first shard: batch shape, device, versions."""

import json
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import jax

from jaxinv.job import durable

PACKAGES = ("jaxinv", "jax", "jaxlib", "numpy", "scipy", "clarabel")


@dataclass(frozen=True)
class Layout:
    """chunk: rows computed together, the batch shape of every computation of the job."""

    chunk: int
    platform: str
    device_kind: str
    versions: dict[str, str]

    @classmethod
    def here(cls, chunk: int) -> "Layout":
        """The layout of a computation on this machine."""
        device = jax.local_devices()[0]
        versions = {name: version(name) for name in PACKAGES}
        return cls(chunk, device.platform, device.device_kind, versions)

    @classmethod
    def frozen(cls, path: Path) -> "Layout | None":
        """The job's layout, None before its first shard."""
        if not path.exists():
            return None
        try:
            return cls(**json.loads(path.read_text()))
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path} is damaged: {error}") from None

    def freeze(self, path: Path) -> "Layout":
        """Make this the job's layout, unless another worker came first; returns the job's."""
        data = json.dumps(asdict(self), indent=1).encode()
        durable.commit(path, lambda file: file.write(data))
        frozen = Layout.frozen(path)
        assert frozen is not None
        return frozen

    def refuse_other(self, folder: Path) -> None:
        """Raise ValueError where this machine would give other bits than the job's."""
        here = Layout.here(self.chunk)
        for word, was, now in (
            ("platform", self.platform, here.platform),
            ("device", self.device_kind, here.device_kind),
            *((name, self.versions.get(name), here.versions[name]) for name in PACKAGES),
        ):
            if was != now:
                raise ValueError(
                    f"{folder} was begun with {word} {was}, here it is {now}; rows would differ in "
                    "their last bits. Resume as it was begun, or start a new directory"
                )
