"""Exercise 9: the backward of batch normalisation (Ioffe & Szegedy 2015, arXiv:1502.03167)."""

import numpy as np


def batch_norm_backward(x, w, eps, dy):
    """dx = w / sqrt(var + eps) [dy - mean(dy) - x^ mean(dy x^)];  dw = sum(dy x^);  db = sum dy."""
    centred = x - x.mean(axis=0)
    std = np.sqrt((centred**2).mean(axis=0) + eps)
    hat = centred / std
    dx = w / std * (dy - dy.mean(axis=0) - hat * (dy * hat).mean(axis=0))
    return dx, (dy * hat).sum(axis=0), dy.sum(axis=0)
