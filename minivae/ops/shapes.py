"""Reshape, flatten, transpose, index, concatenate, and ``to`` for another device or dtype.

In every docstring ``y`` is the output, ``dy`` is dL/dy and ``dx`` is dL/dx for a scalar L.

Derivations: docs/elementwise.md#shape.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ..arguments import whole
from ..backend import Array, device_of, placed, placement
from ..tensor import Function, Grads, Tensor, TensorLike, as_tensor

__all__ = ["concatenate", "flatten", "index", "reshape", "transpose"]


class Reshape(Function):
    """y = x in another shape, row-major order;  dx = dy in x's shape."""

    def forward(self, x: Array, shape: tuple[int, ...]) -> Array:
        self.shape = x.shape
        return x.reshape(shape)

    def backward(self, dy: Array) -> Array:
        return dy.reshape(self.shape)


class Transpose(Function):
    """y = x with axes permuted;  dx = dy with the inverse permutation."""

    def forward(self, x: Array, axes: tuple[int, ...] | None) -> Array:
        order = range(x.ndim)[::-1] if axes is None else [a % x.ndim for a in axes]
        self.inverse = np.argsort(order).tolist()
        return x.transpose(axes)

    def backward(self, dy: Array) -> Array:
        return dy.transpose(self.inverse)


class Index(Function):
    """y = x[index];  dx = dy added at the same places of a zero array (repeats accumulate)."""

    def forward(self, x: Array, index: Any) -> Array:
        self.shape, self.dtype = x.shape, x.dtype
        parts = index if isinstance(index, tuple) else (index,)
        self.parts = tuple(map(self._fixed, parts))
        self.save(*(part for part in self.parts if hasattr(part, "shape")))
        if any(part is Ellipsis for part in self.parts):
            return x[self.parts]
        return x[(*self.parts, ...)]  # with it a view of a single element too, and no scalar

    def _fixed(self, part: Any) -> Any:
        """One part of an index. A tensor gives its array, whose changes ``saved`` detects; a list
        becomes a new array, which a change of the list does not reach.
        """
        if isinstance(part, Tensor):
            return part.data
        if part is None or part is Ellipsis or hasattr(part, "shape"):
            return part
        if isinstance(part, (int, slice)):
            return part
        return self.xp.asarray(part if len(part) else self.xp.zeros(0, np.intp))

    def backward(self, dy: Array) -> Array:
        _ = self.saved  # raises if an index array was changed since forward
        dx = self.xp.zeros(self.shape, self.dtype)
        self.xp.add.at(dx, self.parts, dy)
        return dx


class Concatenate(Function):
    """y = the inputs joined along an axis;  each dx = its own section of dy."""

    def forward(self, *xs: Array, axis: int) -> Array:
        y = self.xp.concatenate(xs, axis=axis)  # first, because it checks the shapes
        self.axis, self.ends = axis, np.cumsum([x.shape[axis] for x in xs]).tolist()
        return y

    def backward(self, dy: Array) -> Grads:
        return tuple(self.xp.split(dy, self.ends[:-1], axis=self.axis))


class To(Function):
    """y = x with another dtype, on another device, or both;  dx = dy with those of x."""

    fresh_gradients = True

    def forward(self, x: Array, device: str | None, dtype: Any) -> Array:
        self.back = device_of(x), x.dtype
        return placed(x, device, dtype)

    def backward(self, dy: Array) -> Array:
        return placed(dy, *self.back)


def reshape(x: TensorLike, *shape: int | Sequence[int]) -> Tensor:
    """``x`` in another shape with the same elements in row-major order; one size may be -1."""
    return Reshape.apply(x, shape=shape[0] if len(shape) == 1 else shape)


def flatten(x: TensorLike, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """Join the axes from ``start_dim`` to ``end_dim``, as PyTorch's: all of them by default.

    Raises:
        ValueError: an axis is out of range, or ``start_dim`` comes after ``end_dim``.

    >>> flatten(np.zeros((2, 3, 4)), 1).shape
    (2, 12)
    """
    x = as_tensor(x)
    n = x.ndim or 1  # a number becomes one element
    start, end = whole("start_dim", start_dim), whole("end_dim", end_dim)
    for name, dim in (("start_dim", start), ("end_dim", end)):
        if not -n <= dim < n:
            raise ValueError(f"{name}: expected an axis of shape {x.shape}, got {dim}")
    start, end = start % n, end % n
    if start > end:
        raise ValueError(f"start_dim: expected at most end_dim, got {start_dim} and {end_dim}")
    joined = math.prod(x.shape[start : end + 1])
    return reshape(x, (*x.shape[:start], joined, *x.shape[end + 1 :]))


def transpose(x: TensorLike, axes: Sequence[int] | None = None, *more: Any) -> Tensor:
    """``x`` with its axes permuted (reversed by default).

    Args:
        x: any shape.
        axes: all of them in their new order, one tuple.
        more: refused, as several numbers are a permutation in NumPy and two axes in PyTorch.

    Raises:
        TypeError: ``axes`` is not one tuple. ValueError: it is no permutation.
    """
    if more:
        raise TypeError(
            "axes: expected one tuple of all axes in their new order, got several numbers, which "
            "are a permutation in NumPy and two axes to exchange in PyTorch"
        )
    if axes is not None:
        axes = tuple(whole("axes", a) for a in axes)
    return Transpose.apply(x, axes=axes)


def index(x: TensorLike, key: Any) -> Tensor:
    """``x[key]`` along the leading axes: slices, integers, masks, integer arrays, tensors of them.

    An element picked twice gets the gradient of both:

    >>> x = Tensor([1.0, 2.0, 3.0], requires_grad=True)
    >>> index(x, [0, 2, 2]).backward(np.ones(3))
    >>> x.grad
    array([1., 0., 2.])
    """
    return Index.apply(x, index=key)


def concatenate(tensors: Iterable[TensorLike], axis: int = 0) -> Tensor:
    """Join tensors along ``axis``; ValueError for no tensors, or for ``axis=None``."""
    if axis is None:
        raise ValueError("axis: expected a whole number, got None; flatten the tensors first")
    tensors = list(tensors)
    if not tensors:
        raise ValueError("tensors: expected at least one, got none")
    return Concatenate.apply(*tensors, axis=whole("axis", axis))


def to(x: TensorLike, device: Any = None, dtype: Any = None) -> Tensor:
    """``x`` on "cpu" or "cuda", in another float dtype, or both; ``x`` itself if neither changes.

    Either may be given alone: ``x.to("cuda")``, ``x.to(np.float64)``.

    Raises:
        ValueError: an unknown device. TypeError: a dtype that is not floating-point.
        RuntimeError: no GPU answers; the message says why.
    """
    x = as_tensor(x)
    device, dtype = placement(device, dtype)
    stays = device in (None, device_of(x.data)) and (dtype is None or dtype == x.dtype)
    if stays:
        return x
    return To.apply(x, device=device, dtype=dtype)
