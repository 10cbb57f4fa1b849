"""Two unbiased estimates of d/dmu E[f(z)], z ~ N(mu, sigma^2 I), f(z) = |z|^2: their variances.

The true gradient is 2 mu. One sample of each estimate:
    reparameterised   df/dz at z = mu + sigma eps         = 2 z
    score function    (f(z) - baseline) (z - mu) / sigma^2
"""

import numpy as np

import minivae as mv

SIGMA, MU = 0.5, 1.0
DIMENSIONS = (1, 3, 10, 30, 100)
SAMPLES = 20_000


def samples(d):
    """One estimate per sample of the first component, by three estimators: dict of (SAMPLES,)."""
    eps = mv.Noise(4, d).normal((SAMPLES, d), np.float64)
    z = MU + SIGMA * eps
    f = (z * z).sum(axis=1)
    score = eps[:, 0] / SIGMA
    baseline = d * (MU**2 + SIGMA**2)  # E[f]
    return {
        "path": 2 * z[:, 0],
        "score": f * score,
        "baseline": (f - baseline) * score,
    }


def variances(d):
    """The variance of each estimator at dimension d."""
    return {name: float(values.var()) for name, values in samples(d).items()}


def measure():
    """Numbers of reparameterisation.md."""
    numbers = {}
    for d in (1, 10, 100):
        estimates, found = samples(d), variances(d)
        for name, variance in found.items():
            numbers[f"{name}_{d}"] = variance
            numbers[f"{name}_mean_{d}"] = float(estimates[name].mean())
        numbers[f"ratio_{d}"] = found["score"] / found["path"]
        numbers[f"ratio_baseline_{d}"] = found["baseline"] / found["path"]
    return numbers


def draw(figure):
    """Variance against dimension."""
    axes = figure.subplots()
    rows = [variances(d) for d in DIMENSIONS]
    for name, label in (
        ("score", "score function"),
        ("baseline", "score function, baseline E[f]"),
        ("path", "reparameterised"),
    ):
        axes.plot(DIMENSIONS, [row[name] for row in rows], marker="o", ms=4, label=label)
    axes.set(xscale="log", yscale="log", xlabel="dimensions D", ylabel="variance, one sample")
    axes.legend(fontsize=8)


FIGURES = {"estimators.svg": (4.8, 2.9, draw)}
