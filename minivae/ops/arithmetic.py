"""Arithmetic and elementary functions, element by element with broadcasting.

In every docstring ``y`` is the output, ``dy`` is dL/dy and ``dx`` is dL/dx for a scalar L.

Derivations: docs/elementwise.md.
"""

import numpy as np

from ..backend import Array
from ..tensor import Function, Grads, Tensor, TensorLike

__all__ = ["abs", "add", "div", "exp", "expm1", "log", "mul", "neg", "pow", "sqrt", "sub"]


class Add(Function):
    """y = a + b;  da = dy;  db = dy."""

    def forward(self, a: Array, b: Array) -> Array:
        return a + b

    def backward(self, dy: Array) -> Grads:
        return dy, dy


class Sub(Function):
    """y = a - b;  da = dy;  db = -dy."""

    def forward(self, a: Array, b: Array) -> Array:
        return a - b

    def backward(self, dy: Array) -> Grads:
        return dy, -dy if self.needs[1] else None


class Mul(Function):
    """y = a b;  da = dy b;  db = dy a."""

    def forward(self, a: Array, b: Array) -> Array:
        self.save(a, b)
        return a * b

    def backward(self, dy: Array) -> Grads:
        a, b = self.saved
        return dy * b if self.needs[0] else None, dy * a if self.needs[1] else None


class Div(Function):
    """y = a / b;  da = dy / b;  db = -dy y / b."""

    def forward(self, a: Array, b: Array) -> Array:
        y = a / b
        self.save(b, y)
        return y

    def backward(self, dy: Array) -> Grads:
        b, y = self.saved
        da = dy / b
        return da, -da * y if self.needs[1] else None


class Neg(Function):
    """y = -x;  dx = -dy."""

    def forward(self, x: Array) -> Array:
        return -x

    def backward(self, dy: Array) -> Array:
        return -dy


class Abs(Function):
    """y = |x|;  dx = dy sign(x), and 0 at the kink."""

    def forward(self, x: Array) -> Array:
        self.save(x)
        return self.xp.abs(x)

    def backward(self, dy: Array) -> Array:
        (x,) = self.saved
        return dy * self.xp.sign(x)


class Pow(Function):
    """y = x^p for a fixed number p;  dx = dy p x^(p-1), and 0 for p = 0."""

    def forward(self, x: Array, exponent: float) -> Array:
        self.exponent = exponent
        self.save(x)
        return x**exponent

    def backward(self, dy: Array) -> Array:
        (x,) = self.saved
        p = self.exponent
        return dy * (p * x ** (p - 1)) if p != 0 else self.xp.zeros_like(x)


class Power(Function):
    """y = a^b;  da = dy b a^(b-1), and 0 where b = 0;  db = dy y ln a, and 0 where a = 0 <= b."""

    def forward(self, a: Array, b: Array) -> Array:
        y = a**b
        self.save(a, b, y)
        return y

    def backward(self, dy: Array) -> Grads:
        a, b, y = self.saved
        where, da, db = self.xp.where, None, None
        if self.needs[0]:
            da = dy * b * a ** (where(b == 0, 1, b) - 1)
        if self.needs[1]:
            zero = (a == 0) & (b >= 0)
            db = dy * where(zero, 0, y * self.xp.log(where(zero, 1, a)))
        return da, db


class Exp(Function):
    """y = exp(x);  dx = dy y."""

    def forward(self, x: Array) -> Array:
        y = self.xp.exp(x)
        self.save(y)
        return y

    def backward(self, dy: Array) -> Array:
        (y,) = self.saved
        return dy * y


class Expm1(Function):
    """y = exp(x) - 1, without cancellation near 0;  dx = dy (y + 1)."""

    def forward(self, x: Array) -> Array:
        y = self.xp.expm1(x)
        self.save(y)
        return y

    def backward(self, dy: Array) -> Array:
        (y,) = self.saved
        return dy * (y + 1)


class Log(Function):
    """y = ln x;  dx = dy / x."""

    def forward(self, x: Array) -> Array:
        self.save(x)
        return self.xp.log(x)

    def backward(self, dy: Array) -> Array:
        (x,) = self.saved
        return dy / x


class Sqrt(Function):
    """y = sqrt(x);  dx = dy / (2 y)."""

    def forward(self, x: Array) -> Array:
        y = self.xp.sqrt(x)
        self.save(y)
        return y

    def backward(self, dy: Array) -> Array:
        (y,) = self.saved
        return dy / (2 * y)


def add(a: TensorLike, b: TensorLike) -> Tensor:
    """a + b, broadcast."""
    return Add.apply(a, b)


def sub(a: TensorLike, b: TensorLike) -> Tensor:
    """a - b, broadcast."""
    return Sub.apply(a, b)


def mul(a: TensorLike, b: TensorLike) -> Tensor:
    """Elementwise product a b, broadcast."""
    return Mul.apply(a, b)


def div(a: TensorLike, b: TensorLike) -> Tensor:
    """Elementwise quotient a / b, broadcast."""
    return Div.apply(a, b)


def neg(x: TensorLike) -> Tensor:
    """-x."""
    return Neg.apply(x)


def abs(x: TensorLike) -> Tensor:
    """The magnitude, elementwise; gradient 0 at the kink."""
    return Abs.apply(x)


def pow(x: TensorLike, exponent: TensorLike) -> Tensor:
    """x ** exponent, elementwise, broadcast; either may be a number."""
    if isinstance(exponent, (int, float, np.number)):
        return Pow.apply(x, exponent=exponent)
    return Power.apply(x, exponent)


def exp(x: TensorLike) -> Tensor:
    """Exponential, elementwise."""
    return Exp.apply(x)


def expm1(x: TensorLike) -> Tensor:
    """exp(x) - 1 without cancellation near 0, elementwise."""
    return Expm1.apply(x)


def log(x: TensorLike) -> Tensor:
    """Natural logarithm, elementwise."""
    return Log.apply(x)


def sqrt(x: TensorLike) -> Tensor:
    """Square root, elementwise."""
    return Sqrt.apply(x)
