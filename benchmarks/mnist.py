"""The MNIST digits, from an .npz file or from the public mirror, checked against known hashes."""

from __future__ import annotations

import gzip
import hashlib
import os
import tempfile
import urllib.request
from pathlib import Path
from typing import NamedTuple

import numpy as np

MIRROR = "https://ossci-datasets.s3.amazonaws.com/mnist/"
FILES = {"train": "train-images-idx3-ubyte", "test": "t10k-images-idx3-ubyte"}

# Of the raw IDX files: a gzip stream carries a date and a compression level, the content does not.
SHA256 = {
    "train": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "test": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
}
MAGIC = 0x00000803  # IDX: unsigned bytes, three dimensions
HEADER_BYTES = 16
TIMEOUT_S = 60


class Mnist(NamedTuple):
    """Training and test images as uint8 arrays of shape (N, 28, 28), and how they were checked."""

    train: np.ndarray
    test: np.ndarray
    note: str


def idx_bytes(images: np.ndarray) -> bytes:
    """Return the raw IDX file that holds these uint8 images."""
    header = np.array([MAGIC, *images.shape], dtype=">u4").tobytes()
    return header + np.ascontiguousarray(images).tobytes()


def parse_idx(raw: bytes, source: str) -> np.ndarray:
    """Read uint8 images from the bytes of a raw IDX file."""
    if len(raw) < HEADER_BYTES:
        raise ValueError(f"{source}: {len(raw)} bytes are too few for an IDX file")
    magic, *shape = (int(n) for n in np.frombuffer(raw, dtype=">u4", count=4))
    if magic != MAGIC:
        raise ValueError(f"{source}: not an IDX file of images (magic number {magic:#010x})")
    pixels = np.frombuffer(raw, dtype=np.uint8, offset=HEADER_BYTES)
    if pixels.size != np.prod(shape):
        raise ValueError(f"{source}: {pixels.size} pixels where the header promises {shape}")
    return pixels.reshape(shape)


def sha256(raw: bytes) -> str:
    """Return the SHA-256 of some bytes in hexadecimal."""
    return hashlib.sha256(raw).hexdigest()


def check_hash(raw: bytes, expected: str, source: str) -> None:
    """Refuse bytes whose SHA-256 is not the expected one."""
    found = sha256(raw)
    if found != expected:
        raise ValueError(
            f"{source}: SHA-256 is {found}, expected {expected}; "
            "the file is damaged or is not the original MNIST, so it was not used"
        )


def cache_folder() -> Path:
    """Return the user's folder for downloaded digits."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "jaxinv" / "mnist"


def fetch(url: str) -> bytes:
    """Return the body of a web address."""
    with urllib.request.urlopen(url, timeout=TIMEOUT_S) as response:
        body: bytes = response.read()
    return body


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees the old content or the whole new content."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp lets only the owner read; a shipped file is for everyone.
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def download_images(part: str, cache: Path) -> np.ndarray:
    """Return one part ("train" or "test") from the cache, else from the mirror."""
    cached = cache / FILES[part]
    if cached.exists():
        # The cache is checked too: a disk can lose bits as a network can.
        raw = cached.read_bytes()
        check_hash(raw, SHA256[part], str(cached))
        return parse_idx(raw, str(cached))
    url = f"{MIRROR}{FILES[part]}.gz"
    body = fetch(url)
    try:
        raw = gzip.decompress(body)
    except (OSError, EOFError) as error:
        raise ValueError(f"{url}: the download is not a whole gzip file ({error})") from error
    check_hash(raw, SHA256[part], url)
    write_atomically(cached, raw)
    return parse_idx(raw, url)


def read_npz(path: Path) -> Mnist:
    """Read train_images and test_images from an .npz file and compare them with the originals."""
    with np.load(path, allow_pickle=False) as archive:
        parts = {"train": archive["train_images"], "test": archive["test_images"]}
    for part, images in parts.items():
        if images.dtype != np.uint8 or images.ndim != 3 or images.shape[1:] != (28, 28):
            raise ValueError(
                f"{path}: {part}_images is {images.dtype} {images.shape}, "
                "expected uint8 of shape (N, 28, 28)"
            )
    original = all(sha256(idx_bytes(images)) == SHA256[part] for part, images in parts.items())
    # Other digits are allowed here (a test, a variant of MNIST), but never without saying so.
    note = (
        "images match the SHA-256 of the original IDX files"
        if original
        else "images are NOT the original MNIST (SHA-256 differs)"
    )
    return Mnist(parts["train"], parts["test"], note)


def load_mnist(npz: Path | None = None, cache: Path | None = None) -> Mnist:
    """Load MNIST from an .npz file if one is given, else from the cache or the mirror."""
    if npz is not None:
        return read_npz(npz)
    folder = cache or cache_folder()
    train, test = (download_images(part, folder) for part in ("train", "test"))
    return Mnist(train, test, "images match the SHA-256 of the original IDX files")
