"""MNIST: found on disk, else downloaded, else replaced by drawn digits, and always said which."""

import hashlib
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.request import OpenerDirector

import numpy as np

from ..errors import DataError
from .cache import cache_folder
from .dataset import Dataset, Part, whole_number
from .digit_files import IMAGE_SIZE, STEMS, read_digits
from .download import fetch
from .idx import idx_header, read_idx
from .synthetic import digits as synthetic_digits

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
    folder: str | os.PathLike | None = None,
    *,
    download: bool = True,
    mirrors: Sequence[str] = MIRRORS,
    opener: OpenerDirector | None = None,
) -> Dataset:
    """Load MNIST, or what can be had in its place.

    Looked for in ``folder``, else in ``$MINIVAE_DATA``, else in the user's cache folder, else
    downloaded there; else the synthetic digits are drawn, which a line on stderr and the set's
    name announce.

    Args:
        folder: a folder or file as ``read_folder`` takes it.
        download: whether the network may be used.
        mirrors: addresses that end in a slash.
        opener: as in ``fetch``.

    Raises:
        DataError: the place named by ``folder`` or ``$MINIVAE_DATA`` does not hold a whole set.
    """
    named = folder if folder is not None else os.environ.get("MINIVAE_DATA") or None
    if named is not None:
        return read_folder(named)
    try:
        cache = cache_folder()
        try:
            return read_folder(cache)
        except DataError:
            if not download:
                raise
        _fill(cache / "mnist", mirrors, opener)
        return read_folder(cache)
    except DataError as error:
        reason = error
    print(
        f"minivae: no MNIST ({str(reason).splitlines()[0]}); using the built-in synthetic digits. "
        "For the real set point MINIVAE_DATA at a folder with mnist/*-ubyte.gz.",
        file=sys.stderr,
    )
    return synthetic_digits.load()


def read_folder(folder: str | os.PathLike) -> Dataset:
    """Read a set of digits in MNIST's form: see ``digit_files.read_digits``.

    Returns:
        Dataset: named "mnist" if its bytes are MNIST's, else "idx".

    Raises:
        DataError: a file is missing, damaged or of another form.
    """
    digits = read_digits(folder)
    original = all(_md5(a) == md5 for a, md5 in zip(digits, FILES.values(), strict=True))
    return Dataset(
        "mnist" if original else "idx",
        Part(digits.train_images, {"digit": digits.train_labels}),
        Part(digits.test_images, {"digit": digits.test_labels}),
        split={"set": "digits"},
        public=original,
    )


def serves(shape: Sequence[int]) -> bool:
    """Whether a model of images of this shape takes digits: see ``sets.KindOfSet``."""
    return tuple(shape) in ((1, *IMAGE_SIZE), (IMAGE_SIZE[0] * IMAGE_SIZE[1],))


def load_again(
    record: Mapping[str, Any], source: str | os.PathLike | None, shape: Sequence[int]
) -> Dataset:
    """The digits of a run: see ``sets.KindOfSet``."""
    drawn = source is None and record.get("data") == synthetic_digits.NAME
    found = synthetic_digits.load() if drawn else load(source)
    return found.limited(whole_number(record, "limit", 0) or None)


def _fill(folder: Path, mirrors: Sequence[str], opener: OpenerDirector | None) -> None:
    """Download the files that are not there or not whole."""
    for stem, md5 in FILES.items():
        path = folder / f"{stem}.gz"
        try:
            whole = _md5(read_idx(path)) == md5
        except DataError:
            whole = False
        if not whole:
            fetch([f"{mirror}{stem}.gz" for mirror in mirrors], path, md5, opener=opener)


def _md5(array: np.ndarray) -> str:
    """MD5 of the IDX file of a uint8 array."""
    if array.dtype != np.uint8:
        return ""
    digest = hashlib.md5(idx_header(array.shape), usedforsecurity=False)
    digest.update(array)
    return digest.hexdigest()
