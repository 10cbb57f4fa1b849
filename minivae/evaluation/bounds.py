"""Bounds on ln p(x): the ELBO and the importance-weighted bound, from samples of q(z|x).

Burda, Grosse & Salakhutdinov 2016 (arXiv:1509.00519), eq. 8:

    L_K = E[ ln 1/K sum_k w_k ],   w_k = p(x, z_k) / q(z_k|x),   z_k ~ q(z|x)

L_1 is the ELBO, L_K <= L_(K+1) <= ln p(x), and L_K tends to ln p(x).
"""

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from .. import kernels
from ..arguments import whole
from ..backend import Array, array_module, device_of, to_device, to_numpy
from ..models.vae import ELBO, VAE, drawn, repeat_rows
from ..noise import EVALUATION, NoiseStream
from ..progress_bar import ProgressBar
from ..tensor import Tensor
from .grouping import regroup

IMPORTANCE = EVALUATION + (1 << 56)  # first offset for these samples; training uses none of them

# The largest number of (image, sample) pairs decoded at a time, and of their pixels. The number
# depends on the image's size and K alone, not on the batches, because a matrix product of another
# shape may be rounded differently.
ROWS = {"cpu": 512, "cuda": 1 << 16}
PIXELS = {"cpu": 1 << 22, "cuda": 1 << 26}
MIN_ROWS = 16


class NLL(NamedTuple):
    """-L_K on a set of images, in expectation an upper bound on -ln p(x), in nats per image."""

    nll: float  # mean over the images
    standard_error: float  # of that mean, from sampling z, not from the images; NaN for one sample
    per_image: Array  # (N,) float64
    effective_samples: Array  # (N,) between 1 and K: (sum w)^2 / sum w^2


class Evaluation(NamedTuple):
    """The negative ELBO on a set of images, with the loss and the mean code of each image."""

    terms: ELBO  # means over the images and samples
    standard_error: float  # of the loss, from sampling z; NaN for one sample
    per_image: Array  # (N,) float64, the loss of each image
    mu: Array  # (N, D) float64, posterior means


def elbo(
    model: VAE,
    batches: Iterable[Array],
    noise: NoiseStream,
    samples: int = 1,
    beta: float = 1.0,
    *,
    total: int | None = None,
    ranks: Any = None,
) -> Evaluation:
    """The negative evidence lower bound, rec + KL: the mean over ``samples`` draws of z.

    Kingma & Welling 2014 (arXiv:1312.6114), eq. 3 and 7: rec is -E[ln p(x|z)] by sampling, the KL
    is in closed form if the model has one. More samples lower the standard error and do not change
    the expectation, unlike in ``importance_weighted_nll``. One sample is fast enough for every
    epoch of a training run.

    Args:
        model: a ``models.VAE``; ``forward`` and ``reconstruction_loss`` are used.
        batches: arrays of images (B, ...); each batch is decoded at once.
        noise: a ``NoiseStream``; ``samples`` draws are taken for each batch.
        samples: number of samples of z for each image.
        beta: weight of the KL (Higgins et al. 2017); above 1 the loss is still an upper bound on
            -ln p(x), below 1 not in general.
        total: number of images, for a progress bar; None shows none.
        ranks: a ``training.parallel.Ranks`` of processes among which the batches are divided; all
            of them return the result of a single process.

    Returns:
        ``Evaluation``, in nats per image.

    Raises:
        ValueError: samples below 1, no images, or images of another shape than the model's.
        TypeError: images of another dtype than the parameters'.
    """
    whole("samples", samples, 1)
    device = device_of(model.first_parameter())
    done = []  # for each batch: sums of rec and kl for each sample, losses, posterior means
    with model.evaluating(), _progress(total) as bar:
        for number, images in enumerate(batches):
            draws = [drawn(noise) for _ in range(samples)]
            if ranks and not ranks.is_mine(number):
                continue
            x, losses, sums = model.as_images(to_device(images, device)), [], []
            for draw in draws:
                out = model.forward(x, draw)
                r, k = (_per_row(t) for t in (model.reconstruction_loss(out.logits, x), out.kl))
                losses.append(r + beta * k)
                sums.append((r.sum(), k.sum()))
            done.append((sums, np.stack(losses), to_numpy(out.mu.data).astype(np.float64)))
            bar.update(len(x))
    done = ranks.in_turn(done) if ranks else done
    if not sum(len(means) for _, _, means in done):
        raise ValueError("batches: expected at least one image, got none")
    per_draw, per_batch, means = zip(*done, strict=True)
    found = np.concatenate(per_batch, axis=1)  # (samples, N)
    pairs = itertools.chain(*per_draw)
    rec, kl = (float(sum(term)) / found.size for term in zip(*pairs, strict=True))
    error = math.nan
    if samples > 1:  # the variances of the images' means add up
        error = math.sqrt((found.var(axis=0, ddof=1) / samples).sum()) / found.shape[1]
    terms = ELBO(rec + beta * kl, rec, kl)
    return Evaluation(terms, error, found.mean(axis=0), np.concatenate(means))


def importance_weighted_nll(
    model: VAE,
    batches: Iterable[Array],
    noise: NoiseStream,
    samples: int = 5000,
    *,
    total: int | None = None,
) -> NLL:
    """-ln p(x) by importance sampling from q(z|x): -L_K with K = ``samples``.

    Burda, Grosse & Salakhutdinov 2016 (arXiv:1509.00519), eq. 8; K = 5000 in section 5. With
    K = 1 it is the negative ELBO, with a sampled KL. By the delta method the squared Monte Carlo
    error of an image is the relative variance of the mean weight, 1/ESS - 1/K (Owen 2013, "Monte
    Carlo theory, methods and examples", section 9.3). While it is small, the expectation exceeds
    -ln p(x) by half of it (Nowozin 2018, "Debiasing evidence approximations", proposition 1).

    Weights are not stored: the logarithms of their sums are accumulated in float64, block by block,
    in an order that depends on K and the image's size alone. So the result is bit-identical for
    all batch sizes.

    Args:
        model: a ``models.VAE``; ``encode``, ``log_weight`` and ``noise_dim`` are used.
        batches: arrays of images (B, ...), of any batch size.
        noise: a ``NoiseStream``; one draw is taken for each image. Sample k of image n is row k of
            draw n, so a run with fewer samples uses the first samples of a run with more.
        samples: K.
        total: number of images, for a progress bar; None shows none.

    Returns:
        ``NLL``, in nats per image.

    Raises:
        ValueError: samples below 1, no images, or images of another shape than the model's.
        TypeError: images of another dtype than the parameters'.
    """
    whole("samples", samples, 1)
    parameter = model.first_parameter()
    device, xp = device_of(parameter), array_module(parameter)
    shape = (samples, model.noise_dim)

    def log_sums(x: Tensor) -> Array:
        """ln sum_k w_k and ln sum_k w_k^2 of each image: (2, n)."""
        eps = xp.stack([noise.draw().normal(shape, parameter.dtype, device) for _ in range(len(x))])
        log_sum = log_squares = xp.full(len(x), -np.inf)
        for (x_rows, *posterior), eps_rows in _blocks(eps, x, *model.encode(x)):
            log_w = model.log_weight(x_rows, posterior, eps_rows).data
            log_w = log_w.reshape(len(x), -1).astype(np.float64)
            log_sum = xp.logaddexp(log_sum, _log_sum_exp(log_w))
            log_squares = xp.logaddexp(log_squares, _log_sum_exp(2 * log_w))
        return to_numpy(xp.stack((log_sum, log_squares)))

    found = []
    with model.evaluating(), _progress(total) as bar:
        for x in regroup(batches, lambda image: _tile(image, samples, device)[0]):
            found.append(log_sums(model.as_images(to_device(x, device))))
            bar.update(len(x))
    log_sum, log_squares = np.concatenate(found, axis=1)
    effective = np.exp(2 * log_sum - log_squares)
    variance = np.maximum(1 / effective - 1 / samples, 0)
    per_image = math.log(samples) - log_sum
    error = math.sqrt(variance.sum()) / len(per_image) if samples > 1 else math.nan
    return NLL(per_image.mean(), error, per_image, effective)


def _blocks(eps: Array, x: Tensor, *more: Tensor) -> Iterator[tuple[list[Tensor], Array]]:
    """Blocks of S samples from ``eps`` (n, K, D): x and ``more``, each row repeated S times, and
    the noise (n S, D).
    """
    n, samples, d = eps.shape
    _, block = _tile(x.shape[1:], samples, device_of(eps))
    repeated: list[Tensor] = []
    size = 0
    for first in range(0, samples, block):
        part = eps[:, first : first + block]
        if part.shape[1] != size:  # only the last block may be smaller
            size = part.shape[1]
            repeated = [repeat_rows(t, size) for t in (x, *more)]
        yield repeated, part.reshape(n * size, d)


def _per_row(tensor: Tensor) -> Array:
    """A tensor (N,) as float64 on the host."""
    return to_numpy(tensor.data).astype(np.float64)


def _log_sum_exp(x: Array) -> Array:
    """ln sum exp of each row: (n, S) -> (n,)."""
    return kernels.get("log_mean_exp", x)(x, with_grad=False)[0] + math.log(x.shape[1])


def _tile(image_shape: Sequence[int], samples: int, device: str) -> tuple[int, int]:
    """(number of images, number of samples of each) to decode at a time."""
    rows = PIXELS[device] // max(1, math.prod(image_shape))
    rows = min(ROWS[device], max(MIN_ROWS, rows))
    blocks = -(-samples // rows)
    return max(1, rows // samples), -(-samples // blocks)


def _progress(total: int | None) -> Any:
    """A progress bar over images on a terminal; hidden without a total."""
    return ProgressBar(
        total=total, unit="img", desc="sampling", leave=False,
        show=False if total is None else None,
    )  # fmt: skip
