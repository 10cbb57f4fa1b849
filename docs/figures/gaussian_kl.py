"""The Gaussian KL, wrong formulas found in public code, and the rounding error without expm1.

Every formula is a function of mu and of sigma, the standard deviation of the samples. Noise is that
of examples/gaussian_kl.py, so that both give the same numbers.
"""

import numpy as np

import minivae as mv
from minivae import functional as F

FORMULAS = {
    "right": lambda mu, s: 0.5 * (mu**2 + s**2 - 1 - 2 * np.log(s)),
    "tutorial": lambda mu, s: s**2 + mu**2 - np.log(s) - 0.5,
    "half_head": lambda mu, s: 0.5 * (mu**2 + s - 1 - np.log(s)),
    "unsquared": lambda mu, s: 0.5 * (mu**2 + s - 1 - 2 * np.log(s)),
    "log_whole": lambda mu, s: 0.5 * (mu**2 + s**2 - 1) - np.log(s**2),
    "log_squared": lambda mu, s: 0.5 * (mu**2 + s**2 - 1 + np.log(s) ** 2),
    "sign": lambda mu, s: 0.5 * (mu**2 + s**2 - 1 + 2 * np.log(s)),
}


def minimum(formula):
    """(sigma, value) where the formula is least at mu = 0, over sigma in [1e-4, 1e2]."""
    s = np.geomspace(1e-4, 1e2, 600001)
    values = formula(0.0, s)
    at = values.argmin()
    return s[at], values[at]


def float32_errors():
    """For log variances of scale 1e-3 in float32, by name: median relative error, negative share.

    Computed with correctly rounded functions, and with NumPy's ("_numpy"), whose rounding differs
    between instruction sets.
    """
    logvar = 1e-3 * mv.Noise(0, 6).normal((100_000,), np.float32)
    wide = logvar.astype(np.float64)
    exact = np.expm1(wide) - wide
    for suffix, argument in (("", wide), ("_numpy", logvar)):
        exp, expm1 = (f(argument).astype(np.float32) for f in (np.exp, np.expm1))
        for name, values in (("naive", exp - np.float32(1) - logvar), ("expm1", expm1 - logvar)):
            yield name + suffix, np.median(abs(values - exact) / exact), np.mean(values < 0)


def monte_carlo(mu, sigma, count=1_000_000):
    """Mean and standard error of ln q(z) - ln p(z) over draws of q."""
    eps = mv.Noise(0, 1).normal((count,), np.float64)
    z = mu + sigma * eps
    ratio = 0.5 * (z**2 - eps**2) - np.log(sigma)
    return ratio.mean(), ratio.std() / np.sqrt(count)


def measure():
    """Numbers of gaussian-kl.md and autoencoder-to-vae.md."""
    numbers = {}
    for name, formula in FORMULAS.items():
        numbers[f"{name}_sigma"], numbers[f"{name}_value"] = map(float, minimum(formula))
        numbers[f"{name}_at_1"] = float(formula(0.0, 1.0))
        numbers[f"{name}_mu"] = float((formula(1.0, 1.0) - formula(0.0, 1.0)) / 0.5)
    for sigma in (0.1, 0.01, 0.001):
        name = f"guard_{sigma}".replace(".", "_")
        numbers[name] = float(FORMULAS["right"](0.0, sigma))
    for sigma in (0.1, 0.001):
        numbers[f"spike_{sigma}".replace(".", "_")] = float(FORMULAS["right"](1.0, sigma))
    for name, error, negative in float32_errors():
        numbers[f"{name}_percent"] = 100 * float(error)
        numbers[f"{name}_negative_percent"] = 100 * float(negative)
    mu, sigma = 0.7, 0.4
    _, kl = F.reparameterize_kl(np.array([mu]), np.array([2 * np.log(sigma)]), mv.Noise(0, 0))
    numbers["example"] = kl.item()
    numbers["example_sampled"], numbers["example_error"] = map(float, monte_carlo(mu, sigma))
    return numbers


def draw(figure):
    """Each formula against sigma."""
    axes = figure.subplots()
    sigma = np.geomspace(0.02, 4, 300)
    labels = {
        "right": "right: least at 1, value 0",
        "tutorial": "mu and sigma squared counted twice",
        "half_head": "log sigma taken for log variance",
        "unsquared": "sigma for sigma squared",
        "log_whole": "half of the logarithm lost",
        "log_squared": "log squared",
        "sign": "sign of the logarithm",
    }
    for name, formula in FORMULAS.items():
        right = name == "right"
        axes.plot(
            sigma,
            formula(0.0, sigma),
            label=labels[name],
            color="black" if right else None,
            lw=2.2 if right else 1.2,
        )
        if name != "sign":
            axes.plot(*minimum(formula), ".", color="black")
    axes.set(xscale="log", ylim=(-1.5, 4), xlabel="sigma", ylabel="nats, mu = 0")
    axes.axvline(1, color="0.8", lw=0.8, zorder=0)
    axes.axhline(0, color="0.8", lw=0.8, zorder=0)
    axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))


FIGURES = {"gaussian_kl.svg": (7, 3, draw)}
