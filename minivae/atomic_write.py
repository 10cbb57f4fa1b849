"""Files that are whole or absent, and folders that one process at a time writes to (POSIX)."""

import contextlib
import fcntl
import glob
import os
import secrets
from pathlib import Path

from .errors import OutputError


def write_atomically(path, body, keep=None):
    """Make bytes the content of a file, as ``replacing`` does."""
    with replacing(path, keep) as file:
        file.write(body)


@contextlib.contextmanager
def replacing(path, keep=None):
    """A binary file to write to, which takes the place of ``path`` when the block ends.

    It has a temporary name in the same folder, is flushed to disk and renamed: a reader finds the
    old content or the new, never a part, whenever the process or the machine dies. Temporary files
    that dead processes left for the same path are removed; a symbolic link is followed, so that it
    stays one.

    Args:
        path: the file.
        keep: the name, in the same folder, that the file's old content is to have from then on.

    Raises:
        OSError: the folder is missing or not writable, or the disk is full; ``path`` is unchanged,
            as it is after an error in the block.
    """
    path = Path(os.path.realpath(path))
    remove_leftovers(path.parent, glob.escape(path.name))
    part = _temporary(path)
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        with open(descriptor, "wb") as file:
            _try_lock(file)  # held until the rename: the sign of a living writer
            yield file
            file.flush()
            os.fsync(file.fileno())
            if keep is not None:
                _keep(path, path.with_name(keep))
            os.replace(part, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(part)
        raise
    _flush_folder(path.parent)


def _temporary(path):
    return path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")


def _keep(path, kept):
    """Give the file at ``path``, if there is one, the name ``kept`` as well."""
    if not path.exists():
        return
    link = _temporary(kept)
    try:
        os.link(path, link)
        os.replace(link, kept)
    except OSError:  # a file system without links: for a moment the file is at ``kept`` alone
        os.replace(path, kept)
    finally:
        link.unlink(missing_ok=True)  # renaming one of two names of one file does nothing


def remove_leftovers(folder, name="*"):
    """Remove the temporary files of ``write_atomically`` whose writer is dead.

    ``name`` is a glob pattern for the files that they were to become.
    """
    for part in Path(folder).glob(f".{name}.*.part"):
        with contextlib.suppress(OSError), open(part, "rb") as file:
            if _try_lock(file):
                os.unlink(part)


class OutputFolder:
    """A folder that this process alone writes to, from ``with`` to the end of the block.

    The lock belongs to the process: it is gone when the process is, however it ends.

    Args:
        path: created, with its parents, when missing.

    Raises:
        OutputError: another process holds it, or it cannot be created or written to.
    """

    def __init__(self, path):
        self.path = Path(path)
        self._lock = None

    def __enter__(self):
        if self._lock is not None:
            raise OutputError(f"{self.path}: entered twice")
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = open(self.path / ".lock", "a+")
        except OSError as error:
            raise _cannot_write(self.path, error) from error
        if not _try_lock(lock):
            lock.seek(0)
            holder = lock.read(32).strip() or "unknown"
            lock.close()
            raise OutputError(
                f"{self.path}: in use by another process (pid {holder}); "
                "wait until it ends or choose another folder"
            )
        try:
            lock.truncate(0)
            lock.write(f"{os.getpid()}\n")
            lock.flush()
        except OSError as error:
            lock.close()
            raise _cannot_write(self.path, error) from error
        self._lock = lock
        remove_leftovers(self.path)
        return self

    def __exit__(self, *exc_info):
        self._lock.close()
        self._lock = None

    def __truediv__(self, name):
        """The path of a file in the folder."""
        return self.path / name

    def write(self, name, body):
        """Write one file, bytes or text, atomically; OutputError when that fails."""
        if self._lock is None:
            raise OutputError(f"{self.path}: not held; use `with OutputFolder(...)`")
        body = body.encode() if isinstance(body, str) else body
        try:
            write_atomically(self.path / name, body)
        except OSError as error:
            raise _cannot_write(self.path / name, error) from error

    def rename(self, old, new):
        """Give a file another name, in place of a file that has it; OutputError when that fails.

        Nothing happens when there is no file ``old``.
        """
        try:
            with contextlib.suppress(FileNotFoundError):
                os.replace(self.path / old, self.path / new)
        except OSError as error:
            raise _cannot_write(self.path / new, error) from error

    def remove(self, name):
        """Remove a file if it is there; OutputError when that fails."""
        try:
            (self.path / name).unlink(missing_ok=True)
        except OSError as error:
            raise _cannot_write(self.path / name, error) from error


def _try_lock(file):
    """Lock an open file for this process if nobody holds it; False if somebody does."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _flush_folder(folder):
    """Make a rename survive a power cut, where the system can flush a folder."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _cannot_write(path, error):
    return OutputError(f"{path}: cannot be written: {error.strerror or error}")
