"""The ELBO of a scalar model with known integrals: z ~ N(0, 1), x | z ~ N(w z, s^2).

p(x) = N(0, w^2 + s^2) and p(z|x) = N(w x / (w^2 + s^2), s^2 / (w^2 + s^2)).
"""

import numpy as np
from common import below

import minivae as mv

W, S2, X = 2.0, 1.0, 1.5
TOTAL = W * W + S2
POSTERIOR = W * X / TOTAL, S2 / TOTAL  # mean, variance


def log_normal(x, mean, variance):
    """ln N(x; mean, variance)."""
    return -0.5 * (np.log(2 * np.pi * variance) + (x - mean) ** 2 / variance)


def log_evidence():
    """ln p(x)."""
    return log_normal(X, 0.0, TOTAL)


def kl(m, v, m0, v0):
    """KL(N(m, v) || N(m0, v0)) in nats."""
    return 0.5 * (v / v0 + (m - m0) ** 2 / v0 - 1 + np.log(v0 / v))


def elbo(m, v):
    """E_q[ln p(x|z)] - KL(q || p) for q = N(m, v)."""
    rec = log_normal(X, W * m, S2) - 0.5 * W * W * v / S2
    return rec - kl(m, v, 0.0, 1.0)


def importance_weighted(k, repeats=4000):
    """Mean and standard error of ln (1/k) sum_i p(x, z_i) / q(z_i), z_i ~ q = the prior."""
    z = mv.Noise(2, k).normal((repeats, k), np.float64)
    log_w = log_normal(X, W * z, S2)  # p(x, z) / q(z) = p(x | z), as q is the prior
    top = log_w.max(axis=1)
    bound = top + np.log(np.exp(log_w - top[:, None]).mean(axis=1))
    return bound.mean(), bound.std() / np.sqrt(repeats)


def measure():
    """Numbers of elbo.md."""
    m, v = np.meshgrid(np.linspace(-3, 3, 61), np.geomspace(0.01, 10, 61))
    gap = abs(elbo(m, v) + kl(m, v, *POSTERIOR) - log_evidence()).max()
    numbers = {
        "log_evidence": log_evidence(),
        "posterior_mean": POSTERIOR[0],
        "posterior_variance": POSTERIOR[1],
        "at_prior": elbo(0.0, 1.0),
        "kl_at_prior": kl(0.0, 1.0, *POSTERIOR),
        "at_posterior": elbo(*POSTERIOR),
        "identity_below": below(1e-12, gap),
    }
    for k in (1, 10, 100, 1000):
        numbers[f"bound_{k}"], numbers[f"error_{k}"] = importance_weighted(k)
    return numbers


def draw(figure):
    """The ELBO as q moves, with the gap; and the importance-weighted bounds."""
    left, right = figure.subplots(1, 2)
    m = np.linspace(-1, 2.2, 200)
    v = POSTERIOR[1]
    left.axhline(log_evidence(), color="black", label="ln p(x)")
    left.plot(m, elbo(m, v), label="ELBO, q's variance right")
    left.plot(m, elbo(m, 3 * v), label="three times too large")
    left.annotate("", (0.0, log_evidence()), (0.0, elbo(0.0, v)), arrowprops={"arrowstyle": "<->"})
    left.text(-0.05, -1.75, "the gap is KL(q || p(z|x))")
    left.set(xlabel="mean of q", ylabel="nats", ylim=(-6, -1.5))
    left.legend(loc="lower center", fontsize=8)
    k = np.array([1, 3, 10, 30, 100, 300, 1000])
    bounds = np.array([importance_weighted(n) for n in k.tolist()])
    right.axhline(log_evidence(), color="black", label="ln p(x)")
    right.errorbar(k, bounds[:, 0], 2 * bounds[:, 1], marker="o", ms=3, label="bound, q = prior")
    right.set(xscale="log", xlabel="samples K", ylim=(-6, -1.5))
    right.legend(loc="lower right", fontsize=8)


FIGURES = {"elbo.svg": (7, 2.8, draw)}
