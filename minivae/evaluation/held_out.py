"""What a VAE is worth on a set of images."""

from typing import NamedTuple

import numpy as np

from ..backend import device_of, to_device, to_numpy
from ..tensor import Tensor
from . import active_units


class Evaluation(NamedTuple):
    """Means over a set of images, in nats; ``loss = rec + beta kl``."""

    loss: float
    rec: float
    kl: float
    active_units: int  # ``estimators.active_units``


def evaluate(model, batches, noise, beta=1.0):
    """The ELBO's terms on a set of images, one sample of z for each: quick enough for every epoch.

    Finer instruments are in ``estimators``.

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
    return Evaluation(rec + beta * kl, rec, kl, active_units(means.astype(np.float64)))


def posterior_means(model, batches):
    """The mean codes of all images, a NumPy array (N, D)."""
    device = device_of(model.parameters()[0].data)
    with model.evaluating():
        means = [model.encode(Tensor(to_device(x, device)))[0].numpy() for x in batches]
    return np.concatenate(means)
