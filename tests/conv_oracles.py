"""Test oracles for the kernels of products, convolutions and batch norm: loops over definitions.

Nothing of minivae is imported. Products and convolutions take arrays of whole numbers, work in
int64 and are exact; convolutions work in another dtype if asked to.
"""

import math

import numpy as np


def matmul(a, b):
    """c[i, j] = sum over k of a[i, k] b[k, j], in int64."""
    (rows, depth), cols = a.shape, b.shape[1]
    c = np.zeros((rows, cols), np.int64)
    for k in range(depth):
        c += np.multiply.outer(a[:, k].astype(np.int64), b[k].astype(np.int64))
    return c


def output_size(size, kernel, stride, padding, dilation):
    """Output size of a convolution along one axis: the kernel positions that fit, counted."""
    return sum(
        start + dilation * (kernel - 1) < size + 2 * padding
        for start in range(0, size + 2 * padding, stride)
    )


def _meetings(size, kernel, out, stride, padding, dilation):
    """Every (output, kernel, input) index along one axis that belong together, without padding."""
    for o in range(out):
        for k in range(kernel):
            i = o * stride + k * dilation - padding
            if 0 <= i < size:
                yield o, k, i


def _all_meetings(size, kernel, out, stride, padding, dilation):
    for oh, kh, ih in _meetings(size[0], kernel[0], out[0], stride[0], padding[0], dilation[0]):
        for ow, kw, iw in _meetings(size[1], kernel[1], out[1], stride[1], padding[1], dilation[1]):
            yield (..., oh, ow), (..., kh, kw), (..., ih, iw)


def conv2d(x, w, out_size, stride, padding, dilation, dtype=np.int64):
    y = np.zeros((len(x), len(w), *out_size), dtype)
    x, w = x.astype(dtype), w.astype(dtype)
    for o, k, i in _all_meetings(x.shape[2:], w.shape[2:], out_size, stride, padding, dilation):
        y[o] += x[i] @ w[k].T
    return y


def conv2d_grad_input(dy, w, input_size, stride, padding, dilation, dtype=np.int64):
    dx = np.zeros((len(dy), w.shape[1], *input_size), dtype)
    dy, w = dy.astype(dtype), w.astype(dtype)
    for o, k, i in _all_meetings(input_size, w.shape[2:], dy.shape[2:], stride, padding, dilation):
        dx[i] += dy[o] @ w[k]
    return dx


def conv2d_grad_weight(x, dy, kernel, stride, padding, dilation, dtype=np.int64):
    dw = np.zeros((dy.shape[1], x.shape[1], *kernel), dtype)
    x, dy = x.astype(dtype), dy.astype(dtype)
    for o, k, i in _all_meetings(x.shape[2:], kernel, dy.shape[2:], stride, padding, dilation):
        dw[k] += dy[o].T @ x[i]
    return dw


def batch_norm_forward(x, w, b, mean, var, eps):
    """(y, mean, variance) in float64, with exactly rounded sums."""
    x = x.astype(np.float64)
    channels, count = x.shape[1], x.shape[0] * x.shape[2]
    if mean is None:
        mean = np.array([math.fsum(x[:, c].ravel()) / count for c in range(channels)])
        var = np.array(
            [math.fsum((x[:, c].ravel() - mean[c]) ** 2) / count for c in range(channels)]
        )
    y = np.empty_like(x)
    for c in range(channels):
        deviation = math.sqrt(float(var[c]) + eps)
        y[:, c] = float(w[c]) * (x[:, c] - float(mean[c])) / deviation + float(b[c])
    return y, mean, var


def batch_norm_backward(x, w, mean, var, eps, dy, training):
    """(dx, dw, db), with the Jacobian of a channel's normalised values written out as a matrix."""
    x, dy = x.astype(np.float64), dy.astype(np.float64)
    dx, dw, db = np.empty_like(x), np.empty(x.shape[1]), np.empty(x.shape[1])
    for c in range(x.shape[1]):
        deviation = math.sqrt(float(var[c]) + eps)
        centred = x[:, c].ravel() - float(mean[c])
        gradient, count = dy[:, c].ravel(), x[:, c].size
        jacobian = np.eye(count) / deviation
        if training:  # d centred_i / d x_j = [i = j] - 1/count, d var / d x_j = 2 centred_j / count
            jacobian -= 1 / (count * deviation)
            jacobian -= np.outer(centred, centred) / (count * deviation**3)
        dx[:, c] = (float(w[c]) * gradient @ jacobian).reshape(dx[:, c].shape)
        dw[c] = math.fsum(gradient * centred / deviation)
        db[c] = math.fsum(gradient)
    return dx, dw, db
