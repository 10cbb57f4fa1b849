"""Batches of any sizes as groups of one size."""

import itertools

from ..backend import array_module


def regroup(batches, size):
    """The images of ``batches``, in order, as arrays of ``size`` images; the last may be shorter.

    What is computed on the groups cannot depend on how the images came.

    Args:
        batches: arrays of images (B, ...).
        size: a number, or a function that gives it for the shape of an image.

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
