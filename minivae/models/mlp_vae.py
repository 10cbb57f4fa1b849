"""The fully connected VAE of Kingma & Welling 2014, appendix C.1: 784-400-20-400-784."""

from typing import Any

from .. import functional as F
from .. import nn
from ..arguments import whole
from ..noise import init_stream
from ..tensor import Tensor, TensorLike
from .vae import DIGIT_SHAPES, PIXELS, VAE


class MLPVAE(VAE):
    """784 -> hidden relu -> D, D;  D -> hidden relu -> 784 logits. 652,824 parameters.

    Args:
        latent_dim: D.
        hidden: width of the hidden layers.
        seed: of the initial weights.
        likelihood, sigma: as in ``VAE.set_likelihood``.

    >>> sum(p.size for p in MLPVAE().parameters())
    652824

    Takes (N, 784) or (N, 1, 28, 28); logits are (N, 784).

    Raises:
        ValueError: a size below 1; as ``set_likelihood``.
    """

    image_shapes = DIGIT_SHAPES

    def __init__(
        self,
        latent_dim: int = 20,
        hidden: int = 400,
        seed: int = 0,
        *,
        likelihood: str = "bernoulli",
        sigma: float | None = None,
    ) -> None:
        whole("latent_dim", latent_dim, 1)
        whole("hidden", hidden, 1)
        rng = init_stream(seed)
        self.latent_dim, self.hidden = latent_dim, hidden
        self.fc1 = nn.Linear(PIXELS, hidden, rng=rng)
        self.fc21 = nn.Linear(hidden, latent_dim, rng=rng)  # mu
        self.fc22 = nn.Linear(hidden, latent_dim, rng=rng)  # logvar
        self.fc3 = nn.Linear(latent_dim, hidden, rng=rng)
        self.fc4 = nn.Linear(hidden, PIXELS, rng=rng)
        self.set_likelihood(likelihood, (PIXELS,), sigma)

    def config(self) -> dict[str, Any]:
        """Constructor arguments."""
        sizes = {"latent_dim": self.latent_dim, "hidden": self.hidden}
        return {**sizes, **self.likelihood_config()}

    def encode(self, x: TensorLike) -> tuple[Tensor, Tensor]:
        """(N, 784) or (N, 1, 28, 28) -> mu (N, D), logvar (N, D)."""
        h = self.fc1(F.flatten(x, 1), activation="relu")
        return nn.heads(h, self.fc21, self.fc22)

    def decode(self, z: TensorLike) -> Tensor:
        """(N, D) -> logits (N, 784)."""
        return self.fc4(self.fc3(z, activation="relu"))
