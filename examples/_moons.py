"""Interpolate between a half moon and a full moon with an autoencoder and with a VAE.

The training pictures are moons near half and near full, of several sizes, with no phases between.
One network with a code of two numbers is trained twice: as a VAE and, without noise and KL, as an
autoencoder (AE). The midpoint of the codes of a half and a full moon of one size is decoded; the
right answer is a three-quarter moon. The AE may put codes anywhere, so the midpoint can decode to
any phase. The VAE decodes samples around each code, and the KL pulls all codes towards 0: pictures
with nearby codes must look alike, so codes lie in the order of their phases at even distances, and
the midpoint decodes to about the middle phase. A part of ``ae_vs_vae.py``.
"""

import itertools

import numpy as np
from _moon_pictures import SIDE, draw, moons
from threadpoolctl import threadpool_limits

import minivae as mv
from minivae import functional as F
from minivae import models, nn, optim
from minivae.noise import init_stream

HIDDEN, BATCH, COUNT, SPREAD = 128, 64, 4000, 0.2  # no phases between 0.7 and 0.8


def perceptron(*sizes, rng):
    """Linear layers with relu between them."""
    layers = [(nn.Linear(*pair, rng=rng), nn.ReLU()) for pair in itertools.pairwise(sizes)]
    return nn.Sequential(*itertools.chain(*layers[:-1], layers[-1][:1]))


class MoonVAE(models.VAE):  # SIDE^2 -> 128 -> 128 -> 2 and back
    latent_dim = 2

    def __init__(self, seed):
        rng = init_stream(seed)
        self.encoder = perceptron(SIDE**2, HIDDEN, HIDDEN, 4, rng=rng)
        self.decoder = perceptron(2, HIDDEN, HIDDEN, SIDE**2, rng=rng)

    def encode(self, x):
        heads = self.encoder(x)
        return heads[:, :2], heads[:, 2:]

    def decode(self, z):
        return self.decoder(z)


@threadpool_limits.wrap(limits=1)  # the products are too small for several threads
def trained(x, seed, steps, variational):
    """The network after ``steps`` steps of Adam, in double precision."""
    model = MoonVAE(seed).to(dtype=np.float64)
    adam = optim.Adam(model.parameters(), lr=1e-3)
    pick, stream = np.random.default_rng(seed), mv.NoiseStream(seed)
    for _ in range(steps):
        batch = mv.Tensor(x[pick.integers(0, len(x), BATCH)])
        if variational:
            loss = model.elbo(batch, stream).loss
        else:
            logits = model.decode(model.encode(batch)[0])
            loss = F.mean(model.reconstruction_loss(logits, batch))
        adam.zero_grad()
        loss.backward()
        adam.step()
    return model


def distance(a, b):
    """Euclidean distance between pictures (..., pixels), mean over the pictures."""
    return np.sqrt(((a - b) ** 2).sum(axis=-1)).mean()


def midpoints(model, half, between, full):
    """Distances of the decoded midpoints, and of the decoded ends, from the true moons."""
    walks = np.stack([model.interpolate(a, b, 3).data for a, b in zip(half, full, strict=True)])
    return distance(walks[:, 1], between), distance(walks[:, ::2], np.stack([half, full], axis=1))


def compare(seeds, steps):
    """Train a pair of networks for each seed; returns the last pair's figure and the distances."""
    rng, rows = np.random.default_rng(0), []
    phase = np.repeat([0.5, 1.0], COUNT // 2) + rng.uniform(-SPREAD, SPREAD, COUNT)
    x = moons(phase, rng.uniform(6, 8, COUNT))
    half, between, full = (moons(np.full(41, p), np.linspace(6, 8, 41)) for p in (0.5, 0.75, 1))
    average = distance((half + full) / 2, between)
    print("\nMoons: distance of the decoded midpoint from the three-quarter moon")
    print(f"{'seed':>6}{'AE':>8}{'VAE':>8}{'pixel average':>16}    decoded ends: AE, VAE")
    for seed in range(seeds):
        pair = {name: trained(x, seed, steps, name == "VAE") for name in ("AE", "VAE")}
        found = {name: midpoints(model, half, between, full) for name, model in pair.items()}
        rows.append({"seed": seed, "average": average, **found})
        (ae, ae_ends), (vae, vae_ends) = found.values()
        print(f"{seed:>6}{ae:>8.2f}{vae:>8.2f}{average:>16.2f}{ae_ends:>18.2f}{vae_ends:>5.2f}")
    return draw(pair, x, phase, half[20], full[20]), rows
