"""Exercise 1: undo a broadcast."""


def unbroadcast(grad, shape):
    """Sum over the axes that broadcasting put in front, and over those it repeated."""
    new = grad.ndim - len(shape)
    padded = (1,) * new + tuple(shape)
    repeated = tuple(i for i, n in enumerate(padded) if n == 1 != grad.shape[i])
    return grad.sum(axis=repeated, keepdims=True).reshape(shape)
