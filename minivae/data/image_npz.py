"""Read images with their attributes from one .npz file.

    images             uint8 (N, H, W), (N, H, W, 3) or (N, 3, H, W)
    any yes/no (N,)    an attribute of that name
    attributes         yes/no (N, K), with ``attribute_names`` (K,): K further attributes
    any other (N,)     a group of that name: identity, subject ...

Yes/no values are bool, or numbers that are 0 and 1, or -1 and 1. (N, 1) is read as (N,).
``identity`` and ``subject`` are groups whatever their values. ``NAME_labels.npz`` in the folder of
``NAME.npz`` may hold more arrays for the same images.
"""

import math
import sys
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
from PIL import Image

from ..arguments import AnyPath
from ..backend import Array
from ..errors import DataError
from .image_file import square
from .npz import MAX_BYTES, read_arrays, read_headers
from .untrusted_file import memory_errors_named

PEOPLE = ("identity", "subject")  # groups that identify the person; the first one found is used

Columns: TypeAlias = dict[str, Array]  # by name, (N,) each


class ImageSet(NamedTuple):
    """Images uint8 (N, 3, S, S); attribute name -> bool (N,); group name -> (N,)."""

    images: np.ndarray
    attributes: dict[str, np.ndarray]
    groups: dict[str, np.ndarray]


def read_npz(path: AnyPath, size: int | None = None) -> ImageSet:
    """Read a set of images. A line on stderr names arrays that are not used.

    Args:
        path: the .npz file.
        size: height and width of the images to return. Images of another size are scaled so that
            the short side fits, and cropped to the middle. None keeps the file's size, which must
            then be square.

    Raises:
        DataError: the file is not as described above, or the images take more than ``MAX_BYTES``;
            nothing else is raised.
    """
    path = Path(path)
    with memory_errors_named(path):
        _require_room(path, size)
        arrays = read_arrays(path)
        if "images" not in arrays:
            raise DataError(f"{path}: no array images; there are {', '.join(arrays) or 'none'}")
        images = _channels_first(path, arrays.pop("images"))
        labels = path.with_name(f"{path.stem}_labels.npz")
        attributes, groups = _columns(path, arrays, len(images))
        if labels.is_file():
            more = _columns(labels, read_arrays(labels), len(images))
            for old, new in zip((attributes, groups), more, strict=True):
                for name in old.keys() & new.keys():
                    if not np.array_equal(old[name], new[name]):
                        raise DataError(f"{labels}: {name!r} contradicts {path.name}")
                old |= new
        return ImageSet(_resized(path, images, size), attributes, groups)


def _require_room(path: Path, size: int | None) -> None:
    """DataError if the images in colour and resized would take more than ``MAX_BYTES``."""
    header = read_headers(path).get("images")
    if header is None or len(header.shape) not in (3, 4):
        return  # an error that is raised when the arrays are read
    count, *sides = header.shape
    if len(sides) == 3:
        sides.remove(3) if 3 in sides else sides.pop()
    pixels = 3 * math.prod(sides)
    if size is not None and sides != [size, size]:
        pixels += 3 * size * size
    if count * pixels > MAX_BYTES:
        raise DataError(
            f"{path}: images: {count * pixels} bytes in colour and of the size asked for, "
            f"the limit is {MAX_BYTES}"
        )


def _channels_first(path: Path, images: Array) -> Array:
    if images.dtype == np.uint8 and images.ndim in (3, 4) and 0 not in images.shape:
        if images.ndim == 3:
            return np.repeat(images[:, None], 3, axis=1)
        if images.shape[3] == 3:
            return np.ascontiguousarray(images.transpose(0, 3, 1, 2))
        if images.shape[1] == 3:
            return images
    raise DataError(
        f"{path}: images: expected uint8 (N, H, W), (N, H, W, 3) or (N, 3, H, W), "
        f"got {images.dtype} {images.shape}"
    )


def _columns(path: Path, arrays: dict[str, Array], n: int) -> tuple[Columns, Columns]:
    """(attributes, groups) from the arrays other than ``images``."""
    attributes: Columns = {}
    groups: Columns = {}
    useless = []
    table, names = arrays.pop("attributes", None), arrays.pop("attribute_names", None)
    if table is not None:
        attributes = _table(path, table, names, n)
    for name, values in arrays.items():
        if values.shape == (n, 1):
            values = values[:, 0]
        if values.shape != (n,):
            if values.dtype == bool:
                raise DataError(f"{path}: {name}: expected bool ({n},), got {values.shape}")
            useless.append(f"{name} {values.shape}")
        elif name in PEOPLE or (answers := _yes_no(values)) is None:
            groups[name] = values
        elif name in attributes and not np.array_equal(attributes[name], answers):
            raise DataError(f"{path}: {name}: contradicts the column of that name")
        else:
            attributes[name] = answers
    if useless:
        print(
            f"minivae: {path}: not used, for they are not one value per image: "
            f"{', '.join(useless)}",
            file=sys.stderr,
        )
    return attributes, groups


def _table(path: Path, table: Array, names: Array | None, n: int) -> Columns:
    """Attribute name -> bool (n,) of the two arrays ``attributes`` and ``attribute_names``."""
    k = table.shape[1] if table.ndim == 2 else 0
    answers = _yes_no(table)
    if answers is None or table.shape != (n, k):
        what = table.dtype if answers is not None else f"{table.dtype} of other values"
        raise DataError(
            f"{path}: attributes: expected bool, or 0 and 1, ({n}, K), got {what} {table.shape}"
        )
    if names is None or names.dtype.kind != "U" or names.shape != (k,):
        found = "nothing" if names is None else f"{names.dtype} {names.shape}"
        raise DataError(f"{path}: attribute_names: expected {k} strings, got {found}")
    if len(set(names.tolist())) != k:
        raise DataError(f"{path}: attribute_names: a name comes twice")
    return dict(zip(names.tolist(), np.ascontiguousarray(answers.T), strict=True))


def _yes_no(values: Array) -> Array | None:
    """The values as bool if they are yes/no values, else None."""
    if values.dtype == bool:
        return values
    if values.dtype.kind not in "iuf":
        return None
    yes = values == 1
    no = values == 0
    if (yes | no).all() or (yes | (values == -1)).all():
        return yes
    return None


def _resized(path: Path, images: Array, size: int | None) -> Array:
    height, width = images.shape[2:]
    if size is None and height != width:
        raise DataError(f"{path}: images are {height} x {width}: pass size to cut them square")
    if size is None or height == width == size:
        return images
    resized = np.empty((len(images), 3, size, size), np.uint8)
    for image, out in zip(images, resized, strict=True):
        out[...] = square(Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0))), size)
    return resized
