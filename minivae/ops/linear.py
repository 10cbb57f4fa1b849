"""The affine map of a fully connected layer.

Derivation: docs/linear-and-convolution.md.
"""

from .. import kernels
from ..tensor import Function, as_tensor


class Linear(Function):
    """y = x W^T + b;  dx = dy W;  dW = dy^T x;  db = column sums of dy.

    x (N, I), W (O, I), b (O,), y (N, O).
    """

    def forward(self, x, w, b):
        self.save(x, w)
        return kernels.get("matmul", x)(x, w.T, bias=b)

    def backward(self, dy):
        x, w = self.saved
        matmul = kernels.get("matmul", dy)
        dx = matmul(dy, w) if self.needs[0] else None
        dw = matmul(dy.T, x, out=self.out_buffer(1)) if self.needs[1] else None
        db = kernels.get("channel_sum", dy)(dy[:, :, None]) if self.needs[2] else None
        return dx, dw, db


def linear(x, w, b=None):
    """x W^T + b, as in PyTorch.

    Args:
        x: (..., I); w: (O, I); b: (O,) or None.

    Returns:
        (..., O).

    Raises:
        ValueError: the sizes do not fit; the message names them.
    """
    x, w, b = as_tensor(x), as_tensor(w), None if b is None else as_tensor(b)
    if w.ndim != 2 or x.ndim < 1 or x.shape[-1] != w.shape[1]:
        raise ValueError(
            f"linear: expected x (..., I) and w (O, I), got x {x.shape} and w {w.shape}"
        )
    if b is not None and b.shape != (w.shape[0],):
        raise ValueError(f"linear: expected b ({w.shape[0]},), got {b.shape}")
    if x.ndim == 2:
        return Linear.apply(x, w, b)
    rows = 1
    for n in x.shape[:-1]:
        rows *= n
    return Linear.apply(x.reshape((rows, x.shape[-1])), w, b).reshape((*x.shape[:-1], w.shape[0]))
