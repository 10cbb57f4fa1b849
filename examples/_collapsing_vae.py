"""A VAE whose KL is kept for each latent, with free bits and a decoder that may see pixels."""

from typing import NamedTuple

import numpy as np

from minivae import functional as F
from minivae import models, nn
from minivae.models.vae import ELBO, as_tensor, drawn
from minivae.noise import INITIALISATION, NoiseStream

D = 20
BEFORE = (np.arange(25) < 12).reshape(5, 5).astype(np.float32)  # taps above, or left in the row


class Setting(NamedTuple):
    """What a run changes; beta rises over the share ``warm_up`` of the steps."""

    beta: float = 1.0
    warm_up: float = 0.0
    free: float = 0.0  # lambda, nats a latent
    sees_pixels: bool = False


class SmallVAE(models.MLPVAE):
    """784-200-20-200-784; g is 5 x 5 of the pixels before, 8 channels, relu, 1 x 1, relu, 1 x 1."""

    def __init__(self, setting, seed):
        super().__init__(latent_dim=D, hidden=200, seed=seed)
        self.setting = setting
        rng = NoiseStream(seed, INITIALISATION + 100)  # after the draws of the other layers
        if setting.sees_pixels:
            self.near = nn.Conv2d(1, 8, 5, padding=2, rng=rng)
            self.mix, self.last = (nn.Conv2d(8, n, 1, rng=rng) for n in (8, 1))

    def terms(self, x, noise):
        """rec (N,) and the KL of each latent (N, D) in nats, and the means mu (N, D)."""
        x = as_tensor(x)
        mu, logvar = self.encode(x)
        one = (*mu.shape, 1)  # each latent its own distribution, so that their KLs stay apart
        z, kl = F.reparameterize_kl(F.reshape(mu, one), F.reshape(logvar, one), drawn(noise))
        logits = self.decode(F.reshape(z, mu.shape)) + self.context(x)
        return self.reconstruction_loss(logits, x), kl, mu

    def context(self, x):
        """g (N, 784): what the pixels before say, or 0."""
        if not self.setting.sees_pixels:
            return 0.0
        h = F.relu(F.conv2d(x, self.near.weight * BEFORE, self.near.bias, padding=2))
        return F.flatten(self.last(F.relu(self.mix(h))))

    def elbo(self, x, noise, beta=1.0):
        rec, kl, _ = self.terms(x, noise)
        rec, kl, free = F.mean(rec), F.mean(kl, axis=0), self.setting.free
        charged = D * free + F.sum(
            F.relu(kl - free)
        )  # max(lambda, KL) = lambda + relu(KL - lambda)
        return ELBO(rec + beta * charged, rec, F.sum(kl))
