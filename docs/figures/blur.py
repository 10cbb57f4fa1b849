"""Why decoders output blurred means, and the least cross-entropy of grey pixels."""

import math
import os

import numpy as np

from minivae import functional as F
from minivae.data import mnist
from minivae.data.synthetic import digits as synthetic_digits
from minivae.errors import DataError


def pictures(size=24):
    """Two pictures that share one code: a bright bar on the left, and the same on the right."""
    left, right = np.zeros((2, size, size))
    left[4:-4, 7:10] = 1
    right[4:-4, 14:17] = 1
    return left, right


def expected_costs(guess):
    """Expected squared error and cross-entropy of a guess, per pixel where the two differ."""
    left, right = pictures()
    differ = left != right
    squared = np.mean([((guess - x) ** 2)[differ].mean() for x in (left, right)])
    guess = np.clip(guess, 0.01, 0.99)
    nats = np.mean([
        -(x * np.log(guess) + (1 - x) * np.log(1 - guess))[differ].mean() for x in (left, right)
    ])  # fmt: skip
    return float(squared), float(nats)


def entropy_floor(pixels):
    """The least cross-entropy that grey pixels allow, nats per image: logits = logit(pixel)."""
    p = pixels.reshape(len(pixels), -1).astype(np.float64)
    logits = np.log(np.clip(p, 1e-12, 1)) - np.log(np.clip(1 - p, 1e-12, 1))
    return F.bce_with_logits(logits, p, reduction="sum").item() / len(p)


def continuous_bernoulli(logit, count=200_001):
    """Normaliser and mean of the density proportional to p^x (1 - p)^(1 - x) on [0, 1]."""
    x = np.linspace(0, 1, count)
    p = 1 / (1 + math.exp(-logit))
    density = p**x * (1 - p) ** (1 - x)
    weights = np.full(count, 1 / (count - 1))  # of the trapezoidal rule
    weights[[0, -1]] /= 2
    total = weights @ density
    return float(1 / total), float(weights @ (x * density) / total)


def measure():
    """Numbers of blurry-samples.md."""
    left, right = pictures()
    numbers = {}
    numbers["mean_squared"], numbers["mean_nats"] = expected_costs((left + right) / 2)
    numbers["sharp_squared"], numbers["sharp_nats"] = expected_costs(left)
    numbers["grey_floor"] = -math.log(0.5)
    numbers["normaliser_half"], _ = continuous_bernoulli(0.0)
    numbers["normaliser_99"], numbers["mean_99"] = continuous_bernoulli(math.log(99))
    numbers["floor_digits"] = entropy_floor(synthetic_digits.draw(1000)[0] / 255)
    try:
        digits = mnist.read_folder(os.environ.get("MINIVAE_DATA") or mnist.cache_folder())
    except DataError:
        return numbers  # without MNIST the pages keep their number
    if digits.name == "mnist":
        numbers["floor_mnist"] = entropy_floor(digits.test.images / 255)
    return numbers


def draw(figure):
    """The two pictures, and the output with the least expected cost."""
    left, right = pictures()
    titles = ("half the time", "half the time", "costs least")
    for axes, image, title in zip(
        figure.subplots(1, 3), (left, right, (left + right) / 2), titles, strict=True
    ):
        axes.imshow(image, cmap="gray", vmin=0, vmax=1)
        axes.set(title=title, xticks=[], yticks=[])


FIGURES = {"blur.svg": (4.2, 1.7, draw)}
