"""Reverse-mode automatic differentiation over plain arrays: tensors and the functions between them.

A computation is a directed acyclic graph: tensors are its edges, functions its nodes. ``backward``
walks it once from the result to the leaves, handing every function the gradient of the result
with respect to its outputs and receiving the gradient with respect to its inputs (the
vector-Jacobian product). First order only: ``backward`` works on arrays and builds no graph.
"""

from .function import Function, Grads
from .grad_mode import is_recording, no_grad
from .tensor import Axis, Tensor, TensorLike, as_tensor

__all__ = [
    "Axis",
    "Function",
    "Grads",
    "Tensor",
    "TensorLike",
    "as_tensor",
    "is_recording",
    "no_grad",
]
