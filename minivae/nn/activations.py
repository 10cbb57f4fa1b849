"""Activation modules: ReLU, LeakyReLU, Sigmoid, Tanh.

``inplace`` is accepted as in PyTorch and ignored: no input is ever changed.
"""

import math
from typing import Any

from ..arguments import real
from ..ops.activation import leaky_relu, relu, sigmoid, tanh
from ..tensor import Tensor
from .module import Module


class ReLU(Module):
    """max(x, 0), elementwise; ``inplace`` is ignored."""

    def __init__(self, inplace: bool = False):
        pass

    def forward(self, x: Any) -> Tensor:
        """Any shape."""
        return relu(x)


class LeakyReLU(Module):
    """x where positive, ``negative_slope * x`` elsewhere; ``inplace`` is ignored."""

    def __init__(self, negative_slope: float = 0.01, inplace: bool = False):
        self.negative_slope = real("negative_slope", negative_slope, -math.inf)

    def forward(self, x: Any) -> Tensor:
        """Any shape."""
        return leaky_relu(x, self.negative_slope)

    def extra_repr(self) -> str:
        """The slope."""
        return f"negative_slope={self.negative_slope}"


class Sigmoid(Module):
    """1 / (1 + exp(-x))."""

    def forward(self, x: Any) -> Tensor:
        """Any shape."""
        return sigmoid(x)


class Tanh(Module):
    """Hyperbolic tangent."""

    def forward(self, x: Any) -> Tensor:
        """Any shape."""
        return tanh(x)
