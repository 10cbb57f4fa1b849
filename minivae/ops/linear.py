"""Matrix products, and the affine map of a fully connected layer.

Derivation: docs/linear-and-convolution.md.
"""

import math
from collections.abc import Sequence

from .. import kernels
from ..backend import Array, contiguous
from ..tensor import Function, Grads, Tensor, TensorLike, as_tensor
from . import composed
from .activation import require_activation
from .shapes import reshape

__all__ = ["linear", "linear_heads", "matmul"]


class MatMul(Function):
    """y = a @ b;  da = dy @ b^T;  db = a^T @ dy, over the last two axes."""

    def forward(self, a: Array, b: Array) -> Array:
        if a.ndim < 2 or b.ndim < 2 or a.shape[-1] != b.shape[-2]:
            raise ValueError(
                "matmul: expected shapes (..., n, k) and (..., k, m), "
                f"got {a.shape} and {b.shape}; reshape a vector to a row or a column"
            )
        self.save(a, b)
        return _product(a, b)

    def backward(self, dy: Array) -> Grads:
        a, b = self.saved
        da = _product(dy, b.swapaxes(-1, -2)) if self.needs[0] else None
        db = _product(a.swapaxes(-1, -2), dy) if self.needs[1] else None
        return da, db


def _product(a: Array, b: Array) -> Array:
    """a @ b: of matrices by a kernel, of stacks of matrices by the array module's BLAS."""
    return kernels.get("matmul", a, b)(a, b) if a.ndim == b.ndim == 2 else a @ b


class Linear(Function):
    """y = x W^T + b;  dx = dy W;  dW = dy^T x;  db = column sums of dy.

    x (N, I), W (O, I), b (O,), y (N, O). Computed by ``kernels.reference.linear`` and
    ``linear_backward``.
    """

    fresh_gradients = True

    def forward(self, x: Array, w: Array, b: Array | None) -> Array:
        self.save(x, w)
        (y,) = kernels.get("linear", x)(x, [w], [b])
        return y

    def backward(self, dy: Array) -> Grads:
        x, w = self.saved
        dx, (dw,), (db,) = _gradients(self, x, [w], [dy])
        return dx, dw, db


class LinearReLU(Function):
    """y = max(x W^T + b, 0);  with d = 0 where y <= 0, else dy:
    dx = d W;  dW = d^T x;  db = column sums of d.

    ``Linear`` and ReLU in one pass; shapes as there.
    """

    fresh_gradients = True

    def forward(self, x: Array, w: Array, b: Array | None) -> Array:
        (y,) = kernels.get("linear", x)(x, [w], [b], rectify=True)
        self.save(x, w, y)
        return y

    def backward(self, dy: Array) -> Grads:
        x, w, y = self.saved
        dx, (dw,), (db,) = _gradients(self, x, [w], [dy], y)
        return dx, dw, db


class LinearHeads(Function):
    """y1 = x W1^T + b1;  y2 = x W2^T + b2;  dx = dy1 W1 + dy2 W2;
    each dW and db as in ``Linear``. Two linear layers of the same x in one pass over x.

    x (N, I), W1 (O1, I), W2 (O2, I), b1 (O1,), b2 (O2,), y1 (N, O1), y2 (N, O2).
    """

    fresh_gradients = True

    def forward(
        self, x: Array, w1: Array, b1: Array | None, w2: Array, b2: Array | None
    ) -> tuple[Array, Array]:
        self.save(x, w1, w2)
        return tuple(kernels.get("linear", x)(x, [w1, w2], [b1, b2]))

    def backward(self, dy1: Array, dy2: Array) -> Grads:
        x, w1, w2 = self.saved
        dx, (dw1, dw2), (db1, db2) = _gradients(self, x, [w1, w2], [dy1, dy2])
        return dx, dw1, db1, dw2, db2


def _gradients(
    op: Function, x: Array, weights: list[Array], dys: list[Array], y: Array | None = None
) -> tuple[Array | None, Sequence[Array | None], Sequence[Array | None]]:
    """(dx, dWs, dbs) by the kernel ``linear_backward``; None for those that the op does not need.

    dys: the gradient of each of the outputs; y: the result of a fused ReLU, if there is one.
    """
    parameters = op.inputs[1:]
    needs = op.needs[0], any(op.needs[1::2]), any(op.needs[2::2])
    unread = all(p is None or p.creator is None for p in parameters)
    dys = [contiguous(dy) for dy in dys]
    return kernels.get("linear_backward", x, *dys)(x, weights, dys, y, needs, unread)


def matmul(a: TensorLike, b: TensorLike) -> Tensor:
    """Matrix product over the last two axes: a (..., n, k), b (..., k, m) -> (..., n, m).

    For two matrices the result does not depend on the number of threads; for more axes NumPy's
    BLAS computes it, and it may.
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
    require_activation(activation)
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


def linear_heads(
    x: TensorLike, w1: TensorLike, b1: TensorLike | None, w2: TensorLike, b2: TensorLike | None
) -> tuple[Tensor, Tensor]:
    """Two affine maps of one x, x W1^T + b1 and x W2^T + b2, in one pass.

    Args:
        x: (N, I); w1: (O1, I); b1: (O1,) or None; w2: (O2, I); b2: (O2,) or None.

    Returns:
        (N, O1), (N, O2).

    Raises:
        ValueError: the sizes do not fit; the message names them.
    """
    maps = [(as_tensor(w), None if b is None else as_tensor(b)) for w, b in ((w1, b1), (w2, b2))]
    x = as_tensor(x)
    for w, b in maps:
        if x.ndim != 2 or w.ndim != 2 or x.shape[1] != w.shape[1]:
            raise ValueError(
                f"linear_heads: expected x (N, I) and w (O, I), got x {x.shape} and w {w.shape}"
            )
        if b is not None and b.shape != (w.shape[0],):
            raise ValueError(f"linear_heads: expected b ({w.shape[0]},), got {b.shape}")
    (w1, b1), (w2, b2) = maps
    return LinearHeads.apply(x, w1, b1, w2, b2)
