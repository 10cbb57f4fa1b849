"""Matrix products, and the affine map of a fully connected layer.

Derivation: docs/linear-and-convolution.md.
"""

import math

from .. import kernels
from ..tensor import Function, Tensor, TensorLike, as_tensor
from . import composed
from .shapes import reshape

__all__ = ["linear", "matmul"]


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


class Linear(Function):
    """y = x W^T + b;  dx = dy W;  dW = dy^T x;  db = column sums of dy.

    x (N, I), W (O, I), b (O,), y (N, O).
    """

    fresh_gradients = True

    def forward(self, x, w, b):
        self.save(x, w)
        return kernels.get("matmul", x)(x, w.T, bias=b)

    def backward(self, dy):
        x, w = self.saved
        db = kernels.get("channel_sum", dy)(dy[:, :, None]) if self.needs[2] else None
        return *self.products(x, w, dy), db

    def products(self, x, w, dy):
        """dx and dW."""
        matmul = kernels.get("matmul", dy)
        dx = matmul(dy, w) if self.needs[0] else None
        dw = matmul(dy.T, x) if self.needs[1] else None
        return dx, dw


class LinearReLU(Linear):
    """y = max(x W^T + b, 0);  with d = 0 where y <= 0, else dy:
    dx = d W;  dW = d^T x;  db = column sums of d.

    Shapes as ``Linear``. y and d take one pass over memory each.
    """

    def forward(self, x, w, b):
        y = kernels.get("matmul", x)(x, w.T, bias=b, rectify=True)
        self.save(x, w, y)
        return y

    def backward(self, dy):
        x, w, y = self.saved
        d, db = kernels.get("bias_relu_backward", y, dy)(y[:, :, None], dy[:, :, None])
        return *self.products(x, w, d[:, :, 0]), db if self.needs[2] else None


def matmul(a: TensorLike, b: TensorLike) -> Tensor:
    """Matrix product over the last two axes: a (..., n, k), b (..., k, m) -> (..., n, m).

    That of two matrices does not depend on the number of threads; with more axes NumPy's BLAS
    multiplies, whose results may.
    """
    return MatMul.apply(a, b)


def linear(
    x: TensorLike, w: TensorLike, b: TensorLike | None = None, *, activation: str | None = None
) -> Tensor:
    """x W^T + b, as in PyTorch; max(x W^T + b, 0) with ``activation="relu"``, in one pass.

    Args:
        x: (..., I); w: (O, I); b: (O,) or None.
        activation: None or "relu".

    Returns:
        (..., O).

    Raises:
        ValueError: the sizes do not fit, or the activation is unknown; the message names them.
    """
    if activation not in (None, "relu"):
        raise ValueError(f"activation: expected None or 'relu', got {activation!r}")
    x, w, b = as_tensor(x), as_tensor(w), None if b is None else as_tensor(b)
    if w.ndim != 2 or x.ndim < 1 or x.shape[-1] != w.shape[1]:
        raise ValueError(
            f"linear: expected x (..., I) and w (O, I), got x {x.shape} and w {w.shape}"
        )
    if b is not None and b.shape != (w.shape[0],):
        raise ValueError(f"linear: expected b ({w.shape[0]},), got {b.shape}")
    op = Linear.apply
    if activation:
        op = kernels.fused_or_composed(LinearReLU.apply, composed.linear_relu)
    if x.ndim == 2:
        return op(x, w, b)
    rows = math.prod(x.shape[:-1])
    y = op(reshape(x, rows, x.shape[-1]), w, b)
    return reshape(y, *x.shape[:-1], w.shape[0])
