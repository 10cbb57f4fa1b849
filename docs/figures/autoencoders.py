"""One small network trained on pictures of the moon as autoencoder, with noise, and as VAE."""

import functools

import numpy as np
from threadpoolctl import threadpool_limits

import minivae as mv
from minivae import functional as F
from minivae import models, optim
from minivae.noise import init_stream

SIZE, COUNT, STEPS, BATCH = 12, 256, 1500, 64
WAYS = {"plain": (False, 0.0), "noise": (True, 0.0), "vae": (True, 1.0)}  # sampled?, beta


def moon(phase, size=SIZE):
    """A disc lit from the right up to an elliptic edge; phase 1/2 is a half moon, 1 a full one."""
    y, x = np.mgrid[-1.2 : 1.2 : size * 1j, -1.2 : 1.2 : size * 1j]
    inside = 1 - x**2 - y**2
    edge = (1 - 2 * phase) * np.sqrt(np.clip(1 - y**2, 0, None))
    lit = np.clip(4 * (x - edge) + 0.5, 0, 1)
    return np.clip(4 * inside, 0, 1) * lit


def moons():
    """COUNT pictures (COUNT, SIZE^2): half of them half moons, half of them full."""
    phases = np.repeat([0.5, 1.0], COUNT // 2)
    jitter = 0.05 * mv.Noise(8, 0).normal((COUNT,), np.float64)
    return np.stack([moon(min(p + j, 1.0)).ravel() for p, j in zip(phases, jitter, strict=True)])


class SmallVAE(models.VAE):
    """SIZE^2 -> 64 -> 2 -> 64 -> SIZE^2."""

    latent_dim = 2

    def __init__(self, seed):
        rng = init_stream(seed)
        n = SIZE * SIZE
        self.fc1, self.fc4 = mv.nn.Linear(n, 64, rng=rng), mv.nn.Linear(64, n, rng=rng)
        self.fc21, self.fc22 = (mv.nn.Linear(64, 2, rng=rng) for _ in range(2))
        self.fc3 = mv.nn.Linear(2, 64, rng=rng)

    def encode(self, x):
        """x (N, SIZE^2) -> mu, logvar (N, 2)."""
        h = F.tanh(self.fc1(x))
        return self.fc21(h), self.fc22(h)

    def decode(self, z):
        """z (N, 2) -> logits."""
        return self.fc4(F.tanh(self.fc3(z)))


@functools.cache
@threadpool_limits.wrap(limits=1)  # the products are too small for several threads
def trained(way, seed=0):
    """(codes mu (COUNT, 2), sigmas (COUNT, 2), model) after STEPS steps of Adam, in float64."""
    sampled, beta = WAYS[way]
    images = moons()
    model = SmallVAE(seed).to(dtype=np.float64)
    adam = optim.Adam(model.parameters(), lr=3e-3)
    stream = mv.NoiseStream(seed)
    order = np.argsort(mv.Noise(9, 0).uniform((COUNT,), np.float64))
    for step in range(STEPS):
        x = images[order[np.arange(step * BATCH, (step + 1) * BATCH) % COUNT]]
        if sampled:
            loss = model.elbo(x, stream, beta=beta).loss
        else:
            mu, _ = model.encode(mv.Tensor(x))
            loss = F.mean(F.bce_with_logits(model.decode(mu), mv.Tensor(x), reduction="rows"))
        adam.zero_grad()
        loss.backward()
        adam.step()
    with model.evaluating():
        mu, logvar = model.encode(mv.Tensor(images))
    return mu.data, np.exp(logvar.data / 2) if sampled else np.zeros_like(mu.data), model


def spread(codes):
    """Root mean square distance of the codes from their mean."""
    return float(np.sqrt(((codes - codes.mean(axis=0)) ** 2).sum(axis=1).mean()))


def draws(way, count=400):
    """Pictures (count, SIZE, SIZE) decoded from draws of N(0, I)."""
    z = mv.Noise(11, 0).normal((count, 2), np.float64)
    return trained(way)[2].pixels(z).data.reshape(-1, SIZE, SIZE)


def from_a_moon(pictures):
    """Mean over pictures of the root mean square distance to the nearest moon of any phase."""
    every = np.stack([moon(p).ravel() for p in np.linspace(0.4, 1, 61)])
    flat = pictures.reshape(len(pictures), 1, -1)
    return float(np.sqrt(((flat - every) ** 2).mean(axis=2).min(axis=1)).mean())


def measure():
    """Numbers of autoencoder-to-vae.md."""
    numbers = {}
    for way in WAYS:
        codes, sigmas, _ = trained(way)
        numbers[f"{way}_spread"] = spread(codes)
        numbers[f"{way}_sigma"] = float(sigmas.mean())
        numbers[f"{way}_relative"] = float(sigmas.mean() / spread(codes))
        numbers[f"{way}_off"] = from_a_moon(draws(way))
    return numbers


def draw(figure):
    """Codes with their one-sigma ellipses, and what draws from N(0, I) decode to."""
    top = figure.subplots(2, 3, height_ratios=(2.4, 1))
    titles = ("autoencoder", "noise, no KL", "VAE")
    for column, (way, title) in enumerate(zip(WAYS, titles, strict=True)):
        codes, sigmas, _ = trained(way)
        axes = top[0, column]
        for first, colour in ((0, "tab:blue"), (COUNT // 2, "tab:orange")):
            part = slice(first, first + COUNT // 2, 2)
            axes.plot(*codes[part].T, ".", ms=2, color=colour)
            t = np.linspace(0, 2 * np.pi, 40)
            for c, s in list(zip(codes[part], sigmas[part], strict=True))[::16]:
                axes.plot(c[0] + s[0] * np.cos(t), c[1] + s[1] * np.sin(t), color=colour, lw=0.6)
        axes.set_title(title)
        axes.set_aspect("equal", adjustable="datalim")
        top[1, column].imshow(np.hstack(draws(way, 6)), cmap="gray", vmin=0, vmax=1)
        top[1, column].set(xticks=[], yticks=[])


FIGURES = {"autoencoders.svg": (7, 3.2, draw)}
