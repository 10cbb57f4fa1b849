"""Digit data sets written as files in MNIST's format."""

import gzip

from minivae.data import mnist
from minivae.data.idx import idx_header


def write(folder, digits, zipped=False):
    """Write a ``Dataset`` of digits as the four files; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    parts = (digits.train, digits.test)
    arrays = [array for part in parts for array in (part.images, part.labels["digit"])]
    for stem, array in zip(mnist.FILES, arrays, strict=True):
        body = idx_header(array.shape) + array.tobytes()
        if zipped:
            (folder / f"{stem}.gz").write_bytes(gzip.compress(body, compresslevel=1))
        else:
            (folder / stem).write_bytes(body)
    return folder
