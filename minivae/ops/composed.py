"""The fused operations composed of basic ones: the variant ``composed``.

``with mv.kernels.use("composed")`` runs these instead of the fused kernels; the engine
differentiates them.
"""

from .. import kernels
from ..backend import Array, device_of, to_device
from ..kernels.philox import NoiseKey
from ..tensor import Tensor
from . import reductions
from .activation import relu, sigmoid, softplus
from .arithmetic import exp, expm1


def reparameterize_kl(mu: Tensor, logvar: Tensor, noise: NoiseKey | Array) -> tuple[Tensor, Tensor]:
    """z = mu + exp(logvar / 2) eps;  KL = 1/2 sum(mu^2 + expm1(logvar) - logvar) over D."""
    eps = noise
    if isinstance(noise, NoiseKey):
        rows = mu.shape if mu.ndim > 1 else (1, *mu.shape)
        eps = kernels.get("normal", mu.data)(noise, rows, mu.dtype).reshape(mu.shape)
        eps = to_device(eps, device_of(mu.data))
    std = exp(logvar * 0.5)
    z = mu + std * eps
    kl = reductions.sum(mu * mu + expm1(logvar) - logvar, axis=-1) * 0.5
    return z, kl


def linear_relu(x: Tensor, w: Tensor, b: Tensor | None) -> Tensor:
    """max(x W^T + b, 0)."""
    y = x @ w.T
    return relu(y if b is None else y + b)


def bce_with_logits(logits: Tensor, target: Tensor) -> Tensor:
    """softplus(l) - l t for each element."""
    return softplus(logits) - logits * target


def squared_error_with_logits(logits: Tensor, target: Tensor) -> Tensor:
    """(sigmoid(l) - t)^2 for each element."""
    error = sigmoid(logits) - target
    return error * error
