"""Tensor's operators, and its methods that are differentiable operations."""

from collections.abc import Callable
from typing import NoReturn

import numpy as np

from ..errors import GradientError
from ..tensor import Tensor, TensorLike, is_recording
from ..torch_names import missing
from . import activation, arithmetic
from .arithmetic import abs, add, div, mul, neg, pow, sub
from .linear import matmul
from .reductions import max, mean, sum
from .shapes import index, reshape, to, transpose


def _reversed(op: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return lambda self, other: op(other, self)


def _in_place(op: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """``x op= y``: changes ``x.data`` in place when not recorded, else binds x to a new tensor."""

    def update(self: Tensor, other: TensorLike) -> Tensor:
        if is_recording() and (self.requires_grad or getattr(other, "requires_grad", False)):
            if self.requires_grad and self.creator is None:
                raise GradientError(
                    "in place: expected a tensor that is not a leaf with requires_grad; change it "
                    "inside mv.no_grad(), or bind the result to a new name: y = x * 2, not x *= 2"
                )
            return op(self, other)
        result = op(self.detach(), other).data
        if result.shape != self.shape:
            raise ValueError(
                f"in place: expected a result of shape {self.shape}, got {result.shape}"
            )
        self.data[...] = result
        return self

    return update


def _not_there(self: Tensor, name: str) -> NoReturn:
    """``Tensor.__getattr__``: an AttributeError that names ``F.name`` or ``x.data.name``."""
    instead = f"x.data.{name}, which is outside the graph" if hasattr(np.ndarray, name) else None
    if name in FUNCTIONS:
        instead = f"F.{name}(x)"
    raise missing("Tensor", f"{type(self).__name__!r} object", name, instead)


FUNCTIONS = {*activation.__all__, *arithmetic.__all__}

OPERATORS = {  # of Tensor; tensor.py declares them for type checkers
    "__getattr__": _not_there,
    "__add__": add,
    "__radd__": _reversed(add),
    "__iadd__": _in_place(add),
    "__sub__": sub,
    "__rsub__": _reversed(sub),
    "__isub__": _in_place(sub),
    "__mul__": mul,
    "__rmul__": _reversed(mul),
    "__imul__": _in_place(mul),
    "__truediv__": div,
    "__rtruediv__": _reversed(div),
    "__itruediv__": _in_place(div),
    "__pow__": pow,
    "__rpow__": _reversed(pow),
    "__ipow__": _in_place(pow),
    "__matmul__": matmul,
    "__rmatmul__": _reversed(matmul),
    "__neg__": neg,
    "__abs__": abs,
    "__getitem__": index,
    "sum": sum,
    "mean": mean,
    "max": max,
    "reshape": reshape,
    "view": reshape,
    "transpose": transpose,
    "T": property(transpose),
    "to": to,
}
for _name, _operator in OPERATORS.items():
    setattr(Tensor, _name, _operator)
