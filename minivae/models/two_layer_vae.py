"""TwoLayerVAE: a VAE with two layers of latents, z2 and z1, where p(z1|z2) is the prior of z1."""

from collections.abc import Sequence
from typing import Any

from .. import functional as F
from ..arguments import whole
from ..backend import Array
from ..noise import init_stream
from ..tensor import Tensor, TensorLike, as_tensor
from .deep_vae import Gaussian, perceptron
from .vae import DIGIT_SHAPES, PIXELS, VAE, NoiseLike, VAEOutput, sampled_kl


class TwoLayerVAE(VAE):
    """q(z1|x) q(z2|z1) and p(z2) p(z1|z2) p(x|z1): Gaussian latents, Bernoulli pixels.

    784 -> 200, 200 -> D1 -> 100, 100 -> D2 and back, tanh between: the two-layer network of
    Burda, Grosse & Salakhutdinov 2016 (arXiv:1509.00519), section 5, with its default sizes.
    ``latent_dim`` is D1: codes, active units and ``decode`` refer to z1.

    Args:
        latent_dims: (D1, D2).
        hidden: widths of the hidden layers of each stochastic layer.
        seed: of the initial weights.

    Takes (N, 784) or (N, 1, 28, 28); logits are (N, 784).

    Raises:
        ValueError: a size below 1.
    """

    image_shapes = DIGIT_SHAPES

    def __init__(
        self,
        latent_dims: Sequence[int] = (100, 50),
        hidden: Sequence[Sequence[int]] = ((200, 200), (100, 100)),
        seed: int = 0,
    ) -> None:
        (d1, d2), (wide, narrow) = latent_dims, map(tuple, hidden)
        for name, sizes in (("latent_dims", (d1, d2)), ("hidden", wide + narrow)):
            for size in sizes:
                whole(name, size, 1)
        rng = init_stream(seed)
        self.latent_dim, self.latent_dims, self.hidden = d1, (d1, d2), (wide, narrow)
        self.encoder1 = Gaussian((PIXELS, *wide, d1), rng)  # q(z1|x)
        self.encoder2 = Gaussian((d1, *narrow, d2), rng)  # q(z2|z1)
        self.prior1 = Gaussian((d2, *narrow[::-1], d1), rng)  # p(z1|z2)
        self.decoder = perceptron((d1, *wide[::-1], PIXELS), rng)

    def config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {"latent_dims": list(self.latent_dims), "hidden": [list(h) for h in self.hidden]}

    @property
    def noise_dim(self) -> int:
        """D1 + D2: the numbers for z1 come first."""
        return sum(self.latent_dims)

    def encode(self, x: TensorLike) -> Any:
        """(N, 784) or (N, 1, 28, 28) -> mu, logvar of q(z1|x), each (N, D1)."""
        return self.encoder1(F.flatten(x, 1))

    def decode(self, z: TensorLike) -> Tensor:
        """z1 (N, D1) -> logits (N, 784)."""
        return self.decoder(z)

    def forward(self, x: TensorLike, noise: NoiseLike) -> VAEOutput:
        """As ``VAE.forward``; ``kl`` is a one-sample estimate where no closed form exists:

            kl = ln q(z1|x) - ln p(z1|z2) + KL(q(z2|z1) || N(0, I))

        Args:
            x: images (N, ...).
            noise: a ``Noise``, a ``NoiseStream`` or an array (N, D1 + D2).
        """
        x = self.as_images(x)
        mu, logvar = self.encode(x)
        eps = self.standard_normal(noise, len(x))
        d1 = self.latent_dims[0]
        z1, _ = F.reparameterize_kl(mu, logvar, eps[:, :d1])
        mu2, logvar2 = self.encoder2(z1)
        z2, kl2 = F.reparameterize_kl(mu2, logvar2, eps[:, d1:])
        kl1 = self._kl1(z1, mu, logvar, z2)
        return VAEOutput(self.decode(z1), mu, logvar, z1, kl1 + kl2)

    def weight_terms(self, x: Tensor, posterior: Any, eps: Array) -> tuple[Tensor, Tensor]:
        """As ``VAE.weight_terms``, with two layers' KL, both sampled.

        Args:
            x: images (R, ...).
            posterior: mu and logvar of q(z1|x), each (R, D1).
            eps: (R, D1 + D2).
        """
        mu, logvar = posterior
        d1 = self.latent_dims[0]
        z1, _ = F.reparameterize_kl(mu, logvar, eps[:, :d1])
        mu2, logvar2 = self.encoder2(z1)
        z2, _ = F.reparameterize_kl(mu2, logvar2, eps[:, d1:])
        rec = self.reconstruction_loss(self.decode(z1), x)
        kl2 = sampled_kl(z2, eps[:, d1:], logvar2)
        return rec, self._kl1(z1, mu, logvar, z2) + kl2

    def sample(self, n: int, noise: NoiseLike) -> Tensor:
        """Decode n draws: z2 from N(0, I), then z1 from p(z1|z2); noise as (n, D1 + D2)."""
        eps, d1 = self.standard_normal(noise, n), self.latent_dims[0]
        with self.evaluating():
            mu, logvar = self.prior1(as_tensor(eps[:, d1:]))
            z1, _ = F.reparameterize_kl(mu, logvar, eps[:, :d1])
        return self.pixels(z1)

    def _kl1(self, z1: Tensor, mu: Tensor, logvar: Tensor, z2: Tensor) -> Tensor:
        """(N,): ln q(z1|x) - ln p(z1|z2) at this z1."""
        prior_mu, prior_logvar = self.prior1(z2)
        expected = F.gaussian_nll(z1, prior_mu, prior_logvar, "rows")
        return expected - F.gaussian_nll(z1, mu, logvar, "rows")
