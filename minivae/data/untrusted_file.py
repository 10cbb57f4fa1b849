"""Open untrusted files safely, and turn all errors into a DataError with the file's name."""

import gzip
import math
import os
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

from ..arguments import AnyPath
from ..errors import DataError

GZIP_MAGIC = b"\x1f\x8b"


def require_regular(path: AnyPath, max_bytes: float = math.inf) -> None:
    """Raise unless ``path`` is a regular file of at most ``max_bytes``.

    To be called before opening: opening a named pipe blocks, and a device may have no end.

    Raises:
        DataError: ``path`` is something else, or larger.
        OSError: there is no such file.
    """
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):
        kind = "a folder" if stat.S_ISDIR(status.st_mode) else "not a regular file"
        raise DataError(f"expected a file, this is {kind}")
    if status.st_size > max_bytes:
        raise DataError(f"{status.st_size} bytes, the limit is {max_bytes}")


@contextmanager
def open_extracted(path: AnyPath) -> Iterator[BinaryIO]:
    """Open a regular file to read its bytes, decompressed if it starts with gzip's magic number."""
    require_regular(path)
    with open(path, "rb") as file, extracted(file) as stream:
        yield stream


def extracted(file: BinaryIO) -> Any:
    """A stream of a seekable file's bytes, decompressed if they start with gzip's magic number."""
    zipped = file.read(len(GZIP_MAGIC)) == GZIP_MAGIC
    file.seek(0)
    return gzip.GzipFile(fileobj=file) if zipped else file


@contextmanager
def errors_named(name: object) -> Iterator[None]:
    """Turn any error of reading a damaged file into a DataError that begins with ``name``."""
    try:
        yield
    except DataError as error:
        raise DataError(f"{name}: {error}") from error.__cause__
    except EOFError as cause:
        raise DataError(f"{name}: truncated gzip stream: {cause}") from cause
    except (gzip.BadGzipFile, zlib.error) as cause:
        raise DataError(f"{name}: corrupt gzip stream: {cause}") from cause
    except MemoryError as cause:
        raise DataError(f"{name}: {NO_MEMORY}") from cause
    except (OSError, ValueError) as cause:
        raise DataError(
            f"{name}: cannot be read: {getattr(cause, 'strerror', None) or cause}"
        ) from cause


NO_MEMORY = "needs more memory than there is"


@contextmanager
def memory_errors_named(name: object) -> Iterator[None]:
    """Turn a MemoryError into a DataError that begins with ``name``."""
    try:
        yield
    except MemoryError as cause:
        raise DataError(f"{name}: {NO_MEMORY}") from cause
