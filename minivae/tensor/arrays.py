"""The engine's helpers for plain arrays: dtype conversion, checksums, views that share memory."""

import zlib
from typing import Any

import numpy as np

from ..backend import Array, array_module, as_array, device_of, is_device_array
from ..errors import GradientError
from .unknown_array import known


def coerce(x: Any, like: Array, name: str) -> Array:
    """``x`` as an array of ``like``'s dtype: numbers, integers and booleans are converted.

    Raises:
        TypeError: ``x`` has another float dtype or is on another device; the message calls it
            ``name``. Nothing is up-cast or transferred silently.
    """
    xp = array_module(like)
    if isinstance(x, (bool, int, float, np.generic)):
        return xp.asarray(x, dtype=like.dtype)
    if not is_device_array(x):
        numbers, x = not hasattr(x, "dtype"), as_array(x)
        if numbers and x.dtype.kind == "f":  # a list of Python floats
            x = x.astype(like.dtype)
    if device_of(x) != device_of(like):
        raise TypeError(
            f"{name}: arrays on {device_of(like)} and {device_of(x)} do not mix; move one with .to"
        )
    if x.dtype == like.dtype:
        return x
    if x.dtype.kind in "iub":
        return x.astype(like.dtype)
    raise TypeError(f"{name}: expected dtype {like.dtype}, got {x.dtype}; convert one explicitly")


def filled(xp: Any, x: Any, shape: tuple[int, ...], dtype: Any) -> Array:
    """An array of ``shape`` filled with the Python float ``x``; an array ``x`` unchanged.

    >>> filled(np, 0.5, (2,), np.float32)
    array([0.5, 0.5], dtype=float32)
    """
    made: Array = xp.full(shape, x, dtype) if type(x) is float else as_array(x)
    return made


def total(x: Array, axis: Any, keepdims: bool = False) -> Array:
    """The sum over the axes; that of float16 is accumulated in float32, as in PyTorch.

    >>> ones = np.ones((5000, 2), np.float16)
    >>> ones.sum(axis=0).tolist(), total(ones, 0).tolist()
    ([2048.0, 2048.0], [5000.0, 5000.0])
    """
    if x.dtype == np.float16:
        return x.sum(axis=axis, keepdims=keepdims, dtype=np.float32).astype(np.float16)
    summed: Array = x.sum(axis=axis, keepdims=keepdims)
    return summed


def unbroadcast(grad: Array, shape: tuple[int, ...]) -> Array:
    """The adjoint of broadcasting: sum ``grad`` over the axes along which ``shape`` repeats.

    >>> unbroadcast(np.ones((3, 2)), (1, 2))
    array([[3., 3.]])

    Raises:
        GradientError: ``grad`` is not of a shape that ``shape`` broadcasts to.
    """
    if grad.shape == shape:
        return grad
    padded = (1,) * (grad.ndim - len(shape)) + shape
    repeated = tuple(
        i for i, (n, m) in enumerate(zip(padded, grad.shape, strict=False)) if n == 1 != m
    )
    summed = total(grad, repeated, keepdims=True)
    if summed.shape != padded:
        raise GradientError(f"backward(): gradient has shape {grad.shape}, expected {shape}")
    return summed.reshape(shape)


def fingerprint(array: Any, whole: int = 1024, samples: int = 64) -> int | None:
    """A checksum by which a later write to the array is detected.

    It is taken over all elements of an array of integers or booleans, which is an index, and of a
    float array of at most ``whole`` elements. Of a larger float array it is taken over ``samples``
    evenly spaced elements, which costs microseconds: a change of ``size // samples`` or more
    neighbouring elements is always detected, a smaller one perhaps. None on a GPU, where the
    checksum would have to wait for the device.
    """
    if is_device_array(array):
        return None
    array = known(array)
    if array.size > whole and array.dtype.kind == "f":
        array = array.flat[:: array.size // samples]
    return zlib.crc32(array.tobytes())


def owner_and_place(array: Array) -> tuple[Array, tuple[Any, ...] | None]:
    """(owner, place): the array that owns a view's memory, and the view's layout for ``view_at``.

    A copy of the owner and the same ``place`` give a copy of the view, so that copies share memory
    as the originals do. (array, None) unless the array is a view of all of its owner.

    >>> a = np.zeros((2, 3))
    >>> owner, place = owner_and_place(a.T)
    >>> owner is a, view_at(owner, place).shape
    (True, (3, 2))
    """
    owner: Any = array
    while isinstance(getattr(owner, "base", None), np.ndarray):
        owner = owner.base
    if owner is array or owner.nbytes != array.nbytes or not owner.flags.forc:
        return array, None
    first, base = (a.__array_interface__["data"][0] for a in (array, owner))
    return owner, (array.shape, array.dtype, first - base, array.strides)


def view_at(owner: Array, place: tuple[Any, ...] | None) -> Array:
    """The view of ``owner`` with the layout ``place`` of ``owner_and_place``; None: all of it."""
    if place is None:
        return owner
    shape, dtype, offset, strides = place
    return np.ndarray(shape, dtype, owner.ravel(order="K"), offset, strides)
