"""A one-dimensional VAE as an infinite mixture: p(x) = integral of N(x; g(z), s^2) N(z; 0, 1)."""

import numpy as np

import minivae as mv

SD = 0.35
X = np.linspace(-5, 5, 501)


def g(z):
    """The decoder's mean: an odd S-curve, steep in the middle, so that few x come from there."""
    return 2 * np.tanh(3 * z)


def normal(x, mean, sd):
    """N(x; mean, sd^2)."""
    return np.exp(-0.5 * ((x - mean) / sd) ** 2) / (sd * np.sqrt(2 * np.pi))


def density():
    """p(x) on X by the trapezoidal rule over z in [-8, 8]."""
    z = np.linspace(-8, 8, 4001)
    weights = normal(z, 0, 1) * (z[1] - z[0])
    return normal(X[:, None], g(z), SD) @ weights


def mixture(k, offset=0):
    """The mean of k components with z drawn from the prior."""
    z = mv.Noise(6, offset).normal((k,), np.float64)
    return normal(X[:, None], g(z), SD).mean(axis=1)


def best_single():
    """The Gaussian with the mean and variance of p."""
    p = density() * (X[1] - X[0])
    mean = (X * p).sum()
    return normal(X, mean, np.sqrt(((X - mean) ** 2 * p).sum()))


def measure():
    """Numbers of gaussian-mixture.md."""
    p = density()
    numbers = {
        "total": float(p.sum() * (X[1] - X[0])),
        "at_0": float(p[len(X) // 2]),
        "peak": float(p.max()),
        "single_at_0": float(best_single()[len(X) // 2]),
    }
    for k in (10, 100, 1000):
        numbers[f"error_{k}"] = float(np.mean([abs(mixture(k, i) - p).max() for i in range(30)]))
    return numbers


def draw(figure):
    """p(x), one Gaussian, and mixtures of a few components."""
    axes = figure.subplots()
    axes.plot(X, density(), color="black", lw=2, label="p(x), all z")
    axes.plot(
        X, best_single(), "--", color="0.5", label="one Gaussian of the same mean and variance"
    )
    for k in (10, 100):
        axes.plot(X, mixture(k), lw=1, label=f"{k} components, z from the prior")
    axes.set(xlabel="x", ylabel="density", ylim=(0, 0.8))
    axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))


FIGURES = {"mixture.svg": (6.2, 2.6, draw)}
