"""Arithmetic, reductions and shape: the operations every other one can be composed from.

In every docstring ``y`` is the output, ``dy`` is dL/dy and ``dx`` is dL/dx for a scalar L.

Derivations: docs/elementwise.md; of the matrix product, docs/linear-and-convolution.md.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import kernels
from ..tensor import Axis, Function, Tensor, TensorLike, as_tensor

__all__ = [
    "add",
    "concatenate",
    "div",
    "exp",
    "expm1",
    "flatten",
    "index",
    "log",
    "log_mean_exp",
    "matmul",
    "max",
    "mean",
    "mul",
    "neg",
    "pow",
    "reshape",
    "sqrt",
    "sub",
    "sum",
    "transpose",
]


class Add(Function):
    """y = a + b;  da = dy;  db = dy."""

    def forward(self, a, b):
        return a + b

    def backward(self, dy):
        return dy, dy


class Sub(Function):
    """y = a - b;  da = dy;  db = -dy."""

    def forward(self, a, b):
        return a - b

    def backward(self, dy):
        return dy, -dy if self.needs[1] else None


class Mul(Function):
    """y = a b;  da = dy b;  db = dy a."""

    def forward(self, a, b):
        self.save(a, b)
        return a * b

    def backward(self, dy):
        a, b = self.saved
        return dy * b if self.needs[0] else None, dy * a if self.needs[1] else None


class Div(Function):
    """y = a / b;  da = dy / b;  db = -dy y / b."""

    def forward(self, a, b):
        y = a / b
        self.save(b, y)
        return y

    def backward(self, dy):
        b, y = self.saved
        da = dy / b
        return da, -da * y if self.needs[1] else None


class Neg(Function):
    """y = -x;  dx = -dy."""

    def forward(self, x):
        return -x

    def backward(self, dy):
        return -dy


class Pow(Function):
    """y = x^p for a fixed number p;  dx = dy p x^(p-1), and 0 for p = 0."""

    def forward(self, x, exponent):
        self.exponent = exponent
        self.save(x)
        return x**exponent

    def backward(self, dy):
        (x,) = self.saved
        p = self.exponent
        return dy * (p * x ** (p - 1)) if p != 0 else self.xp.zeros_like(x)


class MatMul(Function):
    """y = a @ b;  da = dy @ b^T;  db = a^T @ dy, over the last two axes."""

    def forward(self, a, b):
        if a.ndim < 2 or b.ndim < 2 or a.shape[-1] != b.shape[-2]:
            raise ValueError(
                "matmul: expected shapes (..., n, k) and (..., k, m), "
                f"got {a.shape} and {b.shape}; reshape a vector to a row or a column"
            )
        self.save(a, b)
        return _product(a, b)

    def backward(self, dy):
        a, b = self.saved
        da = _product(dy, b.swapaxes(-1, -2)) if self.needs[0] else None
        db = _product(a.swapaxes(-1, -2), dy) if self.needs[1] else None
        return da, db


def _product(a, b):
    """a @ b: of matrices by a kernel, of stacks of matrices by the array module's BLAS."""
    return kernels.get("matmul", a, b)(a, b) if a.ndim == b.ndim == 2 else a @ b


class Exp(Function):
    """y = exp(x);  dx = dy y."""

    def forward(self, x):
        y = self.xp.exp(x)
        self.save(y)
        return y

    def backward(self, dy):
        (y,) = self.saved
        return dy * y


class Expm1(Function):
    """y = exp(x) - 1, without cancellation near 0;  dx = dy (y + 1)."""

    def forward(self, x):
        y = self.xp.expm1(x)
        self.save(y)
        return y

    def backward(self, dy):
        (y,) = self.saved
        return dy * (y + 1)


class Log(Function):
    """y = ln x;  dx = dy / x."""

    def forward(self, x):
        self.save(x)
        return self.xp.log(x)

    def backward(self, dy):
        (x,) = self.saved
        return dy / x


class Sqrt(Function):
    """y = sqrt(x);  dx = dy / (2 y)."""

    def forward(self, x):
        y = self.xp.sqrt(x)
        self.save(y)
        return y

    def backward(self, dy):
        (y,) = self.saved
        return dy / (2 * y)


class Sum(Function):
    """y = sum of x over the axes;  dx = dy repeated along them."""

    def forward(self, x, axis, keepdims):
        self.shape, self.kept = x.shape, _kept_shape(x.shape, axis)
        y = x.sum(axis=axis)
        return y.reshape(self.kept) if keepdims else y

    def backward(self, dy):
        return self.xp.broadcast_to(dy.reshape(self.kept), self.shape)


class Mean(Function):
    """y = mean of the n elements along the axes;  dx = dy / n repeated along them."""

    def forward(self, x, axis, keepdims):
        self.shape, self.kept = x.shape, _kept_shape(x.shape, axis)
        self.count = math.prod(n for n, k in zip(x.shape, self.kept, strict=True) if n != k)
        if self.count == 0:
            raise ValueError(f"mean: no elements along axis {axis} of shape {x.shape}")
        y = x.mean(axis=axis)
        return y.reshape(self.kept) if keepdims else y

    def backward(self, dy):
        return self.xp.broadcast_to(dy.reshape(self.kept) / self.count, self.shape)


class Max(Function):
    """y = max of x over the axes;  dx = dy shared equally among the elements that attain it."""

    def forward(self, x, axis, keepdims):
        self.kept = _kept_shape(x.shape, axis)
        y = x.max(axis=axis)
        self.save(x, y)
        return y.reshape(self.kept) if keepdims else y

    def backward(self, dy):
        x, y = self.saved
        attained = (x == y.reshape(self.kept)).astype(x.dtype)
        ties = self.xp.ones(self.kept, x.dtype) * attained.sum(
            axis=tuple(i for i, n in enumerate(self.kept) if n != x.shape[i]), keepdims=True
        )
        return dy.reshape(self.kept) * attained / ties


class LogMeanExp(Function):
    """y = ln mean exp(x) along one axis;  dx = dy softmax(x): the weights add up to 1."""

    def forward(self, x, axis):
        if not -x.ndim <= axis < x.ndim or x.shape[axis] == 0:
            raise ValueError(f"log_mean_exp: no elements along axis {axis} of shape {x.shape}")
        self.axis = axis
        last = self.xp.ascontiguousarray(self.xp.moveaxis(x, axis, -1))
        rows = last.reshape(-1, last.shape[-1])
        kernel = kernels.get("log_mean_exp", rows)
        y, softmax = kernel(rows, with_grad=self.needs[0])
        self.save(softmax if softmax is None else softmax.reshape(last.shape))
        return y.reshape(last.shape[:-1])

    def backward(self, dy):
        (softmax,) = self.saved
        return self.xp.moveaxis(dy[..., None] * softmax, -1, self.axis)


class Reshape(Function):
    """y = x in another shape, row-major order;  dx = dy in x's shape."""

    def forward(self, x, shape):
        self.shape = x.shape
        return x.reshape(shape)

    def backward(self, dy):
        return dy.reshape(self.shape)


class Transpose(Function):
    """y = x with axes permuted;  dx = dy with the inverse permutation."""

    def forward(self, x, axes):
        order = range(x.ndim)[::-1] if axes is None else [a % x.ndim for a in axes]
        self.inverse = np.argsort(order).tolist()
        return x.transpose(axes)

    def backward(self, dy):
        return dy.transpose(self.inverse)


class Index(Function):
    """y = x[index];  dx = dy added at the same places of a zero array (repeats accumulate)."""

    def forward(self, x, index):
        self.shape, self.dtype, self.index = x.shape, x.dtype, index
        return x[index]

    def backward(self, dy):
        dx = self.xp.zeros(self.shape, self.dtype)
        self.xp.add.at(dx, self.index, dy)
        return dx


class Concatenate(Function):
    """y = the inputs joined along an axis;  each dx = its own section of dy."""

    def forward(self, *xs, axis):
        y = self.xp.concatenate(xs, axis=axis)  # first, for its errors
        self.axis, self.ends = axis, np.cumsum([x.shape[axis] for x in xs]).tolist()
        return y

    def backward(self, dy):
        return tuple(self.xp.split(dy, self.ends[:-1], axis=self.axis))


def _kept_shape(shape: tuple[int, ...], axis: Axis) -> tuple[int, ...]:
    """``shape`` with the reduced axes kept as 1; ValueError for an axis that is not there."""
    axes = range(len(shape)) if axis is None else (axis,) if isinstance(axis, int) else axis
    for i in axes:
        if not -len(shape) <= i < len(shape):
            raise ValueError(f"axis: {i} is out of range for shape {shape}")
    reduced = {i % len(shape) for i in axes}
    return tuple(1 if i in reduced else n for i, n in enumerate(shape))


def add(a: TensorLike, b: TensorLike) -> Tensor:
    """a + b, broadcast."""
    return Add.apply(a, b)


def sub(a: TensorLike, b: TensorLike) -> Tensor:
    """a - b, broadcast."""
    return Sub.apply(a, b)


def mul(a: TensorLike, b: TensorLike) -> Tensor:
    """Elementwise product a b, broadcast."""
    return Mul.apply(a, b)


def div(a: TensorLike, b: TensorLike) -> Tensor:
    """Elementwise quotient a / b, broadcast."""
    return Div.apply(a, b)


def neg(x: TensorLike) -> Tensor:
    """-x."""
    return Neg.apply(x)


def pow(x: TensorLike, exponent: float) -> Tensor:
    """x ** exponent, elementwise, for a Python number; TypeError for anything else."""
    if not isinstance(exponent, (int, float)):
        raise TypeError(f"exponent: expected a Python number, got {type(exponent).__name__}")
    return Pow.apply(x, exponent=exponent)


def matmul(a: TensorLike, b: TensorLike) -> Tensor:
    """Matrix product over the last two axes: a (..., n, k), b (..., k, m) -> (..., n, m).

    That of two matrices does not depend on the number of threads; with more axes NumPy's BLAS
    multiplies, whose results may.
    """
    return MatMul.apply(a, b)


def exp(x: TensorLike) -> Tensor:
    """Exponential, elementwise."""
    return Exp.apply(x)


def expm1(x: TensorLike) -> Tensor:
    """exp(x) - 1 without cancellation near 0, elementwise."""
    return Expm1.apply(x)


def log(x: TensorLike) -> Tensor:
    """Natural logarithm, elementwise."""
    return Log.apply(x)


def sqrt(x: TensorLike) -> Tensor:
    """Square root, elementwise."""
    return Sqrt.apply(x)


def sum(x: TensorLike, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Sum over ``axis`` (int, tuple, or None for all); ``keepdims`` keeps them with size 1."""
    return Sum.apply(x, axis=axis, keepdims=keepdims)


def mean(x: TensorLike, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Mean over ``axis`` and ``keepdims`` as in ``sum``; ValueError when there is no element."""
    return Mean.apply(x, axis=axis, keepdims=keepdims)


def max(x: TensorLike, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Largest element over ``axis`` and ``keepdims`` as in ``sum``; ties share the gradient."""
    return Max.apply(x, axis=axis, keepdims=keepdims)


def log_mean_exp(x: TensorLike, axis: int = -1) -> Tensor:
    """ln( mean( exp(x) ) ) along one axis, without overflow; ValueError when it has no element.

    >>> log_mean_exp(Tensor([1000.0, 1000.0])).item()
    1000.0
    """
    return LogMeanExp.apply(x, axis=axis)


def reshape(x: TensorLike, *shape: int | Sequence[int]) -> Tensor:
    """``x`` in another shape with the same elements in row-major order; one size may be -1."""
    return Reshape.apply(x, shape=shape[0] if len(shape) == 1 else shape)


def flatten(x: TensorLike, start_dim: int = 1) -> Tensor:
    """Join all axes from ``start_dim`` on: (N, C, H, W) to (N, C*H*W)."""
    x = as_tensor(x)
    kept = x.shape[:start_dim]
    return reshape(x, (*kept, math.prod(x.shape[start_dim:])))


def transpose(x: TensorLike, axes: Sequence[int] | None = None) -> Tensor:
    """``x`` with its axes permuted (reversed by default)."""
    return Transpose.apply(x, axes=axes)


def index(x: TensorLike, key: Any) -> Tensor:
    """``x[key]`` along the leading axes: slices, integers, masks, integer arrays.

    An element picked twice gets the gradient of both:

    >>> x = Tensor([1.0, 2.0, 3.0], requires_grad=True)
    >>> index(x, [0, 2, 2]).backward(np.ones(3))
    >>> x.grad
    array([1., 0., 2.])
    """
    return Index.apply(x, index=key)


def concatenate(tensors: Sequence[TensorLike], axis: int = 0) -> Tensor:
    """Join tensors along an axis; ValueError when there is none."""
    if not tensors:
        raise ValueError("tensors: expected at least one, got none")
    return Concatenate.apply(*tensors, axis=axis)


def _reversed(op: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return lambda self, other: op(other, self)


OPERATORS = {  # every one of Tensor; tensor.py declares them for type checkers
    "__add__": add,
    "__radd__": _reversed(add),
    "__sub__": sub,
    "__rsub__": _reversed(sub),
    "__mul__": mul,
    "__rmul__": _reversed(mul),
    "__truediv__": div,
    "__rtruediv__": _reversed(div),
    "__neg__": neg,
    "__pow__": pow,
    "__matmul__": matmul,
    "__rmatmul__": _reversed(matmul),
    "__getitem__": index,
    "sum": sum,
    "mean": mean,
    "max": max,
    "reshape": reshape,
    "transpose": transpose,
    "T": property(transpose),
}
for _name, _operator in OPERATORS.items():
    setattr(Tensor, _name, _operator)
