"""Read a folder of pictures as one array, decoded once and then read from a cache.

Every picture either becomes a row or is named in the report with a reason. The name of a set in the
cache is a hash of the files' names and bytes and of the options, so a changed file is decoded
again.
"""

import hashlib
import json
import os
import stat
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np

from ..arguments import AnyPath
from ..errors import DataError
from ..progress_bar import ProgressBar
from .attributes import read_attributes
from .image_cache import CachedImages, ImageCache
from .image_file import MAX_PIXELS, SIGNATURES, decode_image
from .untrusted_file import memory_errors_named

# Suffixes of pictures, in formats that are read and in others, which are reported as skipped.
SUFFIXES = (
    *(".jpg", ".jpeg", ".png", ".pbm", ".pgm", ".ppm", ".pnm"),
    *(".bmp", ".gif", ".tif", ".tiff", ".webp"),
)
TABLES = ("list_attr_celeba.txt", "list_attr_celeba.csv", "attributes.csv")  # read if present
MAX_BYTES = 1 << 28  # of one file
CACHE_FORMAT = 2  # part of every key: increase it when decoding changes


@dataclass(frozen=True)
class Report:
    """Where images were read from.

    Attributes:
        source: a path, or a description of drawn images.
        names: of the files, in row order.
        skipped: name -> reason for each file that could not be read.
    """

    source: str
    names: tuple[str, ...] = ()
    skipped: dict[str, str] = field(default_factory=dict)

    @property
    def summary(self) -> str:
        """One line: the numbers of files read and skipped, and the most common reasons."""
        line = f"{self.source}: {len(self.names)} images read, {len(self.skipped)} skipped"
        reasons = Counter(reason.split(":")[0] for reason in self.skipped.values())
        counts = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common(4))
        return f"{line} ({counts})" if counts else line

    def told(self, most: int = 5) -> str:
        """The summary, and below it at most ``most`` skipped files, each with its reason."""
        lines = [f"  {name!r}: {reason}" for name, reason in self.skipped.items()]
        if len(lines) > most:
            lines[most:] = [f"  and {len(lines) - most} more"]
        return "\n".join([self.summary, *lines])


class FolderSet(NamedTuple):
    """Images uint8 (N, 3, S, S), read-only; attribute name -> bool (N,); the report."""

    images: np.ndarray
    attributes: dict[str, np.ndarray]
    report: Report


def read_folder(
    folder: AnyPath,
    size: int,
    *,
    attributes: AnyPath | None = None,
    columns: Iterable[str] | None = None,
    strict: bool = False,
    cache_dir: AnyPath | None = None,
    max_pixels: int = MAX_PIXELS,
    progress: bool | None = None,
) -> FolderSet:
    """Read every picture below ``folder``; the rows are sorted by name.

    Two or more subfolders with images are classes, each an attribute. Hidden files, and files that
    are pictures neither by suffix nor by content, are ignored. A symbolic link is followed only to
    a file inside the folder.

    Args:
        folder: the folder.
        size: height and width of the images to return, 1 to 4096.
        attributes: a table of attributes (see attributes.py); None reads the first of ``TABLES``
            in the folder, if there is one.
        columns: the attributes to read from the table; None reads all.
        strict: raise for the first file that would be skipped.
        cache_dir: the folder of the cache; None is the user's cache folder.
        max_pixels: limit on the pixels of one picture.
        progress: whether to show a bar; None shows it on a terminal only.

    Raises:
        ValueError: ``size`` is out of range.
        DataError: the folder has no readable picture, or more than fit into memory; the table
            does not fit the pictures; or ``strict`` and a file would be skipped.
    """
    root = Path(os.fspath(folder))
    if not 1 <= size <= 4096:
        raise ValueError(f"size: expected 1 to 4096, got {size}")
    if not root.is_dir():
        raise DataError(f"{root}: expected a folder of images")
    with memory_errors_named(root):
        files, skipped = _list_files(root)
        if strict and skipped:
            _refuse(root, skipped)
        key, digests = _hash(root, files, size, max_pixels)
        name = os.fsdecode(os.fsencode(root.resolve().name)[:60])
        cache, stem = ImageCache(cache_dir), f"{name}-{size}-{key[:24]}"
        found = cache.find(stem, size)
        if found is None:
            bar = ProgressBar(files, desc=f"decoding {root.name}", unit="image", show=progress)
            found = _decoded(root, bar, digests, size, max_pixels, strict)
            cache.keep(stem, found)
        skipped = dict(sorted((skipped | found.skipped).items()))
        if strict and skipped:
            _refuse(root, skipped)
        if not found.names:
            summary = Report(str(root), (), skipped).summary
            raise DataError(f"no readable JPEG, PNG or PNM; {summary}")
        found.images.flags.writeable = False
        report = Report(str(root), tuple(found.names), skipped)
        return FolderSet(found.images, _attributes(root, report, attributes, columns), report)


def _refuse(root: Path, skipped: dict[str, str]) -> NoReturn:
    name, reason = next(iter(sorted(skipped.items())))
    raise DataError(f"{root / name}: {reason}")


# ---------------------------------------------------------------- which files
def _list_files(root: Path) -> tuple[list[str], dict[str, str]]:
    """(files to decode, skipped): sorted relative paths with slashes; name -> reason."""
    inside = root.resolve()
    names: list[str] = []
    skipped: dict[str, str] = {}

    def unreadable(error: OSError) -> None:
        skipped[Path(error.filename).relative_to(root).as_posix()] = f"unreadable: {error.strerror}"

    for place, folders, files in os.walk(root, onerror=unreadable):  # does not follow folder links
        below = Path(place).relative_to(root)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in folders:
            if reason := _bad_link(Path(place, name), inside):
                skipped[(below / name).as_posix()] = reason
        for name in files:
            if name.startswith("."):
                continue
            path, relative = Path(place, name), (below / name).as_posix()
            reason = _bad_link(path, inside) or _not_a_candidate(path)
            if reason:
                skipped[relative] = reason
            elif reason is None:
                names.append(relative)
    return sorted(names), skipped


def _bad_link(path: Path, inside: Path) -> str | None:
    """Why a symbolic link is not followed; None for a good link and for other files."""
    if not path.is_symlink():
        return None
    try:
        target = path.resolve(strict=True)
    except (OSError, RuntimeError):  # dangling; a loop
        return "broken link"
    if not target.is_relative_to(inside):
        return "link out of the folder"
    return "link to a folder" if target.is_dir() else None


def _not_a_candidate(path: Path) -> str | None:
    """None for a file to decode, a reason for one to report as skipped, "" for one to ignore."""
    claims = path.suffix.lower() in SUFFIXES
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):  # opening a named pipe would block
            return "not a regular file" if claims else ""
        if status.st_size > MAX_BYTES:
            return f"larger than {MAX_BYTES} bytes" if claims else ""
        with open(path, "rb") as file:
            is_image = file.read(8).startswith(SIGNATURES)
    except OSError as error:
        return f"unreadable: {error.strerror or error}"
    return None if claims or is_image else ""


# ---------------------------------------------------------------- decoding
def _hash(
    root: Path, names: list[str], size: int, max_pixels: int
) -> tuple[str, dict[str, bytes | None]]:
    """(key of the set, a hash of names, bytes and options; digest of each file, None if
    unreadable).
    """
    key = hashlib.sha256(json.dumps([CACHE_FORMAT, size, max_pixels]).encode())
    digests: dict[str, bytes | None] = {}
    for name in names:
        digests[name] = _digest(root / name)
        key.update(os.fsencode(name) + b"\0" + (digests[name] or b"unreadable"))
    return key.hexdigest(), digests


def _digest(path: Path) -> bytes | None:
    try:
        return hashlib.sha256(path.read_bytes()).digest()
    except OSError:
        return None


def _decoded(
    root: Path,
    files: Iterable[str],
    digests: dict[str, bytes | None],
    size: int,
    max_pixels: int,
    strict: bool,
) -> CachedImages:
    """Decode ``files``; those that cannot be decoded are in ``skipped`` of the result."""
    images = np.empty((len(digests), 3, size, size), np.uint8)
    names: list[str] = []
    skipped: dict[str, str] = {}
    for name in files:
        try:
            data = (root / name).read_bytes()
            if hashlib.sha256(data).digest() != digests[name]:
                raise DataError(f"{root / name}: changed while it was being read")
            images[len(names)] = decode_image(data, size, max_pixels)
            names.append(name)
        except (OSError, DataError) as error:
            if isinstance(error.__cause__, MemoryError):  # no fault of the picture
                raise DataError(f"{root / name}: {error}") from error.__cause__
            reason = str(error)
            if isinstance(error, OSError):
                reason = f"unreadable: {error.strerror or error}"
            if strict:
                raise DataError(f"{root / name}: {reason}") from error
            skipped[name] = reason
    return CachedImages(images[: len(names)], names, skipped)


# ---------------------------------------------------------------- attributes
def _attributes(
    root: Path, report: Report, table: Any, columns: Iterable[str] | None
) -> dict[str, np.ndarray]:
    """Attribute name -> bool (N,): class folders first, then the table's columns."""
    tops = [name.split("/")[0] if "/" in name else None for name in report.names]
    classes = sorted({top for top in tops if top is not None})
    found: dict[str, np.ndarray] = {}
    if len(classes) > 1:
        found = {name: np.array([top == name for top in tops]) for name in classes}
    if table is None:
        table = next((root / name for name in TABLES if (root / name).is_file()), None)
    if table is not None:
        rows = read_attributes(table, columns).rows_for(report.names, report.skipped)
        for name in rows:
            if name in found and not np.array_equal(rows[name], found[name]):
                raise DataError(f"{table}: column {name!r} contradicts the class folder {name!r}")
        found |= rows
    return found
