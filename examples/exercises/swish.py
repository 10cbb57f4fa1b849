"""Exercise 3: write the backward of Swish (Ramachandran et al. 2017, arXiv:1710.05941).

y = x s(x) with the logistic function s(x) = 1 / (1 + exp(-x)). You know s' = s (1 - s).
"""

from minivae.ops.activation import logistic
from minivae.tensor import Function


class Swish(Function):
    """y = x s(x);  dx = ?"""

    def forward(self, x):
        s = logistic(x, self.xp)
        self.save(x, s)
        return x * s

    def backward(self, dy):
        x, s = self.saved  # noqa: RUF059  for you to use
        raise NotImplementedError("dx, an array of x's shape, from x, s and dy")
