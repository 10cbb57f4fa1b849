"""A convolutional VAE for colour faces."""

from .. import functional as F
from .. import nn
from ..noise import init_stream
from ..ops.conv import conv_output_size, output_padding_for
from .vae import VAE, require_positive


class FaceVAE(VAE):
    """Three strided convolutions, two dense layers, D latents, and their mirror image.

    63,332,411 parameters at 3 x 256 x 256 with 100 latents. Names are those of a common PyTorch
    module, so that weights interchange; its second head is log sigma, so logvar = 2 * head.

    Args:
        latent_dim: D.
        image_size: side of the square images, at least 16.
        channels: 3 for colour, 1 for grey.
        likelihood: "squared-error" makes ``rec`` the sum of squares over channels and pixels,
            which is not a likelihood; "gaussian" with one learned sigma makes the loss a negative
            ELBO (of continuous pixels: a density); others as ``VAE.set_likelihood`` has them.
        seed: of the initial weights.
        sigma: fixes the sigma of "gaussian".

    Takes (N, C, S, S); logits have the same shape.

    Raises:
        ValueError: a size below 1, image_size below 16; as ``set_likelihood``.
    """

    def __init__(
        self, latent_dim=100, image_size=256, channels=3, likelihood="squared-error", seed=0,
        *, sigma=None,
    ):  # fmt: skip
        if image_size < 16:
            raise ValueError(f"image_size: expected at least 16, got {image_size}")
        require_positive("latent_dim", latent_dim)
        require_positive("channels", channels)
        rng = init_stream(seed)
        self.latent_dim, self.image_size, self.channels = latent_dim, image_size, channels
        self.image_shapes = ((channels, image_size, image_size),)
        sizes = [image_size]  # the side after each convolution: 256, 128, 64, 31
        for padding in (1, 1, 0):
            sizes.append(conv_output_size(sizes[-1], 3, stride=2, padding=padding))
        self.encoder = FaceEncoder(latent_dim, channels, sizes, rng)
        self.decoder = FaceDecoder(latent_dim, channels, sizes, rng)
        self.set_likelihood(likelihood, self.image_shapes[0], sigma)

    def config(self):
        """Constructor arguments."""
        return {
            "latent_dim": self.latent_dim,
            "image_size": self.image_size,
            "channels": self.channels,
            "likelihood": self.likelihood,
            **self.likelihood_config(),
        }

    def encode(self, x):
        """(N, C, S, S) -> mu (N, D), logvar (N, D)."""
        mu, log_sigma = self.encoder(x)
        return mu, 2.0 * log_sigma

    def decode(self, z):
        """(N, D) -> logits (N, C, S, S)."""
        return self.decoder(z)


class FaceEncoder(nn.Module):
    """(N, C, S, S) -> (mu, log sigma), each (N, D)."""

    def __init__(self, latent_dim, channels, sizes, rng):
        self.conv1 = nn.Conv2d(channels, 8, 3, stride=2, padding=1, rng=rng)
        self.conv2 = nn.Conv2d(8, 16, 3, stride=2, padding=1, rng=rng)
        self.batch2 = nn.BatchNorm2d(16)
        self.conv3 = nn.Conv2d(16, 32, 3, stride=2, padding=0, rng=rng)
        self.linear1 = nn.Linear(32 * sizes[3] ** 2, 1024, rng=rng)
        self.linear2 = nn.Linear(1024, latent_dim, rng=rng)  # mu
        self.linear3 = nn.Linear(1024, latent_dim, rng=rng)  # log sigma

    def forward(self, x):
        """x -> mu (N, D), log sigma (N, D)."""
        x = F.relu(self.conv1(x))
        x = F.relu(self.batch2(self.conv2(x)))
        x = F.relu(self.conv3(x))
        x = self.linear1(F.flatten(x), activation="relu")
        return self.linear2(x), self.linear3(x)


class FaceDecoder(nn.Module):
    """(N, D) -> logits (N, C, S, S)."""

    def __init__(self, latent_dim, channels, sizes, rng):
        def up(c_in, c_out, level, padding):
            """The transposed convolution from sizes[level] back to sizes[level - 1]."""
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
        self.unflatten = nn.Unflatten((32, side, side))
        self.decoder_conv = nn.Sequential(
            up(32, 16, level=3, padding=0),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            up(16, 8, level=2, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            up(8, channels, level=1, padding=1),
        )

    def forward(self, z):
        """z -> logits."""
        return self.decoder_conv(self.unflatten(self.decoder_lin(z)))
