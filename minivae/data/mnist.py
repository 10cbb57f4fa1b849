"""Load MNIST from disk or by download; without either, draw synthetic digits with a notice."""

import hashlib
import io
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.request import OpenerDirector

import numpy as np

from ..arguments import AnyPath
from ..atomic_write import write_atomically
from ..errors import DataError
from .cache import cache_folder
from .dataset import Dataset, Part, warn_if_black, whole_number
from .digit_files import IMAGE_SIZE, STEMS, Digits, read_digits
from .download import fetch
from .idx import idx_header, parse_idx, read_idx
from .synthetic import digits as synthetic_digits
from .untrusted_file import errors_named, extracted

# File name -> MD5 of the extracted bytes.
FILES = dict(zip(STEMS, (
    "6bbc9ace898e44ae57da46a324031adb",
    "a25bea736e30d166cdddb491f175f624",
    "2646ac647ad5339dbf082846283269ea",
    "27ae3e4e09519cfbb04c329615203637",
), strict=True))  # fmt: skip
MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "https://raw.githubusercontent.com/fgnt/mnist/master/",
    "https://azureopendatastorage.blob.core.windows.net/mnist/",
)


def load(
    folder: AnyPath | None = None,
    *,
    download: bool = True,
    mirrors: Sequence[str] = MIRRORS,
    opener: OpenerDirector | None = None,
) -> Dataset:
    """Load MNIST, or else the synthetic digits.

    The set is read from ``folder``, if given, else from ``$MINIVAE_DATA``, if set, else from the
    user's cache folder, else downloaded to there. If that fails, synthetic digits are drawn, which
    a line on stderr and the set's name announce.

    Args:
        folder: a folder or file, as in ``read_folder``.
        download: whether the network may be used.
        mirrors: addresses that end in a slash.
        opener: as in ``download.fetch``.

    Raises:
        DataError: ``folder`` or ``$MINIVAE_DATA`` does not hold a complete set.
    """
    named = folder if folder is not None else os.environ.get("MINIVAE_DATA") or None
    if named is not None:
        return read_folder(named)
    try:
        return read_folder(cache_folder())
    except DataError as error:
        reason = error
    if download:
        try:
            return _named(_fill(mirrors, opener))
        except DataError as error:
            reason = error
    print(
        f"minivae: no MNIST ({str(reason).splitlines()[0]}); using the built-in synthetic digits. "
        "For the real set point MINIVAE_DATA at a folder with mnist/*-ubyte.gz.",
        file=sys.stderr,
    )
    return synthetic_digits.load()


def read_folder(folder: AnyPath) -> Dataset:
    """Read a set of digits in MNIST's format from ``folder``: see ``digit_files.read_digits``.

    A line on stderr warns of pixels that are all 0 or 1.

    Returns:
        Dataset: named "mnist" if its bytes are MNIST's, else "idx".

    Raises:
        DataError: a file is missing, damaged or of another format.
    """
    digits = read_digits(folder)
    warn_if_black(folder, digits.train_images)
    return _named(digits)


def _named(digits: Digits) -> Dataset:
    original = all(_md5(a) == md5 for a, md5 in zip(digits, FILES.values(), strict=True))
    return Dataset(
        "mnist" if original else "idx",
        Part(digits.train_images, {"digit": digits.train_labels}),
        Part(digits.test_images, {"digit": digits.test_labels}),
        split={"set": "digits"},
        public=original,
    )


def serves(shape: Sequence[int]) -> bool:
    """Whether images of this shape are digits, 28 x 28; see ``sets.KindOfSet``."""
    return tuple(shape) in ((1, *IMAGE_SIZE), (IMAGE_SIZE[0] * IMAGE_SIZE[1],))


def load_again(record: Mapping[str, Any], source: AnyPath | None, shape: Sequence[int]) -> Dataset:
    """The digits of a run; see ``sets.KindOfSet``."""
    drawn = source is None and record.get("data") == synthetic_digits.NAME
    found = synthetic_digits.load() if drawn else load(source)
    return found.limited(whole_number(record, "limit", 0) or None)


def _fill(mirrors: Sequence[str], opener: OpenerDirector | None) -> Digits:
    """The four files, of which those missing or damaged in the cache folder are downloaded to it.

    A line on stderr says so if a file cannot be written there.
    """
    found = []
    for stem, md5 in FILES.items():
        try:
            array = read_idx(cache_folder() / "mnist" / f"{stem}.gz")
            whole = _md5(array) == md5
        except DataError:
            whole = False
        if not whole:
            body = fetch([f"{mirror}{stem}.gz" for mirror in mirrors], stem, md5, opener=opener)
            with errors_named(stem), extracted(io.BytesIO(body)) as stream:
                array = parse_idx(stream)
            _keep(f"{stem}.gz", body)
        found.append(array)
    return Digits(*found)


def _keep(name: str, body: bytes) -> None:
    try:
        path = cache_folder() / "mnist" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, body, follow_link=False)
    except (DataError, OSError) as error:
        reason = getattr(error, "strerror", None) or error
        print(f"minivae: {name} is not kept for the next run: {reason}", file=sys.stderr)


def _md5(array: np.ndarray) -> str:
    """MD5 of the IDX file of a uint8 array."""
    if array.dtype != np.uint8:
        return ""
    digest = hashlib.md5(idx_header(array.shape), usedforsecurity=False)
    digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
