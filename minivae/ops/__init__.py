"""The differentiable operations: one small class each, forward and backward side by side."""

from .. import kernels
from ..backend import Array
from ..tensor import Function
from . import operators  # noqa: F401  gives Tensor its operators


def add_gradients(a: Array, b: Array) -> Array:
    """a + b by a kernel: the sum of two contributions to the gradient of one tensor."""
    return kernels.get("add", a, b)(a, b)


Function.add = staticmethod(add_gradients)
