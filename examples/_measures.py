"""How a recipe's metrics are read off a trained model: functions of ``Trained``, giving a dict."""

from typing import NamedTuple

from minivae import estimators
from minivae.data import Dataset, PixelBatches
from minivae.models import VAE
from minivae.noise import NoiseStream


class Trained(NamedTuple):
    """A run that is over."""

    model: VAE
    test: PixelBatches  # the test images, binarised as the recipe says
    row: dict  # of metrics.csv, for the last epoch
    seed: int
    digits: Dataset


def last_epoch(run):
    """The losses that training reported last, in nats per image."""
    return {name.replace("_", " "): value for name, value in run.row.items()}


def nll(run, samples, images=None):
    """The importance-weighted estimate of -ln p(x) on the first ``images`` test images, in nats."""
    pixels = run.test.images[:images]
    found = estimators.importance_weighted_nll(
        run.model,
        PixelBatches(pixels, 100, train=False).epoch(0),
        NoiseStream(run.seed, estimators.IMPORTANCE),
        samples,
        total=len(pixels),
    )
    return {"NLL": float(found.nll), "NLL's standard error": found.standard_error}
