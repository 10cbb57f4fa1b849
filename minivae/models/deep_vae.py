"""DeepVAE: a fully connected VAE with several hidden layers in encoder and decoder."""

import itertools
from collections.abc import Sequence
from typing import Any

from .. import functional as F
from .. import nn
from ..arguments import whole
from ..noise import NoiseStream, init_stream
from ..tensor import Tensor, TensorLike
from .vae import DIGIT_SHAPES, PIXELS, VAE

ACTIVATIONS = {"tanh": nn.Tanh, "relu": nn.ReLU}


class DeepVAE(VAE):
    """784 -> hidden ... -> D, D;  D -> ... hidden -> 784 logits.

    The default sizes are those of the one-layer network of Burda, Grosse & Salakhutdinov 2016
    (arXiv:1509.00519), section 5.

    Args:
        latent_dim: D.
        hidden: widths of the encoder's hidden layers; the decoder has them in reverse.
        activation: "tanh" or "relu", after each hidden layer.
        seed: of the initial weights.

    Takes (N, 784) or (N, 1, 28, 28); logits are (N, 784).

    Raises:
        ValueError: a size below 1, or an unknown activation.
    """

    image_shapes = DIGIT_SHAPES

    def __init__(
        self,
        latent_dim: int = 50,
        hidden: Sequence[int] = (200, 200),
        seed: int = 0,
        *,
        activation: str = "tanh",
    ) -> None:
        whole("latent_dim", latent_dim, 1)
        hidden = tuple(hidden)
        for width in hidden:
            whole("hidden", width, 1)
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation: expected 'tanh' or 'relu', got {activation!r}")
        rng = init_stream(seed)
        self.latent_dim, self.hidden, self.activation = latent_dim, hidden, activation
        sizes = (latent_dim, *hidden[::-1], PIXELS)
        self.encoder = Gaussian(sizes[::-1], rng, activation)
        self.decoder = perceptron(sizes, rng, activation)

    def config(self) -> dict[str, Any]:
        """Constructor arguments."""
        hidden, activation = list(self.hidden), self.activation
        return {"latent_dim": self.latent_dim, "hidden": hidden, "activation": activation}

    def encode(self, x: TensorLike) -> tuple[Tensor, Tensor]:
        """(N, 784) or (N, 1, 28, 28) -> mu (N, D), logvar (N, D)."""
        return self.encoder(F.flatten(x, 1))

    def decode(self, z: TensorLike) -> Tensor:
        """(N, D) -> logits (N, 784)."""
        return self.decoder(z)


class Gaussian(nn.Module):
    """A network for mu and logvar: hidden layers of sizes[1:-1], then two heads of sizes[-1]."""

    def __init__(self, sizes: Sequence[int], rng: NoiseStream, activation: str = "tanh"):
        self.body = perceptron(sizes[:-1], rng, activation)
        self.activation = ACTIVATIONS[activation]()
        self.mu = nn.Linear(sizes[-2], sizes[-1], rng=rng)
        self.logvar = nn.Linear(sizes[-2], sizes[-1], rng=rng)

    def forward(self, x: TensorLike) -> tuple[Tensor, Tensor]:
        """(N, sizes[0]) -> mu, logvar, each (N, sizes[-1])."""
        h = self.activation(self.body(x)) if len(self.body) else x
        return nn.heads(h, self.mu, self.logvar)


def perceptron(sizes: Sequence[int], rng: NoiseStream, activation: str = "tanh") -> nn.Sequential:
    """Linear layers of these sizes with activations between them, none after the last."""
    layers: list[nn.Module] = []
    for n_in, n_out in itertools.pairwise(sizes):
        layers += [ACTIVATIONS[activation](), nn.Linear(n_in, n_out, rng=rng)]
    return nn.Sequential(*layers[1:])
