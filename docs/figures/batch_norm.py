"""Properties of batch norm's gradient, and a wrong backward that a cotangent of ones misses."""

import numpy as np
from common import below

import minivae as mv
from minivae import functional as F

N, C = 64, 5


def problem():
    """x (N, C), w (C,), b (C,), a random cotangent (N, C), in float64."""
    draw = mv.NoiseStream(seed=1)
    x, dy = (draw.draw().normal((N, C), np.float64) for _ in range(2))
    w, b = (draw.draw().normal((C,), np.float64) for _ in range(2))
    return 3 * x + 2, w, b, dy


def gradient(dy, eps=0.0):
    """dx of batch norm in training mode."""
    x, w, b, _ = problem()
    x = mv.Tensor(x, requires_grad=True)
    F.batch_norm(x, np.zeros(C), np.ones(C), w, b, training=True, eps=eps).backward(dy)
    return x.grad


def without_variance_term(dy):
    """dx by a wrong backward, which omits the gradient through the batch variance."""
    x, w, _, _ = problem()
    return w / x.std(axis=0) * (dy - dy.mean(axis=0))


def measure():
    """Numbers of batch-norm.md and gradient-checking.md."""
    x, _, _, dy = problem()
    dx, ones = gradient(dy), np.ones_like(dy)
    x_hat = (x - x.mean(axis=0)) / x.std(axis=0)
    wrong = abs(without_variance_term(dy) - dx).max() / abs(dx).max()
    blind = max(abs(gradient(ones)).max(), abs(without_variance_term(ones)).max())
    return {
        "sum_below": below(1e-13, abs(dx.sum(axis=0)).max()),
        "dot_below": below(1e-13, abs((dx * x_hat).sum(axis=0)).max()),
        "blind_below": below(1e-13, blind),
        "wrong_percent": 100 * wrong,
    }


FIGURES = {}
