"""Exercise 1: undo a broadcast.

In y = a + b with a (3, 4) and b (4,), each b_j is used three times. The gradient of y has y's
shape; the gradient of b has b's, and sums what all the uses of b_j send back.
"""


def unbroadcast(grad, shape):
    """The gradient of x, given the gradient of x broadcast.

    Args:
        grad: NumPy array of a shape that ``shape`` broadcasts to.
        shape: x's own shape, a tuple.

    Returns:
        An array of ``shape``.
    """
    raise NotImplementedError("an array of the given shape, with sums over the repeated axes")
