"""Exercise 6: the adjoint of a convolution, which is what a decoder is made of.

``conv`` is linear in x: y = A x with a matrix A that nobody writes down. Its adjoint is A^T: the
gradient of x given that of y, and the forward pass of a transposed convolution. For all x and y

    <conv(x, w), y> = <x, conv_transpose(y, w)>
"""

import numpy as np


def conv(x, w, stride, padding):
    """y_i = sum_k w_k x_(stride i + k - padding), x being 0 outside: (H,), (K,) -> (OH,)."""
    padded = np.pad(x, padding)
    size = (len(padded) - len(w)) // stride + 1
    return np.array([padded[stride * i : stride * i + len(w)] @ w for i in range(size)])


def conv_transpose(y, w, size, stride, padding):
    """The adjoint of ``conv`` in x.

    Args:
        y: (OH,). w: (K,).
        size: H, which y does not tell: several sizes of x give the same OH.

    Returns:
        (H,).
    """
    raise NotImplementedError("an array (size,): each y_i sent back along the taps it came by")
