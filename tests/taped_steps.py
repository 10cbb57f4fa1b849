"""Training steps replayed from a CPU recording, compared with the same steps run eagerly."""

from functools import partial

import numpy as np

import minivae as mv
from minivae import functional as F
from minivae import models, nn, optim
from minivae.tensor import Tensor
from minivae.training import objectives
from minivae.training.cpu_tape import TapedStep
from minivae.training.step import EagerStep


class NormalisedVAE(models.VAE):
    """A VAE with batch normalisation, whose buffers a step moves too."""

    latent_dim = 3

    def __init__(self, seed=0):
        rng = mv.NoiseStream(seed)
        self.into, self.norm = nn.Linear(16, 8, rng=rng), nn.BatchNorm2d(8)
        self.mu, self.logvar = nn.Linear(8, 3, rng=rng), nn.Linear(8, 3, rng=rng)
        self.out = nn.Linear(3, 16, rng=rng)

    def encode(self, x):
        h = F.relu(self.norm(self.into(F.flatten(x, 1))))
        return self.mu(h), self.logvar(h)

    def decode(self, z):
        return self.out(z)


MODELS = {
    "mlp": (lambda: models.MLPVAE(3, 8, seed=1), (1, 28, 28)),
    "conv": (lambda: models.ConvVAE(2, seed=1), (1, 28, 28)),
    "batch norm": (NormalisedVAE, (1, 4, 4)),
    "squared error": (lambda: models.MLPVAE(3, 8, seed=1, likelihood="squared-error"), (1, 28, 28)),
}


def train(
    kind, make, shape, *, steps=7, size=6, objective=objectives.elbo, meddle=None, learned=(),
    images=lambda i, x: x,
):  # fmt: skip
    """(losses as bytes, state, step) after ``steps`` steps of ``kind``, the fourth a short batch.

    ``learned`` are initial values of parameters outside the model, which the objective takes.
    """
    model = make()
    np.random.seed(0)
    others = [Tensor(np.float32(value), requires_grad=True) for value in learned]
    adam = optim.Adam([*model.parameters(), *others], lr=1e-3, weight_decay=1e-4)
    objective = partial(objective, *others) if others else objective
    objective = objective() if isinstance(objective, type) else objective
    step = EagerStep(model, adam, objective)
    step = TapedStep(step, lambda text: None) if kind == "taped" else step
    rng, noise, losses = np.random.default_rng(0), mv.NoiseStream(3, 2**60), []
    for i in range(steps):
        x = rng.random((size - 1 if i == 3 else size, *shape), dtype=np.float32)
        adam.lr = 1e-3 / (1 + i // 5)
        if meddle:
            meddle(i, model)
        terms = step(images(i, x), noise.draw(), i / 4)
        losses.append([np.float64(float(term)).tobytes() for term in terms])
    moments = adam.state_dict()
    return losses, {**model.state_dict(), **{f"adam {k}": a for k, a in moments.items()}}, step


def assert_same(make, shape, **options):
    """A taped run and an eager one end with the same bytes; returns the taped step."""
    eager, taped = (train(kind, make, shape, **options) for kind in ("eager", "taped"))
    assert taped[0] == eager[0]
    assert {k: a.tobytes() for k, a in taped[1].items()} == {
        k: a.tobytes() for k, a in eager[1].items()
    }
    return taped[2]
