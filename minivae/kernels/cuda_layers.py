"""The CUDA kernels of the layers, with the names and meaning of ``reference_layers``.

Matrix products and convolutions use cuBLASLt, with a handle and workspace of the extension, or the
extension's own kernels; see csrc/cuda. Arrays that are not C-contiguous are copied first; matrices
may also be transposed.
"""

import contextlib
import functools
import operator
import threading
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import DTypeLike

from .. import _cuda
from ..backend import Array, current_stream, device_module
from . import cublaslt
from .conv_shape import Size, output_sizes
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

# Version 0 of matmul is cuBLASLt, or where that has no algorithm the fastest own version in full
# precision; version 0 of a convolution is the fastest one in full precision.
BEST = 0

# Up to this many multiply-adds a linear layer's product is one launch with its bias, ReLU and sums
# (csrc/cuda/linear.cu). Above it cuBLASLt computes the product, and ReLU and sums are further
# launches.
SMALL = 1 << 27

Given = TypeVar("Given", bound=Array | None)

cublaslt.found()
_cupy = device_module()
_tickets: dict[int, Any] = {}  # of each stream; see csrc/cuda/linear.h
_beside = threading.local()


def _packed(x: Given) -> Given:
    return x if x is None or x.flags.c_contiguous else _cupy.ascontiguousarray(x)


def scratch(size: int, dtype: DTypeLike = np.float64) -> Array | None:
    """Uninitialised scratch memory for a kernel, ``size`` elements; None for a size of 0."""
    return _cupy.empty(size, dtype) if size else None


def matmul(
    a: Array, b: Array, bias: Array | None = None, rectify: bool = False, version: int = BEST
) -> Array:
    """a b + bias; see ``reference_layers.matmul``."""
    out = _cupy.empty((a.shape[0], b.shape[1]), a.dtype)
    room = scratch(_cuda.matmul_scratch(a.shape[0], b.shape[1], a.shape[1]))
    _cuda.matmul(a, b, _packed(bias), rectify, out, room, version, current_stream())
    return out


def linear(
    x: Array, weights: Arrays, biases: Sequence[Array | None], rectify: bool = False,
    version: int = BEST,
) -> list[Array]:  # fmt: skip
    """Several affine maps; see ``reference_layers.linear``."""
    if version != BEST or not _is_small(x, weights):
        maps = zip(weights, biases, strict=True)
        return [matmul(x, w.T, b, rectify, version) for w, b in maps]
    ys = [_cupy.empty((len(x), len(w)), x.dtype) for w in weights]
    room = scratch(_cuda.linear_scratch(len(x), sum(map(len, weights)), x.shape[1]))
    biases = [_packed(b) for b in biases]
    stream = current_stream()
    _cuda.linear(_packed(x), weights, biases, rectify, ys, room, _tickets_of(stream), stream)
    return ys


def linear_backward(
    x: Array, weights: Arrays, dys: Arrays, y: Array | None, needs: Needs, unread: bool = False,
    version: int = BEST,
) -> LinearGrads:  # fmt: skip
    """Gradients of ``linear``; see ``reference_layers.linear_backward``.

    Inside ``beside`` the gradients of small layers' parameters are computed on its stream.
    """
    if version != BEST or not _is_small(x, weights):
        return _large_backward(x, weights, dys, y, needs, version)
    x, (n, inputs), outputs, stream = _packed(x), x.shape, sum(map(len, weights)), current_stream()
    given, dx = (x, weights, dys, y), None
    dws: GradList = [None] * len(dys)
    dbs: GradList = [None] * len(dys)
    if needs[1] or needs[2]:  # first, as the other stream waits for all earlier work on this one
        dws = [_cupy.empty(w.shape, x.dtype) for w in weights]
        dbs = [_cupy.empty(len(w), x.dtype) if needs[2] else None for w in weights]
        room = scratch(_cuda.linear_scratch(outputs, inputs + 1, n))
        other = _other_stream(given, dws, dbs, room) if unread else stream
        _cuda.linear_grad_weight(*given, dws, dbs, room, _tickets_of(other), other)
    if needs[0]:
        dx, room = _cupy.empty(x.shape, x.dtype), scratch(_cuda.linear_scratch(n, inputs, outputs))
        _cuda.linear_grad_input(*given, dx, room, _tickets_of(stream), stream)
    return dx, dws, dbs


def _large_backward(
    x: Array, weights: Arrays, dys: Arrays, y: Array | None, needs: Needs, version: int,
) -> LinearGrads:  # fmt: skip
    product = functools.partial(matmul, version=version)
    dbs: GradList = [None] * len(dys)
    if y is not None:
        d, db = bias_relu_backward(y[:, :, None], dys[0][:, :, None])
        dys, dbs = [d[:, :, 0]], [db]
    elif needs[2]:
        dbs = [channel_sum(dy[:, :, None]) for dy in dys]
    dx = functools.reduce(operator.add, map(product, dys, weights)) if needs[0] else None
    return dx, [product(d.T, x) if needs[1] else None for d in dys], dbs


def _is_small(x: Array, weights: Arrays) -> bool:
    """Whether each product is one launch: two maps at most, not empty, at most ``SMALL``."""
    size = x.size * sum(map(len, weights))
    return len(weights) <= 2 and 0 < size <= SMALL and all(w.flags.c_contiguous for w in weights)


def _tickets_of(stream: int) -> Array:
    """A stream's counters for finding a product's last block, all 0; see csrc/cuda/linear.h."""
    if stream not in _tickets:
        _tickets[stream] = _cupy.zeros(_cuda.TICKETS, np.uint64)
    return _tickets[stream]


@contextlib.contextmanager
def beside(stream: Any) -> Iterator[None]:
    """A block in which ``linear_backward`` computes ``unread`` gradients on ``stream``, in parallel
    with the current stream; at its end the current stream waits for them.
    """
    _tickets_of(stream.ptr)  # allocated here, before either stream uses them
    _beside.stream, _beside.kept = stream, []
    try:
        yield
        if _beside.kept:
            _cupy.cuda.get_current_stream().wait_event(stream.record())
    finally:
        _beside.stream, _beside.kept = None, []


def _other_stream(*used: object) -> int:
    """The address of the stream of ``beside``, made to wait for all earlier work on the current
    stream; outside ``beside`` that of the current stream. ``used`` arrays are kept alive until the
    block ends, so that their memory is not reused.
    """
    stream = getattr(_beside, "stream", None)
    if stream is None:
        return current_stream()
    stream.wait_event(_cupy.cuda.get_current_stream().record())
    _beside.kept.append(used)
    return stream.ptr


def conv2d(
    x: Array, w: Array, b: Array | None, stride: Size, padding: Size, dilation: Size,
    rectify: bool = False, version: int = BEST,
) -> Array:  # fmt: skip
    """Convolution; see ``reference_layers.conv2d``."""
    size = output_sizes(x.shape[2:], w.shape[2:], stride, padding, dilation)
    y = _cupy.empty((len(x), len(w), *size), x.dtype)
    _cuda.conv2d(
        _packed(x), _packed(w), _packed(b), stride, padding, dilation, rectify, y, version,
        current_stream(),
    )  # fmt: skip
    return y


def conv2d_grad_input(
    dy: Array, w: Array, b: Array | None, input_size: Size, stride: Size, padding: Size,
    dilation: Size, rectify: bool = False, version: int = BEST,
) -> Array:  # fmt: skip
    """Adjoint of ``conv2d`` in x; see ``reference_layers.conv2d_grad_input``."""
    dx = _cupy.empty((len(dy), w.shape[1], *input_size), dy.dtype)
    _cuda.conv2d_grad_input(
        _packed(dy), _packed(w), _packed(b), input_size, stride, padding, dilation, rectify, dx,
        version, current_stream(),
    )  # fmt: skip
    return dx


def conv2d_grad_weight(
    x: Array, dy: Array, kernel_size: Size, stride: Size, padding: Size, dilation: Size
) -> Array:
    """Adjoint of ``conv2d`` in w; see ``reference_layers.conv2d_grad_weight``."""
    dw = _cupy.empty((dy.shape[1], x.shape[1], *kernel_size), x.dtype)
    filters, sums = dy.shape[1], len(dy) * dy.shape[2] * dy.shape[3]
    room = scratch(_cuda.conv2d_grad_weight_scratch(filters, dw.size // max(1, filters), sums))
    _cuda.conv2d_grad_weight(
        _packed(x), _packed(dy), kernel_size, stride, padding, dilation, dw, room, current_stream()
    )  # fmt: skip
    return dw


def channel_sum(x: Array) -> Array:
    """Sums for each channel; see ``reference_layers.channel_sum``."""
    out = _cupy.empty(x.shape[1], x.dtype)
    room = scratch(_cuda.channel_scratch(*x.shape, 1))
    _cuda.channel_sum(_packed(x), out, room, current_stream())
    return out


def batch_norm_forward(
    x: Array, w: Array, b: Array, mean: Array | None, var: Array | None, eps: float
) -> tuple[Array, Array, Array]:
    """Normalised channels; see ``reference_layers.batch_norm_forward``."""
    given, y = map(_packed, (x, w, b, mean, var)), _cupy.empty(x.shape, x.dtype)
    room = scratch(_cuda.channel_scratch(*x.shape, 2))
    if mean is None or var is None:
        own = _cupy.empty(x.shape[1], x.dtype), _cupy.empty(x.shape[1], x.dtype)
        _cuda.batch_norm_forward(*given, eps, y, *own, room, current_stream())
        return y, *own
    _cuda.batch_norm_forward(*given, eps, y, None, None, room, current_stream())
    return y, mean, var


def batch_norm_backward(
    x: Array, w: Array, mean: Array, var: Array, eps: float, dy: Array, training: bool
) -> tuple[Array, Array, Array]:
    """Gradients of ``batch_norm_forward``; see ``reference_layers.batch_norm_backward``."""
    dx = _cupy.empty(x.shape, x.dtype)
    dw, db = (_cupy.empty(x.shape[1], x.dtype) for _ in "wb")
    room = scratch(_cuda.channel_scratch(*x.shape, 2))
    _cuda.batch_norm_backward(
        *map(_packed, (x, w, mean, var)), eps, _packed(dy), training, dx, dw, db, room,
        current_stream(),
    )  # fmt: skip
    return dx, dw, db


def update_running(
    mean: Array, var: Array, count: int, momentum: float, running_mean: Array, running_var: Array
) -> None:
    """Running statistics after a batch; see ``reference_layers.update_running``."""
    _cuda.update_running(mean, var, count, momentum, running_mean, running_var, current_stream())


def relu(x: Array) -> Array:
    """max(x, 0); see ``reference_layers.relu``."""
    y = _cupy.empty(x.shape, x.dtype)
    _cuda.relu(_packed(x), y, current_stream())
    return y


def relu_backward(y: Array, dy: Array) -> Array:
    """0 where y <= 0, else dy; see ``reference_layers.relu_backward``."""
    dx = _cupy.empty(y.shape, y.dtype)
    _cuda.relu_backward(_packed(y), _packed(dy), dx, current_stream())
    return dx


def bias_relu_backward(y: Array, dy: Array) -> tuple[Array, Array]:
    """ReLU's gradient and the bias's; see ``reference_layers.bias_relu_backward``."""
    dx, db = _cupy.empty(y.shape, y.dtype), _cupy.empty(y.shape[1], y.dtype)
    room = scratch(_cuda.channel_scratch(*y.shape, 1))
    _cuda.bias_relu_backward(_packed(y), _packed(dy), dx, db, room, current_stream())
    return dx, db
