"""Arrays out of .npy and .npz files nobody vouches for: sizes are checked before any is taken."""

import zipfile
from pathlib import Path
from typing import IO, Literal, NamedTuple

import numpy as np
from numpy.lib import format as npy

# Deflate cannot expand further; anything beyond is a damaged or hostile header.
LARGEST_EXPANSION = 1032
LARGEST_BYTES = 1 << 34


class Layout(NamedTuple):
    """Where the entries of one array lie in a file: from byte `start` on, as Fortran or C does."""

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype
    start: int

    @property
    def size(self) -> int:
        """Bytes that the entries take."""
        return int(np.prod(self.shape, dtype=object)) * self.dtype.itemsize


def read_npy(path: Path) -> np.ndarray:
    """One array from an .npy file, memory-mapped; raises ValueError where it is not a plain one."""
    npy_layout(path)
    array: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    return array


def npy_layout(path: Path) -> Layout:
    """The layout of an .npy file, whose size must be what its header says."""
    with open(path, "rb") as file:
        return whole_layout(file, path.stat().st_size, str(path))


def whole_layout(file: IO[bytes], size: int, where: str) -> Layout:
    """The layout of an .npy file of so many bytes, whose size must be what its header says."""
    layout = read_header(file, where)
    if layout.size != size - layout.start:
        raise ValueError(
            f"{where}: {size} bytes do not fit the header's {layout.dtype} {layout.shape}; "
            "it is truncated or damaged"
        )
    return layout


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
        layout = read_header(file, where)
        check_member(where, member, layout)
        data = file.read(layout.size)
    if len(data) != layout.size:
        raise ValueError(f"{where}: {len(data)} of {layout.size} bytes could be read")
    order: Literal["F", "C"] = "F" if layout.fortran else "C"
    return np.frombuffer(data, layout.dtype).reshape(layout.shape, order=order)


def check_member(where: str, member: zipfile.ZipInfo, layout: Layout) -> None:
    """Refuse an array whose header promises another size than the archive's directory."""
    follow = member.file_size - layout.start
    if layout.size != follow:
        raise ValueError(f"{where}: the header promises {layout.size} bytes, {follow} follow")


def read_header(file: IO[bytes], where: str) -> Layout:
    """The layout that an array's header states; objects are refused."""
    try:
        version = npy.read_magic(file)
        read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}[version]
        shape, fortran, dtype = read(file)
    except Exception as error:  # NumPy parses the header as Python and raises many kinds
        raise ValueError(f"{where} is not a NumPy array: {error}") from None
    if dtype.hasobject:
        raise ValueError(f"{where} holds Python objects, which are never unpickled; save numbers")
    return Layout(shape, fortran, dtype, file.tell())
