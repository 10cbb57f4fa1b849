"""MNIST: found on disk, else downloaded, else replaced by drawn digits, and always said which."""

import hashlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from urllib.request import OpenerDirector

import numpy as np

from ..errors import DataError
from .dataset import Dataset
from .download import fetch
from .idx import idx_header, read_idx
from .synthetic import digits as synthetic_digits

# MD5 of each file's extracted bytes.
FILES = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}
MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "https://raw.githubusercontent.com/fgnt/mnist/master/",
    "https://azureopendatastorage.blob.core.windows.net/mnist/",
)
IMAGE_SIZE = (28, 28)


def load(
    folder: str | os.PathLike | None = None,
    *,
    download: bool = True,
    mirrors: Sequence[str] = MIRRORS,
    opener: OpenerDirector | None = None,
) -> Dataset:
    """Load MNIST, or what can be had in its place.

    Looked for in `folder`, else in $MINIVAE_DATA, else in the user cache folder, else downloaded
    there, else the synthetic digits are drawn, which a line on stderr and the set's name announce.
    A folder that was named, by argument or environment, must hold the four files whole: raises
    DataError otherwise. `mirrors` are addresses that end in a slash; `opener` as in `fetch`.
    """
    named = folder if folder is not None else os.environ.get("MINIVAE_DATA") or None
    if named is not None:
        return read_folder(named)
    cache = cache_folder()
    try:
        return read_folder(cache)
    except DataError as error:
        reason = error
    if download:
        try:
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
    """Read the four files, gzipped or not, in `folder`/mnist or in `folder` itself.

    The set is named "mnist" if its bytes are MNIST's, else "idx". Raises DataError for a file that
    is missing or damaged, images that are not 28 x 28, and labels that are not one per image.
    """
    paths = _locate(Path(folder))
    arrays = {stem: read_idx(path) for stem, path in paths.items()}
    for images_stem, labels_stem in (list(FILES)[:2], list(FILES)[2:]):
        images, labels = arrays[images_stem], arrays[labels_stem]
        if images.shape[1:] != IMAGE_SIZE or len(images) == 0:
            raise DataError(
                f"{paths[images_stem]}: expected images (N, 28, 28), came {images.shape}"
            )
        if labels.shape != images.shape[:1]:
            raise DataError(
                f"{paths[labels_stem]}: expected {len(images)} labels, one for each image "
                f"of {paths[images_stem].name}, came {labels.shape}"
            )
    original = all(_md5(arrays[stem]) == md5 for stem, md5 in FILES.items())
    return Dataset("mnist" if original else "idx", *arrays.values())


def cache_folder() -> Path:
    """$XDG_CACHE_HOME/minivae, or ~/.cache/minivae."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(base) / "minivae"


def _locate(folder: Path) -> dict[str, Path]:
    """The path of each file, all from one place, the first that has any."""
    for place in (folder / "mnist", folder):
        found = {}
        for stem in FILES:
            candidates = (place / f"{stem}.gz", place / stem)
            found[stem] = next((path for path in candidates if os.path.exists(path)), None)
        missing = [f"{stem}.gz" for stem, path in found.items() if path is None]
        if not missing:
            return found
        if len(missing) < len(FILES):
            raise DataError(f"{place}: MNIST is incomplete: missing {', '.join(missing)}")
    if not os.path.isdir(folder):
        raise DataError(f"{folder}: no such folder; expected one that holds mnist/*-ubyte.gz")
    raise DataError(
        f"{folder}: no MNIST here; expected mnist/{next(iter(FILES))}.gz and its three fellows"
    )


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
    """MD5 of the array's IDX file."""
    digest = hashlib.md5(idx_header(array.shape), usedforsecurity=False)
    digest.update(array)
    return digest.hexdigest()
