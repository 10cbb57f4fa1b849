"""Checks of arguments, shared by all parts: whole numbers, real numbers, one-hot labels.

A whole number is what ``operator.index`` accepts and a number is what ``float`` accepts, so NumPy's
scalars serve as well as Python's. Strings are refused, and booleans are no whole numbers.
"""

import math
import operator
import os
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

AnyPath: TypeAlias = str | os.PathLike[str]


def whole(name: str, value: Any, least: int | None = None) -> int:
    """``value`` as an int of at least ``least``.

    Raises:
        TypeError: it is no whole number. ValueError: it is too small.

    >>> import numpy as np
    >>> whole("size", np.int64(3), least=1)
    3
    """
    try:
        if isinstance(value, bool):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name}: expected a whole number, got {value!r}") from None
    if least is not None and number < least:
        raise ValueError(f"{name}: expected at least {least}, got {number}")
    return number


def real(name: str, value: Any, least: float = 0.0, below: float = math.inf) -> float:
    """``value`` as a float in [least, below), which leaves out NaN.

    Raises:
        TypeError: it is no number, or a tensor whose gradient would be lost. ValueError: outside.

    >>> real("lr", 1)
    1.0
    """
    try:
        if isinstance(value, (str, bytes)):
            raise TypeError
        number = float(value)
    except (TypeError, ValueError):
        raise TypeError(f"{name}: expected a number, got {value!r}") from None
    if getattr(value, "requires_grad", False):
        raise TypeError(f"{name}: expected a number, got a tensor that requires a gradient")
    if not least <= number < below:
        bound = f"in [{least:g}, {below:g})" if below < math.inf else f"finite and >= {least:g}"
        raise ValueError(f"{name}: expected a number {bound}, got {number}")
    return number


def one_hot(labels: ArrayLike, classes: int, dtype: DTypeLike = np.float32) -> np.ndarray:
    """Whole numbers (N,) -> (N, classes), a 1 in each label's column.

    Raises:
        ValueError: not an array (N,) of whole numbers, or a label outside [0, ``classes``).

    >>> one_hot([1, 0], classes=3)
    array([[0., 1., 0.],
           [1., 0., 0.]], dtype=float32)
    """
    labels = np.asarray(labels)
    if labels.dtype.kind not in "iu" or labels.ndim != 1:
        raise ValueError(f"labels: expected whole numbers (N,), got {labels.dtype} {labels.shape}")
    if len(labels) and not (labels.min() >= 0 and labels.max() < classes):
        raise ValueError(f"labels: expected 0..{classes - 1}, got {labels.min()}..{labels.max()}")
    return np.eye(classes, dtype=dtype)[labels]
