"""ConvVAE: a convolutional VAE for 28 x 28 digits, by default with two latents."""

import math
from typing import Any

from .. import functional as F
from .. import nn
from ..arguments import whole
from ..noise import NoiseStream, init_stream
from ..tensor import Tensor, TensorLike
from .vae import VAE


class ConvVAE(VAE):
    """Two strided convolutions down to 7 x 7, a dense bottleneck, and their mirror image.

    69,076 parameters in the encoder and 65,089 in the decoder with two latents.

    Args:
        latent_dim: D.
        bottleneck: activation of the encoder's dense layer: "linear" for none, or "relu".
        seed: of the initial weights.
        likelihood, sigma: as in ``VAE.set_likelihood``.

    Takes (N, 1, 28, 28); logits have the same shape.

    Raises:
        ValueError: latent_dim below 1, or an unknown bottleneck; as ``set_likelihood``.
    """

    image_shapes = ((1, 28, 28),)

    def __init__(
        self,
        latent_dim: int = 2,
        bottleneck: str = "linear",
        seed: int = 0,
        *,
        likelihood: str = "bernoulli",
        sigma: float | None = None,
    ) -> None:
        whole("latent_dim", latent_dim, 1)
        if bottleneck not in ("linear", "relu"):
            raise ValueError(f"bottleneck: expected 'linear' or 'relu', got {bottleneck!r}")
        rng = init_stream(seed)
        self.latent_dim, self.bottleneck = latent_dim, bottleneck
        self.encoder = ConvEncoder(latent_dim, bottleneck, rng)
        self.decoder = ConvDecoder(latent_dim, rng)
        self.set_likelihood(likelihood, self.image_shapes[0], sigma)

    def config(self) -> dict[str, Any]:
        """Constructor arguments."""
        config = {"latent_dim": self.latent_dim, "bottleneck": self.bottleneck}
        return {**config, **self.likelihood_config()}

    def start_at(self, mean: float) -> "ConvVAE":
        """Set the output bias so that the mean pixel of a new model's pictures is ``mean``.

        For Bernoulli pixels, before training. Without it the first steps darken all pictures
        through all weights, which leaves ReLU units at 0: after 20 steps with lr 2e-3 and seed 0,
        17 of the last hidden layer's 32 channels were 0 for every z; with it, none.

        Args:
            mean: mean pixel of the training images, in [0, 1]; clipped to [0.001, 0.999], where
                the logit is finite.

        Returns:
            The model.
        """
        mean = min(max(float(mean), 0.001), 0.999)
        self.decoder.conv3.bias.data[...] = math.log(mean / (1 - mean))  # type: ignore[union-attr]
        return self

    def encode(self, x: TensorLike) -> tuple[Tensor, Tensor]:
        """(N, 1, 28, 28) -> mu (N, D), logvar (N, D)."""
        return self.encoder(x)

    def decode(self, z: TensorLike) -> Tensor:
        """(N, D) -> logits (N, 1, 28, 28)."""
        return self.decoder(z)


class ConvEncoder(nn.Module):
    """(N, 1, 28, 28) -> (mu, logvar)."""

    def __init__(self, latent_dim: int, bottleneck: str, rng: NoiseStream):
        self.bottleneck = bottleneck
        self.conv1 = nn.Conv2d(1, 32, 3, stride=2, padding=1, rng=rng)  # 28 -> 14
        self.conv2 = nn.Conv2d(32, 64, 3, stride=2, padding=1, rng=rng)  # 14 -> 7
        self.linear = nn.Linear(64 * 7 * 7, 16, rng=rng)
        self.mu = nn.Linear(16, latent_dim, rng=rng)
        self.logvar = nn.Linear(16, latent_dim, rng=rng)

    def forward(self, x: TensorLike) -> tuple[Tensor, Tensor]:
        """x -> mu (N, D), logvar (N, D)."""
        x = self.conv2(self.conv1(x, activation="relu"), activation="relu")
        h = self.linear(F.flatten(x, 1), activation="relu" if self.bottleneck == "relu" else None)
        return nn.heads(h, self.mu, self.logvar)


class ConvDecoder(nn.Module):
    """(N, D) -> logits (N, 1, 28, 28)."""

    def __init__(self, latent_dim: int, rng: NoiseStream):
        up: dict[str, Any] = {
            "stride": 2,
            "padding": 1,
            "output_padding": 1,
            "rng": rng,
        }  # doubles the side
        self.linear = nn.Linear(latent_dim, 64 * 7 * 7, rng=rng)
        self.conv1 = nn.ConvTranspose2d(64, 64, 3, **up)
        self.conv2 = nn.ConvTranspose2d(64, 32, 3, **up)
        self.conv3 = nn.ConvTranspose2d(32, 1, 3, padding=1, rng=rng)

    def forward(self, z: Tensor) -> Tensor:
        """z -> logits."""
        h = F.reshape(self.linear(z, activation="relu"), (len(z), 64, 7, 7))
        return self.conv3(self.conv2(self.conv1(h, activation="relu"), activation="relu"))
