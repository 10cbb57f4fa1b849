"""Read the arrays of an untrusted .npz file; no pickle is loaded."""

import math
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, NamedTuple

import numpy as np

from ..arguments import AnyPath
from ..errors import DataError
from .untrusted_file import errors_named, memory_errors_named, require_regular

MAX_BYTES = 1 << 32  # of all arrays together, once unpacked


class Header(NamedTuple):
    """Shape, order and dtype from an array's header."""

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype


def read_headers(path: AnyPath) -> dict[str, Header]:
    """Name -> ``Header`` of every array, without reading the arrays.

    Raises:
        DataError: as ``read_arrays``.
    """
    with _opened(path) as archive:
        found = {}
        for entry in _entries(path, archive):
            with archive.open(entry) as file:
                found[entry.filename[:-4]] = _header(path, entry.filename, file)
        return found


def read_arrays(path: AnyPath) -> dict[str, np.ndarray]:
    """Name -> array, each checked against its announced size before it is allocated.

    Raises:
        DataError: the file is no complete .npz file, is larger than ``MAX_BYTES`` or than memory
            when unpacked, or has an array of objects or records; nothing else is raised.
    """
    with _opened(path) as archive:
        return {e.filename[:-4]: _array(path, archive, e) for e in _entries(path, archive)}


@contextmanager
def _opened(path: AnyPath) -> Iterator[zipfile.ZipFile]:
    try:
        with memory_errors_named(path):
            with errors_named(path):
                require_regular(path)
            with zipfile.ZipFile(path) as archive:
                yield archive
    except DataError:
        raise
    # zipfile and NumPy's header parser raise a dozen exception types for crafted bytes.
    except Exception as cause:
        reason = getattr(cause, "strerror", None) or cause or type(cause).__name__
        raise DataError(f"{path}: not a whole .npz file: {reason}") from cause


def _entries(path: AnyPath, archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    entries = [entry for entry in archive.infolist() if entry.filename.endswith(".npy")]
    total = sum(entry.file_size for entry in entries)
    if total > MAX_BYTES:
        raise DataError(f"{path}: {total} bytes unpacked, the limit is {MAX_BYTES}")
    return entries


def _header(path: AnyPath, name: str, file: IO[bytes]) -> Header:
    version = np.lib.format.read_magic(file)
    if version not in ((1, 0), (2, 0)):
        raise DataError(f"{path}: {name}: .npy version {version} is not read here")
    read_header = getattr(np.lib.format, f"read_array_header_{version[0]}_0")
    header = Header(*read_header(file))
    if header.dtype.hasobject or header.dtype.names or header.dtype.subdtype:
        raise DataError(f"{path}: {name}: arrays of {header.dtype} are not read here")
    return header


def _array(path: AnyPath, archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> np.ndarray:
    with archive.open(entry) as file:
        shape, fortran, dtype = _header(path, entry.filename, file)
        data = file.read()  # to the end, so that zipfile checks the CRC
    count = math.prod(shape)
    if min(shape, default=0) < 0 or count * dtype.itemsize != len(data):
        raise DataError(f"{path}: {entry.filename}: {len(data)} bytes do not fill {dtype} {shape}")
    if count == 0 or dtype.itemsize == 0:
        return np.empty(shape, dtype)
    return np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")
