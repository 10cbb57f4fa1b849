"""Exercise 8's trainings: record them (python examples/exercises/_loss_curves.py) and draw them."""

import json
import math
from functools import partial
from pathlib import Path

import numpy as np

from minivae import functional as F
from minivae import models, optim
from minivae.data import PixelBatches, mnist
from minivae.models.vae import ELBO
from minivae.noise import NoiseStream
from minivae.viz import plots
from minivae.viz.without_backend import Figure

RECORDED = Path(__file__).parent / "loss_curves.json"
STEPS, BATCH = 200, 64


def objective(model, x, noise, *, kl_weight=1.0, mean=False, twice=False):
    """The negative ELBO, with what each fault changes of it."""
    out = model(x, noise)
    logits = F.sigmoid(out.logits) if twice else out.logits
    rec = F.mean(F.bce_with_logits(logits, F.reshape(x, logits.shape), reduction="rows"))
    rec, kl = rec * (1 / 784 if mean else 1.0), F.mean(out.kl)
    return ELBO(rec + kl_weight * kl, rec, kl)


def train(lr=1e-3, clear=True, scale=1.0, seed=0, **fault):
    """(loss, rec, KL) of each step, until one is not finite or the steps are over."""
    model, noise = models.MLPVAE(20, 200, seed=seed), NoiseStream(seed)
    adam, curve = optim.Adam(model.parameters(), lr=lr), []
    batches = PixelBatches(mnist.load(None).train.images, BATCH, seed=seed, binarize="dynamic")
    for x, _ in zip(batches.epoch(0), range(STEPS), strict=False):
        terms = objective(model, x * np.float32(scale), noise.draw(), **fault)
        if not math.isfinite(terms.loss.item()):
            break
        curve.append([term.item() for term in terms])
        if clear:
            adam.zero_grad()
        terms.loss.backward()
        adam.step()
    return curve


FAULTS = {
    "none": train,
    "the KL is subtracted": partial(train, kl_weight=-1.0),
    "the KL is left out": partial(train, kl_weight=0.0),
    "rec is a mean over pixels": partial(train, mean=True),
    "the sigmoid is applied twice": partial(train, twice=True),
    "pixels are 0 to 255": partial(train, scale=255.0),
    "gradients are not cleared": partial(train, clear=False),
    "the learning rate is 100 times too large": partial(train, lr=0.1),
}


def draw(curves):
    """A figure: one column a training, its loss, rec and KL below one another."""
    figure = Figure(figsize=(22, 7.5), layout="constrained")
    for row, (axes, name) in enumerate(
        zip(figure.subplots(3, len(curves)), ("loss", "rec", "KL"), strict=True)
    ):
        for panel, (letter, curve) in zip(axes, curves.items(), strict=True):
            values = np.array(curve)[:, row]
            panel.plot(np.arange(len(values)) * 2, values, lw=1)
            panel.set_xlim(0, STEPS)
            if abs(values).max() > 3000:
                panel.set_yscale("symlog", linthresh=100)
                panel.yaxis.get_major_locator().set_params(numticks=5)
            if row == 0:
                panel.set_title(letter, weight="bold")
        axes[0].set_ylabel(f"{name}, nats per image")
    figure.supxlabel("step")
    return figure


def picture():
    """The bytes of the picture that the exercise is about."""
    return plots.png(draw(json.loads(RECORDED.read_text())))


def main():
    """Train with each fault, shuffle, and write every second step with four digits."""
    names = list(FAULTS)
    order = np.random.default_rng(8).permutation(len(names))
    curves = {}
    for letter, i in zip("ABCDEFGH", order, strict=True):
        curve = FAULTS[names[i]]()[::2]
        curves[letter] = [[float(f"{value:.4g}") for value in step] for step in curve]
        print(f"{letter}: {names[i]}, {len(curve)} points, ends at {curves[letter][-1]}")
    RECORDED.write_text(json.dumps(curves) + "\n")


if __name__ == "__main__":
    main()
