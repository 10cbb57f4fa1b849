"""Exercise 9: the backward of batch normalisation (Ioffe & Szegedy 2015, arXiv:1502.03167).

For each channel, over the N values of a batch (training mode, biased variance):

    mean = 1/N sum x,   var = 1/N sum (x - mean)^2
    x^ = (x - mean) / sqrt(var + eps),   y = w x^ + b

x moves y in three ways: directly, through the mean, and through the variance.
"""


def batch_norm_backward(x, w, eps, dy):
    """The gradients of x, w and b, given that of y.

    Args:
        x, dy: (N, C) NumPy arrays.
        w: (C,). eps: a number.

    Returns:
        dx (N, C), dw (C,), db (C,).
    """
    raise NotImplementedError("dx, dw, db: arrays of the shapes of x, w and b")
