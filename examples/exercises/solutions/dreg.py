"""Exercise 11: a gradient that stays sharp (Tucker et al. 2019, arXiv:1810.04152, section 3)."""

import numpy as np


def sample_gradient(log_weights, slopes):
    """-1/N w~^2 d ln w/dz, w~ the softmax of each row."""
    w = np.exp(log_weights - log_weights.max(axis=1, keepdims=True))
    w = w / w.sum(axis=1, keepdims=True)
    return -(w**2) * slopes / len(w)
