"""Exercise 12: half the memory."""

import numpy as np


def reparam_kl_forward(mu, logvar, eps):
    """z is built in place; a second array holds expm1(logvar) - logvar."""
    z = np.exp(logvar / 2)
    z *= eps
    z += mu
    terms = np.expm1(logvar)
    terms -= logvar
    squares = np.einsum("nd,nd->n", mu, mu, dtype=np.float64)
    kl = (terms.sum(axis=1, dtype=np.float64) + squares) / 2
    return z, kl.astype(mu.dtype)
