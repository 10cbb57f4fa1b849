"""Every operation as a function of tensors (arrays and numbers welcome), in one place.

Derivation, class, test and kernel of each: docs/ops.md.
"""

from .ops.activation import leaky_relu, relu, sigmoid, softplus, tanh
from .ops.basic import (
    add,
    concatenate,
    div,
    exp,
    expm1,
    flatten,
    index,
    log,
    log_mean_exp,
    matmul,
    max,
    mean,
    mul,
    neg,
    pow,
    reshape,
    sqrt,
    sub,
    sum,
    transpose,
)
from .ops.batch_norm import batch_norm
from .ops.conv import conv2d, conv_transpose2d
from .ops.linear import linear
from .ops.loss import (
    bce_with_logits,
    gaussian_nll,
    mse,
    negative_elbo,
    squared_error_with_logits,
)
from .ops.reparam_kl import reparameterize_kl

__all__ = [
    "add",
    "batch_norm",
    "bce_with_logits",
    "concatenate",
    "conv2d",
    "conv_transpose2d",
    "div",
    "exp",
    "expm1",
    "flatten",
    "gaussian_nll",
    "index",
    "leaky_relu",
    "linear",
    "log",
    "log_mean_exp",
    "matmul",
    "max",
    "mean",
    "mse",
    "mul",
    "neg",
    "negative_elbo",
    "pow",
    "relu",
    "reparameterize_kl",
    "reshape",
    "sigmoid",
    "softplus",
    "sqrt",
    "squared_error_with_logits",
    "sub",
    "sum",
    "tanh",
    "transpose",
]
