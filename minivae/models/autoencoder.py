"""The deterministic autoencoder of Hinton & Salakhutdinov 2006."""

import itertools
from collections.abc import Sequence
from typing import Any

from .. import functional as F
from .. import nn
from ..noise import NoiseStream, init_stream
from ..tensor import Tensor, TensorLike, as_tensor, no_grad


class AutoEncoder(nn.Module):
    """dims[0] -> ... -> dims[-1] -> ... -> dims[0] with ReLU between; code and logits are linear.

    Args:
        dims: sizes from the input to the code, such as (784, 1000, 500, 250, 30).
        seed: of the initial weights.

    Raises:
        ValueError: fewer than two sizes, or one that is not positive.
    """

    def __init__(self, dims: Sequence[int] = (784, 1000, 500, 250, 30), seed: int = 0) -> None:
        dims = tuple(dims)
        if len(dims) < 2 or any(n < 1 for n in dims):
            raise ValueError(f"dims: expected at least two positive sizes, got {dims}")
        rng = init_stream(seed)
        self.dims, self.latent_dim = dims, dims[-1]
        self.encoder = _perceptron(dims, rng)
        self.decoder = _perceptron(dims[::-1], rng)

    def config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {"dims": list(self.dims)}

    def encode(self, x: TensorLike) -> Tensor:
        """(N, ...) -> code (N, dims[-1])."""
        return self.encoder(F.flatten(as_tensor(x), 1))

    def decode(self, z: TensorLike) -> Tensor:
        """Code -> logits (N, dims[0])."""
        return self.decoder(as_tensor(z))

    def forward(self, x: TensorLike) -> Tensor:
        """x -> logits of its reconstruction."""
        return self.decode(self.encode(x))

    def loss(self, x: TensorLike) -> Tensor:
        """Cross-entropy between x and its reconstruction, summed over pixels, mean over images."""
        logits = self.forward(x)
        x = F.reshape(as_tensor(x), logits.shape)
        return F.mean(F.bce_with_logits(logits, x, reduction="rows"))

    def reconstruct(self, x: TensorLike) -> Tensor:
        """Pixels in [0, 1], (N, dims[0])."""
        with no_grad():
            return F.sigmoid(self.forward(x))


def _perceptron(dims: Sequence[int], rng: NoiseStream) -> nn.Sequential:
    layers: list[nn.Module] = []
    for n_in, n_out in itertools.pairwise(dims):
        layers += [nn.Linear(n_in, n_out, rng=rng), nn.ReLU()]
    return nn.Sequential(*layers[:-1])
