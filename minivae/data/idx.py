"""IDX, the file format of MNIST: a magic number, the dimensions, then the elements.

    byte 0, 1    zero
    byte 2       element type; 0x08 is unsigned byte, the only one read here
    byte 3       number of dimensions
    then         each dimension as a big-endian unsigned 32-bit integer
    then         the elements, row-major, and nothing after them

Format: Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten digits".
"""

import gzip
import math
import os
import stat
import zlib
from contextlib import contextmanager
from typing import BinaryIO

import numpy as np

from ..errors import DataError

UNSIGNED_BYTE = 0x08
OTHER_TYPES = {0x09: "int8", 0x0B: "int16", 0x0C: "int32", 0x0D: "float32", 0x0E: "float64"}
MAX_DIMENSIONS = 4
MAX_BYTES = 1 << 28  # five times the MNIST training images
GZIP_MAGIC = b"\x1f\x8b"


def read_idx(path: str | os.PathLike, max_bytes: int = MAX_BYTES) -> np.ndarray:
    """Read an IDX file of unsigned bytes, gzipped or not, into a read-only uint8 array.

    The dimensions are checked against `max_bytes` before anything is allocated, and a gzip stream
    is never expanded further than its own header announces. Raises DataError, and nothing else, for
    a file that cannot be read or is anything but one whole IDX file of unsigned bytes.
    """
    with errors_named(path), open_extracted(path) as stream:
        shape = _read_shape(stream)
        if math.prod(max(n, 1) for n in shape) > max_bytes:
            raise DataError(f"absurd dimensions {shape}: the limit is {max_bytes} bytes in all")
        size = math.prod(shape)
        elements = stream.read(size + 1)  # one more, to see the end of the file and gzip's checksum
        if len(elements) < size:
            raise DataError(f"truncated: {shape} needs {size} bytes, {len(elements)} came")
        if len(elements) > size:
            raise DataError(f"wrong length: more data follows the {size} bytes of {shape}")
        return np.frombuffer(elements, np.uint8).reshape(shape)


def idx_header(shape: tuple[int, ...]) -> bytes:
    """The bytes that precede the elements of a uint8 array of this shape."""
    return bytes([0, 0, UNSIGNED_BYTE, len(shape)]) + np.array(shape, ">u4").tobytes()


def _read_shape(stream: BinaryIO) -> tuple[int, ...]:
    magic = stream.read(4)
    if not magic:
        raise DataError("the file is empty, expected IDX data")
    if magic.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        raise DataError("this is a web page (HTML or XML), expected IDX data: a failed download?")
    if len(magic) < 4 or magic[:2] != b"\0\0":
        raise DataError(f"wrong magic number: expected 00 00 08 and a count, came {magic.hex(' ')}")
    code, ndim = magic[2:]
    if code != UNSIGNED_BYTE:
        raise DataError(
            f"wrong element type: expected 0x08 (unsigned byte), "
            f"came 0x{code:02x} ({OTHER_TYPES.get(code, 'no known type')})"
        )
    if not 1 <= ndim <= MAX_DIMENSIONS:
        raise DataError(f"expected 1 to {MAX_DIMENSIONS} dimensions, came {ndim}")
    dimensions = stream.read(4 * ndim)
    if len(dimensions) < 4 * ndim:
        raise DataError(
            f"truncated: the header needs {4 + 4 * ndim} bytes, came {4 + len(dimensions)}"
        )
    return tuple(np.frombuffer(dimensions, ">u4").tolist())


def require_regular(path: str | os.PathLike, max_bytes: float = math.inf) -> None:
    """DataError unless this is a regular file of at most `max_bytes`.

    Asked before opening: to open a named pipe waits for its writer, and a device may have no end.
    """
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):
        kind = "a folder" if stat.S_ISDIR(status.st_mode) else "not a regular file"
        raise DataError(f"expected a file, this is {kind}")
    if status.st_size > max_bytes:
        raise DataError(f"{status.st_size} bytes, the limit is {max_bytes}")


@contextmanager
def open_extracted(path: str | os.PathLike):
    """Open a regular file to read its bytes, through gzip if it starts as gzip does."""
    require_regular(path)
    with open(path, "rb") as file:
        with extracted(file) as stream:
            yield stream


def extracted(file: BinaryIO) -> BinaryIO:
    """The bytes of a seekable binary file, through gzip if it starts as gzip does."""
    zipped = file.read(len(GZIP_MAGIC)) == GZIP_MAGIC
    file.seek(0)
    return gzip.GzipFile(fileobj=file) if zipped else file


@contextmanager
def errors_named(name):
    """Turn what reading a broken file can raise into a DataError that begins with its name."""
    try:
        yield
    except DataError as error:
        raise DataError(f"{name}: {error}") from error.__cause__
    except EOFError as cause:
        raise DataError(f"{name}: truncated gzip stream: {cause}") from cause
    except (gzip.BadGzipFile, zlib.error) as cause:
        raise DataError(f"{name}: corrupt gzip stream: {cause}") from cause
    except (OSError, ValueError) as cause:
        raise DataError(
            f"{name}: cannot be read: {getattr(cause, 'strerror', None) or cause}"
        ) from cause
