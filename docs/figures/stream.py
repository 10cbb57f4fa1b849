"""The first numbers of the noise stream, its mean, variance and largest possible value."""

import math

import numpy as np

import minivae as mv


def measure():
    """Numbers of noise.md."""
    first = mv.Noise(0, 0).normal((4,), np.float64)
    many = mv.Noise(0, 0).normal((1_000_000,), np.float64)
    same = np.array_equal(mv.Noise(7, 3).normal((6,)), mv.Noise(7, 3).normal((2, 500)).flat[:6])
    return {f"n{i}": float(x) for i, x in enumerate(first)} | {
        "prefix_differences": int(not same),
        "largest": math.sqrt(-2 * math.log(2.0**-33)),
        "mean": float(many.mean()),
        "variance": float(many.var()),
        "kib_saved": 128 * 20 * 4 / 1024,
    }


FIGURES = {}
