"""The compiled CPU kernels of the layers, with the names and meaning of ``reference_layers``.

The products and convolutions of csrc/cpu use the project's own threads and no BLAS. Arrays that are
not C-contiguous are copied first; matrices may have any strides.
"""

import functools
from collections.abc import Sequence

from .. import _cpu
from ..backend import Array, contiguous
from .conv_shape import Size
from .reference_layers import Arrays, GradList, LinearGrads, Needs

__all__ = [
    "batch_norm_backward",
    "batch_norm_forward",
    "bias_relu_backward",
    "channel_sum",
    "conv2d",
    "conv2d_grad_input",
    "conv2d_grad_weight",
    "linear",
    "linear_backward",
    "matmul",
    "relu",
    "relu_backward",
    "update_running",
]


def matmul(a: Array, b: Array, bias: Array | None = None, rectify: bool = False) -> Array:
    """a b + bias; see ``reference_layers.matmul``."""
    return _cpu.matmul(a, b, packed(bias), rectify)


def linear(
    x: Array, weights: Arrays, biases: Sequence[Array | None], rectify: bool = False
) -> list[Array]:
    """Several affine maps; see ``reference_layers.linear``."""
    return [matmul(x, w.T, b, rectify=rectify) for w, b in zip(weights, biases, strict=True)]


def linear_backward(
    x: Array, weights: Arrays, dys: Arrays, y: Array | None, needs: Needs, unread: bool = False,
) -> LinearGrads:  # fmt: skip
    """Gradients of ``linear``; see ``reference_layers.linear_backward``."""
    dbs: GradList = [None] * len(dys)
    if y is not None:
        d, db = bias_relu_backward(y[:, :, None], dys[0][:, :, None])
        dys, dbs = [d[:, :, 0]], [db]
    elif needs[2]:
        dbs = [channel_sum(dy[:, :, None]) for dy in dys]
    dx = functools.reduce(_cpu.add, map(matmul, dys, weights)) if needs[0] else None
    return dx, [matmul(d.T, x) if needs[1] else None for d in dys], dbs


def conv2d(
    x: Array, w: Array, b: Array | None, stride: Size, padding: Size, dilation: Size,
    rectify: bool = False,
) -> Array:  # fmt: skip
    """Convolution; see ``reference_layers.conv2d``."""
    return _cpu.conv2d(packed(x), packed(w), packed(b), stride, padding, dilation, rectify)


def conv2d_grad_input(
    dy: Array, w: Array, b: Array | None, input_size: Size, stride: Size, padding: Size,
    dilation: Size, rectify: bool = False,
) -> Array:  # fmt: skip
    """Adjoint of ``conv2d`` in x; see ``reference_layers.conv2d_grad_input``."""
    return _cpu.conv2d_grad_input(
        packed(dy), packed(w), packed(b), input_size, stride, padding, dilation, rectify
    )


def conv2d_grad_weight(
    x: Array, dy: Array, kernel_size: Size, stride: Size, padding: Size, dilation: Size
) -> Array:
    """Adjoint of ``conv2d`` in w; see ``reference_layers.conv2d_grad_weight``."""
    return _cpu.conv2d_grad_weight(packed(x), packed(dy), kernel_size, stride, padding, dilation)


def channel_sum(x: Array) -> Array:
    """Sums for each channel; see ``reference_layers.channel_sum``."""
    return _cpu.channel_sum(packed(x))


def batch_norm_forward(
    x: Array, w: Array, b: Array, mean: Array | None, var: Array | None, eps: float
) -> tuple[Array, Array, Array]:
    """Normalised channels; see ``reference_layers.batch_norm_forward``."""
    return _cpu.batch_norm_forward(*map(packed, (x, w, b, mean, var)), eps)


def batch_norm_backward(
    x: Array, w: Array, mean: Array, var: Array, eps: float, dy: Array, training: bool
) -> tuple[Array, Array, Array]:
    """Gradients of ``batch_norm_forward``; see ``reference_layers.batch_norm_backward``."""
    return _cpu.batch_norm_backward(*map(packed, (x, w, mean, var)), eps, packed(dy), training)


def update_running(
    mean: Array, var: Array, count: int, momentum: float, running_mean: Array, running_var: Array
) -> None:
    """Running statistics after a batch; see ``reference_layers.update_running``."""
    _cpu.update_running(mean, var, count, momentum, running_mean, running_var)


def relu(x: Array) -> Array:
    """max(x, 0); see ``reference_layers.relu``."""
    return _cpu.relu(packed(x))


def relu_backward(y: Array, dy: Array) -> Array:
    """0 where y <= 0, else dy; see ``reference_layers.relu_backward``."""
    return _cpu.relu_backward(packed(y), packed(dy))


def bias_relu_backward(y: Array, dy: Array) -> tuple[Array, Array]:
    """ReLU's gradient and the bias's; see ``reference_layers.bias_relu_backward``."""
    return _cpu.bias_relu_backward(packed(y), packed(dy))


def packed(x: Array | None) -> Array | None:
    """The array itself if it is C-contiguous, else a C-contiguous copy; None for None."""
    return None if x is None else contiguous(x)
