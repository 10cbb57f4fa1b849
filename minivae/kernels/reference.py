"""Reference kernels: the definition of every kernel in plain array code for NumPy and CuPy.

Unless a kernel says otherwise, inputs have one float dtype, are C-contiguous and are not changed,
and outputs are newly allocated.
Shapes: N rows, D latents, M pixels. Losses are in nats. Derivations and tests: docs/ops.md.
"""

from typing import TypeAlias

import numpy as np
from numpy.typing import DTypeLike

from ..backend import Array, array_module
from . import philox, reference_layers
from .philox import Eps, NoiseKey, normal, resolved, uniform
from .reference_layers import *  # noqa: F403
from .reference_layers import Arrays

__all__ = [
    *reference_layers.__all__,
    "adam",
    "add",
    "bce_with_logits",
    "gather_pixels",
    "log_mean_exp",
    "negative_elbo",
    "normal",
    "reparam_kl_backward",
    "reparam_kl_forward",
    "scale_rows",
    "squared_error_with_logits",
    "uniform",
]

RowLoss: TypeAlias = tuple[Array, Array | None]  # one loss per row; its gradient, if asked for


def eps_of(noise: Eps, like: Array) -> Array:
    """The noise as an array on the device of ``like``; a ``NoiseKey`` is drawn on the host."""
    eps = resolved(noise, lambda key: normal(key, like.shape, like.dtype))
    return array_module(like).asarray(eps)


def std(logvar: Array) -> Array:
    """The standard deviation exp(logvar / 2)."""
    return array_module(logvar).exp(logvar / 2)


def kl_of_latents(mu: Array, logvar: Array) -> Array:
    """KL(N(mu, std^2) || N(0, 1)) of each element: 1/2 ( mu^2 + expm1(logvar) - logvar ).

    With expm1 no digits of std^2 - 1 - ln std^2 cancel where std is near 1.
    """
    return (mu * mu + (array_module(mu).expm1(logvar) - logvar)) / 2


def _row_sum(x: Array) -> Array:
    """Sum over the last axis, accumulated in float64."""
    return x.sum(axis=-1, dtype=np.float64).astype(x.dtype)


def logistic(x: Array, e: Array) -> Array:
    """sigmoid(x), given e = exp(-|x|), which cannot overflow: 1 / (1 + e) or e / (1 + e)."""
    return array_module(x).where(x >= 0, 1, e) / (1 + e)


def reparam_kl_forward(mu: Array, logvar: Array, noise: Eps) -> tuple[Array, Array]:
    """z = mu + std eps and kl_n = KL(N(mu, std^2) || N(0, 1)) summed over a row.

    kl_n = 1/2 sum_d( mu^2 + std^2 - 1 - ln std^2 ) = 1/2 sum_d( mu^2 + expm1(logvar) - logvar );
    Kingma & Welling 2014, appendix B.

    Args:
        mu, logvar: (N, D). noise: (N, D), or a ``NoiseKey``.

    Returns:
        z (N, D), kl (N,).
    """
    z = mu + std(logvar) * eps_of(noise, mu)
    return z, _row_sum(kl_of_latents(mu, logvar))


def reparam_kl_backward(
    mu: Array, logvar: Array, noise: Eps, dz: Array, dkl: Array
) -> tuple[Array, Array]:
    """dmu = dz + dkl mu;  dlogvar = 1/2 dz eps std + 1/2 dkl expm1(logvar).

    Args:
        mu, logvar, noise: as in forward; a ``NoiseKey`` is drawn again. dz: (N, D). dkl: (N,).

    Returns:
        dmu, dlogvar (N, D).
    """
    xp = array_module(mu)
    dkl = dkl[:, None]
    dmu = dz + dkl * mu
    dlogvar = (dz * eps_of(noise, mu) * std(logvar) + dkl * xp.expm1(logvar)) / 2
    return dmu, dlogvar


def bce_with_logits(logits: Array, target: Array, with_grad: bool, scale: float = 1.0) -> RowLoss:
    """loss_n = sum_m( softplus(l) - l t ), t in [0, 1]; dlogits = scale (sigmoid(l) - t).

    -[t ln sigmoid(l) + (1 - t) ln sigmoid(-l)] = softplus(l) - l t, with
    softplus(l) = max(l, 0) + log1p(exp(-|l|)), whose exponential cannot overflow.

    Args:
        logits, target: (N, M).

    Returns:
        loss (N,), dlogits (N, M) or None.
    """
    xp = array_module(logits)
    e = xp.exp(-abs(logits))
    loss = _row_sum(xp.maximum(logits, 0) - logits * target + xp.log1p(e))
    if not with_grad:
        return loss, None
    return loss, (logistic(logits, e) - target) * scale


def bias_corrections(step: int, lr: float, beta1: float, beta2: float) -> tuple[float, float]:
    """Adam's bias corrections: lr / (1 - beta1^step) and sqrt(1 - beta2^step)."""
    return lr / (1 - beta1**step), (1 - beta2**step) ** 0.5


def squared_error_with_logits(
    logits: Array, target: Array, with_grad: bool, scale: float = 1.0
) -> RowLoss:
    """loss_n = sum_m (s - t)^2 with s = sigmoid(l);  dlogits = scale 2 (s - t) s (1 - s).

    s (1 - s) = e / (1 + e)^2 with e = exp(-|l|): no digits cancel where s is near 1.

    Args:
        logits, target: (N, M).

    Returns:
        loss (N,), dlogits (N, M) or None.
    """
    xp = array_module(logits)
    e = xp.exp(-abs(logits))
    error = logistic(logits, e) - target
    loss = _row_sum(error * error)
    return loss, 2 * error * (e / ((1 + e) * (1 + e))) * scale if with_grad else None


def log_mean_exp(x: Array, with_grad: bool) -> RowLoss:
    """y_n = ln( 1/K sum_k exp(x_nk) ) = m + ln( 1/K sum_k exp(x_nk - m) ), m = max_k x_nk.

    The largest exponent is 0, so nothing overflows and the sum is at least 1. dy_n/dx_nk is
    exp(x_nk) / sum_j exp(x_nj), the softmax. The sum is accumulated in float64.

    Args:
        x: (N, K), K at least 1; -inf is allowed, a weight of 0.
        with_grad: whether to compute the softmax.

    Returns:
        y (N,), softmax (N, K) or None.
    """
    xp = array_module(x)
    top = x.max(axis=1, keepdims=True)
    top = xp.where(xp.isfinite(top), top, 0)  # exp(inf - inf) would be NaN
    e = xp.exp(x - top)
    mean = e.mean(axis=1, dtype=np.float64, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):  # rows of -inf have the mean 0
        y = (top + xp.log(mean))[:, 0].astype(x.dtype)
        return y, (e / (mean * x.shape[1])).astype(x.dtype) if with_grad else None


def adam(
    params: Arrays, grads: Arrays, ms: Arrays, vs: Arrays, step: int, lr: float, beta1: float,
    beta2: float, eps: float, weight_decay: float,
) -> None:  # fmt: skip
    """One step of Adam (Kingma & Ba 2015, algorithm 1) in place, in PyTorch's order of operations.

    ``weight_decay`` is the L2 term, added to the gradient. ``step`` counts from 1.

    Args:
        params, grads, ms, vs: sequences of arrays: for each parameter its values, gradient and
            two moments, all of one shape. All but the gradients are changed.
    """
    step_size, sqrt_correction = bias_corrections(step, lr, beta1, beta2)
    for p, g, m, v in zip(params, grads, ms, vs, strict=True):
        g = g + weight_decay * p
        m[...] = m + (1 - beta1) * (g - m)
        v[...] = v * beta2 + (1 - beta2) * g * g
        p[...] = p - step_size * m / (array_module(p).sqrt(v) / sqrt_correction + eps)


def add(a: Array, b: Array) -> Array:
    """a + b for arrays of equal shape."""
    return a + b


def scale_rows(x: Array, factors: Array) -> None:
    """Multiply each row of x (N, M) by its factor (N,), in place."""
    x *= factors[:, None]


def negative_elbo(rec: Array, kl: Array, beta: Array) -> tuple[Array, Array]:
    """The negative ELBO: the means of rec (R,) and kl (K,), and mean rec + beta mean kl.

    Returns:
        (3,): the negative ELBO, mean rec, mean kl. (K,): beta / K, the derivative of the negative
        ELBO with respect to each kl_n.
    """
    xp, share = array_module(rec), beta / kl.size
    mean_rec, mean_kl = rec.mean(), kl.mean()
    terms = xp.stack([mean_rec + beta * mean_kl, mean_rec, mean_kl])
    return terms, xp.full(kl.shape, share, kl.dtype)


def require_rows(index: Array, images: Array) -> None:
    """IndexError unless every ``index`` is that of an image."""
    if not index.size:
        return
    low, high = index.min(), index.max()
    if not (0 <= low and high < len(images)):
        raise IndexError(f"index: expected values in [0, {len(images)}), got {low}..{high}")


def gather_pixels(
    images: Array, index: Array, dtype: DTypeLike, noise: NoiseKey | None = None
) -> Array:
    """The images at ``index`` as numbers p/255 in [0, 1], or as draws from Bernoulli(p/255).

    A draw is 1 where u < p/255 for the uniform numbers u of ``noise``. u = (2w + 1) 2^-33, so
    the comparison is made exactly, in integers, and does not depend on dtype.

    Args:
        images: uint8 (N, ...). index: int64 (B,), each in [0, N).
        noise: the draw; None for p/255.

    Returns:
        (B, ...).

    Raises:
        IndexError: an index outside [0, N).
    """
    require_rows(index, images)
    pixels = images[index]
    if noise is None:
        return pixels.astype(dtype) / 255
    words = array_module(images).asarray(philox.words(noise, pixels.shape)).astype(np.uint64)
    return ((2 * words + 1) * 255 < pixels.astype(np.uint64) << 33).astype(dtype)
