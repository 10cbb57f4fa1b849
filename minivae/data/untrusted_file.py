"""Open untrusted files; an error is a DataError that begins with the file's name."""

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

    Asked before opening: to open a named pipe waits for its writer, and a device may have no end.

    Raises:
        DataError: it is something else, or larger.
        OSError: it is not there.
    """
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):
        kind = "a folder" if stat.S_ISDIR(status.st_mode) else "not a regular file"
        raise DataError(f"expected a file, this is {kind}")
    if status.st_size > max_bytes:
        raise DataError(f"{status.st_size} bytes, the limit is {max_bytes}")


@contextmanager
def open_extracted(path: AnyPath) -> Iterator[BinaryIO]:
    """Open a regular file to read its bytes, through gzip if it starts as gzip does."""
    require_regular(path)
    with open(path, "rb") as file, extracted(file) as stream:
        yield stream


def extracted(file: BinaryIO) -> Any:
    """The bytes of a seekable binary file, through gzip if it starts as gzip does."""
    zipped = file.read(len(GZIP_MAGIC)) == GZIP_MAGIC
    file.seek(0)
    return gzip.GzipFile(fileobj=file) if zipped else file


@contextmanager
def errors_named(name: object) -> Iterator[None]:
    """Turn what reading a damaged file can raise into a DataError that begins with its name."""
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
    """Turn a MemoryError into a DataError that begins with the name of what was read."""
    try:
        yield
    except MemoryError as cause:
        raise DataError(f"{name}: {NO_MEMORY}") from cause
