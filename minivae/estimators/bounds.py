"""The importance-weighted bound on ln p(x), for as many samples as one likes.

Definition: Burda, Grosse & Salakhutdinov 2016 (arXiv:1509.00519), eq. 8:

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
PIXELS = {"cpu": 1 << 22, "cuda": 1 << 28}
MIN_ROWS = 16


class NLL(NamedTuple):
    """-L_K on a set of images: in expectation no less than -ln p(x). Nats per image."""

    nll: float  # mean over the images
    standard_error: float  # of that mean, from drawing z; not from the choice of images
    per_image: np.ndarray  # (N,) float64
    effective_samples: np.ndarray  # (N,) between 1 and K: (sum w)^2 / sum w^2


def importance_weighted_nll(model, batches, noise, samples=5000, *, total=None):
    """-ln p(x) by importance sampling from q(z|x): -L_K, K = ``samples``, in nats per image.

    Burda, Grosse & Salakhutdinov 2016 (arXiv:1509.00519), eq. 8; K = 5000 in section 5. With
    K = 1 it is the negative ELBO, with a sampled KL. The squared Monte Carlo error of an image is
    by the delta method that of the mean weight relative to it, 1/ESS - 1/K (Owen 2013, "Monte
    Carlo theory, methods and examples", section 9.3). While it is small, the expectation lies
    above -ln p(x) by half of it (Nowozin 2018, "Debiasing evidence approximations", section 3).

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
        ``NLL``.

    Raises:
        ValueError: samples below 1, no images, or images of another shape than the model's.
    """
    if samples < 1:
        raise ValueError(f"samples: expected at least 1, got {samples}")
    parameter = model.parameters()[0].data
    device, xp = device_of(parameter), array_module(parameter)

    def group_size(image_shape):
        return _tile(image_shape, samples, device)[0]

    found = []
    with model.evaluating(), _progress(total) as bar:
        for x in regroup(batches, group_size):
            draws = [
                to_device(noise.draw().normal((samples, model.noise_dim), parameter.dtype), device)
                for _ in x
            ]
            sums = _log_sums(model, to_device(x, device), xp.stack(draws))
            found.append(to_numpy(xp.stack(sums)))
            bar.update(len(x))
    log_sum, log_squares = np.concatenate(found, axis=1)
    effective = np.exp(2 * log_sum - log_squares)
    variance = np.maximum(1 / effective - 1 / samples, 0)
    per_image = math.log(samples) - log_sum
    return NLL(per_image.mean(), math.sqrt(variance.sum()) / len(per_image), per_image, effective)


def _log_sums(model, x, eps):
    """ln sum_k w_k and ln sum_k w_k^2 of images (N, ...), noise (N, K, D): float64 (N,) each."""
    xp, (n, samples, _) = array_module(x), eps.shape
    x = model.as_images(x)
    posterior = model.encode(x)
    _, block = _tile(x.shape[1:], samples, device_of(eps))
    rows, repeated = None, ()
    log_sum = log_squares = xp.full(n, -np.inf)
    for first in range(0, samples, block):
        part = eps[:, first : first + block]
        if part.shape[1] != rows:  # but for the last block always the same
            rows = part.shape[1]
            repeated = [repeat_rows(t, rows) for t in (x, *posterior)]
        log_w = model.log_weight(repeated[0], repeated[1:], part.reshape(n * rows, -1))
        log_w = log_w.data.reshape(n, rows).astype(np.float64)
        log_sum = xp.logaddexp(log_sum, _log_sum_exp(log_w))
        log_squares = xp.logaddexp(log_squares, _log_sum_exp(2 * log_w))
    return log_sum, log_squares


def _log_sum_exp(x):
    """(N, K) -> (N,)."""
    return kernels.get("log_mean_exp", x)(x, with_grad=False)[0] + math.log(x.shape[1])


def _tile(image_shape, samples, device):
    """(images, samples of each) that are decoded at a time."""
    pixels = max(1, math.prod(image_shape))
    rows = min(ROWS[device], max(MIN_ROWS, PIXELS[device] // pixels))
    blocks = -(-samples // rows)
    return max(1, rows // samples), -(-samples // blocks)


def _progress(total):
    """A bar over images on a terminal; none without a total."""
    return tqdm(
        total=total, unit="img", desc="likelihood", leave=False,
        disable=True if total is None else None,
    )  # fmt: skip
