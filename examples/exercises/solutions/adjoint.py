"""Exercise 6: the adjoint of a convolution, which is what a decoder is made of."""

import numpy as np


def conv_transpose(y, w, size, stride, padding):
    """x_(stride i + k - padding) += w_k y_i for every i and k; what fell on the padding is cut."""
    padded = np.zeros(size + 2 * padding)
    for i, value in enumerate(y):
        padded[stride * i : stride * i + len(w)] += value * w
    return padded[padding : padding + size]
