"""Find a set of digits in a folder and read it: four IDX files, or the ``mnist.npz`` of Keras.

The files may be gzipped, and named as by MNIST's authors, torchvision, EMNIST or QMNIST:
``train-images-idx3-ubyte``, ``train-images.idx3-ubyte``,
``emnist-byclass-test-labels-idx1-ubyte``, ``qmnist-test-labels-idx2-int``.
"""

import os
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..arguments import AnyPath
from ..errors import DataError
from .idx import read_idx
from .npz import read_arrays

STEMS = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
NAME = re.compile(
    r"(?:(?P<set>.+)-)?(?P<part>train|t10k|test)-(?P<kind>images|labels)"
    r"[-.]idx[1-4]-(?:ubyte|int)(?P<gz>\.gz)?"
)
PLACES = ("mnist", ".", "MNIST/raw", "raw")  # the last two: torchvision's
KERAS = "mnist.npz"
KERAS_ARRAYS = ("x_train", "y_train", "x_test", "y_test")
IMAGE_SIZE = (28, 28)
MAX_CLASSES = 256  # EMNIST ByClass has 62
QMNIST_COLUMNS = 8  # of its labels; the first one is the digit


class Digits(NamedTuple):
    """Images uint8 (N, 28, 28) and labels uint8 (N,), of both parts."""

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray


def read_digits(source: AnyPath) -> Digits:
    """Read the digits in a folder, in one of its ``PLACES``, or in a file like ``mnist.npz``.

    Raises:
        DataError: there is no set, more than one, or an incomplete or damaged one; images are not
            28 x 28, or labels are not one whole number per image.
    """
    source = Path(os.fspath(source))
    if source.is_file():
        return _read_keras(source)
    if not source.is_dir():
        raise DataError(f"{source}: no such folder; expected one that holds mnist/*-ubyte.gz")
    places = [source / place for place in PLACES]
    for place in places:
        if paths := _find(place):
            return _checked([read_idx(path) for path in paths], [str(path) for path in paths])
    for place in places:
        if (place / KERAS).is_file():
            return _read_keras(place / KERAS)
    raise DataError(
        f"{source}: no MNIST here; expected mnist/{STEMS[0]}.gz and the three files beside it, "
        f"or {KERAS}"
    )


def _find(place: Path) -> list[Path]:
    """The four files of the one set in a folder, in the order of ``STEMS``; [] for none."""
    if not place.is_dir():
        return []
    try:
        names = sorted(os.listdir(place))
    except OSError as cause:
        raise DataError(f"{place}: cannot be read: {cause.strerror}") from cause
    sets: dict[str, dict[str, list[Any]]] = {}
    for name in names:
        if match := NAME.fullmatch(name):
            part = "train" if match["part"] == "train" else "t10k"
            stem = next(s for s in STEMS if s.startswith(f"{part}-{match['kind']}"))
            # A file may exist twice, gzipped and not: the smallest rank is read.
            rank = (match["gz"] is None, match["part"] == "test", name)
            sets.setdefault(match["set"] or "", {}).setdefault(stem, []).append(rank)
    if len(sets) > 1 and "" not in sets:
        raise DataError(
            f"{place}: holds several sets ({', '.join(sets)}); put the one to read into a folder "
            "of its own"
        )
    if not sets:
        return []
    files = sets.get("") or next(iter(sets.values()))
    if missing := [f"{stem}.gz" for stem in STEMS if stem not in files]:
        raise DataError(f"{place}: MNIST is incomplete: missing {', '.join(missing)}")
    return [place / min(files[stem])[-1] for stem in STEMS]


def _read_keras(path: Path) -> Digits:
    arrays = read_arrays(path)
    if missing := [name for name in KERAS_ARRAYS if name not in arrays]:
        raise DataError(
            f"{path}: no array {missing[0]}; expected {', '.join(KERAS_ARRAYS)}, "
            f"got {', '.join(arrays) or 'none'}"
        )
    names = [f"{path}: {name}" for name in KERAS_ARRAYS]
    return _checked([arrays[name] for name in KERAS_ARRAYS], names)


def _checked(arrays: list[np.ndarray], names: list[str]) -> Digits:
    """The four arrays as ``Digits``; messages begin with their ``names``."""
    found = []
    for i in (0, 2):
        images, labels = arrays[i], arrays[i + 1]
        if images.dtype != np.uint8:
            raise DataError(f"{names[i]}: expected images of uint8, got {images.dtype}")
        if images.shape[1:] != IMAGE_SIZE or len(images) == 0:
            raise DataError(f"{names[i]}: expected images (N, 28, 28), got {images.shape}")
        found += [images, _whole_numbers(labels, len(images), names[i + 1])]
    return Digits(*found)


def _whole_numbers(labels: np.ndarray, count: int, name: str) -> np.ndarray:
    """The labels as uint8 (count,)."""
    if labels.dtype.kind not in "iu":
        raise DataError(f"{name}: expected whole numbers as labels, got {labels.dtype}")
    if labels.shape == (count, QMNIST_COLUMNS) and labels.dtype.itemsize == 4:
        labels = labels[:, 0]
    if labels.shape != (count,):
        raise DataError(f"{name}: expected {count} labels, one per image, got {labels.shape}")
    least, most = int(labels.min()), int(labels.max())
    if least < 0 or most >= MAX_CLASSES:
        raise DataError(f"{name}: expected labels 0 .. {MAX_CLASSES - 1}, got {least} .. {most}")
    return labels.astype(np.uint8)
