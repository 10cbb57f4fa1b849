"""A locked output folder, whose files are written atomically (POSIX)."""

import contextlib
import os
import sys
from pathlib import Path
from typing import BinaryIO

from ..arguments import AnyPath
from ..atomic_write import open_no_link, remove_leftovers, try_lock, write_atomically
from ..errors import OutputError


class OutputFolder:
    """A folder that this process alone writes to, from ``with`` to the end of the block.

    The operating system releases the lock when the process ends, in whatever way. On a file system
    without locks a line on stderr says that a second process would not be detected. No file
    outside the folder is written: a symbolic link in it is replaced, not followed.

    Args:
        path: the folder, created with its parents if missing.

    Raises:
        OutputError: another process has locked the folder, or it cannot be created or written to.
    """

    def __init__(self, path: AnyPath):
        self.path = Path(path)
        self._lock: BinaryIO | None = None

    def __enter__(self) -> "OutputFolder":
        if self._lock is not None:
            raise OutputError(f"{self.path}: entered twice")
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _cannot_write(self.path, error) from error
        try:
            lock = open_no_link(self.path / ".lock", create=True)
        except OSError as error:
            raise _cannot_write(self.path / ".lock", error) from error
        try:
            self._claim(lock)
        except BaseException:
            lock.close()
            raise
        self._lock = lock
        remove_leftovers(self.path)
        return self

    def _claim(self, lock: BinaryIO) -> None:
        if os.fstat(lock.fileno()).st_nlink > 1:  # another hard link may be outside the folder
            raise OutputError(f"{self.path / '.lock'}: expected a file of one name, this has more")
        try:
            free = try_lock(lock)
        except OSError as error:
            free = True
            print(
                f"minivae: {self.path}: this file system has no locks ({error.strerror}); "
                "let no other process write there",
                file=sys.stderr,
            )
        if not free:
            holder = lock.read(32).decode("ascii", "replace").strip() or "unknown"
            raise OutputError(
                f"{self.path}: in use by another process (pid {holder}); "
                "wait until it ends or choose another folder"
            )
        try:
            lock.truncate(0)
            lock.write(f"{os.getpid()}\n".encode())
        except OSError as error:
            raise _cannot_write(self.path / ".lock", error) from error

    def __exit__(self, *exc_info: object) -> None:
        assert self._lock is not None
        self._lock.close()
        self._lock = None

    def __truediv__(self, name: str) -> Path:
        """The path of a file in the folder."""
        return self.path / name

    def write(self, name: str, body: bytes | str, keep: str | None = None) -> None:
        """Write one file atomically.

        Args:
            name: of the file.
            body: its content; text is encoded as UTF-8.
            keep: the name under which the file's old content is kept; None drops it.

        Raises:
            OutputError: the file cannot be written, and is unchanged, or the folder is not entered.
        """
        if self._lock is None:
            raise OutputError(f"{self.path}: not held; use `with OutputFolder(...)`")
        body = body.encode() if isinstance(body, str) else body
        try:
            write_atomically(self.path / name, body, keep, follow_link=False)
        except OSError as error:
            raise _cannot_write(self.path / name, error) from error

    def rename(self, old: str, new: str) -> None:
        """Rename file ``old`` to ``new``, replacing a file of that name; no error without ``old``.

        Raises:
            OutputError: the file cannot be renamed.
        """
        try:
            with contextlib.suppress(FileNotFoundError):
                os.replace(self.path / old, self.path / new)
        except OSError as error:
            raise _cannot_write(self.path / new, error) from error

    def remove(self, name: str) -> None:
        """Remove a file if it exists.

        Raises:
            OutputError: the file cannot be removed.
        """
        try:
            (self.path / name).unlink(missing_ok=True)
        except OSError as error:
            raise _cannot_write(self.path / name, error) from error


def _cannot_write(path: Path, error: OSError) -> OutputError:
    return OutputError(f"{path}: cannot be written: {error.strerror or error}")
