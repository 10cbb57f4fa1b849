"""A VAE's loss in four replaceable parts: the correct loss, and nine losses with a classic bug.

In the first seven the formula is wrong and its gradient correct for that formula, as with any
autograd. In the last two the formula is right and backward is wrong. ``planted_bugs.py`` catches
them all.
"""

from typing import NamedTuple

import numpy as np

from minivae import functional as F
from minivae import models
from minivae.noise import NoiseStream
from minivae.tensor import Function


class Sample(Function):
    """z = mu + std eps, std = exp(logvar/2);  dmu = dz;  dlogvar = 1/2 dz eps std."""

    def forward(self, mu, logvar, noise):
        self.noise, self.std = noise, np.exp(logvar / 2)
        return mu + self.std * noise.normal(mu.shape, mu.dtype)

    def backward(self, dz):
        return dz, 0.5 * dz * self.noise.normal(dz.shape, dz.dtype) * self.std


class SecondDraw(Sample):
    """Bug: backward draws new noise, independent of dz: on average, dlogvar is 0 as in
    ``DroppedTerm``.
    """

    stream = NoiseStream(1)

    def backward(self, dz):
        self.noise = self.stream.draw()
        return super().backward(dz)


class DroppedTerm(Sample):
    """Bug: backward omits the gradient through std, so that only the KL changes sigma."""

    def backward(self, dz):
        return dz, np.zeros_like(dz)


def kl_rows(mu, logvar):
    """1/2 sum_d [mu^2 + expm1(logvar) - logvar] for each row."""
    return 0.5 * F.sum(mu**2 + F.expm1(logvar) - logvar, axis=1)


def rec_rows(logits, x):
    """-ln p(x|z) for each row, summed over pixels."""
    return F.bce_with_logits(logits, x, reduction="rows")


class Loss(NamedTuple):
    """rec + beta KL, the negative ELBO where beta is 1."""

    sample: object = lambda mu, logvar, noise: Sample.apply(mu, logvar, noise=noise)
    kl: object = kl_rows
    rec: object = rec_rows
    total: object = lambda rec, kl, beta: rec + beta * kl

    def __call__(self, mu, logvar, decode, x, noise, beta=1.0):
        """``ELBO(loss, rec, kl)`` as this loss reports them; ``decode`` maps z to logits."""
        rec = F.mean(self.rec(decode(self.sample(mu, logvar, noise)), x))
        kl = F.mean(self.kl(mu, logvar))
        return models.vae.ELBO(self.total(rec, kl, beta), rec, kl)


LOSSES = {
    "no bug": Loss(),
    "std = exp(logvar)": Loss(sample=lambda m, l, noise: Sample.apply(m, 2 * l, noise=noise)),
    "KL: ln s for ln s^2": Loss(kl=lambda m, l: 0.5 * F.sum(m**2 + F.expm1(l) - l / 2, axis=1)),
    "KL: 1/2 lost": Loss(kl=lambda m, l: 2 * kl_rows(m, l)),
    "KL: mean over latents": Loss(kl=lambda m, l: kl_rows(m, l) / m.shape[1]),
    "KL: sign": Loss(total=lambda rec, kl, beta: rec - beta * kl),
    "rec: mean over pixels": Loss(rec=lambda logits, x: rec_rows(logits, x) / x.shape[1]),
    "rec: sigmoid twice": Loss(rec=lambda logits, x: rec_rows(F.sigmoid(logits), x)),
    "backward: second draw": Loss(sample=lambda m, l, noise: SecondDraw.apply(m, l, noise=noise)),
    "backward: lost term": Loss(sample=lambda m, l, noise: DroppedTerm.apply(m, l, noise=noise)),
}
