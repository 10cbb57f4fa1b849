"""Batch normalisation (Ioffe & Szegedy 2015, arXiv:1502.03167, algorithm 1).

Derivation: docs/batch-norm.md.
"""

from typing import Any

from .. import kernels
from ..backend import Array
from ..tensor import Function, Tensor, TensorLike, as_tensor

__all__ = ["batch_norm"]


class BatchNorm(Function):
    """y = w x^ + b with x^ = (x - mean) / sqrt(var + eps), per channel.

    Training, over the M = N L values of a channel:
    dx = w / (M sqrt(var + eps)) [M dy - sum dy - x^ sum(dy x^)]
    Evaluation (mean and var are constants):  dx = dy w / sqrt(var + eps)
    Both:  dw = sum(dy x^);  db = sum dy.

    x, y (N, C, L); w, b, mean, var (C,).
    """

    fresh_gradients = True

    def forward(self, x, w, b, mean, var, eps, on_statistics):
        self.eps, self.training = eps, mean is None
        x3 = self.xp.ascontiguousarray(x).reshape(*x.shape[:2], -1 if x.size else 0)
        y, mean, var = kernels.get("batch_norm_forward", x3)(x3, w, b, mean, var, eps)
        if self.training:
            on_statistics(mean, var)
        self.save(x3, w, mean, var)
        self.shape = x.shape
        return y.reshape(x.shape)

    def backward(self, dy):
        x3, w, mean, var = self.saved
        dy3 = self.xp.ascontiguousarray(dy).reshape(x3.shape)
        dx, dw, db = kernels.get("batch_norm_backward", x3)(
            x3, w, mean, var, self.eps, dy3, self.training
        )
        return dx.reshape(self.shape), dw, db


def batch_norm(
    x: TensorLike,
    running_mean: Array,
    running_var: Array,
    w: TensorLike,
    b: TensorLike,
    training: bool,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Normalise each channel to mean b and standard deviation w, as PyTorch's batch_norm.

    Args:
        x: (N, C) or (N, C, H, W).
        running_mean, running_var: (C,) plain arrays. In training they are updated in place:
            running += momentum (batch - running), with the unbiased batch variance; in
            evaluation they are what x is normalised by.
        w, b: (C,).
        training: whether to use the batch's own (biased) statistics.
        eps: added to the variance.

    Raises:
        ValueError: wrong shapes, or fewer than two values a channel in training.
    """
    x, w, b = as_tensor(x), as_tensor(w), as_tensor(b)
    if x.ndim not in (2, 4):
        raise ValueError(f"batch_norm: expected x (N, C) or (N, C, H, W), got {x.shape}")
    channels = x.shape[1]
    running: dict[str, Any] = {"running_mean": running_mean, "running_var": running_var}
    for name, a in {**running, "w": w, "b": b}.items():
        if a.shape != (channels,):
            raise ValueError(f"batch_norm: expected {name} ({channels},), got {a.shape}")
    if not training:
        return BatchNorm.apply(
            x, w, b, mean=running_mean, var=running_var, eps=eps, on_statistics=None
        )
    count = x.size // channels if channels else 0
    if count < 2:
        raise ValueError(
            f"batch_norm: training needs at least two values a channel, got {count} from {x.shape}"
        )

    def update_running(mean, var):
        kernel = kernels.get("update_running", mean, var, running_mean, running_var)
        kernel(mean, var, count, momentum, running_mean, running_var)

    return BatchNorm.apply(x, w, b, mean=None, var=None, eps=eps, on_statistics=update_running)
