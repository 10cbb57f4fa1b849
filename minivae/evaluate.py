"""What a VAE is worth on a set of images."""

from typing import NamedTuple

import numpy as np

from .backend import device_of, to_device, to_numpy
from .tensor import Tensor


class Evaluation(NamedTuple):
    """Means over a set of images, in nats; ``loss = rec + beta kl``."""

    loss: float
    rec: float
    kl: float
    active_units: int  # latents whose posterior mean has a variance above 0.01 over the set


def evaluate(model, batches, noise, beta=1.0):
    """The ELBO's terms on a set of images, one sample of z for each image.

    Active units as Burda, Grosse & Salakhutdinov 2016 (arXiv:1509.00519), section 5.2.

    Args:
        model: a ``models.VAE``.
        batches: arrays of images (B, ...); the last one may be shorter.
        noise: a ``NoiseStream``; one draw for each batch.
    """
    device = device_of(model.parameters()[0].data)
    rec = kl = 0.0
    means = []
    with model.evaluating():
        for x in batches:
            x = Tensor(to_device(x, device))
            out = model.forward(x, noise)
            rec += float(model.reconstruction_loss(out.logits, x).data.sum(dtype=np.float64))
            kl += float(out.kl.data.sum(dtype=np.float64))
            means.append(to_numpy(out.mu.data))
    means = np.concatenate(means)
    rec, kl = rec / len(means), kl / len(means)
    active = int((means.var(axis=0, dtype=np.float64) > 0.01).sum())
    return Evaluation(rec + beta * kl, rec, kl, active)


def posterior_means(model, batches):
    """The mean codes of all images, a NumPy array (N, D)."""
    device = device_of(model.parameters()[0].data)
    with model.evaluating():
        means = [model.encode(Tensor(to_device(x, device)))[0].numpy() for x in batches]
    return np.concatenate(means)
