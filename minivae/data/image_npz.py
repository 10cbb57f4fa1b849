"""Images with their attributes in one .npz file.

    images            uint8 (N, H, W), (N, H, W, 3) or (N, 3, H, W)
    any bool (N,)     an attribute of that name
    attributes        bool (N, K), with `attribute_names` (K,): K more of them
    any other (N,)    a group of that name: identity, subject ...

NAME_labels.npz beside NAME.npz may hold more arrays for the same images.
"""

import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from ..errors import DataError
from .idx import errors_named, require_regular
from .image_file import square

MAX_BYTES = 1 << 32  # of all arrays together, once unpacked


def read_npz(path, size=None):
    """Read (images uint8 (N, 3, size, size), attributes: name -> bool (N,), groups: name -> (N,)).

    Images of another size are scaled by their short side and cut to the middle; `size` None keeps
    the file's, which must then be square. No pickle is ever loaded. Raises DataError, and nothing
    else, for a file that is not as described above.
    """
    path = Path(path)
    arrays = _arrays(path)
    if "images" not in arrays:
        raise DataError(f"{path}: no array `images`; there are {', '.join(arrays) or 'none'}")
    images = _channels_first(path, arrays.pop("images"))
    labels = path.with_name(f"{path.stem}_labels.npz")
    attributes, groups = _columns(path, arrays, len(images))
    if labels.is_file():
        more = _columns(labels, _arrays(labels), len(images))
        for old, new in zip((attributes, groups), more, strict=True):
            for name in old.keys() & new.keys():
                if not np.array_equal(old[name], new[name]):
                    raise DataError(f"{labels}: {name!r} contradicts {path.name}")
            old |= new
    return _resized(path, images, size), attributes, groups


def _arrays(path):
    """Every array of the file, each checked against its announced size before it is allocated."""
    try:
        with errors_named(path):
            require_regular(path)
        with zipfile.ZipFile(path) as archive:
            entries = [entry for entry in archive.infolist() if entry.filename.endswith(".npy")]
            total = sum(entry.file_size for entry in entries)
            if total > MAX_BYTES:
                raise DataError(f"{path}: {total} bytes unpacked, the limit is {MAX_BYTES}")
            return {entry.filename[:-4]: _array(path, archive, entry) for entry in entries}
    except DataError:
        raise
    # zipfile and numpy's header parser answer crafted bytes with a dozen exception types.
    except Exception as cause:
        reason = getattr(cause, "strerror", None) or cause or type(cause).__name__
        raise DataError(f"{path}: not a whole .npz file: {reason}") from cause


def _array(path, archive, entry):
    with archive.open(entry) as file:
        version = np.lib.format.read_magic(file)
        if version not in ((1, 0), (2, 0)):
            raise DataError(f"{path}: {entry.filename}: .npy version {version} is not read here")
        read_header = getattr(np.lib.format, f"read_array_header_{version[0]}_0")
        shape, fortran, dtype = read_header(file)
        if dtype.hasobject or dtype.names or dtype.subdtype:
            raise DataError(f"{path}: {entry.filename}: arrays of {dtype} are not read here")
        data = file.read()  # to the end, where zipfile compares the checksum
    count = 1
    for n in shape:
        count *= n
    if min(shape, default=0) < 0 or count * dtype.itemsize != len(data):
        raise DataError(f"{path}: {entry.filename}: {len(data)} bytes do not fill {dtype} {shape}")
    if count == 0 or dtype.itemsize == 0:
        return np.empty(shape, dtype)
    return np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")


def _channels_first(path, images):
    expected = "uint8 (N, H, W), (N, H, W, 3) or (N, 3, H, W)"
    if images.dtype != np.uint8 or images.ndim not in (3, 4) or 0 in images.shape:
        raise DataError(f"{path}: images: expected {expected}, came {images.dtype} {images.shape}")
    if images.ndim == 3:
        return np.repeat(images[:, None], 3, axis=1)
    if images.shape[3] == 3:
        return np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    if images.shape[1] == 3:
        return images
    raise DataError(f"{path}: images: expected {expected}, came {images.dtype} {images.shape}")


def _columns(path, arrays, n):
    attributes, groups = {}, {}
    table, names = arrays.pop("attributes", None), arrays.pop("attribute_names", None)
    if table is not None:
        k = table.shape[1] if table.ndim == 2 else 0
        if table.dtype != bool or table.shape != (n, k):
            raise DataError(
                f"{path}: attributes: expected bool ({n}, K), came {table.dtype} {table.shape}"
            )
        if names is None or names.dtype.kind != "U" or names.shape != (k,):
            came = "nothing" if names is None else f"{names.dtype} {names.shape}"
            raise DataError(f"{path}: attribute_names: expected {k} strings, came {came}")
        if len(set(names.tolist())) != k:
            raise DataError(f"{path}: attribute_names: a name comes twice")
        attributes = dict(zip(names.tolist(), np.ascontiguousarray(table.T), strict=True))
    for name, values in arrays.items():
        if values.dtype == bool:
            if values.shape != (n,):
                raise DataError(f"{path}: {name}: expected bool ({n},), came {values.shape}")
            if name in attributes and not np.array_equal(attributes[name], values):
                raise DataError(f"{path}: {name}: contradicts the column of that name")
            attributes[name] = values
        elif values.shape == (n,):
            groups[name] = values
    return attributes, groups


def _resized(path, images, size):
    height, width = images.shape[2:]
    if size is None and height != width:
        raise DataError(f"{path}: images are {height} x {width}: pass size to cut them square")
    if size is None or height == width == size:
        return images
    resized = np.empty((len(images), 3, size, size), np.uint8)
    for image, out in zip(images, resized, strict=True):
        out[...] = square(Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0))), size)
    return resized
