"""Regroup batches of images to groups of a fixed size, so that results do not depend on batches."""

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from ..backend import array_module

IMAGES = 512  # at most this many images at a time
PIXELS = 1 << 22  # at most this many pixels at a time, but at least MIN_IMAGES images
MIN_IMAGES = 16


def at_a_time(image: Sequence[int]) -> int:
    """How many images of this shape a model gets at a time, a function of the shape alone."""
    return min(IMAGES, max(MIN_IMAGES, PIXELS // max(1, math.prod(image))))


def regroup(batches: Iterable[Any], size: int | Callable[[tuple[int, ...]], int]) -> Iterator[Any]:
    """The images of ``batches``, in order, as arrays of ``size`` images; the last may be shorter.

    Results computed on the groups do not depend on the sizes of the batches.

    Args:
        batches: arrays of images (B, ...).
        size: a number, or a function from the shape of an image to a number.

    Raises:
        ValueError: there is no image.

    >>> import numpy as np
    >>> [x.tolist() for x in regroup([np.arange(4), np.arange(1)], 3)]
    [[0, 1, 2], [3, 0]]
    """
    batches = (x for x in batches if len(x))
    first = next(batches, None)
    if first is None:
        raise ValueError("batches: expected at least one image, got none")
    if callable(size):
        size = size(first.shape[1:])
    held, count = [], 0
    for x in itertools.chain([first], batches):
        held.append(x)
        count += len(x)
        if count >= size:
            joined = array_module(*held).concatenate(held)
            whole = count - count % size
            yield from (joined[i : i + size] for i in range(0, whole, size))
            held, count = [joined[whole:]], count - whole
    if count:
        yield array_module(*held).concatenate(held)
