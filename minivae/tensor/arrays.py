"""What the engine does with plain arrays: conversion, fingerprints, sharing of memory."""

import zlib
from typing import Any

import numpy as np

from ..backend import Array, array_module, as_array, device_of, is_device_array
from ..errors import GradientError
from .unknown_array import known


def coerce(x: Any, like: Array, name: str) -> Array:
    """``x`` as an array of ``like``'s dtype: numbers, integers and booleans are converted.

    Raises:
        TypeError: another float dtype or another device, so never a silent up-cast or transfer.
    """
    xp = array_module(like)
    if isinstance(x, (bool, int, float, np.generic)):
        return xp.asarray(x, dtype=like.dtype)
    if not is_device_array(x):
        numbers, x = not hasattr(x, "dtype"), as_array(x)
        if numbers and x.dtype.kind == "f":  # a list of them
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
    """The array that a Python number stands for: it everywhere. An array as it is.

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
    """A checksum that changes when the array is written to; None on a GPU, where it would have
    to wait for the device.

    Up to ``whole`` elements every one counts; in a larger array of numbers ``samples`` evenly
    spaced ones do, so that the check costs microseconds: a change of ``size // samples``
    neighbouring elements or more is always seen, a smaller one perhaps. Of whole numbers and
    booleans, which are indices, every element counts.
    """
    if is_device_array(array):
        return None
    array = known(array)
    if array.size > whole and array.dtype.kind == "f":
        array = array.flat[:: array.size // samples]
    return zlib.crc32(array.tobytes())


def owner_and_place(array: Array) -> tuple[Array, tuple[Any, ...] | None]:
    """The array whose memory a view shows in another order, and how; else the array and None.

    Copies of a view and of its owner, made through these two, share memory as the originals do.

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
    """The view that ``owner_and_place`` described."""
    if place is None:
        return owner
    shape, dtype, offset, strides = place
    return np.ndarray(shape, dtype, owner.ravel(order="K"), offset, strides)
