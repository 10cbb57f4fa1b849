"""A cache on disk of decoded image folders.

A set is two files with the same stem: an .npy of the pixels, and a .json of the names with a
checksum over both. A set that cannot be read completely counts as missing, and one that cannot be
written is only reported, so the cache never changes a result.
"""

import contextlib
import errno
import json
import os
import re
import sys
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..arguments import AnyPath
from ..atomic_write import remove_leftovers, replacing, write_atomically
from ..errors import DataError
from .cache import cache_folder
from .untrusted_file import require_regular

MAX_BYTES = 1 << 34  # of all sets together; the least recently used are removed
OURS = re.compile(r"(?P<stem>.+-\d+-[0-9a-f]{24})\.(npy|json)", re.DOTALL)


class CachedImages(NamedTuple):
    """Images uint8 (N, 3, S, S), their names, and the reasons of the files that were skipped."""

    images: np.ndarray
    names: list[str]
    skipped: dict[str, str]


class ImageCache:
    """One folder of decoded sets; None for ``folder`` is ``images`` in the user's cache folder.

    If the user has no cache folder, nothing is found and nothing is kept.
    """

    def __init__(self, folder: AnyPath | None = None):
        self.reason = ""
        self.folder = None
        try:
            self.folder = Path(os.fspath(folder)) if folder else cache_folder() / "images"
        except DataError as error:
            self.reason = str(error)

    def find(self, stem: str, size: int) -> CachedImages | None:
        """The set with this stem and images of ``size``, or None if missing or damaged."""
        if self.folder is None:
            return None
        try:
            record, pixels = (self.folder / f"{stem}{suffix}" for suffix in (".json", ".npy"))
            require_regular(record)
            written = json.loads(record.read_text("ascii"))
            names, skipped = json.loads(written["contents"])
            images = _read_pixels(pixels, (len(names), 3, size, size))
            if _checksum(images, written["contents"]) != written["crc32"]:
                return None
            with contextlib.suppress(OSError):  # the file may belong to another user
                os.utime(record)  # marks it as just used
            return CachedImages(images, names, skipped)
        # A damaged cache can raise anything; it will be written again.
        except Exception:
            return None

    def keep(self, stem: str, found: CachedImages) -> None:
        """Write a set for the next run, then remove old ones; failures are reported on stderr."""
        try:
            if self.folder is None:
                raise OSError(errno.ENOENT, self.reason)
            if found.images.nbytes > MAX_BYTES:
                raise OSError(errno.EFBIG, f"larger than {MAX_BYTES} bytes")
            self.folder.mkdir(parents=True, exist_ok=True)
            remove_leftovers(self.folder)
            # Plain writes: on a full disk they raise, where a memory map would kill the process.
            with replacing(self.folder / f"{stem}.npy", follow_link=False) as file:
                np.lib.format.write_array_header_1_0(file, _header(found.images.shape))
                file.write(found.images.data)
            contents = json.dumps([found.names, found.skipped])
            record = {"contents": contents, "crc32": _checksum(found.images, contents)}
            body = json.dumps(record).encode("ascii")
            write_atomically(self.folder / f"{stem}.json", body, follow_link=False)
            self._trim(self.folder, keep=stem)
        except OSError as error:
            where = "" if self.folder is None else f"{self.folder}: "
            print(
                f"minivae: {where}the decoded pictures are not kept for the next run: "
                f"{error.strerror or error}",
                file=sys.stderr,
            )

    def sets(self) -> dict[str, tuple[float, int]]:
        """Stem -> (time of last use, bytes) of every set in the folder."""
        found: dict[str, tuple[float, int]] = {}
        if self.folder is None or not self.folder.is_dir():
            return found
        for entry in os.scandir(self.folder):
            match = OURS.fullmatch(entry.name)
            with contextlib.suppress(FileNotFoundError):  # another process may remove it now
                if match and entry.is_file(follow_symlinks=False):
                    status = entry.stat(follow_symlinks=False)
                    used, size = found.get(match["stem"], (0.0, 0))
                    found[match["stem"]] = max(used, status.st_mtime), size + status.st_size
        return found

    def _trim(self, folder: Path, keep: str) -> None:
        sets = self.sets()
        total = sum(size for _, size in sets.values())
        for stem in sorted(sets, key=lambda stem: sets[stem]):
            if total <= MAX_BYTES:
                return
            if stem != keep:
                for suffix in (".json", ".npy"):
                    (folder / f"{stem}{suffix}").unlink(missing_ok=True)
                total -= sets[stem][1]


def cache_summary() -> str:
    """One line with the path of the user's cache folder and the size of its contents."""
    try:
        folder = cache_folder()
        sets = [size for _, size in ImageCache().sets().values()]
        digits = [path.stat().st_size for path in (folder / "mnist").glob("*.gz")]
    except (DataError, OSError) as error:
        return f"no: {getattr(error, 'strerror', None) or error}"
    return (
        f"{folder}: {len(sets)} decoded image set{'s' * (len(sets) != 1)}, "
        f"{sum(sets) / 1e9:.2f} GB of at most {MAX_BYTES / 1e9:.1f}; "
        f"MNIST, {sum(digits) / 1e6:.1f} MB"
    )


def _header(shape: tuple[int, ...]) -> dict[str, Any]:
    return {"descr": "|u1", "fortran_order": False, "shape": shape}


def _checksum(images: np.ndarray, contents: str) -> int:
    return zlib.crc32(contents.encode(), zlib.crc32(np.ascontiguousarray(images).data))


def _read_pixels(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """The array of an .npy file, read into memory.

    It is not memory-mapped: if another process truncated the file, SIGBUS would kill this one.
    """
    require_regular(path)
    with open(path, "rb") as file:
        np.lib.format.read_magic(file)
        if np.lib.format.read_array_header_1_0(file) != (shape, False, np.dtype(np.uint8)):
            raise DataError(f"{path}: not the images expected")
        count = int(np.prod(shape))
        if os.fstat(file.fileno()).st_size != file.tell() + count:
            raise DataError(f"{path}: of another length than expected")
        images = np.empty(shape, np.uint8)
        if file.readinto(images.reshape(-1).data) != count:
            raise DataError(f"{path}: cut short while it was read")
        return images
