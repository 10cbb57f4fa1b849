"""The CUDA kernels behind the layers, with the names and meaning of ``reference_conv``.

Matrix products and convolutions run through the extension's own cuBLASLt handle and workspace, or
through its own kernels; see csrc/cuda. Arrays are copied first where they are not C-contiguous;
matrices may also be transposed.
"""

from .. import _cuda
from ..backend import current_stream, device_module

__all__ = [
    "batch_norm_backward",
    "batch_norm_forward",
    "channel_sum",
    "conv2d",
    "conv2d_grad_input",
    "conv2d_grad_weight",
    "matmul",
    "relu",
    "relu_backward",
]

VERSIONS = {}

_cupy = device_module()


def _packed(x):
    return x if x is None or x.flags.c_contiguous else _cupy.ascontiguousarray(x)


def _out_size(size, kernel_size, stride, padding, dilation):
    return tuple(
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, k, s, p, d in zip(size, kernel_size, stride, padding, dilation, strict=True)
    )


def matmul(a, b, bias=None, out=None):
    """a b + bias; see ``reference_conv.matmul``."""
    if out is None:
        out = _cupy.empty((a.shape[0], b.shape[1]), a.dtype)
    _cuda.matmul(_matrix(a), _matrix(b), _packed(bias), out, current_stream())
    return out


def _matrix(a):
    """A matrix as it lies when it or its transpose is C-contiguous, else a copy."""
    return a if a.flags.c_contiguous or a.flags.f_contiguous else _cupy.ascontiguousarray(a)


def conv2d(x, w, b, stride, padding, dilation):
    """Convolution; see ``reference_conv.conv2d``."""
    size = _out_size(x.shape[2:], w.shape[2:], stride, padding, dilation)
    y = _cupy.empty((len(x), len(w), *size), x.dtype)
    _cuda.conv2d(
        _packed(x), _packed(w), _packed(b), stride, padding, dilation, y, current_stream()
    )  # fmt: skip
    return y


def conv2d_grad_input(dy, w, b, input_size, stride, padding, dilation):
    """Its adjoint in x; see ``reference_conv.conv2d_grad_input``."""
    dx = _cupy.empty((len(dy), w.shape[1], *input_size), dy.dtype)
    _cuda.conv2d_grad_input(
        _packed(dy), _packed(w), _packed(b), input_size, stride, padding, dilation, dx,
        current_stream(),
    )  # fmt: skip
    return dx


def conv2d_grad_weight(x, dy, kernel_size, stride, padding, dilation):
    """Its adjoint in w; see ``reference_conv.conv2d_grad_weight``."""
    dw = _cupy.empty((dy.shape[1], x.shape[1], *kernel_size), x.dtype)
    _cuda.conv2d_grad_weight(
        _packed(x), _packed(dy), kernel_size, stride, padding, dilation, dw, current_stream()
    )  # fmt: skip
    return dw


def channel_sum(x):
    """Sums over all but the channel; see ``reference_conv.channel_sum``."""
    out = _cupy.empty(x.shape[1], x.dtype)
    _cuda.channel_sum(_packed(x), out, current_stream())
    return out


def batch_norm_forward(x, w, b, mean, var, eps):
    """Normalised channels; see ``reference_conv.batch_norm_forward``."""
    x = _packed(x)
    y, m, v = _cupy.empty(x.shape, x.dtype), *(_cupy.empty(x.shape[1], x.dtype) for _ in "mv")
    _cuda.batch_norm_forward(
        x, *map(_packed, (w, b, mean, var)), eps, y, m, v, current_stream()
    )  # fmt: skip
    return y, m, v


def batch_norm_backward(x, w, mean, var, eps, dy, training):
    """Its gradients; see ``reference_conv.batch_norm_backward``."""
    x = _packed(x)
    dx, dw, db = _cupy.empty(x.shape, x.dtype), *(_cupy.empty(x.shape[1], x.dtype) for _ in "wb")
    _cuda.batch_norm_backward(
        x, *map(_packed, (w, mean, var)), eps, _packed(dy), training, dx, dw, db, current_stream()
    )  # fmt: skip
    return dx, dw, db


def relu(x):
    """max(x, 0); see ``reference_conv.relu``."""
    y = _cupy.empty(x.shape, x.dtype)
    _cuda.relu(_packed(x), y, current_stream())
    return y


def relu_backward(y, dy):
    """dy where y > 0; see ``reference_conv.relu_backward``."""
    dx = _cupy.empty(y.shape, y.dtype)
    _cuda.relu_backward(_packed(y), _packed(dy), dx, current_stream())
    return dx
