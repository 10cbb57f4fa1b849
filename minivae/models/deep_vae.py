"""The fully connected VAE of Burda et al. 2016: two tanh layers on each side of the latents."""

import itertools

from .. import functional as F
from .. import nn
from ..noise import init_stream
from .vae import VAE, require_positive


class DeepVAE(VAE):
    """784 -> hidden tanh ... -> D, D;  D -> ... hidden tanh -> 784 logits.

    With the default sizes the one-layer network of Burda, Grosse & Salakhutdinov 2016
    (arXiv:1509.00519), section 5.

    Args:
        latent_dim: D.
        hidden: widths of the encoder's hidden layers; the decoder has them in reverse.
        seed: of the initial weights.

    Takes (N, 784) or (N, 1, 28, 28); logits are (N, 784).

    Raises:
        ValueError: a size below 1.
    """

    pixels_per_image = 784
    image_shapes = ((784,), (1, 28, 28))

    def __init__(self, latent_dim=50, hidden=(200, 200), seed=0):
        require_positive("latent_dim", latent_dim)
        hidden = tuple(hidden)
        for width in hidden:
            require_positive("hidden", width)
        rng = init_stream(seed)
        self.latent_dim, self.hidden = latent_dim, hidden
        self.encoder = Gaussian((self.pixels_per_image, *hidden, latent_dim), rng)
        self.decoder = perceptron((latent_dim, *hidden[::-1], self.pixels_per_image), rng)

    def config(self):
        """Constructor arguments."""
        return {"latent_dim": self.latent_dim, "hidden": list(self.hidden)}

    def encode(self, x):
        """(N, 784) or (N, 1, 28, 28) -> mu (N, D), logvar (N, D)."""
        return self.encoder(F.flatten(x))

    def decode(self, z):
        """(N, D) -> logits (N, 784)."""
        return self.decoder(z)


class Gaussian(nn.Module):
    """A conditional Gaussian: tanh layers of sizes[1:-1], then two heads of sizes[-1]."""

    def __init__(self, sizes, rng):
        self.body = perceptron(sizes[:-1], rng)
        self.mu = nn.Linear(*sizes[-2:], rng=rng)
        self.logvar = nn.Linear(*sizes[-2:], rng=rng)

    def forward(self, x):
        """(N, sizes[0]) -> mu, logvar, each (N, sizes[-1])."""
        h = F.tanh(self.body(x)) if len(self.body) else x
        return self.mu(h), self.logvar(h)


def perceptron(sizes, rng):
    """Linear layers of these sizes, tanh between them and none after the last."""
    layers = []
    for n_in, n_out in itertools.pairwise(sizes):
        layers += [nn.Tanh(), nn.Linear(n_in, n_out, rng=rng)]
    return nn.Sequential(*layers[1:])
