"""Atomic writes: a reader finds the old file or the new one, never a part.

Windows, where this has not been run, renames no open file: there a part gives up its lock before it
takes the file's place, and what a dead process left stays.
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
        """Lock a byte far behind the end, since what is locked cannot be read."""
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
    """Make bytes the content of a file, as ``replacing`` does."""
    with replacing(path, keep, follow_link=follow_link) as file:
        file.write(body)


@contextlib.contextmanager
def replacing(
    path: AnyPath, keep: str | None = None, *, follow_link: bool = True
) -> Iterator[BinaryIO]:
    """A binary file to write to, which takes the place of ``path`` when the block ends.

    It has a temporary name in the same folder, is flushed to disk and renamed: a reader finds the
    old content or the new, never a part, whenever the process or the machine dies. Temporary files
    that dead processes left for the same path are removed.

    Args:
        path: the file.
        keep: the name, in the same folder, that the file's old content is to have from then on.
        follow_link: where ``path`` is a symbolic link, replace the file that it leads to, wherever
            that is; otherwise the link itself is replaced, and nothing outside the folder.

    Raises:
        OSError: the folder is missing or not writable, or the disk is full; ``path`` is unchanged,
            as it is after an error in the block.
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
    """A new temporary file for ``path``, locked: the sign of a living writer."""
    while True:
        part = _temporary(path)
        binary = getattr(os, "O_BINARY", 0)  # Windows
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | binary, 0o666)
        file = open(descriptor, "wb")
        with contextlib.suppress(OSError):  # no locks here, so nobody will take the file for dead
            _lock(file, wait=True)
        # Between its creation and its lock another writer may have taken it for a dead one's.
        if _is_at(part, file):
            return part, file
        file.close()


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")


def _is_at(path: Path, file: IO[Any]) -> bool:
    """Whether an open file is the one that has this name now."""
    try:
        return os.path.samestat(os.lstat(path), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


def _keep(path: Path, kept: Path) -> None:
    """Give the file at ``path``, if there is one, the name ``kept`` as well."""
    if not os.path.lexists(path):
        return
    link = _temporary(kept)
    try:
        os.link(path, link)
        os.replace(link, kept)
    except OSError:  # a file system without links: for a moment the file is at ``kept`` alone
        os.replace(path, kept)
    finally:
        link.unlink(missing_ok=True)  # renaming one of two names of one file does nothing


def remove_leftovers(folder: AnyPath, name: str = "*") -> None:
    """Remove the temporary files of ``replacing`` whose writer is dead.

    Args:
        folder: where they are.
        name: a glob pattern for the files that they were to become.
    """
    for part in Path(folder).glob(f".{name}.*.part"):
        with contextlib.suppress(OSError), open_no_link(part) as file:
            if try_lock(file):
                os.unlink(part)


def open_no_link(path: AnyPath, create: bool = False) -> BinaryIO:
    """Open a file to read and write, but neither what a symbolic link leads to nor a pipe.

    Raises:
        OSError: it is a symbolic link or no regular file, or it cannot be opened.
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
    """Lock an open file for this process if nobody holds it; False if somebody does.

    Raises:
        OSError: the file system has no locks.
    """
    try:
        _lock(file, wait=False)
    except BlockingIOError:
        return False
    return True


def _flush_folder(folder: Path) -> None:
    """Make a rename survive a power cut, where the system can flush a folder."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
