"""Read IDX, the file format of MNIST: a magic number, the dimensions, then the elements.

    byte 0, 1    zero
    byte 2       element type, a key of ``TYPES``
    byte 3       number of dimensions
    then         each dimension as a big-endian unsigned 32-bit integer
    then         the elements, row-major and big-endian, and nothing after them

Format: Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten digits".
"""

import math
from typing import BinaryIO

import numpy as np

from ..arguments import AnyPath
from ..errors import DataError
from .untrusted_file import errors_named, open_extracted

TYPES: dict[int, np.dtype] = {
    0x08: np.dtype("u1"),
    0x09: np.dtype("i1"),
    0x0B: np.dtype(">i2"),
    0x0C: np.dtype(">i4"),
    0x0D: np.dtype(">f4"),
    0x0E: np.dtype(">f8"),
}
MAX_DIMENSIONS = 4
MAX_BYTES = 1 << 30  # EMNIST ByClass, the largest set in this format, has 547 million


def read_idx(path: AnyPath, max_bytes: int = MAX_BYTES) -> np.ndarray:
    """Read an IDX file, gzipped or not, into a read-only array in the machine's byte order.

    The dimensions are checked against ``max_bytes`` before anything is allocated, and a gzip stream
    is expanded no further than the IDX header announces.

    Raises:
        DataError: the file cannot be read or is not one whole IDX file; nothing else is raised.
    """
    with errors_named(path), open_extracted(path) as stream:
        return parse_idx(stream, max_bytes)


def parse_idx(stream: BinaryIO, max_bytes: int = MAX_BYTES) -> np.ndarray:
    """Read the extracted bytes of an IDX file from a stream, as ``read_idx`` does.

    Raises:
        DataError: the bytes are not one whole IDX file.
        EOFError, OSError, zlib.error: raised by the stream.
    """
    dtype, shape = _read_header(stream)
    if math.prod(max(n, 1) for n in shape) * dtype.itemsize > max_bytes:
        raise DataError(f"absurd dimensions {shape}: the limit is {max_bytes} bytes in all")
    size = math.prod(shape) * dtype.itemsize
    elements = stream.read(size + 1)  # one more, to reach the end and check gzip's checksum
    if len(elements) < size:
        raise DataError(f"truncated: {shape} needs {size} bytes, got {len(elements)}")
    if len(elements) > size:
        raise DataError(f"wrong length: more data follows the {size} bytes of {shape}")
    found = np.frombuffer(elements, dtype).reshape(shape)
    found = found.astype(dtype.newbyteorder("="), copy=False)
    found.flags.writeable = False
    return found


def idx_header(shape: tuple[int, ...]) -> bytes:
    """The bytes that precede the elements of a uint8 array of this shape."""
    return bytes([0, 0, 0x08, len(shape)]) + np.array(shape, ">u4").tobytes()


def _read_header(stream: BinaryIO) -> tuple[np.dtype, tuple[int, ...]]:
    magic = stream.read(4)
    if not magic:
        raise DataError("the file is empty, expected IDX data")
    if magic.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        raise DataError("this is a web page (HTML or XML), expected IDX data: a failed download?")
    if len(magic) < 4 or magic[:2] != b"\0\0":
        raise DataError(f"wrong magic number: expected 00 00, type, count, got {magic.hex(' ')}")
    code, ndim = magic[2:]
    if code not in TYPES:
        raise DataError(
            f"wrong element type: expected one of {', '.join(f'0x{c:02x}' for c in TYPES)}, "
            f"got 0x{code:02x}"
        )
    if not 1 <= ndim <= MAX_DIMENSIONS:
        raise DataError(f"expected 1 to {MAX_DIMENSIONS} dimensions, got {ndim}")
    dimensions = stream.read(4 * ndim)
    if len(dimensions) < 4 * ndim:
        raise DataError(
            f"truncated: the header needs {4 + 4 * ndim} bytes, got {4 + len(dimensions)}"
        )
    return TYPES[code], tuple(np.frombuffer(dimensions, ">u4").tolist())
