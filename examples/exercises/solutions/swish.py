"""Exercise 3: write the backward of Swish (Ramachandran et al. 2017, arXiv:1710.05941)."""

from minivae.ops.activation import logistic
from minivae.tensor import Function


class Swish(Function):
    """y = x s(x);  dx = dy (s + x s (1 - s)) = dy s (1 + x (1 - s))."""

    def forward(self, x):
        s = logistic(x, self.xp)
        self.save(x, s)
        return x * s

    def backward(self, dy):
        x, s = self.saved
        return dy * s * (1 + x * (1 - s))
