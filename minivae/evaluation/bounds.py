"""Bounds on ln p(x) from samples of q(z|x), for as many samples as one likes.

Burda, Grosse & Salakhutdinov 2016 (arXiv:1509.00519), eq. 8:

    L_K = E[ ln 1/K sum_k w_k ],   w_k = p(x, z_k) / q(z_k|x),   z_k ~ q(z|x)

L_1 is the ELBO, L_K <= L_(K+1) <= ln p(x), and L_K tends to ln p(x).
"""

import math
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from .. import kernels
from ..backend import array_module, device_of, to_device, to_numpy
from ..models.vae import repeat_rows
from ..noise import EVALUATION
from .grouping import regroup

IMPORTANCE = EVALUATION + (1 << 56)  # the stream's offset for these samples: apart from training's

# (image, sample) pairs that are decoded at a time, and the pixels of them. A function of the
# image's size and K alone, never of the batches that come: a product may round otherwise in
# another shape.
ROWS = {"cpu": 512, "cuda": 1 << 16}
PIXELS = {"cpu": 1 << 22, "cuda": 1 << 26}
MIN_ROWS = 16


class NLL(NamedTuple):
    """-L_K on a set of images: in expectation no less than -ln p(x). Nats per image."""

    nll: float  # mean over the images
    standard_error: float  # of that mean, from drawing z; not from the choice of images
    per_image: np.ndarray  # (N,) float64
    effective_samples: np.ndarray  # (N,) between 1 and K: (sum w)^2 / sum w^2


class Bound(NamedTuple):
    """The negative ELBO on a set of images, ``loss = rec + beta kl``. Nats per image."""

    loss: float
    rec: float
    kl: float
    standard_error: float  # of the loss, from drawing z; NaN for one sample
    per_image: np.ndarray  # (N,) float64, of the loss


def elbo(model, batches, noise, samples=1, beta=1.0, *, total=None):
    """The negative evidence lower bound, rec + KL: the mean over ``samples`` draws of z.

    Kingma & Welling 2014 (arXiv:1312.6114), eq. 3 and 7: rec is -E[ln p(x|z)] by sampling, the KL
    is in closed form where the model has one. More samples lower the standard error and, other
    than in ``importance_weighted_nll``, leave the expectation as it is.

    Args:
        model: a ``models.VAE``; ``forward`` and ``reconstruction_loss`` are used.
        batches, noise, samples, total: as in ``importance_weighted_nll``.
        beta: weight of the KL (Higgins et al. 2017); above 1 the loss is still an upper bound on
            -ln p(x), below 1 not in general.

    Returns:
        ``Bound``, in nats per image.

    Raises:
        ValueError, TypeError: as ``importance_weighted_nll``.
    """

    def sums(x, eps):
        rec = kl = squares = 0.0
        for x_rows, eps_rows in _blocks(eps, x):
            out = model.forward(*x_rows, eps_rows)
            r = _per_image(model.reconstruction_loss(out.logits, *x_rows), x)
            k = _per_image(out.kl, x)
            rec, kl = rec + r.sum(axis=1), kl + k.sum(axis=1)
            squares = squares + ((r + beta * k) ** 2).sum(axis=1)
        return rec, kl, squares

    rec, kl, squares = _for_all_images(sums, model, batches, noise, samples, total) / samples
    per_image = rec + beta * kl
    error = math.nan
    if samples > 1:
        variance = np.maximum(squares - per_image**2, 0) / (samples - 1)  # of the mean of draws
        error = math.sqrt(variance.sum()) / len(per_image)
    return Bound(per_image.mean(), rec.mean(), kl.mean(), error, per_image)


def importance_weighted_nll(model, batches, noise, samples=5000, *, total=None):
    """-ln p(x) by importance sampling from q(z|x): -L_K with K = ``samples``.

    Burda, Grosse & Salakhutdinov 2016 (arXiv:1509.00519), eq. 8; K = 5000 in section 5. With
    K = 1 it is the negative ELBO, with a sampled KL. The squared Monte Carlo error of an image is
    by the delta method that of the mean weight relative to it, 1/ESS - 1/K (Owen 2013, "Monte
    Carlo theory, methods and examples", section 9.3). While it is small, the expectation lies
    above -ln p(x) by half of it (Nowozin 2018, "Debiasing evidence approximations", proposition 1).

    Weights are not kept: logarithms of their sums, in float64, grow block by block, in an order
    that is a function of K and the image's size. So the result is the same, bit by bit, for
    ``batches`` of any size.

    Args:
        model: a ``models.VAE``; ``encode``, ``log_weight`` and ``noise_dim`` are used.
        batches: arrays of images (B, ...), of any sizes.
        noise: a ``NoiseStream``; one draw for each image. Sample k of image n takes row k of draw
            n, so that fewer samples are the first ones of more.
        samples: K.
        total: number of images, for a progress bar; None shows none.

    Returns:
        ``NLL``, in nats per image.

    Raises:
        ValueError: samples below 1, no images, or images of another shape than the model's.
        TypeError: images of another dtype than the parameters'.
    """

    def log_sums(x, eps):
        log_sum = log_squares = array_module(eps).full(len(x), -np.inf)
        for (x_rows, *posterior), eps_rows in _blocks(eps, x, *model.encode(x)):
            log_w = _per_image(model.log_weight(x_rows, posterior, eps_rows), x)
            log_sum = _log_add_exp(log_sum, _log_sum_exp(log_w))
            log_squares = _log_add_exp(log_squares, _log_sum_exp(2 * log_w))
        return log_sum, log_squares

    found = _for_all_images(log_sums, model, batches, noise, samples, total)
    log_sum, log_squares = found
    effective = np.exp(2 * log_sum - log_squares)
    variance = np.maximum(1 / effective - 1 / samples, 0)
    per_image = math.log(samples) - log_sum
    return NLL(per_image.mean(), math.sqrt(variance.sum()) / len(per_image), per_image, effective)


def _for_all_images(sums, model, batches, noise, samples, total):
    """What ``sums(x, eps)`` gives for groups of images x (n, ...) and noise (n, K, D): a tuple of
    float64 arrays (n,), joined to (..., N).
    """
    if samples < 1:
        raise ValueError(f"samples: expected at least 1, got {samples}")
    parameter = model.parameters()[0].data
    device, xp = device_of(parameter), array_module(parameter)
    shape = (samples, model.noise_dim)
    found = []
    with model.evaluating(), _progress(total) as bar:
        for x in regroup(batches, lambda image: _tile(image, samples, device)[0]):
            x = model.as_images(to_device(x, device))
            eps = [noise.draw().normal(shape, parameter.dtype, device) for _ in range(len(x))]
            found.append(to_numpy(xp.stack(sums(x, xp.stack(eps)))))
            bar.update(len(x))
    return np.concatenate(found, axis=1)


def _blocks(eps, x, *more):
    """Samples (n, K, D) in blocks: rows of x and of what goes with it, each repeated for every
    sample of the block, and the noise (n S, D).
    """
    n, samples, d = eps.shape
    _, block = _tile(x.shape[1:], samples, device_of(eps))
    repeated, size = None, 0
    for first in range(0, samples, block):
        part = eps[:, first : first + block]
        if part.shape[1] != size:  # all blocks are of one size but the last
            size = part.shape[1]
            repeated = [repeat_rows(t, size) for t in (x, *more)]
        yield repeated, part.reshape(n * size, d)


def _per_image(rows, x):
    """A tensor of one number a (image, sample) pair -> float64 (n, S)."""
    return rows.data.reshape(len(x), -1).astype(np.float64)


def _log_sum_exp(x):
    """ln sum exp of each row: (n, S) -> (n,)."""
    return kernels.get("log_mean_exp", x)(x, with_grad=False)[0] + math.log(x.shape[1])


def _log_add_exp(a, b):
    return array_module(a).logaddexp(a, b)


def _tile(image_shape, samples, device):
    """(images, samples of each) that are decoded at a time."""
    rows = PIXELS[device] // max(1, math.prod(image_shape))
    rows = min(ROWS[device], max(MIN_ROWS, rows))
    blocks = -(-samples // rows)
    return max(1, rows // samples), -(-samples // blocks)


def _progress(total):
    """A bar over images on a terminal; none without a total."""
    return tqdm(
        total=total, unit="img", desc="sampling", leave=False,
        disable=True if total is None else None,
    )  # fmt: skip
