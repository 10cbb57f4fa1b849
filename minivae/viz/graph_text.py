"""Text for the boxes and arrows of a drawn graph: values, names of arguments."""

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from ..backend import Array, to_numpy


def value_lines(array: Array, max_values: int) -> list[str]:
    """The values of a small array, one line per row, or one line with mean and std of a larger one.

    Args:
        array: a NumPy or CuPy array.
        max_values: the largest number of elements to print.
    """
    array = to_numpy(array)
    if array.size == 0:
        return ["no elements"]
    if array.size <= max_values:
        return np.array2string(array, precision=4, separator=", ").split("\n")
    wrong = array.size - np.count_nonzero(np.isfinite(array))
    if wrong:
        return [f"{wrong} of {array.size} not finite"]
    return [f"mean {array.mean(dtype=np.float64):.3g}, std {array.std(dtype=np.float64):.3g}"]


def argument_names(forward: Callable[..., Any], count: int) -> list[str]:
    """The names that an operation's ``forward`` gives to its arrays: x, w, b.

    Args:
        forward: the bound method.
        count: how many arrays it takes; further parameters are ignored.
    """
    parameters = list(inspect.signature(forward).parameters.values())
    if parameters and parameters[0].kind is inspect.Parameter.VAR_POSITIONAL:
        return [str(i) for i in range(count)]
    return [p.name for p in parameters[:count]]
