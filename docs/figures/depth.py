"""Depth of an autoencoder: error of PCA and of linear, shallow and deep codes of two numbers.

The pictures have two causes, the phase of a moon and its angle.
"""

import functools
import itertools

import numpy as np
from autoencoders import SIZE
from threadpoolctl import threadpool_limits

import minivae as mv
from minivae import functional as F
from minivae import nn, optim
from minivae.noise import init_stream

COUNT, BATCH, STEPS = 512, 64, 3000
HIDDEN = {"linear": (), "shallow": (64,), "deep": (64, 64, 64)}  # layers on each side of the code


def pictures():
    """COUNT moons (COUNT, SIZE^2) of any phase from half to full, turned by up to a right angle."""
    phase, turn = (mv.Noise(12, i).uniform((COUNT,), np.float64) for i in range(2))
    return np.stack([turned_moon(0.5 + p / 2, t) for p, t in zip(phase, turn, strict=True)])


def turned_moon(phase, turn, size=SIZE):
    """A moon turned by ``turn`` right angles, flat."""
    y, x = np.mgrid[-1.2 : 1.2 : size * 1j, -1.2 : 1.2 : size * 1j]
    c, s = np.cos(turn * np.pi / 2), np.sin(turn * np.pi / 2)
    x, y = c * x + s * y, c * y - s * x
    edge = (1 - 2 * phase) * np.sqrt(np.clip(1 - y**2, 0, None))
    lit = np.clip(4 * (x - edge) + 0.5, 0, 1) * np.clip(4 * (1 - x**2 - y**2), 0, 1)
    return lit.ravel()


def pca(x, dims=2):
    """The leading axes (dims, pixels) of the centred pictures."""
    return np.linalg.svd(x - x.mean(axis=0), full_matrices=False)[2][:dims]


@functools.cache
@threadpool_limits.wrap(limits=1)  # the products are too small for several threads
def trained(way, seed=0):
    """A network of that depth with a code of 2, after STEPS steps of Adam on squared error."""
    rng = init_stream(seed)
    x = pictures()
    sizes = [x.shape[1], *HIDDEN[way], 2, *HIDDEN[way][::-1], x.shape[1]]
    layers = []
    for i, pair in enumerate(itertools.pairwise(sizes)):
        layers.append(nn.Linear(*pair, rng=rng))
        if i not in (len(HIDDEN[way]), len(sizes) - 2):  # not on the code, nor on the pixels
            layers.append(nn.Tanh())
    net = nn.Sequential(*layers).to(dtype=np.float64)
    adam = optim.Adam(net.parameters(), lr=1e-2)
    order = np.argsort(mv.Noise(13, 0).uniform((COUNT,), np.float64))
    for step in range(STEPS):
        adam.lr = 1e-2 * (1 - step / STEPS)
        batch = x[order[np.arange(step * BATCH, (step + 1) * BATCH) % COUNT]]
        loss = F.mse(net(mv.Tensor(batch)), mv.Tensor(batch), reduction="mean")
        adam.zero_grad()
        loss.backward()
        adam.step()
    return net


def error(found, x):
    """Root mean square over pictures and pixels."""
    return float(np.sqrt(((found - x) ** 2).mean()))


def measure():
    """Numbers of autoencoder-to-vae.md."""
    x = pictures()
    axes = pca(x)
    numbers = {"pca": error(x.mean(axis=0) + (x - x.mean(axis=0)) @ axes.T @ axes, x)}
    for way in HIDDEN:
        numbers[way] = error(trained(way)(mv.Tensor(x)).data, x)
    weight = trained("linear").parameters()[2].data  # (pixels, 2): a picture for each code number
    found, _ = np.linalg.qr(weight)
    cosines = np.linalg.svd(axes @ found, compute_uv=False)
    numbers["angle"] = float(np.degrees(np.arccos(np.clip(cosines.min(), -1, 1))))
    return numbers


FIGURES = {}
