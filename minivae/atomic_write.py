"""Atomic file writes: a reader finds the old file or the new one, never a part of one.

Not tested on Windows, which does not rename open files: there the temporary file is closed, and so
unlocked, before it is renamed, and temporary files of dead processes are not removed.
"""

import contextlib
import errno
import glob
import os
import secrets
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, BinaryIO

from .arguments import AnyPath

if sys.platform == "win32":
    import msvcrt

    def _lock(file: IO[Any], wait: bool) -> None:
        """Lock one byte far beyond the end of the file, since locked bytes cannot be read."""
        descriptor = file.fileno()
        position = os.lseek(descriptor, 0, os.SEEK_CUR)
        os.lseek(descriptor, 2**40, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK, 1)
        except PermissionError as error:
            raise BlockingIOError(*error.args) from error
        finally:
            os.lseek(descriptor, position, os.SEEK_SET)

else:
    import fcntl

    def _lock(file: IO[Any], wait: bool) -> None:
        fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)


def write_atomically(
    path: AnyPath, body: bytes, keep: str | None = None, *, follow_link: bool = True
) -> None:
    """Write ``body`` to the file ``path``; arguments and errors as ``replacing``."""
    with replacing(path, keep, follow_link=follow_link) as file:
        file.write(body)


@contextlib.contextmanager
def replacing(
    path: AnyPath, keep: str | None = None, *, follow_link: bool = True
) -> Iterator[BinaryIO]:
    """A binary file to write to, which replaces ``path`` when the block ends.

    It is written under a temporary name in the same folder, flushed to disk and renamed, so that a
    reader finds the old content or the new, even if the process or the machine crashes. Temporary
    files that dead processes left for the same path are removed.

    Args:
        path: the file.
        keep: the name, in the same folder, under which the old content is kept; None drops it.
        follow_link: if ``path`` is a symbolic link, replace the file that it points to, in whatever
            folder; if False, replace the link itself.

    Raises:
        OSError: the folder is missing or not writable, or the disk is full. Then, and after an
            error in the block, ``path`` is unchanged.
    """
    path = Path(os.path.realpath(path)) if follow_link else Path(path)
    remove_leftovers(path.parent, glob.escape(path.name))
    part, file = _new_part(path)
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            if keep is not None:
                _keep(path, path.with_name(keep))
            if sys.platform == "win32":
                file.close()
            os.replace(part, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(part)
        raise
    _flush_folder(path.parent)


def _new_part(path: Path) -> tuple[Path, BinaryIO]:
    """A new temporary file for ``path``, locked to show that its writer is alive."""
    while True:
        part = _temporary(path)
        binary = getattr(os, "O_BINARY", 0)  # Windows
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | binary, 0o666)
        file = open(descriptor, "wb")
        with contextlib.suppress(OSError):  # without locks no process removes leftovers either
            _lock(file, wait=True)
        # Another writer may have removed it as a leftover before it was locked.
        if _is_at(part, file):
            return part, file
        file.close()


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")


def _is_at(path: Path, file: IO[Any]) -> bool:
    """Whether ``path`` is the name of this open file."""
    try:
        return os.path.samestat(os.lstat(path), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


def _keep(path: Path, kept: Path) -> None:
    """Make ``kept`` a second name (hard link) of the file at ``path``, if there is one."""
    if not os.path.lexists(path):
        return
    link = _temporary(kept)
    try:
        os.link(path, link)
        os.replace(link, kept)
    except OSError:  # no hard links on this file system: ``path`` is missing for a moment
        os.replace(path, kept)
    finally:
        link.unlink(missing_ok=True)  # os.replace keeps it if both names are the same file


def remove_leftovers(folder: AnyPath, name: str = "*") -> None:
    """Remove the temporary files of ``replacing`` whose writer is dead.

    Args:
        folder: the folder to look in.
        name: a glob pattern for the names of the files to be replaced.
    """
    for part in Path(folder).glob(f".{name}.*.part"):
        with contextlib.suppress(OSError), open_no_link(part) as file:
            if try_lock(file):
                os.unlink(part)


def open_no_link(path: AnyPath, create: bool = False) -> BinaryIO:
    """Open a regular file to read and write, without following a symbolic link.

    Args:
        path: the file.
        create: whether to create it if it is missing.

    Raises:
        OSError: ``path`` is a symbolic link or no regular file, or cannot be opened.
    """
    flags = os.O_RDWR | (os.O_CREAT if create else 0)
    for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_BINARY"):  # as far as the system has them
        flags |= getattr(os, name, 0)
    try:
        file = os.fdopen(os.open(path, flags, 0o666), "r+b", buffering=0)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise OSError("expected a file, this is a symbolic link") from error
        raise
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError("expected a file, this is not a regular file")
    return file


def try_lock(file: IO[Any]) -> bool:
    """Lock an open file for this process; False if another process holds the lock.

    Raises:
        OSError: the file system has no locks.
    """
    try:
        _lock(file, wait=False)
    except BlockingIOError:
        return False
    return True


def _flush_folder(folder: Path) -> None:
    """Flush a folder to disk, where the system can, so that a rename survives a power cut."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
