"""The fused operations written with the basic ones: their definition as a student would type it.

``with mv.kernels.use("composed")`` runs these instead, with gradients found by the engine.
"""

from . import basic
from .activation import softplus


def reparameterize_kl(mu, logvar, eps):
    """z = mu + exp(logvar / 2) eps;  KL = 1/2 sum(mu^2 + exp(logvar) - 1 - logvar) over D."""
    std = basic.exp(logvar * 0.5)
    z = mu + std * eps
    kl = basic.sum(mu * mu + basic.expm1(logvar) - logvar, axis=-1) * 0.5
    return z, kl


def bce_with_logits(logits, target):
    """softplus(l) - l t for each element."""
    return softplus(logits) - logits * target
