"""Nearest training images of generated pictures, to detect a model that copies its training set."""

import numpy as np
from numpy.typing import ArrayLike

from ..backend import Array

QUERIES = 128  # pictures compared with all images at a time


def nearest_images(pictures: ArrayLike, images: ArrayLike) -> tuple[Array, Array]:
    """For each picture the nearest image by the root mean squared difference of pixels.

    Args:
        pictures: (N, ...), pixels in [0, 1].
        images: (M, ...), pixels in [0, 1] of the same shape.

    Returns:
        ``(index, distance)``: index of the nearest image, int64 (N,), and distance, float64 (N,).

    Raises:
        ValueError: shapes differ, or ``images`` is empty.

    >>> nearest_images(np.array([[0.0, 0.9]]), np.array([[1.0, 1.0], [0.0, 1.0]]))[0]
    array([1])
    """
    pictures, images = np.asarray(pictures), np.asarray(images)
    if pictures.shape[1:] != images.shape[1:] or len(images) == 0:
        raise ValueError(
            f"pictures, images: expected one shape of picture and at least one image, "
            f"got {pictures.shape} and {images.shape}"
        )
    found = images.reshape(len(images), -1).astype(np.float64)
    squares = (found * found).sum(axis=1)
    index, distance = np.empty(len(pictures), np.int64), np.empty(len(pictures))
    for first in range(0, len(pictures), QUERIES):
        rows = slice(first, first + QUERIES)
        some = pictures[rows].reshape(-1, found.shape[1]).astype(np.float64)
        index[rows] = (squares - 2 * some @ found.T).argmin(axis=1)  # |picture|^2 is constant
        distance[rows] = np.sqrt(((some - found[index[rows]]) ** 2).mean(axis=1))
    return index, distance
