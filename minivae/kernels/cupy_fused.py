"""Elementwise and row-sum kernels that CuPy compiles (ElementwiseKernel, ReductionKernel).

Each kernel reads its inputs once and keeps intermediate values in registers. But an elementwise
kernel cannot sum rows and a reduction cannot write elements, so a loss with its gradient takes two
passes over memory. Noise is an array here; a ``NoiseKey`` is drawn by the reference on the host and
copied. CuPy appends -ftz=true to the compiler's options, so subnormal float32 numbers become 0.

Signatures and meaning are those of ``reference``; arrays are CuPy's. The registry imports this
module if a device answered.
"""

from typing import Any

from ..backend import Array, device_module
from .philox import Eps
from .reference import RowLoss, bias_corrections, eps_of
from .reference_layers import Arrays

_cupy = device_module()
# A product and a sum are rounded separately, as in all kernels of this package.
_OPTIONS = ("--fmad=false",)


def _elementwise(inputs: str, outputs: str, body: str, name: str) -> Any:
    return _cupy.ElementwiseKernel(inputs, outputs, body, f"minivae_{name}", options=_OPTIONS)


def _row_sum(inputs: str, term: str, name: str) -> Any:
    """A kernel that sums ``term`` over the last axis in double and rounds once."""
    return _cupy.ReductionKernel(
        inputs, "T sum", f"double({term})", "a + b", "sum = a", "0", f"minivae_{name}",
        reduce_type="double", options=_OPTIONS,
    )  # fmt: skip


_reparameterize = _elementwise(
    "T mu, T logvar, T eps", "T z", "z = mu + exp(T(0.5) * logvar) * eps", "reparameterize"
)
_kl = _row_sum("T mu, T logvar", "T(0.5) * (mu * mu + (expm1(logvar) - logvar))", "kl")
_reparam_kl_gradient = _elementwise(
    "T mu, T logvar, T eps, T dz, T dkl",
    "T dmu, T dlogvar",
    """
    dmu = dz + dkl * mu;
    dlogvar = T(0.5) * (dz * eps * exp(T(0.5) * logvar) + dkl * expm1(logvar));
    """,
    "reparam_kl_gradient",
)


def reparam_kl_forward(mu: Array, logvar: Array, noise: Eps) -> tuple[Array, Array]:
    """A sample and its row's KL; see ``reference.reparam_kl_forward``."""
    return _reparameterize(mu, logvar, eps_of(noise, mu)), _kl(mu, logvar, axis=1)


def reparam_kl_backward(
    mu: Array, logvar: Array, noise: Eps, dz: Array, dkl: Array
) -> tuple[Array, Array]:
    """Gradients of both; see ``reference.reparam_kl_backward``."""
    return _reparam_kl_gradient(mu, logvar, eps_of(noise, mu), dz, dkl[:, None])


_LOGISTIC = "(logits >= 0 ? T(1) : exp(-abs(logits))) / (T(1) + exp(-abs(logits)))"

_bce_loss = _row_sum(
    "T logits, T target",
    "(logits > 0 ? logits : T(0)) - logits * target + log1p(exp(-abs(logits)))",
    "bce_loss",
)
_bce_gradient = _elementwise(
    "T logits, T target, T scale",
    "T dlogits",
    f"dlogits = ({_LOGISTIC} - target) * scale",
    "bce_gradient",
)
_squared_error = _row_sum(
    "T logits, T target",
    f"({_LOGISTIC} - target) * ({_LOGISTIC} - target)",
    "squared_error",
)
_squared_error_gradient = _elementwise(
    "T logits, T target, T scale",
    "T dlogits",
    f"""
    const T e = exp(-abs(logits));
    dlogits = T(2) * ({_LOGISTIC} - target) * (e / ((T(1) + e) * (T(1) + e))) * scale;
    """,
    "squared_error_gradient",
)


def bce_with_logits(logits: Array, target: Array, with_grad: bool, scale: float = 1.0) -> RowLoss:
    """Row sums of the cross-entropy, and the gradient; see ``reference.bce_with_logits``."""
    loss = _bce_loss(logits, target, axis=1)
    scale = logits.dtype.type(scale)
    return loss, _bce_gradient(logits, target, scale) if with_grad else None


def squared_error_with_logits(
    logits: Array, target: Array, with_grad: bool, scale: float = 1.0
) -> RowLoss:
    """Row sums of the squared error; see ``reference.squared_error_with_logits``."""
    loss = _squared_error(logits, target, axis=1)
    scale = logits.dtype.type(scale)
    return loss, _squared_error_gradient(logits, target, scale) if with_grad else None


_adam = _elementwise(
    "T grad, T weight_decay, T one_minus_beta1, T beta2, T one_minus_beta2, T step_size, "
    "T sqrt_correction, T eps",
    "T param, T m, T v",
    """
    const T g = grad + weight_decay * param;
    m = m + one_minus_beta1 * (g - m);
    v = v * beta2 + one_minus_beta2 * g * g;
    param = param - step_size * m / (sqrt(v) / sqrt_correction + eps);
    """,
    "adam",
)


def adam(
    params: Arrays, grads: Arrays, ms: Arrays, vs: Arrays, step: int, lr: float, beta1: float,
    beta2: float, eps: float, weight_decay: float,
) -> None:  # fmt: skip
    """One step of Adam in place; see ``reference.adam``."""
    corrections = bias_corrections(step, lr, beta1, beta2)
    factors = (weight_decay, 1 - beta1, beta2, 1 - beta2, *corrections, eps)
    for p, g, m, v in zip(params, grads, ms, vs, strict=True):
        _adam(g, *map(p.dtype.type, factors), p, m, v)


_relu = _elementwise("T x", "T y", "y = x > 0 || x != x ? x : T(0)", "relu")
_relu_backward = _elementwise("T y, T dy", "T dx", "dx = y <= 0 ? T(0) : dy", "relu_backward")


def relu(x: Array) -> Array:
    """max(x, 0), NaN kept."""
    return _relu(x)


def relu_backward(y: Array, dy: Array) -> Array:
    """0 where y <= 0, else dy; see ``reference_layers.relu_backward``."""
    return _relu_backward(y, dy)
