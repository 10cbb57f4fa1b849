"""The kernels as loops compiled by numba, for float32 and float64.

Signatures and meaning are those of ``reference``. The registry imports this module, and with it
numba, when the variant is first used. The loops run on one thread, because numba's thread pool and
the BLAS's would compete for the CPUs.
"""

import math
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from numba import njit
from numpy.typing import DTypeLike

from ..backend import Array
from .philox import MASK, MULTIPLIERS, ROUNDS, WEYL, Eps, NoiseKey, Shape, resolved
from .reference import RowLoss, bias_corrections, require_rows
from .reference_layers import Arrays

Loops = TypeVar("Loops", bound=Callable[..., Any])
compiled: Callable[[Loops], Loops] = njit(nogil=True, error_model="numpy")

_M0, _M1 = (np.uint64(m) for m in MULTIPLIERS)
_W0, _W1 = (np.uint64(w) for w in WEYL)
_LOW, _32, _2 = np.uint64(MASK), np.uint64(32), np.uint64(2)


@compiled
def _block(
    seed: np.uint64, offset: np.uint64, b: np.uint64
) -> tuple[np.uint64, np.uint64, np.uint64, np.uint64]:
    """The four words of block b; see ``philox.philox4x32``."""
    x0, x1, x2, x3 = b & _LOW, b >> _32, offset & _LOW, offset >> _32
    k0, k1 = seed & _LOW, seed >> _32
    for _ in range(ROUNDS):
        p0, p1 = _M0 * x0, _M1 * x2
        x0, x1, x2, x3 = (p1 >> _32) ^ x1 ^ k0, p1 & _LOW, (p0 >> _32) ^ x3 ^ k1, p0 & _LOW
        k0, k1 = (k0 + _W0) & _LOW, (k1 + _W1) & _LOW
    return x0, x1, x2, x3


@compiled
def _words(seed: np.uint64, offset: np.uint64, element: int, out: Array) -> None:
    for b in range(element >> 2, (element + out.size + 3) >> 2):
        words = _block(seed, offset, np.uint64(b))
        for j in range(4):
            i = 4 * b + j - element
            if 0 <= i < out.size:
                out[i] = words[j]


@compiled
def _uniform_of(w: np.uint64) -> float:
    return w * 2.0**-32 + 2.0**-33


@compiled
def _uniform(words: Array, out: Array) -> None:
    for i in range(out.size):
        out[i] = _uniform_of(words[i])


@compiled
def _normal(seed: np.uint64, offset: np.uint64, element: int, out: Array) -> None:
    for b in range(element >> 2, (element + out.size + 3) >> 2):
        w = _block(seed, offset, np.uint64(b))
        for j in range(0, 4, 2):
            radius = math.sqrt(-2 * math.log(_uniform_of(w[j])))
            angle = math.tau * _uniform_of(w[j + 1])
            i = 4 * b + j - element
            if 0 <= i < out.size:
                out[i] = radius * math.cos(angle)
            if 0 <= i + 1 < out.size:
                out[i + 1] = radius * math.sin(angle)


def _address(noise: NoiseKey, shape: Shape) -> tuple[np.uint64, np.uint64, int]:
    seed, offset, element = noise.address(shape)
    return np.uint64(seed), np.uint64(offset), element


def _draw_words(noise: NoiseKey, shape: tuple[int, ...]) -> Array:
    words = np.empty(math.prod(shape), np.uint32)
    _words(*_address(noise, shape), words)
    return words


def _eps(noise: Eps, like: Array) -> Array:
    return resolved(noise, lambda key: normal(key, like.shape, like.dtype))


def uniform(noise: NoiseKey, shape: Shape, dtype: DTypeLike) -> Array:
    """Uniform numbers in (0, 1); rounded to float32, (0, 1]; see ``philox.uniform``."""
    out = np.empty(shape, dtype)
    _uniform(_draw_words(noise, out.shape), out.reshape(-1))
    return out


def normal(noise: NoiseKey, shape: Shape, dtype: DTypeLike) -> Array:
    """Standard normal numbers; see ``philox.normal``."""
    out = np.empty(shape, dtype)
    _normal(*_address(noise, out.shape), out.reshape(-1))
    return out


@compiled
def _reparam_kl_forward(
    mu: Array, logvar: Array, eps: Array, half: float, z: Array, kl: Array
) -> None:
    for n in range(mu.shape[0]):
        total = 0.0
        for d in range(mu.shape[1]):
            m, v = mu[n, d], logvar[n, d]
            z[n, d] = m + np.exp(half * v) * eps[n, d]
            total += half * (m * m + (np.expm1(v) - v))
        kl[n] = total


def reparam_kl_forward(mu: Array, logvar: Array, noise: Eps) -> tuple[Array, Array]:
    """A sample and its row's KL; see ``reference.reparam_kl_forward``."""
    z, kl = np.empty_like(mu), np.empty(len(mu), mu.dtype)
    _reparam_kl_forward(mu, logvar, _eps(noise, mu), mu.dtype.type(0.5), z, kl)
    return z, kl


@compiled
def _reparam_kl_backward(
    mu: Array, logvar: Array, eps: Array, dz: Array, dkl: Array, half: float, dmu: Array,
    dlogvar: Array,
) -> None:  # fmt: skip
    for n in range(mu.shape[0]):
        for d in range(mu.shape[1]):
            v = logvar[n, d]
            dmu[n, d] = dz[n, d] + dkl[n] * mu[n, d]
            dstd = dz[n, d] * eps[n, d] * np.exp(half * v)
            dlogvar[n, d] = half * (dstd + dkl[n] * np.expm1(v))


def reparam_kl_backward(
    mu: Array, logvar: Array, noise: Eps, dz: Array, dkl: Array
) -> tuple[Array, Array]:
    """Gradients of both; see ``reference.reparam_kl_backward``."""
    dmu, dlogvar = np.empty_like(mu), np.empty_like(mu)
    half = mu.dtype.type(0.5)
    _reparam_kl_backward(mu, logvar, _eps(noise, mu), dz, dkl, half, dmu, dlogvar)
    return dmu, dlogvar


@compiled
def _bce_with_logits(
    logits: Array, target: Array, one: float, loss: Array, dlogits: Array, with_grad: bool,
    scale: float,
) -> None:  # fmt: skip
    for n in range(logits.shape[0]):
        total = 0.0
        for m in range(logits.shape[1]):
            x, t = logits[n, m], target[n, m]
            e = np.exp(-abs(x))
            total += (x if x > 0 else one - one) - x * t + np.log1p(e)
            if with_grad:
                dlogits[n, m] = ((one if x >= 0 else e) / (one + e) - t) * scale
        loss[n] = total


def bce_with_logits(logits: Array, target: Array, with_grad: bool, scale: float = 1.0) -> RowLoss:
    """Row sums of the cross-entropy, and the gradient; see ``reference.bce_with_logits``."""
    return _row_loss(_bce_with_logits, logits, target, with_grad, scale)


def _row_loss(
    kernel: Callable[..., None], logits: Array, target: Array, with_grad: bool, scale: float
) -> RowLoss:
    loss = np.empty(len(logits), logits.dtype)
    dlogits = np.empty_like(logits) if with_grad else None
    space = dlogits if with_grad else np.empty((0, 0), logits.dtype)
    one, scale = map(logits.dtype.type, (1, scale))
    kernel(logits, target, one, loss, space, with_grad, scale)
    return loss, dlogits


@compiled
def _squared_error_with_logits(
    logits: Array, target: Array, one: float, loss: Array, dlogits: Array, with_grad: bool,
    scale: float,
) -> None:  # fmt: skip
    for n in range(logits.shape[0]):
        total = 0.0
        for m in range(logits.shape[1]):
            e = np.exp(-abs(logits[n, m]))
            error = (one if logits[n, m] >= 0 else e) / (one + e) - target[n, m]
            total += error * error
            if with_grad:
                slope = e / ((one + e) * (one + e))
                dlogits[n, m] = (one + one) * error * slope * scale
        loss[n] = total


def squared_error_with_logits(
    logits: Array, target: Array, with_grad: bool, scale: float = 1.0
) -> RowLoss:
    """Row sums of the squared error; see ``reference.squared_error_with_logits``."""
    return _row_loss(_squared_error_with_logits, logits, target, with_grad, scale)


@compiled
def _log_mean_exp(x: Array, y: Array, softmax: Array) -> None:
    for n in range(x.shape[0]):
        top = x[n].max()
        if not np.isfinite(top):
            top = x.dtype.type(0)
        total = 0.0
        for k in range(x.shape[1]):
            e = np.exp(x[n, k] - top)
            total += e
            if softmax.size:
                softmax[n, k] = e
        y[n] = top + math.log(total / x.shape[1])
        if softmax.size:
            for k in range(x.shape[1]):
                softmax[n, k] /= total


def log_mean_exp(x: Array, with_grad: bool) -> RowLoss:
    """Rows' log mean exp, and the softmax; see ``reference.log_mean_exp``."""
    y, softmax = np.empty(len(x), x.dtype), np.empty(x.shape if with_grad else (0, 0), x.dtype)
    _log_mean_exp(x, y, softmax)
    return y, softmax if with_grad else None


@compiled
def _adam(
    param: Array, grad: Array, m: Array, v: Array, one_minus_beta1: float, beta2: float,
    one_minus_beta2: float, factors: tuple[float, ...],
) -> None:  # fmt: skip
    step_size, sqrt_correction, eps, weight_decay = factors
    for i in range(param.size):
        g = grad[i] + weight_decay * param[i]
        m[i] = m[i] + one_minus_beta1 * (g - m[i])
        v[i] = v[i] * beta2 + one_minus_beta2 * g * g
        param[i] = param[i] - step_size * m[i] / (np.sqrt(v[i]) / sqrt_correction + eps)


def adam(
    params: Arrays, grads: Arrays, ms: Arrays, vs: Arrays, step: int, lr: float, beta1: float,
    beta2: float, eps: float, weight_decay: float,
) -> None:  # fmt: skip
    """One step of Adam in place; see ``reference.adam``."""
    corrections = bias_corrections(step, lr, beta1, beta2)
    for p, g, m, v in zip(params, grads, ms, vs, strict=True):
        number = p.dtype.type
        factors = tuple(number(x) for x in (*corrections, eps, weight_decay))
        moments = number(1 - beta1), number(beta2), number(1 - beta2)
        p, g, m, v = (a.reshape(-1) for a in (p, g, m, v))
        _adam(p, g, m, v, *moments, factors)


@compiled
def _gather(images: Array, index: Array, out: Array) -> None:
    for b in range(index.size):
        for i in range(images.shape[1]):
            out[b, i] = images[index[b], i]


@compiled
def _draw(images: Array, index: Array, words: Array, out: Array) -> None:
    for b in range(index.size):
        for i in range(images.shape[1]):
            w = np.uint64(words[b * images.shape[1] + i])
            u = (_2 * w + np.uint64(1)) * np.uint64(255)
            out[b, i] = u < np.uint64(images[index[b], i]) << np.uint64(33)


def gather_pixels(
    images: Array, index: Array, dtype: DTypeLike, noise: NoiseKey | None = None
) -> Array:
    """Images at an index, as p/255 or binarised; see ``reference.gather_pixels``."""
    require_rows(index, images)
    out = np.empty((index.size, *images.shape[1:]), dtype)
    size = math.prod(images.shape[1:])
    rows, to = images.reshape(len(images), size), out.reshape(index.size, size)
    if noise is None:
        _gather(rows, index, to)
        to /= 255
    else:
        _draw(rows, index, _draw_words(noise, out.shape), to)
    return out
