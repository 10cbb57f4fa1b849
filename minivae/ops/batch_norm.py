"""Batch normalisation (Ioffe & Szegedy 2015, arXiv:1502.03167, algorithm 1).

Derivation: docs/batch-norm.md.
"""

import math
from collections.abc import Callable

from .. import kernels
from ..arguments import real
from ..backend import Array, array_module, contiguous
from ..tensor import Function, Grads, Tensor, TensorLike, as_tensor

__all__ = ["batch_norm"]


class BatchNorm(Function):
    """y = w xh + b with xh = (x - mean) / sqrt(var + eps), per channel.

    dw = sum(dy xh);  db = sum(dy)
    Training, with the count = N L values of a channel:
    dx = w / sqrt(var + eps) [dy - (db + xh dw) / count]
    Evaluation (mean and var are constants):  dx = w / sqrt(var + eps) dy

    x, y (N, C, L); w, b, mean, var (C,). Computed by
    ``kernels.reference.batch_norm_forward`` and ``batch_norm_backward``.
    """

    fresh_gradients = True

    def forward(
        self, x: Array, w: Array, b: Array, mean: Array | None, var: Array | None, eps: float,
        on_statistics: Callable[[Array, Array], None],
    ) -> Array:  # fmt: skip
        self.eps, self.training = eps, mean is None
        x3 = contiguous(x).reshape(*x.shape[:2], -1 if x.size else 0)
        y, mean, var = kernels.get("batch_norm_forward", x3)(x3, w, b, mean, var, eps)
        if self.training:
            on_statistics(mean, var)
        self.save(x3, w, mean, var)
        self.shape = x.shape
        return y.reshape(x.shape)

    def backward(self, dy: Array) -> Grads:
        x3, w, mean, var = self.saved
        dy3 = contiguous(dy).reshape(x3.shape)
        dx, dw, db = kernels.get("batch_norm_backward", x3)(
            x3, w, mean, var, self.eps, dy3, self.training
        )
        return dx.reshape(self.shape), dw, db


def batch_norm(
    x: TensorLike, running_mean: Array | Tensor | None, running_var: Array | Tensor | None,
    w: TensorLike | None = None, b: TensorLike | None = None, training: bool = False,
    momentum: float = 0.1, eps: float = 1e-5,
) -> Tensor:  # fmt: skip
    """Normalise each channel to mean b and standard deviation w, as PyTorch's batch_norm.

    Args:
        x: (N, C) or (N, C, H, W).
        running_mean, running_var: (C,) arrays, or tensors without a gradient. In training they
            are updated in place: running += momentum (batch - running), with the unbiased batch
            variance; None for both updates nothing. In evaluation x is normalised by them.
        w, b: (C,); None stands for ones and zeros.
        training: whether to use the batch's own (biased) statistics.
        eps: added to the variance, at least 0.

    Raises:
        ValueError: wrong shapes, fewer than two values per channel in training, or eps below 0.
        TypeError: a running statistic is no array, or requires a gradient.
    """
    x, momentum, eps = as_tensor(x), real("momentum", momentum, -math.inf), real("eps", eps)
    if x.ndim not in (2, 4):
        raise ValueError(f"batch_norm: expected x (N, C) or (N, C, H, W), got {x.shape}")
    channels, xp = x.shape[1], array_module(x.data)
    w = as_tensor(xp.ones(channels, x.dtype) if w is None else w)
    b = as_tensor(xp.zeros(channels, x.dtype) if b is None else b)
    mean, var = (
        _running(name, a)
        for name, a in (("running_mean", running_mean), ("running_var", running_var))
    )
    if (mean is None) != (var is None) or (mean is None and not training):
        raise ValueError(
            "batch_norm: expected running_mean and running_var, or None for both in training"
        )
    for name, a in [("running_mean", mean), ("running_var", var), ("w", w), ("b", b)]:
        if a is not None and a.shape != (channels,):
            raise ValueError(f"batch_norm: expected {name} ({channels},), got {a.shape}")
    if not training:
        return BatchNorm.apply(x, w, b, mean=mean, var=var, eps=eps, on_statistics=None)
    count = x.size // channels if channels else 0
    if count < 2:
        raise ValueError(
            f"batch_norm: expected at least two values per channel in training, got {count} from "
            f"x {x.shape}"
        )

    def update_running(batch_mean: Array, batch_var: Array) -> None:
        if mean is not None:
            kernel = kernels.get("update_running", batch_mean, batch_var, mean, var)
            kernel(batch_mean, batch_var, count, momentum, mean, var)

    return BatchNorm.apply(x, w, b, mean=None, var=None, eps=eps, on_statistics=update_running)


def _running(name: str, a: Array | Tensor | None) -> Array | None:
    """The plain array of a running statistic, or None."""
    if isinstance(a, Tensor) and not a.requires_grad:
        return a.data
    if a is not None and (isinstance(a, Tensor) or not hasattr(a, "shape")):
        kind = "one that requires a gradient" if isinstance(a, Tensor) else type(a).__name__
        raise TypeError(f"batch_norm: expected {name} to be an array, got {kind}")
    return a
