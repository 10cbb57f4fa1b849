"""Elementwise nonlinearities. The logistic function is sigmoid(x) = 1 / (1 + exp(-x)).

Derivations: docs/elementwise.md.
"""

import math
from typing import Any

from .. import kernels
from ..arguments import real
from ..backend import Array
from ..kernels import reference
from ..tensor import Function, Tensor, TensorLike

__all__ = ["leaky_relu", "relu", "sigmoid", "softplus", "tanh"]


def logistic(x: Array, xp: Any) -> Array:
    """sigmoid(x) on arrays: only exp of non-positive numbers, so nothing overflows."""
    return reference.logistic(x, xp.exp(-xp.abs(x)))


def require_activation(activation: str | None) -> None:
    """ValueError unless ``activation`` is None or "relu", those that a layer can fuse."""
    if activation not in (None, "relu"):
        raise ValueError(f"activation: expected None or 'relu', got {activation!r}")


class ReLU(Function):
    """y = max(x, 0);  dx = 0 where y <= 0, else dy (the subgradient 0 at the kink)."""

    def forward(self, x: Array) -> Array:
        y = kernels.get("relu", x)(x)
        self.save(y)
        return y

    def backward(self, dy: Array) -> Array:
        (y,) = self.saved
        return kernels.get("relu_backward", y, dy)(y, dy)


class LeakyReLU(Function):
    """y = x where x > 0, else s x;  dx = dy where x > 0, else s dy."""

    def forward(self, x: Array, slope: float) -> Array:
        self.slope = slope
        self.save(x)
        return self.xp.where(x > 0, x, slope * x)

    def backward(self, dy: Array) -> Array:
        (x,) = self.saved
        return self.xp.where(x > 0, dy, self.slope * dy)


class Sigmoid(Function):
    """y = sigmoid(x);  dx = dy y (1 - y)."""

    def forward(self, x: Array) -> Array:
        y = logistic(x, self.xp)
        self.save(y)
        return y

    def backward(self, dy: Array) -> Array:
        (y,) = self.saved
        return dy * y * (1 - y)


class Tanh(Function):
    """y = tanh x;  dx = dy (1 - y^2)."""

    def forward(self, x: Array) -> Array:
        y = self.xp.tanh(x)
        self.save(y)
        return y

    def backward(self, dy: Array) -> Array:
        (y,) = self.saved
        return dy * (1 - y * y)


class Softplus(Function):
    """y = ln(1 + exp x) = max(x, 0) + ln(1 + exp(-|x|));  dx = dy sigmoid(x)."""

    def forward(self, x: Array) -> Array:
        self.save(x)
        return self.xp.maximum(x, 0) + self.xp.log1p(self.xp.exp(-abs(x)))

    def backward(self, dy: Array) -> Array:
        (x,) = self.saved
        return dy * logistic(x, self.xp)


def relu(x: TensorLike, inplace: bool = False) -> Tensor:
    """max(x, 0), elementwise; gradient 0 at the kink. A NaN stays NaN and its gradient passes.

    ``inplace`` is accepted as in PyTorch and ignored: x is never changed.
    """
    return ReLU.apply(x)


def leaky_relu(x: TensorLike, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """x where positive, else ``negative_slope * x``, elementwise; ``inplace`` as in ``relu``."""
    return LeakyReLU.apply(x, slope=real("negative_slope", negative_slope, -math.inf))


def sigmoid(x: TensorLike) -> Tensor:
    """The logistic function 1 / (1 + exp(-x)), elementwise, without overflow."""
    return Sigmoid.apply(x)


def tanh(x: TensorLike) -> Tensor:
    """Hyperbolic tangent, elementwise."""
    return Tanh.apply(x)


def softplus(x: TensorLike) -> Tensor:
    """ln(1 + exp(x)), elementwise, without overflow."""
    return Softplus.apply(x)
