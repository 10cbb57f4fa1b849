"""The CUDA kernels behind the layers, with the names and meaning of ``reference_layers``.

Matrix products and convolutions run through the extension's own cuBLASLt handle and workspace, or
through its own kernels; see csrc/cuda. Arrays are copied first where they are not C-contiguous;
matrices may also be transposed.
"""

import numpy as np

from .. import _cuda
from ..backend import current_stream, device_module
from . import cublaslt
from .conv_shape import output_sizes

__all__ = [
    "batch_norm_backward",
    "batch_norm_forward",
    "bias_relu_backward",
    "channel_sum",
    "conv2d",
    "conv2d_grad_input",
    "conv2d_grad_weight",
    "matmul",
    "relu",
    "relu_backward",
]

# Of matmul's versions 0 is cuBLASLt, or where it cannot serve the best of our own with every digit.
BEST = 0

cublaslt.found()
_cupy = device_module()


def _packed(x):
    return x if x is None or x.flags.c_contiguous else _cupy.ascontiguousarray(x)


def scratch(size, dtype=np.float64):
    """Room that a kernel asks for and leaves as it likes: fresh memory, or None for none."""
    return _cupy.empty(size, dtype) if size else None


def matmul(a, b, bias=None, rectify=False, version=BEST):
    """a b + bias; see ``reference_layers.matmul``."""
    out = _cupy.empty((a.shape[0], b.shape[1]), a.dtype)
    room = scratch(_cuda.matmul_scratch(a.shape[0], b.shape[1], a.shape[1]))
    _cuda.matmul(a, b, _packed(bias), rectify, out, room, version, current_stream())
    return out


def conv2d(x, w, b, stride, padding, dilation):
    """Convolution; see ``reference_layers.conv2d``."""
    size = output_sizes(x.shape[2:], w.shape[2:], stride, padding, dilation)
    y = _cupy.empty((len(x), len(w), *size), x.dtype)
    _cuda.conv2d(
        _packed(x), _packed(w), _packed(b), stride, padding, dilation, False, y, current_stream()
    )  # fmt: skip
    return y


def conv2d_grad_input(dy, w, b, input_size, stride, padding, dilation):
    """Its adjoint in x; see ``reference_layers.conv2d_grad_input``."""
    dx = _cupy.empty((len(dy), w.shape[1], *input_size), dy.dtype)
    _cuda.conv2d_grad_input(
        _packed(dy), _packed(w), _packed(b), input_size, stride, padding, dilation, False, dx,
        current_stream(),
    )  # fmt: skip
    return dx


def conv2d_grad_weight(x, dy, kernel_size, stride, padding, dilation):
    """Its adjoint in w; see ``reference_layers.conv2d_grad_weight``."""
    dw = _cupy.empty((dy.shape[1], x.shape[1], *kernel_size), x.dtype)
    filters, sums = dy.shape[1], len(dy) * dy.shape[2] * dy.shape[3]
    room = scratch(_cuda.conv2d_grad_weight_scratch(filters, dw.size // max(1, filters), sums))
    _cuda.conv2d_grad_weight(
        _packed(x), _packed(dy), kernel_size, stride, padding, dilation, dw, room, current_stream()
    )  # fmt: skip
    return dw


def channel_sum(x):
    """Sums over all but the channel; see ``reference_layers.channel_sum``."""
    out = _cupy.empty(x.shape[1], x.dtype)
    room = scratch(_cuda.channel_scratch(*x.shape, 1))
    _cuda.channel_sum(_packed(x), out, room, current_stream())
    return out


def batch_norm_forward(x, w, b, mean, var, eps):
    """Normalised channels; see ``reference_layers.batch_norm_forward``."""
    x, w, b, mean, var = map(_packed, (x, w, b, mean, var))
    y, new = _cupy.empty(x.shape, x.dtype), (None, None)
    if mean is None:
        new = _cupy.empty(x.shape[1], x.dtype), _cupy.empty(x.shape[1], x.dtype)
    room = scratch(_cuda.channel_scratch(*x.shape, 2))
    _cuda.batch_norm_forward(x, w, b, mean, var, eps, y, *new, room, current_stream())
    return (y, *new) if mean is None else (y, mean, var)


def batch_norm_backward(x, w, mean, var, eps, dy, training):
    """Its gradients; see ``reference_layers.batch_norm_backward``."""
    x, w, mean, var, dy = map(_packed, (x, w, mean, var, dy))
    dx = _cupy.empty(x.shape, x.dtype)
    dw, db = (_cupy.empty(x.shape[1], x.dtype) for _ in "wb")
    room = scratch(_cuda.channel_scratch(*x.shape, 2))
    _cuda.batch_norm_backward(
        x, w, mean, var, eps, dy, training, dx, dw, db, room, current_stream()
    )  # fmt: skip
    return dx, dw, db


def relu(x):
    """max(x, 0); see ``reference_layers.relu``."""
    y = _cupy.empty(x.shape, x.dtype)
    _cuda.relu(_packed(x), y, current_stream())
    return y


def relu_backward(y, dy):
    """0 where y <= 0, else dy; see ``reference_layers.relu_backward``."""
    dx = _cupy.empty(y.shape, y.dtype)
    _cuda.relu_backward(_packed(y), _packed(dy), dx, current_stream())
    return dx


def bias_relu_backward(y, dy):
    """The same, and its sums; see ``reference_layers.bias_relu_backward``."""
    dx, db = _cupy.empty(y.shape, y.dtype), _cupy.empty(y.shape[1], y.dtype)
    room = scratch(_cuda.channel_scratch(*y.shape, 1))
    _cuda.bias_relu_backward(_packed(y), _packed(dy), dx, db, room, current_stream())
    return dx, db
