"""Arrays out of .npy and .npz files nobody vouches for: sizes are checked before any is taken."""

import zipfile
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as npy

# Deflate cannot expand further; anything beyond is a damaged or hostile header.
LARGEST_EXPANSION = 1032
LARGEST_BYTES = 1 << 34


def read_npy(path: Path) -> np.ndarray:
    """One array from an .npy file, memory-mapped; raises ValueError where it is not a plain one."""
    with open(path, "rb") as file:
        shape, _, dtype, start = _header(file, str(path))
    size = path.stat().st_size
    if int(np.prod(shape, dtype=object)) * dtype.itemsize != size - start:
        raise ValueError(f"{path}: {size} bytes do not fit the header's {dtype} {shape}")
    array: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    return array


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """All arrays of an .npz file by name; raises ValueError where one is damaged or an object."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = [m for m in archive.infolist() if m.filename.endswith(".npy")]
            _check_sizes(path, members)
            return {m.filename[: -len(".npy")]: _member(path, archive, m) for m in members}
    except (zipfile.BadZipFile, zipfile.LargeZipFile, EOFError, OSError, RuntimeError) as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise ValueError(f"{path} is not a readable .npz file: {error}") from None
    except NotImplementedError as error:
        raise ValueError(f"{path} uses a compression that is not supported: {error}") from None


def _check_sizes(path: Path, members: list[zipfile.ZipInfo]) -> None:
    on_disk = path.stat().st_size
    total = sum(m.file_size for m in members)
    if total > min(LARGEST_BYTES, LARGEST_EXPANSION * on_disk):
        raise ValueError(
            f"{path} has {on_disk} bytes but promises {total}; it is damaged or not to be trusted"
        )


def _member(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    where = f"{path}, array {member.filename[:-4]!r}"
    with archive.open(member) as file:
        shape, fortran, dtype, start = _header(file, where)
        expected = int(np.prod(shape, dtype=object)) * dtype.itemsize
        if expected != member.file_size - start:
            raise ValueError(
                f"{where}: the header promises {expected} bytes, {member.file_size - start} follow"
            )
        data = file.read(expected)
    if len(data) != expected:
        raise ValueError(f"{where}: {len(data)} of {expected} bytes could be read")
    return np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")


def _header(file: IO[bytes], where: str) -> tuple[tuple[int, ...], bool, np.dtype, int]:
    try:
        version = npy.read_magic(file)
        read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}[version]
        shape, fortran, dtype = read(file)
    except (ValueError, KeyError, EOFError, SyntaxError, TypeError) as error:
        raise ValueError(f"{where} is not a NumPy array: {error}") from None
    if dtype.hasobject:
        raise ValueError(f"{where} holds Python objects, which are never unpickled; save numbers")
    return shape, fortran, dtype, file.tell()
