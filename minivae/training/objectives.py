"""Training objectives: ELBO, free bits, sampled ELBO, IWAE and DReG.

Each objective is a function of ``(model, x, noise, beta)`` that returns ``ELBO(loss, rec, kl)``:
``loss`` is minimised; ``rec`` and ``kl`` are reported separately, unweighted, means over the batch
in nats per image. ``EagerStep(model, optimizer, objective)`` takes one.

beta-VAE (Higgins et al. 2017) and KL warm-up (Sønderby et al. 2016) are values of the argument
``beta``, which ``Trainer`` sets at each step. Derivations and the test of each identity:
docs/objectives.md.
"""

from collections.abc import Callable
from typing import TypeAlias

from .. import functional as F
from ..arguments import whole
from ..backend import Array, array_module
from ..models.vae import ELBO, VAE, NoiseLike, drawn, repeat_rows
from ..noise import Noise
from ..ops.loss import LOG_2PI
from ..tensor import Function, Tensor, TensorLike, no_grad

Objective: TypeAlias = Callable[[VAE, TensorLike, NoiseLike, float | Tensor], ELBO]


def elbo(model: VAE, x: TensorLike, noise: NoiseLike, beta: float | Tensor = 1.0) -> ELBO:
    """The model's own negative evidence lower bound, rec + beta kl, from one sample of z.

    Kingma & Welling 2014 (arXiv:1312.6114), eq. 10; arguments and errors as ``models.VAE.elbo``.
    """
    return model.elbo(x, noise, beta)


def free_bits(
    model: VAE, x: TensorLike, noise: NoiseLike, beta: float | Tensor = 1.0, *, nats: float
) -> ELBO:
    """The negative ELBO with free bits: a latent's KL below ``nats`` is not penalised.

        loss = rec + beta sum_d max(nats, mean_n KL_nd)

    Kingma et al. 2016 (arXiv:1606.04934), eq. 15, with one group per latent. ``kl`` is the true
    KL, so the loss is at least ``rec + beta kl``. For models with one layer of latents.

    Args:
        model, x, noise, beta: as in ``VAE.elbo``.
        nats: lambda for each latent, at least 0; with 0 this is the ELBO.

    Raises:
        ValueError: nats is negative, or the model has several layers of latents.
    """
    if not nats >= 0:
        raise ValueError(f"nats: expected at least 0, got {nats}")
    _require_one_layer(model)
    x = _images(model, x)
    mu, logvar = model.encode(x)
    # One row per latent keeps their KLs separate; the noise has the same elements as in ``elbo``.
    rows, noise = (mu.size, 1), drawn(noise)
    noise = noise.cut(mu.shape[1]) if isinstance(noise, Noise) else noise.reshape(rows)
    z, kl = F.reparameterize_kl(F.reshape(mu, rows), F.reshape(logvar, rows), noise)
    logits = model.decode(model.code(F.reshape(z, mu.shape), x))
    rec = F.mean(model.reconstruction_loss(logits, x))
    kl = F.mean(F.reshape(kl, mu.shape), axis=0)
    charged = F.sum(nats + F.relu(kl - nats))
    return ELBO(rec + beta * charged, rec, F.sum(kl))


def sampled_elbo(
    model: VAE, x: TensorLike, noise: NoiseLike, beta: float | Tensor = 1.0, *, samples: int = 1
) -> ELBO:
    """The negative ELBO from K samples of z for each image, with the KL estimated from them too.

        loss = mean_n mean_k -ln w_nk,   -ln w = rec + beta kl

    Burda, Grosse & Salakhutdinov 2016 (arXiv:1509.00519), eq. 7: the VAE of their table 1.

    Args:
        model, x: as in ``VAE.elbo``.
        noise: a ``Noise``, a ``NoiseStream`` or an array (N, K, noise_dim).
        beta: weight of the sampled KL, ln q(z|x) - ln p(z).
        samples: K.

    Raises:
        ValueError: samples below 1.
    """
    rec, kl = model.sampled_terms(*_drawn(model, x, noise, samples))
    return ELBO(*F.negative_elbo(rec, kl, beta))


def iwae(
    model: VAE, x: TensorLike, noise: NoiseLike, beta: float | Tensor = 1.0, *, samples: int = 5
) -> ELBO:
    """The negative importance-weighted bound from K samples.

        loss = mean_n -ln 1/K sum_k w_nk,   ln w = ln p(x|z) + ln p(z) - ln q(z|x)

    Burda, Grosse & Salakhutdinov 2016 (arXiv:1509.00519), eq. 8. ``rec`` and ``kl`` are the
    unweighted means over the samples: rec + kl is the negative ELBO, no less than the loss.

    Arguments and errors as ``sampled_elbo``, to which it is equal for one sample. With a ``beta``
    other than 1, which weighs the sampled KL in ln w, the loss is not a bound.
    """
    rec, kl = model.sampled_terms(*_drawn(model, x, noise, samples))
    loss = -F.mean(F.log_mean_exp(-(rec + beta * kl), axis=1))
    return ELBO(loss, F.mean(rec), F.mean(kl))


def dreg(
    model: VAE, x: TensorLike, noise: NoiseLike, beta: float | Tensor = 1.0, *, samples: int = 5
) -> ELBO:
    """IWAE's bound with the DReG gradient estimator, whose encoder noise stays low as K grows.

    With the normalised weights w~_k = w_k / sum_j w_j, and q's own parameters held fixed in ln w,

        decoder:  -sum_k w~_k   d ln w_k
        encoder:  -sum_k w~_k^2 (d ln w_k / dz_k) dz_k

    Tucker, Lawson, Gu & Maddison 2019 (arXiv:1810.04152), IWAE-DReG. In expectation these are the
    gradients of ``iwae``, and ``loss`` equals that of ``iwae`` for the same noise. For models with
    one layer of latents.

    Arguments and errors as ``iwae``; ValueError also for a model with several layers of latents.
    """
    _require_one_layer(model)
    x, eps = _drawn(model, x, noise, samples)
    n, k, _ = eps.shape
    mu, logvar = (repeat_rows(part, k) for part in model.encode(x))
    z, _ = F.reparameterize_kl(mu, logvar, eps.reshape(mu.shape))
    second = array_module(eps).zeros_like(z.data[:, :1])  # the second factor w~, filled below
    z = ScaleGradient.apply(z, factor=second)
    images = repeat_rows(x, k)
    rec = model.reconstruction_loss(model.decode(model.code(z, images)), images)
    q = F.gaussian_nll(z, mu.detach(), logvar.detach(), reduction="rows")
    kl = 0.5 * F.sum(z * z + LOG_2PI, axis=1) - q
    rec, kl = F.reshape(rec, n, k), F.reshape(kl, n, k)
    log_w = -(rec + beta * kl)
    bound = F.log_mean_exp(log_w, axis=1)  # its gradient has the first factor w~
    with no_grad():
        w = F.exp(log_w - F.reshape(bound, n, 1)) * (1 / k)
    array_module(eps).positive(w.data.reshape(n * k, 1), out=second)  # recordable: a ufunc
    return ELBO(-F.mean(bound), F.mean(rec), F.mean(kl))


class ScaleGradient(Function):
    """y = x;  dx = factor dy. ``factor`` is only read in backward, so it may be filled later."""

    def forward(self, x: Array, factor: Array) -> Array:
        self.factor = factor
        return x

    def backward(self, dy: Array) -> Array:
        return dy * self.factor


def _drawn(model: VAE, x: TensorLike, noise: NoiseLike, samples: int) -> tuple[Tensor, Array]:
    """The images as a tensor, and their standard normal numbers, an array (N, K, noise_dim)."""
    whole("samples", samples, 1)
    x = _images(model, x)
    eps = model.standard_normal(noise, len(x), samples)
    return x, eps


def _images(model: VAE, x: TensorLike) -> Tensor:
    """A batch as a tensor; ValueError if it is empty or of a shape that the model does not take."""
    x = model.as_images(x)
    if len(x) == 0:
        raise ValueError("x: expected at least one image, got none")
    return x


def _require_one_layer(model: VAE) -> None:
    """ValueError for a model whose samples take more noise than ``encode`` has latents."""
    if model.noise_dim != model.latent_dim:
        raise ValueError(
            f"model: expected one layer of latents, got {type(model).__name__} with several"
        )
