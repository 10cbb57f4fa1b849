"""A VAE whose decoder may see pixels, and what a run of it changes."""

from typing import NamedTuple

import numpy as np

from minivae import functional as F
from minivae import models, nn
from minivae.noise import INITIALISATION, NoiseStream

BEFORE = (np.arange(25) < 12).reshape(5, 5).astype(np.float32)  # taps above, or left in the row


class Setting(NamedTuple):
    """What a run changes; beta rises over the share ``warm_up`` of the steps."""

    beta: float = 1.0
    warm_up: float = 0.0
    free: float = 0.0  # lambda, nats per latent
    sees_pixels: bool = False


class SmallVAE(models.MLPVAE):
    """784-200-20-200-784; g is 5 x 5 of the pixels before, 8 channels, relu, 1 x 1, relu, 1 x 1."""

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
        """g (N, 784): what the pixels before say, or 0."""
        if not self.sees_pixels:
            return 0.0
        h = F.relu(F.conv2d(x, self.near.weight * BEFORE, self.near.bias, padding=2))
        return F.flatten(self.last(F.relu(self.mix(h))), 1)
