"""A small VAE whose decoder can also see earlier pixels, and the settings of its training."""

from typing import NamedTuple

import numpy as np

from minivae import functional as F
from minivae import models, nn
from minivae.noise import INITIALISATION, NoiseStream

# Mask of a 5 x 5 kernel: 1 for the taps above the centre, and left of it in its row.
BEFORE = (np.arange(25) < 12).reshape(5, 5).astype(np.float32)


class Setting(NamedTuple):
    """Settings of a training; beta rises from 0 over the first share ``warm_up`` of the steps."""

    beta: float = 1.0
    warm_up: float = 0.0
    free: float = 0.0  # lambda, nats per latent
    sees_pixels: bool = False


class SmallVAE(models.MLPVAE):
    """Layers 784-200-20-200-784; with ``sees_pixels`` the logits are f(z) + g(x).

    g is a 5 x 5 convolution of earlier pixels alone, then two 1 x 1 convolutions; 8 channels, relu.
    """

    def __init__(self, sees_pixels, seed):
        super().__init__(latent_dim=20, hidden=200, seed=seed)
        self.sees_pixels = sees_pixels
        rng = NoiseStream(seed, INITIALISATION + 100)  # after the draws of the other layers
        if sees_pixels:
            self.near = nn.Conv2d(1, 8, 5, padding=2, rng=rng)
            self.mix, self.last = (nn.Conv2d(8, n, 1, rng=rng) for n in (8, 1))

    def reconstruction_loss(self, logits, x):
        """-ln p(x|z) with the logits f(z) + g(x), (N,)."""
        return super().reconstruction_loss(logits + self.context(x), x)

    def context(self, x):
        """g(x), the part of the logits that earlier pixels give (N, 784); 0 if they are unseen."""
        if not self.sees_pixels:
            return 0.0
        h = F.relu(F.conv2d(x, self.near.weight * BEFORE, self.near.bias, padding=2))
        return F.flatten(self.last(F.relu(self.mix(h))), 1)
