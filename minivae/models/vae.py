"""VAE: the base class of all variational autoencoders (ELBO, reconstruct, sample, interpolate).

Conventions (README): ``logvar`` is log sigma^2; decoders return logits; losses are in nats per
image, summed over pixels and latents and averaged over the batch; loss = rec + beta kl.
Derivation: docs/elbo.md.
"""

import contextlib
import math
from collections.abc import Iterator
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from .. import functional as F
from .. import nn
from ..arguments import whole
from ..backend import Array, array_module, as_array, is_device_array
from ..nn.module import evaluation_mode
from ..noise import CountedNoise, Noise, NoiseStream
from ..tensor import Tensor, TensorLike, as_tensor, no_grad

NoiseLike: TypeAlias = Noise | NoiseStream | Array  # a stream gives its next draw
PIXELS = 28 * 28  # of a digit
DIGIT_SHAPES = ((PIXELS,), (1, 28, 28))  # of a digit, flat or as a picture
LIKELIHOODS = ("bernoulli", "gaussian", "gaussian-per-pixel", "squared-error")


class VAEOutput(NamedTuple):
    """The tensors that one forward pass returns, for N images and D latents."""

    logits: Tensor  # (N, ...), the decoder's output
    mu: Tensor  # (N, D) posterior mean
    logvar: Tensor  # (N, D) posterior log variance
    z: Tensor  # (N, D) the sample that was decoded
    kl: Tensor  # (N,) KL(q(z|x) || N(0, I)) in nats


class ELBO(NamedTuple):
    """loss = rec + beta kl, means in nats per image; rec and kl unweighted.

    The fields are scalar tensors for a batch and plain numbers for a data set.
    """

    loss: Any
    rec: Any
    kl: Any


class VAE(nn.Module):
    """Base class of VAEs; a subclass defines ``latent_dim``, ``encode`` and ``decode``, and
    ``config`` for checkpoints.

    ``image_shapes`` are the shapes of one image that ``encode`` accepts; empty for any shape.
    ``classes`` is the number of classes of a conditional model, whose input is an image and its
    one-hot label; None for other models.
    """

    likelihood = "bernoulli"
    sigma: float | None = None  # a number fixes the Gaussian's; None: learned, in ``pixel_logvar``
    image_shapes: tuple[tuple[int, ...], ...] = ()
    classes: int | None = None
    latent_dim: int

    @property
    def picture_shapes(self) -> tuple[tuple[int, ...], ...]:
        """The shapes of one image without its label."""
        return self.image_shapes

    def encode(self, x: TensorLike) -> Any:
        """x -> (mu, logvar), each (N, D)."""
        raise NotImplementedError(f"{type(self).__name__}: expected a method encode, got none")

    def decode(self, z: TensorLike) -> Tensor:
        """z (N, D) -> logits."""
        raise NotImplementedError(f"{type(self).__name__}: expected a method decode, got none")

    def code(self, z: Tensor, x: Tensor) -> Tensor:
        """The input of ``decode`` for latents z of images x: z, to which a conditional model adds
        the labels of x.
        """
        return z

    def config(self) -> dict[str, Any]:
        """The constructor's arguments (without the seed), as ``models.build`` takes them."""
        raise NotImplementedError(f"{type(self).__name__}: expected a method config, got none")

    def forward(self, x: TensorLike, noise: NoiseLike) -> VAEOutput:
        """Encode, sample z = mu + exp(logvar/2) eps, decode.

        Args:
            x: images, a tensor or an array.
            noise: a ``Noise``, a ``NoiseStream`` (one draw is taken) or an array (N, D).

        Raises:
            ValueError: images of another shape, or a model without parameters.
            TypeError: images not of the parameters' dtype, or ``noise`` is something else.
        """
        x = self.as_images(x)
        mu, logvar = self.encode(x)
        z, kl = F.reparameterize_kl(mu, logvar, drawn(noise))
        return VAEOutput(self.decode(self.code(z, x)), mu, logvar, z, kl)

    def set_likelihood(
        self, likelihood: str, shape: tuple[int, ...], sigma: float | None = None
    ) -> None:
        """Choose p(x|z), which ``reconstruction_loss`` then measures.

        Args:
            likelihood: one of ``LIKELIHOODS``:
                "bernoulli": each pixel is 1 with probability sigmoid(logit). For grey pixels,
                strictly between 0 and 1, its loss is a cross-entropy and no likelihood.
                "gaussian": N(x; sigmoid(logits), sigma^2), a density, with one sigma: learned
                (Rybkin, Daniilidis & Levine 2021, arXiv:2006.13202) or given.
                "gaussian-per-pixel": the same with a learned sigma for each pixel.
                "squared-error": (sigmoid(logits) - x)^2, not a likelihood.
            shape: of one image's logits.
            sigma: the fixed sigma of "gaussian"; None: learned.

        Raises:
            ValueError: an unknown likelihood; ``sigma`` not above 0, or given for another one.
        """
        if likelihood not in LIKELIHOODS:
            raise ValueError(f"likelihood: expected one of {LIKELIHOODS}, got {likelihood!r}")
        if sigma is not None and (likelihood != "gaussian" or not 0 < sigma < math.inf):
            raise ValueError(
                f"sigma: expected None, or with 'gaussian' a number above 0, got {sigma}"
            )
        self.likelihood, self.sigma = likelihood, sigma
        if likelihood.startswith("gaussian") and sigma is None:
            shape = shape if likelihood == "gaussian-per-pixel" else ()
            # Adam moves it by about lr per step, so it starts near its value after training on
            # faces: sigma = 0.14.
            self.pixel_logvar = nn.Parameter(np.full(shape, -4, np.float32))

    def likelihood_config(self) -> dict[str, Any]:
        """The arguments of ``set_likelihood`` that differ from the defaults."""
        config = {"likelihood": self.likelihood, "sigma": self.sigma}
        return {name: value for name, value in config.items() if value != getattr(VAE, name)}

    def reconstruction_loss(self, logits: Tensor, x: TensorLike) -> Tensor:
        """-ln p(x|z) for each image (N,), in nats; see ``set_likelihood``."""
        x = F.reshape(x, logits.shape)
        if self.likelihood == "bernoulli":
            return F.bce_with_logits(logits, x, reduction="rows")
        if self.likelihood == "squared-error":
            return F.squared_error_with_logits(logits, x, reduction="rows")
        logvar = self.pixel_logvar if self.sigma is None else 2 * math.log(self.sigma)
        return F.gaussian_nll(x, F.sigmoid(logits), logvar, reduction="rows")

    @property
    def noise_dim(self) -> int:
        """How many standard normal numbers one sample of the latents takes."""
        return self.latent_dim

    def weight_terms(self, x: Tensor, posterior: Any, eps: Array) -> tuple[Tensor, Tensor]:
        """rec and kl at one sample z = mu + exp(logvar/2) eps per row, in nats; -ln w = rec + kl.

            rec = -ln p(x|z),   kl = ln q(z|x) - ln p(z)

        The mean of kl over eps is the KL.

        Args:
            x: images (R, ...), one for each row.
            posterior: the result of ``encode``, with R rows.
            eps: (R, noise_dim).

        Returns:
            rec (R,), kl (R,).
        """
        mu, logvar = posterior
        z, _ = F.reparameterize_kl(mu, logvar, eps)
        rec = self.reconstruction_loss(self.decode(self.code(z, x)), x)
        return rec, sampled_kl(z, eps, logvar)

    def log_weight(self, x: Tensor, posterior: Any, eps: Array) -> Tensor:
        """ln w = ln p(x|z) + ln p(z) - ln q(z|x), in nats: (R,); arguments as ``weight_terms``.

        The mean of w over eps is p(x): Burda, Grosse & Salakhutdinov 2016 (arXiv:1509.00519),
        eq. 9.
        """
        rec, kl = self.weight_terms(x, posterior, eps)
        return -(rec + kl)

    def sampled_terms(self, x: TensorLike, eps: Array) -> tuple[Tensor, Tensor]:
        """``weight_terms`` of K samples for each image; images are encoded once.

        Args:
            x: images (N, ...).
            eps: an array (N, K, noise_dim) of standard normal numbers.

        Returns:
            rec (N, K), kl (N, K).
        """
        x = self.as_images(x)
        n, k, _ = eps.shape
        posterior = tuple(repeat_rows(part, k) for part in self.encode(x))
        terms = self.weight_terms(repeat_rows(x, k), posterior, eps.reshape(n * k, -1))
        rec, kl = (F.reshape(part, n, k) for part in terms)
        return rec, kl

    def log_weights(self, x: TensorLike, eps: Array) -> Tensor:
        """``log_weight`` of K samples for each image (N, K); arguments as ``sampled_terms``.

        ``log_mean_exp`` over K is the importance-weighted bound (eq. 8 of the same paper).
        """
        rec, kl = self.sampled_terms(x, eps)
        return -(rec + kl)

    def elbo(self, x: TensorLike, noise: NoiseLike, beta: float | Tensor = 1.0) -> ELBO:
        """The negative evidence lower bound, one sample of z for each image.

        Kingma & Welling 2014 (arXiv:1312.6114), eq. 10; beta as Higgins et al. 2017. z is
        sampled in evaluation mode too.

        Args:
            x, noise: as in ``forward``.
            beta: weight of the KL.

        Returns:
            ``ELBO(loss, rec, kl)``, scalar tensors, means over the batch.

        Raises:
            ValueError, TypeError: as ``forward``; ValueError for an empty batch.
        """
        x = as_tensor(x)
        if x.shape[:1] == (0,):
            raise ValueError("x: expected at least one image, got none")
        out = self.forward(x, noise)
        rec = self.reconstruction_loss(out.logits, x)
        return ELBO(*F.negative_elbo(rec, out.kl, beta))

    @contextlib.contextmanager
    def evaluating(self) -> Iterator[None]:
        """A block in evaluation mode without a graph; each submodule's mode is restored after."""
        with evaluation_mode(self), no_grad():
            yield

    def pixels(self, z: TensorLike) -> Tensor:
        """The decoder's mean image for each code, in [0, 1]."""
        with self.evaluating():
            return F.sigmoid(self.decode(as_tensor(z)))

    def reconstruct(self, x: TensorLike) -> Tensor:
        """Decode the posterior mean of each image: pixels in [0, 1], shaped as the logits."""
        return self.pixels(self._mean_code(x))

    def sample(self, n: int, noise: NoiseLike) -> Tensor:
        """Decode n draws from the prior N(0, I): pixels in [0, 1].

        ``noise``: a ``Noise``, a ``NoiseStream`` or an array (n, noise_dim).
        """
        return self.pixels(self.standard_normal(noise, n))

    def standard_normal(self, noise: NoiseLike, *shape: int) -> Array:
        """An array (*shape, noise_dim) on the model's device: a draw of ``noise``, or that array.

        Raises:
            ValueError: an array of another shape, or a model without parameters.
            TypeError: ``noise`` is something else.
        """
        noise, like = drawn(noise), self.first_parameter()
        shape = (*shape, self.noise_dim)
        counted = isinstance(noise, CountedNoise)  # only kernels can read its offset
        if counted or (isinstance(noise, Noise) and is_device_array(like)):
            zeros = array_module(like).zeros(shape, like.dtype)  # 0 + exp(0) eps, drawn there
            with no_grad():
                noise = F.reparameterize_kl(zeros, zeros, noise)[0].data
        elif isinstance(noise, Noise):
            noise = noise.normal(shape, like.dtype)
        if noise.shape != shape:
            raise ValueError(f"noise: expected shape {shape}, got {noise.shape}")
        return array_module(like).asarray(noise) if is_device_array(like) else as_array(noise)

    def interpolate(self, a: TensorLike, b: TensorLike, steps: int = 6) -> Tensor:
        """Decode ``steps`` codes on the straight line from a's mean code to b's, ends included.

        Args:
            a, b: one image each, with or without the batch axis.
            steps: how many codes, at least 2.

        Returns:
            Pixels in [0, 1], (steps, ...) shaped as the logits.

        Raises:
            TypeError, ValueError: ``steps`` is no whole number of at least 2; as ``forward``.
        """
        whole("steps", steps, 2)
        start, end = (self._mean_code(_one(x)).data for x in (a, b))
        t = np.linspace(0, 1, steps)[:, None].astype(start.dtype)
        t = array_module(start).asarray(t)
        return self.pixels((1 - t) * start + t * end)

    def _mean_code(self, x: TensorLike) -> Tensor:
        """The input of ``decode`` at the posterior mean of each image."""
        with self.evaluating():
            x = self.as_images(x)
            return self.code(self.encode(x)[0], x)

    def as_images(self, x: TensorLike) -> Tensor:
        """``x`` as a tensor, checked to be a batch that this model takes.

        Raises:
            ValueError: images of another shape, or a model without parameters.
            TypeError: images not of the parameters' dtype.
        """
        x = as_tensor(x)
        if self.image_shapes and x.shape[1:] not in self.image_shapes:
            expected = " or ".join(
                str(("N", *shape)).replace("'", "") for shape in self.image_shapes
            )
            raise ValueError(f"x: expected images {expected}, got shape {x.shape}")
        dtype = self.first_parameter().dtype
        if x.dtype != dtype:
            raise TypeError(f"x: expected dtype {dtype} as the model, got {x.dtype}")
        return x

    def first_parameter(self) -> Array:
        """The array of a parameter: its dtype and device are those of the model.

        Raises:
            ValueError: the model has no parameters.
        """
        for _, parameter in self.named_parameters():
            return parameter.data
        raise ValueError(f"{type(self).__name__}: expected at least one parameter, got none")


def sampled_kl(z: Tensor, eps: Array, logvar: Tensor) -> Tensor:
    """ln q(z|x) - ln N(z; 0, I) of rows z = mu + exp(logvar/2) eps, in nats: (R,).

    It is 1/2 sum_d( z^2 - eps^2 - logvar ), as q's density is that of eps scaled by sigma.
    """
    return 0.5 * F.sum(z * z - eps * eps - logvar, axis=1)


def repeat_rows(x: Tensor, k: int) -> Tensor:
    """Repeat each row of a tensor (N, ...) k times: (N k, ...)."""
    if k == 1:
        return x
    xp, (n, *rest) = array_module(x.data), x.shape
    ones = xp.ones((1, k, *(1 for _ in rest)), x.dtype)
    return F.reshape(F.reshape(x, n, 1, *rest) * ones, n * k, *rest)


def drawn(noise: NoiseLike) -> Noise | Array:
    """The next ``Noise`` of a stream; a ``Noise`` or an array unchanged.

    Raises:
        TypeError: ``noise`` is something else.
    """
    if isinstance(noise, NoiseStream):
        return noise.draw()
    if not isinstance(noise, Noise) and not hasattr(noise, "dtype"):
        raise TypeError(
            f"noise: expected a Noise, a NoiseStream or an array, got {type(noise).__name__}"
        )
    return noise


def _one(x: TensorLike) -> Tensor:
    """An image as a batch of one: (1, ...)."""
    x = as_tensor(x)
    return x if x.ndim in (2, 4) and len(x) == 1 else F.reshape(x, (1, *x.shape))
