"""FaceVAE: a convolutional VAE for colour faces."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import functional as F
from .. import nn
from ..arguments import whole
from ..backend import array_module
from ..noise import NoiseStream, init_stream
from ..ops.conv import conv_output_size, output_padding_for
from ..tensor import Tensor, TensorLike
from .vae import VAE

# SOURCE_*: the published network's. With three paddings of 1 each convolution halves the size, and
# every output pixel depends on z; with the 0 the last four rows and columns are constant.
SOURCE_SIZE, SOURCE_PADDINGS, PADDINGS = 256, (1, 1, 0), (1, 1, 1)
UPSAMPLINGS = ("transposed", "resize")


class FaceVAE(VAE):
    """Three strided convolutions, two dense layers, D latents, and their mirror image.

    63,332,411 parameters at 3 x 256 x 256 with 100 latents. Names are those of a common PyTorch
    module, so that weights interchange; its second head is log sigma, so logvar = 2 * head.

    Args:
        latent_dim: D.
        image_size: side of the square images, at least 16.
        channels: 3 for colour, 1 for grey.
        likelihood: "squared-error" makes ``rec`` the sum of squared errors over channels and
            pixels, which is not a likelihood; "gaussian" with one learned sigma makes the loss a
            negative ELBO (of a density, for continuous pixels); others as in
            ``VAE.set_likelihood``.
        seed: of the initial weights.
        sigma: the fixed sigma of "gaussian"; None: learned.
        paddings: of the three convolutions, 0 or 1 each; by default (1, 1, 0) at 256, as
            published, and (1, 1, 1) at other sizes and with "resize".
        upsampling: "transposed" for the published transposed convolutions, whose kernels of 3 with
            a stride of 2 overlap unevenly; "resize" doubles the picture and then convolves, which
            leaves no checkerboard (docs/checkerboard.md) and needs paddings of 1.

    Takes (N, C, S, S); logits have the same shape.

    Raises:
        ValueError: a size below 1, image_size below 16, other paddings or upsampling; as
            ``set_likelihood``.
    """

    def __init__(
        self,
        latent_dim: int = 100,
        image_size: int = 256,
        channels: int = 3,
        likelihood: str = "squared-error",
        seed: int = 0,
        *,
        sigma: float | None = None,
        paddings: Sequence[int] | None = None,
        upsampling: str = "transposed",
    ) -> None:
        whole("image_size", image_size, 16)
        whole("latent_dim", latent_dim, 1)
        whole("channels", channels, 1)
        if upsampling not in UPSAMPLINGS:
            raise ValueError(f"upsampling: expected one of {UPSAMPLINGS}, got {upsampling!r}")
        if paddings is None:
            published = image_size == SOURCE_SIZE and upsampling == "transposed"
            paddings = SOURCE_PADDINGS if published else PADDINGS
        allowed = (0, 1) if upsampling == "transposed" else (1,)
        if len(paddings) != 3 or any(p not in allowed for p in paddings):
            raise ValueError(f"paddings: expected three of {allowed}, got {paddings}")
        rng = init_stream(seed)
        self.latent_dim, self.image_size, self.channels = latent_dim, image_size, channels
        self.paddings, self.upsampling = tuple(paddings), upsampling
        self.image_shapes = ((channels, image_size, image_size),)
        sizes = [image_size]  # the side after each convolution: 256, 128, 64, 31
        for padding in paddings:
            sizes.append(conv_output_size(sizes[-1], 3, stride=2, padding=padding))
        self.encoder = FaceEncoder(latent_dim, channels, sizes, paddings, rng)
        self.decoder = FaceDecoder(latent_dim, channels, sizes, paddings, upsampling, rng)
        self.set_likelihood(likelihood, self.image_shapes[0], sigma)

    def config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {
            "latent_dim": self.latent_dim,
            "image_size": self.image_size,
            "channels": self.channels,
            "likelihood": self.likelihood,
            "paddings": self.paddings,
            "upsampling": self.upsampling,
            **self.likelihood_config(),
        }

    def encode(self, x: TensorLike) -> tuple[Tensor, Tensor]:
        """(N, C, S, S) -> mu (N, D), logvar (N, D)."""
        mu, log_sigma = self.encoder(x)
        return mu, 2.0 * log_sigma

    def decode(self, z: TensorLike) -> Tensor:
        """(N, D) -> logits (N, C, S, S)."""
        return self.decoder(z)


class FaceEncoder(nn.Module):
    """(N, C, S, S) -> (mu, log sigma), each (N, D)."""

    def __init__(
        self,
        latent_dim: int,
        channels: int,
        sizes: Sequence[int],
        paddings: Sequence[int],
        rng: NoiseStream,
    ):
        self.conv1 = nn.Conv2d(channels, 8, 3, stride=2, padding=paddings[0], rng=rng)
        self.conv2 = nn.Conv2d(8, 16, 3, stride=2, padding=paddings[1], rng=rng)
        self.batch2 = nn.BatchNorm2d(16)
        self.conv3 = nn.Conv2d(16, 32, 3, stride=2, padding=paddings[2], rng=rng)
        self.linear1 = nn.Linear(32 * sizes[3] ** 2, 1024, rng=rng)
        self.linear2 = nn.Linear(1024, latent_dim, rng=rng)  # mu
        self.linear3 = nn.Linear(1024, latent_dim, rng=rng)  # log sigma

    def forward(self, x: TensorLike) -> tuple[Tensor, Tensor]:
        """x -> mu (N, D), log sigma (N, D)."""
        x = self.conv1(x, activation="relu")
        x = F.relu(self.batch2(self.conv2(x)))
        x = self.conv3(x, activation="relu")
        x = self.linear1(F.flatten(x, 1), activation="relu")
        return nn.heads(x, self.linear2, self.linear3)


class FaceDecoder(nn.Module):
    """(N, D) -> logits (N, C, S, S)."""

    def __init__(
        self,
        latent_dim: int,
        channels: int,
        sizes: Sequence[int],
        paddings: Sequence[int],
        upsampling: str,
        rng: NoiseStream,
    ):
        def up(c_in: int, c_out: int, level: int) -> nn.Module:
            """From sizes[level] back to sizes[level - 1]."""
            if upsampling == "resize":
                return ResizeConv2d(c_in, c_out, sizes[level - 1], rng=rng)
            padding = paddings[level - 1]
            extra = output_padding_for(sizes[level], sizes[level - 1], 3, 2, padding)
            return nn.ConvTranspose2d(
                c_in, c_out, 3, stride=2, padding=padding, output_padding=extra, rng=rng
            )

        side = sizes[3]
        self.decoder_lin = nn.Sequential(
            nn.Linear(latent_dim, 1024, rng=rng),
            nn.ReLU(),
            nn.Linear(1024, 32 * side * side, rng=rng),
            nn.ReLU(),
        )
        self.unflatten = nn.Unflatten(1, (32, side, side))
        self.decoder_conv = nn.Sequential(
            up(32, 16, level=3),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            up(16, 8, level=2),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            up(8, channels, level=1),
        )

    def forward(self, z: TensorLike) -> Tensor:
        """z -> logits."""
        return self.decoder_conv(self.unflatten(self.decoder_lin(z)))


class ResizeConv2d(nn.Conv2d):
    """Nearest-neighbour upsampling by 2, cropping to ``size``, then a 3 x 3 convolution.

    All pixels get equally many contributions, unlike in a transposed convolution whose stride does
    not divide its kernel size: Odena, Dumoulin & Olah 2016 (doi:10.23915/distill.00003).
    """

    def __init__(
        self, in_channels: int, out_channels: int, size: int, *, rng: NoiseStream | None = None
    ):
        super().__init__(in_channels, out_channels, 3, padding=1, rng=rng)
        self.size = size

    def forward(self, x: Tensor, *, activation: str | None = None) -> Tensor:
        """(N, in, H, W) -> (N, out, size, size), with H and W half of size, rounded up."""
        n, c, h, w = x.shape
        ones = array_module(x.data).ones((1, 1, 1, 2, 1, 2), np.dtype(x.dtype))
        x = F.reshape(F.reshape(x, n, c, h, 1, w, 1) * ones, n, c, 2 * h, 2 * w)
        x = x[:, :, : self.size, : self.size] if self.size < 2 * h else x
        return super().forward(x, activation=activation)
