"""Statistics of codes: active units, KL of each latent, aggregate posterior.

The functions take the posteriors of N images, N(mu, diag(exp(logvar))), as float64 arrays (N, D).
"""

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from .. import kernels
from ..backend import Array, device_of, to_device, to_numpy
from ..kernels import reference
from ..models.vae import VAE
from ..noise import Noise
from ..ops.loss import LOG_2PI
from .grouping import at_a_time, regroup

CODES = 128  # number of codes that are compared with all posteriors at a time


class AggregatePosterior(NamedTuple):
    """q(z) = 1/N sum_n q(z|x_n), the mixture of all posteriors, compared with the prior; nats."""

    mutual_information: float  # I(n; z) between an image's index and its code, at most ln N
    marginal_kl: float  # KL(q(z) || p(z)); the mean KL minus the mutual information
    standard_error: float  # of each of the two, from sampling z
    mean: Array  # (D,)
    covariance: Array  # (D, D)


def posteriors(model: VAE, batches: Iterable[Array]) -> tuple[Array, Array]:
    """mu and logvar of every image in ``batches``, float64 (N, D) each.

    Bit-identical for all batch sizes.
    """
    device = device_of(model.first_parameter())
    parts = []
    with model.evaluating():
        for x in regroup(batches, at_a_time):
            mu, logvar = model.encode(model.as_images(to_device(x, device)))
            parts.append([to_numpy(t.data).astype(np.float64) for t in (mu, logvar)])
    mus, logvars = (np.concatenate(part) for part in zip(*parts, strict=True))
    return mus, logvars


def active_units(mu: Array, threshold: float = 0.01) -> int:
    """The number of latents whose posterior mean varies over the images: variance > threshold.

    ``mu`` is (N, D). Burda, Grosse & Salakhutdinov 2016 (arXiv:1509.00519), section 5.2.
    """
    return int((mu.var(axis=0) > threshold).sum())


def kl_per_latent(mu: Array, logvar: Array) -> Array:
    """KL(q(z_d|x) || N(0, 1)) of each latent, mean over the images, in nats: (D,).

    Kingma & Welling 2014 (arXiv:1312.6114), appendix B. The sum over d is the ELBO's KL term.
    ``mu`` and ``logvar`` are (N, D).
    """
    return reference.kl_of_latents(mu, logvar).mean(axis=0)


def aggregate_posterior(mu: Array, logvar: Array, noise: Noise) -> AggregatePosterior:
    """Mutual information and marginal KL, and the moments of the mixture of all posteriors.

    Hoffman & Johnson 2016, "ELBO surgery: yet another way to carve up the variational evidence
    lower bound", split the mean KL into the index-code mutual information and the marginal KL:

        1/N sum_n KL(q(z|x_n) || p(z)) = I(n; z) + KL(q(z) || p(z))

    The density q(z) of the mixture is computed exactly at one z_n drawn from each posterior, and

        I(n; z) = E[ ln q(z_n|x_n) - ln q(z_n) ],   KL(q(z) || p(z)) = the mean KL - I(n; z)

    The covariance is that of the means plus the mean of the variances.

    Args:
        mu, logvar: (N, D), float64.
        noise: a ``Noise``; element n*D + d is latent d of image n's draw.
    """
    n, d = mu.shape
    eps = noise.normal((n, d), np.float64)
    own = -0.5 * (eps * eps + logvar + LOG_2PI).sum(axis=1)  # ln q(z_n|x_n)
    gaps = own - log_mixture_density(mu + reference.std(logvar) * eps, mu, logvar)
    information = float(gaps.mean())
    return AggregatePosterior(
        mutual_information=information,
        marginal_kl=float(kl_per_latent(mu, logvar).sum()) - information,
        standard_error=float(gaps.std() / math.sqrt(n)),
        mean=mu.mean(axis=0),
        covariance=np.atleast_2d(np.cov(mu, rowvar=False, bias=True))
        + np.diag(np.exp(logvar).mean(axis=0)),
    )


def log_mixture_density(z: Array, mu: Array, logvar: Array) -> Array:
    """ln q(z) = ln 1/N sum_n N(z; mu_n, exp(logvar_n)) of codes z (M, D): (M,), float64.

    The squares are expanded, (z - mu)^2 / v = z^2 / v - 2 z mu / v + mu^2 / v, so that all pairs of
    codes and posteriors take two matrix products. mu, logvar (N, D).
    """
    precision = np.exp(-logvar)
    constant = (mu * mu * precision + logvar + LOG_2PI).sum(axis=1)
    kernel = kernels.get("log_mean_exp", z)
    found = []
    for first in range(0, len(z), CODES):
        rows = z[first : first + CODES]
        squared = (rows * rows) @ precision.T - 2 * rows @ (mu * precision).T + constant
        found.append(kernel(-0.5 * squared, with_grad=False)[0])
    return np.concatenate(found)
