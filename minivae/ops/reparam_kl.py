"""Sampling a diagonal Gaussian by the reparameterisation trick, and its KL from N(0, I).

Derivation: docs/gaussian-kl.md and docs/reparameterisation.md.
"""

import math

from .. import kernels
from ..backend import Array, contiguous
from ..kernels.philox import NoiseKey
from ..tensor import Function, Grads, Tensor, TensorLike, as_tensor
from . import composed

__all__ = ["reparameterize_kl"]


class ReparameterizeKL(Function):
    """z = mu + exp(logvar/2) eps;  kl_n = 1/2 sum_d [mu^2 + expm1(logvar) - logvar].

    dmu = dz + dkl_n mu
    dlogvar = 1/2 dz eps exp(logvar/2) + 1/2 dkl_n expm1(logvar)

    mu, logvar, eps, z (..., D); kl (...): n counts the rows of D numbers. With a ``Noise`` eps
    is drawn inside the kernel, and drawn again in backward instead of being kept.

    Computed by ``kernels.reference.reparam_kl_forward`` and ``reparam_kl_backward``.
    """

    def forward(self, mu: Array, logvar: Array, noise: NoiseKey | Array) -> tuple[Array, Array]:
        self.noise = noise
        self.save(mu, logvar, *(() if isinstance(noise, NoiseKey) else (noise,)))
        *batch, d = mu.shape
        self.rows = (math.prod(batch), d)
        self.pieces = math.prod(batch[1:])  # rows of D numbers in each element of the first axis
        z, kl = kernels.get("reparam_kl_forward", mu, logvar)(*self._arrays(mu, logvar))
        return z.reshape(mu.shape), kl.reshape(batch)

    def backward(self, dz: Array, dkl: Array) -> Grads:
        mu, logvar, *_ = self.saved
        kernel = kernels.get("reparam_kl_backward", mu, logvar)
        dz = contiguous(dz).reshape(self.rows)
        dkl = contiguous(dkl).reshape(self.rows[:1])
        dmu, dlogvar = kernel(*self._arrays(mu, logvar), dz, dkl)
        return dmu.reshape(mu.shape), dlogvar.reshape(mu.shape)

    def _arrays(self, mu: Array, logvar: Array) -> tuple[Array, Array, NoiseKey | Array]:
        mu, logvar = (contiguous(a).reshape(self.rows) for a in (mu, logvar))
        if isinstance(self.noise, NoiseKey):
            return mu, logvar, self.noise.cut(self.pieces)
        return mu, logvar, contiguous(self.noise).reshape(self.rows)


def reparameterize_kl(
    mu: TensorLike, logvar: TensorLike, noise: NoiseKey | Array | Tensor
) -> tuple[Tensor, Tensor]:
    """Draw z ~ N(mu, exp(logvar)) and give KL(N(mu, exp(logvar)) || N(0, I)) in nats.

    Kingma & Welling 2014 (arXiv:1312.6114): section 2.4 (the trick), appendix B (the KL).

    Args:
        mu: (..., D).
        logvar: (..., D), log sigma^2.
        noise: an array of standard normal numbers shaped like mu, or a ``Noise``.

    Returns:
        ``(z, kl)``: z (..., D) and kl (...), summed over D.

    Raises:
        ValueError: shapes differ. TypeError: dtypes differ, or noise is something else.

    With mean 0 and variance 1 z is the noise and the KL is 0:

    >>> import numpy as np
    >>> reparameterize_kl(np.zeros((1, 2)), np.zeros((1, 2)), np.array([[0.5, -2.0]]))
    (Tensor([[ 0.5, -2. ]], dtype=float64), Tensor([0.], dtype=float64))
    """
    mu, logvar = as_tensor(mu), as_tensor(logvar)
    if mu.ndim < 1 or mu.shape != logvar.shape:
        raise ValueError(
            f"reparameterize_kl: expected mu and logvar of one shape (..., D), "
            f"got {mu.shape} and {logvar.shape}"
        )
    if not isinstance(noise, NoiseKey):
        if isinstance(noise, Tensor):
            if noise.requires_grad:
                raise TypeError("noise: expected no gradient, got a tensor that requires one")
            noise = noise.data
        if not hasattr(noise, "dtype"):
            raise TypeError(f"noise: expected a Noise or an array, got {type(noise).__name__}")
        if noise.shape != mu.shape:
            raise ValueError(f"noise: expected shape {mu.shape}, got {noise.shape}")
        if noise.dtype != mu.dtype:
            raise TypeError(f"noise: expected dtype {mu.dtype}, got {noise.dtype}")
    run = kernels.fused_or_composed(ReparameterizeKL.apply, composed.reparameterize_kl)
    return run(mu, logvar, noise=noise)
