"""Reductions: a sum, a mean or an extreme over some of the axes.

In every docstring ``y`` is the output, ``dy`` is dL/dy and ``dx`` is dL/dx for a scalar L.

Derivations: docs/elementwise.md#reductions.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from .. import kernels
from ..arguments import whole
from ..backend import Array, contiguous
from ..tensor import Axis, Function, Tensor, TensorLike, as_tensor
from ..tensor.arrays import total

__all__ = ["log_mean_exp", "max", "mean", "sum"]

Axes: TypeAlias = tuple[int, ...] | None  # each once, counted from 0; None for all


class Sum(Function):
    """y = sum of x over the axes;  dx = dy repeated along them."""

    def forward(self, x: Array, axis: Axes, keepdims: bool) -> Array:
        self.shape, self.kept = x.shape, _kept_shape(x.shape, axis)
        y = total(x, axis)
        return y.reshape(self.kept) if keepdims else y

    def backward(self, dy: Array) -> Array:
        return self.xp.broadcast_to(dy.reshape(self.kept), self.shape)


class Mean(Function):
    """y = mean of the n elements along the axes;  dx = dy / n repeated along them."""

    def forward(self, x: Array, axis: Axes, keepdims: bool) -> Array:
        self.shape, self.kept = x.shape, _kept_shape(x.shape, axis)
        self.count = math.prod(n for n, k in zip(x.shape, self.kept, strict=True) if n != k)
        if self.count == 0:
            raise ValueError(
                f"mean: expected at least one element along axis {axis}, got shape {x.shape}"
            )
        y = x.mean(axis=axis)
        return y.reshape(self.kept) if keepdims else y

    def backward(self, dy: Array) -> Array:
        share = dy.reshape(self.kept)
        if dy.dtype == np.float16:  # in which a large count is infinite
            share = (share.astype(np.float32) / self.count).astype(np.float16)
        else:
            share = share / self.count
        return self.xp.broadcast_to(share, self.shape)


class Max(Function):
    """y = max of x over the axes;  dx = dy shared equally among the elements that attain it."""

    def forward(self, x: Array, axis: Axes, keepdims: bool) -> Array:
        self.kept = _kept_shape(x.shape, axis)
        y = x.max(axis=axis)
        self.save(x, y)
        return y.reshape(self.kept) if keepdims else y

    def backward(self, dy: Array) -> Array:
        x, y = self.saved
        attained = (x == y.reshape(self.kept)).astype(x.dtype)
        axes = tuple(i for i, n in enumerate(self.kept) if n != x.shape[i])
        ties = self.xp.ones(self.kept, x.dtype) * total(attained, axes, keepdims=True)
        return dy.reshape(self.kept) * attained / ties


class LogMeanExp(Function):
    """y = ln mean exp(x) along one axis;  dx = dy softmax(x): the weights add up to 1.

    Computed by ``kernels.reference.log_mean_exp``.
    """

    def forward(self, x: Array, axis: int) -> Array:
        if not -x.ndim <= axis < x.ndim or x.shape[axis] == 0:
            raise ValueError(
                f"log_mean_exp: expected elements along axis {axis}, got shape {x.shape}"
            )
        self.axis = axis
        last = contiguous(self.xp.moveaxis(x, axis, -1))
        rows = last.reshape(-1, last.shape[-1])
        kernel = kernels.get("log_mean_exp", rows)
        y, softmax = kernel(rows, with_grad=self.needs[0])
        self.save(softmax if softmax is None else softmax.reshape(last.shape))
        return y.reshape(last.shape[:-1])

    def backward(self, dy: Array) -> Array:
        (softmax,) = self.saved
        return self.xp.moveaxis(dy[..., None] * softmax, -1, self.axis)


def _kept_shape(shape: tuple[int, ...], axis: Axes) -> tuple[int, ...]:
    """``shape`` with the reduced axes kept as 1; ``axis`` as ``_checked`` gave it."""
    axes = range(len(shape)) if axis is None else axis
    return tuple(1 if i in axes else n for i, n in enumerate(shape))


def _checked(axis: Axis, shape: tuple[int, ...]) -> Axes:
    """The axes as a tuple of numbers from 0, or None for all.

    Raises ValueError for an axis that is out of range or named twice.
    """
    if axis is None:
        return None
    several = axis if isinstance(axis, (tuple, list)) else (axis,)
    axes, ndim = [whole("axis", i) for i in several], len(shape)
    for i in axes:
        if not -ndim <= i < ndim:
            raise ValueError(f"axis: expected an axis of shape {shape}, got {i}")
    axes = [i % ndim for i in axes]
    if len(set(axes)) < len(axes):
        raise ValueError(f"axis: expected different axes, got {axis}")
    return tuple(axes)


def _reduction(function: Callable[[TensorLike, Axis, bool], Tensor]) -> Callable[..., Tensor]:
    """Add argument names to a function (x, axis, keepdims): PyTorch's ``dim`` and ``keepdim``, and
    ``dtype`` and ``out``, which ``np.sum(x)`` passes on to ``x.sum`` and which must be None.
    """

    @functools.wraps(function)
    def call(
        x: TensorLike, axis: Axis = None, keepdims: bool = False, *, dim: Axis = None,
        keepdim: bool = False, dtype: None = None, out: None = None,
    ) -> Tensor:  # fmt: skip
        if dtype is not None or out is not None:
            raise TypeError(f"{function.__name__}: expected neither dtype nor out")
        if axis is not None and dim is not None:
            raise TypeError(f"{function.__name__}: expected one of axis and dim, got both")
        if not isinstance(keepdims, (bool, np.bool_)):
            raise TypeError(
                f"{function.__name__}: expected keepdims to be True or False, got {keepdims!r}; "
                "several axes go into one tuple"
            )
        return function(x, axis if dim is None else dim, keepdims or keepdim)

    return call


@_reduction
def sum(x: TensorLike, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Sum over ``axis`` (int, tuple, or None for all); ``keepdims`` keeps them with size 1.

    PyTorch's names ``dim`` and ``keepdim`` are accepted too.
    """
    x = as_tensor(x)
    return Sum.apply(x, axis=_checked(axis, x.shape), keepdims=keepdims)


@_reduction
def mean(x: TensorLike, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Mean, with ``axis`` and ``keepdims`` as in ``sum``; ValueError for a mean of no element."""
    x = as_tensor(x)
    return Mean.apply(x, axis=_checked(axis, x.shape), keepdims=keepdims)


def max(
    x: TensorLike, *others: Any, axis: Axis = None, keepdims: bool = False, out: Any = None,
    **more: Any,
) -> Tensor:  # fmt: skip
    """Largest element, with ``axis`` and ``keepdims`` as in ``sum``; ties share the gradient.

    Args:
        x: any shape.
        axis, keepdims: by name only, because PyTorch's max(x, dim) also returns indices.
        others, out, more: further arguments of NumPy's and PyTorch's ``max``, which are refused.

    Raises:
        TypeError: another argument. ValueError: an axis is out of range.
    """
    if others or more or out is not None:
        raise TypeError(
            "max: expected one tensor, axis= and keepdims= by name; PyTorch's max(x, dim), which "
            "also returns indices, and the elementwise maximum of two tensors are not supported"
        )
    x = as_tensor(x)
    return Max.apply(x, axis=_checked(axis, x.shape), keepdims=keepdims)


def log_mean_exp(x: TensorLike, axis: int = -1) -> Tensor:
    """ln( mean( exp(x) ) ) along one axis, without overflow; ValueError for an axis of length 0.

    >>> log_mean_exp(Tensor([1000.0, 1000.0])).item()
    1000.0
    """
    return LogMeanExp.apply(x, axis=whole("axis", axis))
