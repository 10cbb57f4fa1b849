"""Metrics of a trained model for ``reproduce.py``: functions from ``Trained`` to a dict."""

from typing import NamedTuple

import numpy as np

from minivae import evaluation
from minivae.data import Dataset, PixelBatches
from minivae.evaluation import classify
from minivae.models import VAE
from minivae.noise import SAMPLING, Noise, NoiseStream


class Trained(NamedTuple):
    """A finished training."""

    model: VAE
    test: PixelBatches  # the test images, binarised as the recipe says
    row: dict  # the row of metrics.csv for the last epoch
    seed: int
    digits: Dataset


def last_epoch(run):
    """The losses that training reported last, in nats per image."""
    return {name.replace("_", " "): value for name, value in run.row.items()}


def nll(run, samples, images=None):
    """The importance-weighted estimate of -ln p(x) on the first ``images`` test images, in nats."""
    pixels = run.test.images[:images]
    found = evaluation.importance_weighted_nll(
        run.model,
        PixelBatches(pixels, 100, train=False).epoch(0),
        NoiseStream(run.seed, evaluation.IMPORTANCE),
        samples,
        total=len(pixels),
    )
    return {"NLL": float(found.nll), "NLL's standard error": found.standard_error}


def obedience(run, drawn, epochs=2):
    """Share of drawn pictures in which a classifier sees the digit asked for.

    The classifier is trained on real digits; its accuracy on the test images is given too.
    """
    digits = run.digits
    judge = classify.fit_digit_classifier(digits.train.images, digits.train.labels["digit"], epochs)
    asked = np.arange(drawn) % 10
    pictures = run.model.draw(asked, Noise(run.seed, SAMPLING)).numpy().reshape(-1, 1, 28, 28)
    real = PixelBatches(digits.test.images, 100, train=False).epoch(0)
    seen = np.concatenate([judge.predict(x) for x in real])
    return {
        "drawn as asked": float((judge.predict(pictures) == asked).mean()),
        "accuracy of the classifier": float((seen == digits.test.labels["digit"]).mean()),
    }
