"""The compiled kernels for the CPU (csrc/, built as minivae._cpu), float32 and float64.

Signatures and meaning are those of ``reference``; the bindings check every array.
"""

import numpy as np

from .. import _cpu
from .._cpu import set_threads, threads
from .philox import seed_and_offset

__all__ = ["adam", "set_threads", "threads", "uniform"]


def uniform(noise, shape, dtype):
    """Uniform numbers in (0, 1]; see ``philox.uniform``."""
    out = np.empty(shape, dtype)
    _cpu.uniform(out, *seed_and_offset(noise))
    return out


def adam(param, grad, m, v, step, lr, beta1, beta2, eps, weight_decay):
    """One step of Adam in place; see ``reference.adam``."""
    step_size = lr / (1 - beta1**step)
    sqrt_correction = (1 - beta2**step) ** 0.5
    _cpu.adam(
        param, grad, m, v, weight_decay, 1 - beta1, beta2, 1 - beta2, step_size, sqrt_correction, eps
    )  # fmt: skip
