"""A folder of JPEG and PNG files as one array, decoded once and kept in a cache.

Every file either becomes a row or is named in the report with the reason. The cache is an .npy
file mapped into memory, so that a set larger than memory can be used; beside it lies the report.
Its name is a hash of what went in (names, bytes, options): a changed file makes a new cache.
"""

import hashlib
import json
import os
import stat
import zlib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ..atomic_write import remove_leftovers, replacing, write_atomically
from ..errors import DataError
from .attributes import read_attributes
from .image_file import MAX_PIXELS, SIGNATURES, decode_image
from .mnist import cache_folder

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp")  # promise an image
TABLES = ("list_attr_celeba.txt", "list_attr_celeba.csv", "attributes.csv")  # found by themselves
MAX_BYTES = 1 << 28  # of one file
CACHE_FORMAT = 1  # part of every key: raise it when decoding changes
CHUNK = 1 << 24


@dataclass(frozen=True)
class Report:
    """Where images came from: `names` in row order, and `skipped`: name -> reason."""

    source: str
    names: tuple[str, ...] = ()
    skipped: dict[str, str] = field(default_factory=dict)

    @property
    def summary(self) -> str:
        """One line: how many were read, how many not, and the commonest reasons."""
        line = f"{self.source}: {len(self.names)} images read, {len(self.skipped)} skipped"
        reasons = Counter(reason.split(":")[0] for reason in self.skipped.values())
        counts = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common(4))
        return f"{line} ({counts})" if counts else line

    def told(self, most: int = 5) -> str:
        """The summary, and below it the first files that were skipped, each with its reason."""
        lines = [f"  {name!r}: {reason}" for name, reason in self.skipped.items()]
        if len(lines) > most:
            lines[most:] = [f"  and {len(lines) - most} more"]
        return "\n".join([self.summary, *lines])


def read_folder(
    folder,
    size,
    *,
    attributes=None,
    columns=None,
    strict=False,
    cache_dir=None,
    max_pixels=MAX_PIXELS,
    progress=None,
):
    """Read every JPEG and PNG below `folder`: (images, attributes, report).

    images      uint8 (N, 3, size, size), mapped read-only from the cache; rows are sorted by name
    attributes  name -> bool (N,). Two or more subfolders with images are classes, each a column.
                The table `attributes` (see attributes.py), or one of `TABLES` in the folder, gives
                the others; `columns` chooses among them.
    report      a `Report`; with `strict`, the first file to be skipped is an error instead

    Files that neither are nor claim (by their suffix) to be images are passed over, hidden ones
    too. A link is followed to a file inside the folder only. `cache_dir` defaults to the user cache
    folder; `progress` is True, False or None (only on a terminal). Raises DataError for a folder
    without a readable image, a table that does not fit and a cache that cannot be written.
    """
    root = Path(os.fspath(folder))
    if not 1 <= size <= 4096:
        raise ValueError(f"size must be 1 .. 4096, got {size}")
    if not root.is_dir():
        raise DataError(f"{root}: expected a folder of images")
    files, skipped = _list_files(root)
    if strict and skipped:
        _refuse(root, skipped)
    key, digests = _hash(root, files, size, max_pixels)
    cache = Path(os.fspath(cache_dir)) if cache_dir is not None else cache_folder() / "images"
    stem = cache / f"{root.resolve().name[:60]}-{size}-{key[:24]}"
    found = _open_cache(stem, size)
    if found is None:
        bar = tqdm(files, desc=f"decoding {root.name}", unit="image", disable=_quiet(progress))
        _write_cache(stem, _decoded(root, bar, digests, size, max_pixels, strict), size)
        found = _open_cache(stem, size)
        if found is None:
            raise DataError(f"{cache}: the cache just written cannot be read back")
    images, names, unread = found
    skipped = dict(sorted((skipped | unread).items()))
    if strict and skipped:
        _refuse(root, skipped)
    if not names:
        raise DataError(f"no readable JPEG or PNG; {Report(str(root), (), skipped).summary}")
    report = Report(str(root), tuple(names), skipped)
    return images, _attributes(root, report, attributes, columns), report


def _quiet(progress):
    """tqdm's `disable`: None lets it look whether it writes to a terminal."""
    return None if progress is None else not progress


def _refuse(root, skipped):
    name, reason = next(iter(sorted(skipped.items())))
    raise DataError(f"{root / name}: {reason}")


# ---------------------------------------------------------------- which files
def _list_files(root):
    """(candidate files, sorted, as relative paths with slashes; the others: name -> reason)."""
    inside = root.resolve()
    names, skipped = [], {}

    def unreadable(error):
        skipped[Path(error.filename).relative_to(root).as_posix()] = f"unreadable: {error.strerror}"

    for place, folders, files in os.walk(root, onerror=unreadable):  # does not follow folder links
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in [*folders, *files]:
            path = Path(place, name)
            relative = path.relative_to(root).as_posix()
            if name.startswith("."):
                continue
            if path.is_symlink() and (reason := _bad_link(path, inside)):
                skipped[relative] = reason
            elif name in files:
                reason = _not_a_candidate(path)
                if reason:
                    skipped[relative] = reason
                elif reason is None:
                    names.append(relative)
    return sorted(names), skipped


def _bad_link(path, inside):
    try:
        target = path.resolve(strict=True)
    except (OSError, RuntimeError):  # dangling; a loop
        return "broken link"
    if not target.is_relative_to(inside):
        return "link out of the folder"
    return "link to a folder" if target.is_dir() else None


def _not_a_candidate(path):
    """None: a candidate. A reason: to be reported. "": no image and no claim to be one."""
    claims = path.suffix.lower() in SUFFIXES
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):  # to open a named pipe would wait for its writer
            return "not a regular file" if claims else ""
        if status.st_size > MAX_BYTES:
            return f"larger than {MAX_BYTES} bytes" if claims else ""
        with open(path, "rb") as file:
            is_image = file.read(8).startswith(SIGNATURES)
    except OSError as error:
        return f"unreadable: {error.strerror or error}"
    return None if claims or is_image else ""


# ---------------------------------------------------------------- cache
def _hash(root, names, size, max_pixels):
    """(key over names, bytes and options; each file's own digest, None where it cannot be read)."""
    key = hashlib.sha256(json.dumps([CACHE_FORMAT, size, max_pixels]).encode())
    digests = {}
    for name in names:
        digests[name] = _digest(root / name)
        key.update(os.fsencode(name) + b"\0" + (digests[name] or b"unreadable"))
    return key.hexdigest(), digests


def _digest(path):
    try:
        return hashlib.sha256(path.read_bytes()).digest()
    except OSError:
        return None


def _decoded(root, names, digests, size, max_pixels, strict):
    """Yield (name, image or None, reason or None) for each file."""
    for name in names:
        try:
            data = (root / name).read_bytes()
            if hashlib.sha256(data).digest() != digests[name]:
                raise DataError(f"{root / name}: changed while it was being read")
            yield name, decode_image(data, size, max_pixels), None
        except (OSError, DataError) as error:
            unreadable = isinstance(error, OSError)
            reason = f"unreadable: {error.strerror or error}" if unreadable else str(error)
            if strict:
                raise DataError(f"{root / name}: {reason}") from error
            yield name, None, reason


def _write_cache(stem, rows, size):
    """Write stem.npy, row by row, then stem.json; a process killed in between leaves no cache.

    Plain writes, not a map: on a full disk they raise an error, where a map would kill the process.
    """
    names, skipped, checksum = [], {}, 0
    try:
        stem.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(stem.parent)
        with replacing(f"{stem}.npy") as file:
            _write_header(file, 0, size)
            for name, image, reason in rows:
                if image is None:
                    skipped[name] = reason
                    continue
                names.append(name)
                checksum = zlib.crc32(image, checksum)
                file.write(image)
            file.seek(0)
            _write_header(file, len(names), size)  # numpy leaves room for a longer count
        contents = json.dumps([names, skipped])
        checksum = zlib.crc32(contents.encode(), checksum)
        record = json.dumps({"crc32": checksum, "contents": contents})
        write_atomically(f"{stem}.json", record.encode("ascii"))
    except OSError as cause:
        raise DataError(f"{stem.parent}: the image cache cannot be written: {cause}") from cause


def _write_header(file, n, size):
    header = {"descr": "|u1", "fortran_order": False, "shape": (n, 3, size, size)}
    np.lib.format.write_array_header_1_0(file, header)


def _open_cache(stem, size):
    """(images, names, skipped), or None where there is no whole and undamaged cache."""
    try:
        with open(f"{stem}.json", encoding="ascii") as file:
            record = json.load(file)
        names, skipped = json.loads(record["contents"])
        images = np.empty((0, 3, size, size), np.uint8)  # which cannot be mapped
        if names:
            images = np.load(f"{stem}.npy", mmap_mode="r", allow_pickle=False)
        if images.dtype != np.uint8 or images.shape != (len(names), 3, size, size):
            return None
        checksum, flat = 0, images.reshape(-1)
        for start in range(0, flat.size, CHUNK):
            checksum = zlib.crc32(flat[start : start + CHUNK], checksum)
        checksum = zlib.crc32(record["contents"].encode(), checksum)
        return (images, names, skipped) if checksum == record["crc32"] else None
    # A damaged cache can fail in any way; it is made anew.
    except Exception:
        return None


# ---------------------------------------------------------------- attributes
def _attributes(root, report, table, columns):
    """Class folders first, then the table's columns."""
    tops = [name.split("/")[0] if "/" in name else None for name in report.names]
    classes = sorted({top for top in tops if top is not None})
    found = {}
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
