"""The compiled kernels for the CPU (csrc/, built as minivae._cpu), for float32 and float64.

Signatures and meaning are those of ``reference``. The bindings check every array: TypeError for a
wrong dtype or byte order, ValueError for a wrong shape, layout or alignment, for arrays that
overlap and for a read-only output.
"""

from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from .. import _cpu
from .._cpu import MOST_THREADS, set_threads
from .._cpu import Tape as Tape
from .._cpu import isa as isa
from .._cpu import threads as threads
from ..backend import Array
from .cpu_layers import *  # noqa: F403
from .cpu_layers import packed
from .philox import Eps, NoiseKey, Shape, resolved
from .reference import RowLoss
from .reference_layers import Arrays
from .thread_count import initial_threads

set_threads(min(initial_threads(), MOST_THREADS))


def uniform(noise: NoiseKey, shape: Shape, dtype: DTypeLike) -> Array:
    """Uniform numbers in (0, 1); rounded to float32, (0, 1]; see ``philox.uniform``."""
    out = np.empty(shape, dtype)
    _cpu.uniform(out, noise.address(out.shape))
    return out


def normal(noise: NoiseKey, shape: Shape, dtype: DTypeLike) -> Array:
    """Standard normal numbers; see ``philox.normal``."""
    out = np.empty(shape, dtype)
    _cpu.normal(out, noise.address(out.shape))
    return out


def _noise(noise: Eps, like: Array) -> Array | tuple[Any, ...]:
    return resolved(noise, lambda key: key.argument(like.shape))


def reparam_kl_forward(mu: Array, logvar: Array, noise: Eps) -> tuple[Array, Array]:
    """A sample and its row's KL; see ``reference.reparam_kl_forward``."""
    return _cpu.reparam_kl_forward(mu, logvar, _noise(noise, mu))


def reparam_kl_backward(
    mu: Array, logvar: Array, noise: Eps, dz: Array, dkl: Array
) -> tuple[Array, Array]:
    """Gradients of both; see ``reference.reparam_kl_backward``."""
    return _cpu.reparam_kl_backward(mu, logvar, _noise(noise, mu), dz, dkl)


def bce_with_logits(logits: Array, target: Array, with_grad: bool, scale: float = 1.0) -> RowLoss:
    """Row sums of the cross-entropy, and the gradient; see ``reference.bce_with_logits``."""
    return _cpu.bce_with_logits(logits, target, with_grad, scale)


def squared_error_with_logits(
    logits: Array, target: Array, with_grad: bool, scale: float = 1.0
) -> RowLoss:
    """Row sums of the squared error; see ``reference.squared_error_with_logits``."""
    return _cpu.squared_error_with_logits(logits, target, with_grad, scale)


def adam(
    params: Arrays, grads: Arrays, ms: Arrays, vs: Arrays, step: int | tuple[int, Array],
    lr: float | Array, beta1: float, beta2: float, eps: float, weight_decay: float,
) -> None:  # fmt: skip
    """One step of Adam in place; see ``reference.adam``.

    ``step`` may be (number, counter): the number plus the value of a uint64 array of one element.
    ``lr`` may be a float64 array of one element. Both are read when the kernel runs.
    """
    step, counter = step if isinstance(step, tuple) else (step, None)
    _cpu.adam(params, grads, ms, vs, step, lr, beta1, beta2, eps, weight_decay, counter)


def add(a: Array, b: Array) -> Array:
    """a + b; see ``reference.add``."""
    return _cpu.add(packed(a), packed(b))


def scale_rows(x: Array, factors: Array) -> None:
    """Rows of x times their factors, in place; see ``reference.scale_rows``."""
    _cpu.scale_rows(x, packed(factors))


def negative_elbo(rec: Array, kl: Array, beta: Array) -> tuple[Array, Array]:
    """Means, their weighted sum, its derivative; see ``reference.negative_elbo``."""
    return _cpu.negative_elbo(rec, kl, beta)


def gather_pixels(
    images: Array, index: Array, dtype: DTypeLike, noise: NoiseKey | None = None
) -> Array:
    """Images at an index, as p/255 or binarised; see ``reference.gather_pixels``."""
    address = noise and noise.address((index.size, *images.shape[1:]))
    return _cpu.gather_pixels(images, index, dtype, address)
