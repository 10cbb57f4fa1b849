"""A linear Gaussian VAE with its exact likelihood, KL and ELBO in closed form."""

import math

import numpy as np

import minivae as mv
from minivae import functional as F
from minivae import models

LN_2PI = math.log(2 * math.pi)


class LinearGaussian(models.VAE):
    """p(x|z) = N(W z + b, s^2 I); q(z|x) = N(A x + c, diag(exp(v))), which is not the posterior.

    Args:
        dim, latent_dim: sizes of x and z.
        width: q's standard deviations, in units of those of the best factorised q.
        shift: added to the posterior mean of every latent to give q's mean.
    """

    likelihood = "gaussian"

    def __init__(self, dim=6, latent_dim=3, width=2.0, shift=0.2, seed=0, dtype=np.float64):
        rng = np.random.default_rng(seed)
        self.dim, self.latent_dim, self.s = dim, latent_dim, 0.7
        self.W, self.b = rng.normal(size=(dim, latent_dim)), rng.normal(size=dim)
        precision = np.eye(latent_dim) + self.W.T @ self.W / self.s**2
        self.A = np.linalg.solve(precision, self.W.T) / self.s**2
        self.c = shift - self.A @ self.b
        self.v = np.log(width**2 / np.diag(precision))
        self.anchor = mv.nn.Parameter(np.zeros(1, dtype))  # gives the model a dtype and a device
        self.dtype = dtype

    def encode(self, x):
        mu = x @ mv.Tensor(self.A.T.astype(self.dtype)) + self.c.astype(self.dtype)
        return mu, mv.Tensor(np.tile(self.v.astype(self.dtype), (len(x), 1)))

    def decode(self, z):
        return z @ mv.Tensor(self.W.T.astype(self.dtype)) + self.b.astype(self.dtype)

    def reconstruction_loss(self, logits, x):
        logvar = np.full((), 2 * math.log(self.s), self.dtype)
        return F.gaussian_nll(x, logits, logvar, reduction="rows")

    def draw(self, n, seed=1):
        """n images from the model itself."""
        rng = np.random.default_rng(seed)
        z = rng.normal(size=(n, self.latent_dim))
        x = z @ self.W.T + self.b + self.s * rng.normal(size=(n, self.dim))
        return x.astype(self.dtype)

    def exact_nll(self, x):
        """-ln p(x), (N,): x is N(b, W W^T + s^2 I). Tipping & Bishop 1999, section 3.1."""
        covariance = self.W @ self.W.T + self.s**2 * np.eye(self.dim)
        difference = x.astype(np.float64) - self.b
        squared = np.einsum("ni,ni->n", difference, np.linalg.solve(covariance, difference.T).T)
        return 0.5 * (squared + np.linalg.slogdet(covariance)[1] + self.dim * LN_2PI)

    def exact_kl(self, x):
        """KL(q(z|x) || N(0, I)) of each latent, (N, D)."""
        mu = x.astype(np.float64) @ self.A.T + self.c
        return 0.5 * (mu**2 + np.exp(self.v) - 1 - self.v)

    def exact_elbo(self, x):
        """(rec, kl) for each image in closed form: E_q[-ln p(x|z)] and the KL."""
        mu = x.astype(np.float64) @ self.A.T + self.c
        difference = x - (mu @ self.W.T + self.b)
        spread = ((self.W**2) * np.exp(self.v)).sum()  # trace(W Sigma_q W^T)
        rec = 0.5 * (
            ((difference**2).sum(axis=1) + spread) / self.s**2
            + self.dim * (LN_2PI + 2 * math.log(self.s))
        )
        return rec, self.exact_kl(x).sum(axis=1)
