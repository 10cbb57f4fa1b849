"""Gradient clipping, between ``backward`` and an optimiser's step."""

import math
from collections.abc import Iterable

import numpy as np

from ..arguments import real
from ..backend import array_module, as_array
from ..errors import GradientError
from ..tensor import Tensor


def clip_grad_norm_(parameters: Tensor | Iterable[Tensor], max_norm: float) -> float:
    """Scale all gradients together, in place, so that their norm is at most ``max_norm``.

    As PyTorch's function of this name, with the Euclidean norm of all elements.

    Args:
        parameters: tensors; those without a gradient do not count.
        max_norm: at least 0.

    Returns:
        The norm that the gradients had.

    Raises:
        GradientError: the norm is NaN or infinite; no gradient was changed.

    >>> w = Tensor([3.0, 4.0], requires_grad=True)
    >>> (w * w).sum().backward()
    >>> clip_grad_norm_([w], 5.0), w.grad.round(3)
    (10.0, array([3., 4.]))
    """
    max_norm = real("max_norm", max_norm)
    tensors = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    for t in tensors:
        if t.grad is not None:
            t.grad = as_array(t.grad)  # NumPy's arithmetic makes scalars of arrays without axes
    grads = list({id(t.grad): t.grad for t in tensors if t.grad is not None}.values())
    wide = (g.astype(np.result_type(g.dtype, np.float32), copy=False) for g in grads)
    squares = [float((g * g).sum(dtype=np.float64)) for g in wide]
    norm = math.sqrt(math.fsum(squares))
    if not math.isfinite(norm):
        raise GradientError(f"clip_grad_norm_: expected a finite norm of gradients, got {norm}")
    scale = max_norm / (norm + 1e-6)
    if scale < 1:
        for g in grads:
            g *= array_module(g).asarray(scale, g.dtype)
    return norm
