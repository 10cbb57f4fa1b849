"""The error of finite differences against the step: truncation and rounding."""

import numpy as np
from common import below

import minivae as mv

POINTS = np.abs(mv.Noise(5, 0).normal((64,), np.float64)) + 0.5
STEPS = 10.0 ** np.arange(-14, 1.01, 0.25)


def f(x):
    """The KL of a Gaussian with log variance x and mean 0, in nats."""
    return 0.5 * (np.expm1(x) - x)


def slope(x):
    """f'."""
    return 0.5 * np.expm1(x)


def forward(f, x, h):
    """One-sided difference: error about h f''/2 + rounding / h."""
    return (f(x + h) - f(x)) / h


def central(f, x, h):
    """Central difference: error about h^2 f'''/6 + rounding / h."""
    return (f(x + h) - f(x - h)) / (2 * h)


def complex_step(f, x, h):
    """Im f(x + ih) / h: no subtraction, so no rounding error; f must accept complex numbers."""
    return f(x + 1j * h).imag / h


def errors(rule, dtype=np.float64, f=f, slope=slope):
    """Median relative error over the points, for each step."""
    x = POINTS.astype(dtype)
    exact = slope(POINTS)
    return np.array([
        np.median(abs(rule(f, x, dtype(h)).astype(np.float64) - exact) / abs(exact)) for h in STEPS
    ])  # fmt: skip


def best(error):
    """(step, error) at the least error."""
    return float(STEPS[error.argmin()]), float(error.min())


def linear_errors():
    """Relative error of the central difference of 3 x + 1 at steps 1 and 1e-6."""
    at = {float(h): e for h, e in zip(STEPS, errors(central, f=lambda x: 3 * x + 1,
          slope=lambda x: 3 + 0 * x), strict=True)}  # fmt: skip
    nearest = {h: min(at, key=lambda s, h=h: abs(np.log10(s / h))) for h in (1.0, 1e-6)}
    return at[nearest[1.0]], at[nearest[1e-6]]


def measure():
    """Numbers of gradient-checking.md."""
    numbers = {}
    for name, rule, dtype in (
        ("forward", forward, np.float64),
        ("central", central, np.float64),
        ("single", central, np.float32),
    ):
        numbers[f"{name}_step"], numbers[f"{name}_error"] = best(errors(rule, dtype))
    chosen = errors(central)[abs(np.log10(STEPS) + 5).argmin()]
    wide, narrow = linear_errors()
    return numbers | {
        "chosen_error": float(chosen),
        "linear_wide_below": below(1e-15, wide),
        "linear_narrow": float(narrow),
        "complex_below": below(1e-15, errors(complex_step)[0]),
    }


def draw(figure):
    """All curves."""
    axes = figure.subplots()
    axes.loglog(STEPS, errors(forward), label="one-sided, float64")
    axes.loglog(STEPS, errors(central), label="central, float64")
    axes.loglog(STEPS, errors(central, np.float32), label="central, float32")
    axes.loglog(STEPS, errors(complex_step) + 1e-17, label="complex step, float64")
    axes.axvline(1e-5, color="0.6", ls=":", lw=1)
    axes.set(xlabel="step h", ylabel="relative error", ylim=(3e-17, 10))
    axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))


FIGURES = {"differences.svg": (6.2, 3, draw)}
