"""ConditionalVAE: a VAE whose encoder and decoder also receive the class of each image."""

from typing import Any

import numpy as np

from .. import functional as F
from .. import nn
from ..arguments import one_hot, whole
from ..backend import Array, array_module
from ..noise import init_stream
from ..tensor import Tensor, TensorLike, as_tensor
from .vae import PIXELS, VAE, NoiseLike


class ConditionalVAE(VAE):
    """q(z|x, y) and p(x|z, y): ``MLPVAE`` with the one-hot label y joined to both inputs, x and z.

    Sohn, Lee & Yan 2015 ("Learning structured output representation using deep conditional
    generative models"), section 4, with a prior that does not depend on y; Kingma et al. 2014
    (arXiv:1406.5298), M2, where every label is known.

    Args:
        latent_dim: D.
        hidden: width of the hidden layers.
        classes: C.
        seed: of the initial weights.

    Takes (N, 784 + C), pixels and label (``data.LabelledBatches``); logits are (N, 784). The input
    of ``decode`` is (N, D + C): z and label.

    Raises:
        ValueError: a size below 1.
    """

    classes: int

    def __init__(
        self, latent_dim: int = 20, hidden: int = 400, classes: int = 10, seed: int = 0
    ) -> None:
        sizes = {"latent_dim": latent_dim, "hidden": hidden, "classes": classes}
        for name, size in sizes.items():
            whole(name, size, 1)
        rng = init_stream(seed)
        self.latent_dim, self.hidden, self.classes = latent_dim, hidden, classes
        self.image_shapes = ((PIXELS + classes,),)
        self.fc1 = nn.Linear(PIXELS + classes, hidden, rng=rng)
        self.fc21 = nn.Linear(hidden, latent_dim, rng=rng)  # mu
        self.fc22 = nn.Linear(hidden, latent_dim, rng=rng)  # logvar
        self.fc3 = nn.Linear(latent_dim + classes, hidden, rng=rng)
        self.fc4 = nn.Linear(hidden, PIXELS, rng=rng)

    @property
    def picture_shapes(self) -> tuple[tuple[int, ...], ...]:
        """The shapes of one image without its label."""
        return ((PIXELS,),)

    def config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {"latent_dim": self.latent_dim, "hidden": self.hidden, "classes": self.classes}

    def encode(self, x: TensorLike) -> tuple[Tensor, Tensor]:
        """(N, 784 + C) -> mu (N, D), logvar (N, D)."""
        h = self.fc1(as_tensor(x), activation="relu")
        return nn.heads(h, self.fc21, self.fc22)

    def code(self, z: Tensor, x: Tensor) -> Tensor:
        """z (N, D) joined to the labels of x: (N, D + C)."""
        return F.concatenate([z, x[:, PIXELS:]], axis=1)

    def decode(self, z: TensorLike) -> Tensor:
        """(N, D + C) -> logits (N, 784)."""
        return self.fc4(self.fc3(z, activation="relu"))

    def reconstruction_loss(self, logits: Tensor, x: TensorLike) -> Tensor:
        """-ln p(x|z, y) for each image (N,), in nats, over the pixels without the label."""
        return super().reconstruction_loss(logits, as_tensor(x)[:, :PIXELS])

    def draw(self, labels: Array, noise: NoiseLike) -> Tensor:
        """One sample of each class in ``labels``: pixels in [0, 1], (N, 784).

        Args:
            labels: integers (N,) in [0, C).
            noise: as in ``sample``.

        Raises:
            ValueError: a label that is not a class of this model.
        """
        z = self.standard_normal(noise, len(labels))
        labels = array_module(z).asarray(one_hot(labels, self.classes, z.dtype))
        return self.pixels(F.concatenate([z, labels], axis=1))

    def sample(self, n: int, noise: NoiseLike) -> Tensor:
        """n samples by ``draw``, of classes 0, 1, ... in turn; noise as ``VAE.sample``."""
        return self.draw(np.arange(n) % self.classes, noise)
