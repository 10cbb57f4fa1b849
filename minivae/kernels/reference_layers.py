"""Reference kernels of the layers in plain array code: matrix products, convolution, batch norm.

Shapes: N images, C input and O output channels, H W and OH OW sizes, KH KW the kernel. The three
convolution kernels loop over the taps (k, l) of the filter and use the same slices of the padded
input for a tap (``_taps``).
"""

import functools
import operator
from collections.abc import Iterator, Sequence
from typing import TypeAlias

import numpy as np

from ..backend import Array, array_module
from .conv_shape import Size, output_sizes

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

Arrays: TypeAlias = Sequence[Array]
Needs: TypeAlias = tuple[bool, bool, bool]
GradList: TypeAlias = list[Array | None]
LinearGrads: TypeAlias = tuple[Array | None, GradList, GradList]


def matmul(a: Array, b: Array, bias: Array | None = None, rectify: bool = False) -> Array:
    """a b + bias, bias added to every row: a (M, K), b (K, N), any strides; bias (N,).

    With ``rectify`` it is max(a b + bias, 0), NaN kept.
    """
    y = array_module(a).matmul(a, b)
    if bias is not None:
        y += bias
    if rectify:
        y[...] = relu(y)
    return y


def linear(
    x: Array, weights: Arrays, biases: Sequence[Array | None], rectify: bool = False
) -> list[Array]:
    """[y_0, y_1, ...] with y_k = x W_k^T + b_k for one x; max(y_k, 0) with ``rectify``.

    Args:
        x: (N, I). weights: (O_k, I) each. biases: (O_k,) each, or None.
    """
    return [matmul(x, w.T, b, rectify=rectify) for w, b in zip(weights, biases, strict=True)]


def linear_backward(
    x: Array, weights: Arrays, dys: Arrays, y: Array | None, needs: Needs, unread: bool = False,
) -> LinearGrads:  # fmt: skip
    """dx = sum_k d_k W_k;  dW_k = d_k^T x;  db_k = column sums of d_k.

    d_k = dy_k; after a ReLU, which only a single map can have, d_0 = 0 where its result y <= 0.

    Args:
        x, weights: as in ``linear``. dys: (N, O_k) each. y: (N, O_0), or None without a ReLU.
        needs: whether dx, the dWs and the dbs are needed.
        unread: whether the dWs and dbs are not read before the backward pass ends, so that they may
            be computed in parallel with the rest of it.

    Returns:
        dx (N, I), a list of (O_k, I), a list of (O_k,); None for those that are not needed.
    """
    if y is not None:
        dys = [relu_backward(y, dys[0])]
    dx = functools.reduce(operator.add, map(matmul, dys, weights)) if needs[0] else None
    dws: GradList = [matmul(d.T, x) if needs[1] else None for d in dys]
    dbs: GradList = [channel_sum(d[:, :, None]) if needs[2] else None for d in dys]
    return dx, dws, dbs


def update_running(
    mean: Array, var: Array, count: int, momentum: float, running_mean: Array, running_var: Array
) -> None:
    """Update running statistics (C,) with those of a batch of ``count`` values, in place.

    ``var`` is the biased variance of the batch; the running variance uses the unbiased one.

    Raises:
        ValueError: ``count`` is below 2, where there is no unbiased variance.
    """
    if count < 2:
        raise ValueError(f"count: expected at least 2, got {count}")
    running_mean += momentum * (mean - running_mean)
    running_var += momentum * (var * (count / (count - 1)) - running_var)


def relu(x: Array) -> Array:
    """max(x, 0), NaN kept."""
    return array_module(x).maximum(x, 0)


def relu_backward(y: Array, dy: Array) -> Array:
    """dx = 0 where y <= 0, else dy, also where y is NaN."""
    xp = array_module(dy)
    return xp.ascontiguousarray(xp.where(y <= 0, dy.dtype.type(0), dy))


def bias_relu_backward(y: Array, dy: Array) -> tuple[Array, Array]:
    """``relu_backward`` and the gradient of the bias before it, for channels of (N, C, L).

    Returns:
        dx (N, C, L), db (C,): the sums of dx over N and L.
    """
    dx = relu_backward(y, dy)
    return dx, channel_sum(dx)


def _taps(
    kernel_size: Size, out_size: Size, stride: Size, dilation: Size
) -> Iterator[tuple[int, int, slice, slice]]:
    """(k, l, rows, cols) of each tap; the slices select the inputs that it multiplies, padded."""
    (kh, kw), (oh, ow), (sh, sw), (dh, dw) = kernel_size, out_size, stride, dilation
    for k in range(kh):
        for l in range(kw):
            rows = slice(k * dh, k * dh + (oh - 1) * sh + 1, sh)
            cols = slice(l * dw, l * dw + (ow - 1) * sw + 1, sw)
            yield k, l, rows, cols


def _padded(x: Array, padding: Size) -> Array:
    (ph, pw) = padding
    return array_module(x).pad(x, ((0, 0), (0, 0), (ph, ph), (pw, pw))) if ph or pw else x


def conv2d(
    x: Array, w: Array, b: Array | None, stride: Size, padding: Size, dilation: Size,
    rectify: bool = False,
) -> Array:  # fmt: skip
    """y[n,o,i,j] = b[o] + sum_{c,k,l} w[o,c,k,l] xp[n, c, i s + k d, j s + l d], xp the padded x.

    With ``rectify`` it is max(y, 0), NaN kept.

    Args:
        x: (N, C, H, W). w: (O, C, KH, KW). b: (O,) or None. The rest: pairs.

    Returns:
        (N, O, OH, OW).
    """
    xp = array_module(x)
    out_size = output_sizes(x.shape[2:], w.shape[2:], stride, padding, dilation)
    padded = _padded(x, padding)
    y = xp.zeros((len(x), w.shape[0], *out_size), x.dtype)
    for k, l, rows, cols in _taps(w.shape[2:], out_size, stride, dilation):
        y += xp.einsum("oc,nchw->nohw", w[:, :, k, l], padded[:, :, rows, cols], optimize=True)
    y = y if b is None else y + b[:, None, None]
    return relu(y) if rectify else y


def conv2d_grad_input(
    dy: Array, w: Array, b: Array | None, input_size: Size, stride: Size, padding: Size,
    dilation: Size, rectify: bool = False,
) -> Array:  # fmt: skip
    """The adjoint of ``conv2d`` in x: each tap adds w^T dy to the inputs it multiplied; then + b.

    With ``rectify`` it is max(., 0) of that, NaN kept.

    Args:
        dy: (N, O, OH, OW). w: (O, C, KH, KW). b: (C,) or None. input_size: (H, W).

    Returns:
        (N, C, H, W).
    """
    xp = array_module(dy)
    (h, wd), (ph, pw) = input_size, padding
    padded = xp.zeros((len(dy), w.shape[1], h + 2 * ph, wd + 2 * pw), dy.dtype)
    for k, l, rows, cols in _taps(w.shape[2:], dy.shape[2:], stride, dilation):
        padded[:, :, rows, cols] += xp.einsum("oc,nohw->nchw", w[:, :, k, l], dy, optimize=True)
    dx = padded[:, :, ph : ph + h, pw : pw + wd]
    dx = xp.ascontiguousarray(dx) if b is None else dx + b[:, None, None]
    return relu(dx) if rectify else dx


def conv2d_grad_weight(
    x: Array, dy: Array, kernel_size: Size, stride: Size, padding: Size, dilation: Size
) -> Array:
    """The adjoint of ``conv2d`` in w: dw[o,c,k,l] = <dy[:,o], inputs of tap (k, l) in x[:,c]>.

    Args:
        x: (N, C, H, W). dy: (N, O, OH, OW). kernel_size: (KH, KW).

    Returns:
        (O, C, KH, KW).
    """
    xp = array_module(x)
    padded = _padded(x, padding)
    dw = xp.zeros((dy.shape[1], x.shape[1], *kernel_size), x.dtype)
    for k, l, rows, cols in _taps(kernel_size, dy.shape[2:], stride, dilation):
        dw[:, :, k, l] = xp.einsum("nohw,nchw->oc", dy, padded[:, :, rows, cols], optimize=True)
    return dw


def channel_sum(x: Array) -> Array:
    """Sums over N and L: x (N, C, L) -> (C,), accumulated in float64."""
    return x.sum(axis=(0, 2), dtype=np.float64).astype(x.dtype)


def batch_norm_forward(
    x: Array, w: Array, b: Array, mean: Array | None, var: Array | None, eps: float
) -> tuple[Array, Array, Array]:
    """y = w (x - mean) / sqrt(var + eps) + b for each channel; mean and var of the batch if None.

    Args:
        x: (N, C, L). w, b: (C,). mean, var: (C,), or None for the batch's (biased) own.

    Returns:
        y (N, C, L), mean (C,), var (C,).
    """
    if mean is None or var is None:
        mean = x.mean(axis=(0, 2), dtype=np.float64)
        var = ((x - mean[:, None]) ** 2).mean(axis=(0, 2))
        mean, var = mean.astype(x.dtype), var.astype(x.dtype)
    scale = w / array_module(x).sqrt(var + x.dtype.type(eps))
    return (x - mean[:, None]) * scale[:, None] + b[:, None], mean, var


def batch_norm_backward(
    x: Array, w: Array, mean: Array, var: Array, eps: float, dy: Array, training: bool
) -> tuple[Array, Array, Array]:
    """Gradients of ``batch_norm_forward``; with xh = (x - mean) / sqrt(var + eps) and count = N L:

    dw = sum(dy xh);  db = sum(dy);  dx = w / sqrt(var + eps) [dy - (db + xh dw) / count], the
    bracket being dy alone when mean and var are constants (``training`` False).

    Returns:
        dx (N, C, L), dw (C,), db (C,).
    """
    if x.dtype == np.float16:  # in which a large count is infinite
        wide_x, w, mean, var, dy = (a.astype(np.float32) for a in (x, w, mean, var, dy))
        dx, dw, db = batch_norm_backward(wide_x, w, mean, var, eps, dy, training)
        return dx.astype(x.dtype), dw.astype(x.dtype), db.astype(x.dtype)
    inverse = 1 / array_module(x).sqrt(var + x.dtype.type(eps))
    xh = (x - mean[:, None]) * inverse[:, None]
    dw = channel_sum(dy * xh)
    db = channel_sum(dy)
    if training:
        count = x.shape[0] * x.shape[2]
        dy = dy - (db[:, None] + xh * dw[:, None]) / count
    return dy * (w * inverse)[:, None], dw, db
