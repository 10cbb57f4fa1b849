"""The compiled kernels behind the layers, with the names and meaning of ``reference_layers``.

The products and convolutions of csrc/cpu use the project's own threads and no BLAS. Arrays are
copied first where they are not C-contiguous; matrices may have any strides.
"""

import numpy as np

from .. import _cpu

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


def matmul(a, b, bias=None, rectify=False):
    """a b + bias; see ``reference_layers.matmul``."""
    return _cpu.matmul(a, b, packed(bias), rectify)


def linear(x, weights, biases, rectify=False):
    """Several affine maps; see ``reference_layers.linear``."""
    return [matmul(x, w.T, b, rectify=rectify) for w, b in zip(weights, biases, strict=True)]


def linear_backward(x, weights, dys, y, needs, unread=False):
    """Their gradients; see ``reference_layers.linear_backward``."""
    dx, dws, dbs = None, [None] * len(dys), [None] * len(dys)
    if y is not None:
        d, dbs[0] = bias_relu_backward(y[:, :, None], dys[0][:, :, None])
        dys = [d[:, :, 0]]
    elif needs[2]:
        dbs = [channel_sum(dy[:, :, None]) for dy in dys]
    for k, (w, d) in enumerate(zip(weights, dys, strict=True)):
        if needs[0]:
            dx = matmul(d, w) if dx is None else _cpu.add(dx, matmul(d, w))
        dws[k] = matmul(d.T, x) if needs[1] else None
    return dx, dws, dbs if needs[2] else [None] * len(dys)


def conv2d(x, w, b, stride, padding, dilation):
    """Convolution; see ``reference_layers.conv2d``."""
    return _cpu.conv2d(packed(x), packed(w), packed(b), stride, padding, dilation)


def conv2d_grad_input(dy, w, b, input_size, stride, padding, dilation):
    """Its adjoint in x; see ``reference_layers.conv2d_grad_input``."""
    return _cpu.conv2d_grad_input(
        packed(dy), packed(w), packed(b), input_size, stride, padding, dilation
    )


def conv2d_grad_weight(x, dy, kernel_size, stride, padding, dilation):
    """Its adjoint in w; see ``reference_layers.conv2d_grad_weight``."""
    return _cpu.conv2d_grad_weight(packed(x), packed(dy), kernel_size, stride, padding, dilation)


def channel_sum(x):
    """Sums over all but the channel; see ``reference_layers.channel_sum``."""
    return _cpu.channel_sum(packed(x))


def batch_norm_forward(x, w, b, mean, var, eps):
    """Normalised channels; see ``reference_layers.batch_norm_forward``."""
    return _cpu.batch_norm_forward(*map(packed, (x, w, b, mean, var)), eps)


def batch_norm_backward(x, w, mean, var, eps, dy, training):
    """Its gradients; see ``reference_layers.batch_norm_backward``."""
    return _cpu.batch_norm_backward(*map(packed, (x, w, mean, var)), eps, packed(dy), training)


def update_running(mean, var, count, momentum, running_mean, running_var):
    """Running statistics after a batch; see ``reference_layers.update_running``."""
    _cpu.update_running(mean, var, count, momentum, running_mean, running_var)


def relu(x):
    """max(x, 0); see ``reference_layers.relu``."""
    return _cpu.relu(packed(x))


def relu_backward(y, dy):
    """0 where y <= 0, else dy; see ``reference_layers.relu_backward``."""
    return _cpu.relu_backward(packed(y), packed(dy))


def bias_relu_backward(y, dy):
    """The same, and its sums; see ``reference_layers.bias_relu_backward``."""
    return _cpu.bias_relu_backward(packed(y), packed(dy))


def packed(x):
    """The array itself where it is C-contiguous, else a copy that is; None stays None."""
    return x if x is None or x.flags.c_contiguous else np.ascontiguousarray(x)
