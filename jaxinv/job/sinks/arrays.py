"""Results as .npz, or the latents alone as .npy. Equal results give equal bytes."""

import zipfile
from typing import IO

import numpy as np
from numpy.lib import format as npy

from jaxinv.job.sinks.results import Results

# A fixed date, so that the same results are the same bytes.
_DATE = (1980, 1, 1, 0, 0, 0)


def write_npy(results: Results, file: IO[bytes]) -> None:
    """latent (B, k)."""
    _array(results, file, "latent")


def write_npz(results: Results, file: IO[bytes]) -> None:
    """Every array; the results are gone through once for each, since each is a stream."""
    names = list(next(results.arrays()))
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name in names:
            member = zipfile.ZipInfo(f"{name}.npy", _DATE)
            with archive.open(member, "w", force_zip64=True) as part:
                _array(results, part, name)


def _array(results: Results, file: IO[bytes], name: str) -> None:
    first = next(results.arrays())[name]
    header = {
        "descr": npy.dtype_to_descr(first.dtype),
        "fortran_order": False,
        "shape": (results.rows, *first.shape[1:]),
    }
    npy.write_array_header_1_0(file, header)
    for block in results.arrays():
        file.write(np.ascontiguousarray(block[name]).tobytes())
