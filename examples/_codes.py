"""PCA codes of 30 numbers, and the share of N(0, I) that lies far from all codes."""

import numpy as np

D = 30


class PCA:
    """The best linear code in squared error: the D leading eigenvectors of the covariance."""

    def __init__(self, x):
        self.mean = x.mean(axis=0)
        self.axes = np.linalg.eigh(np.cov(x.T))[1][:, -D:]

    def encode(self, x):
        return (x - self.mean) @ self.axes

    def decode(self, z):
        return self.mean + z @ self.axes.T


def nearest(a, b):
    """Distance from each row of a to the nearest row of b."""
    squares = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * a @ b.T
    return np.sqrt(np.maximum(squares.min(axis=1), 0))


def holes(codes, rng):
    """Share of draws of N(0, I) whose distance to the nearest code exceeds a threshold.

    The threshold is the 99 % quantile of that distance when the codes are themselves drawn from
    N(0, I), so codes distributed as N(0, I) give about 1 %.
    """
    one, two, three = (rng.normal(size=(n, D)) for n in (len(codes), 2000, 2000))
    return (nearest(two, codes) > np.quantile(nearest(three, one), 0.99)).mean()
