"""Workloads of benchmarks/kernels.py: for each kernel its arguments, bytes and operations.

A workload is a list of calls ``(kernel, arguments)``, with the kernel names of
``kernels.reference``. Contenders run it with a module (or object) that has functions of these
names.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from minivae import Noise
from minivae.kernels import reference

IN_PLACE = {"adam": (0, 2, 3)}  # positions of the arguments that a kernel reads and writes

# Operations per element. An addition, product, comparison or call such as exp or log counts as one.
OPERATIONS = {
    "reparam_kl_forward": 10,
    "reparam_kl_backward": 11,
    "bce_with_logits": 11,
    "squared_error_with_logits": 15,
    "adam": 14,
    "relu": 1,
    "relu_backward": 1,
    "batch_norm_forward": 7,
    "batch_norm_backward": 12,
    "channel_sum": 1,
    "log_mean_exp": 6,
    "gather_pixels": 1,
    "normal": 20,
}


@dataclass(frozen=True)
class Workload:
    """One thing to time.

    ``make(rng, shape, dtype)`` gives the calls on NumPy arrays. ``rows`` says that the first rows
    of the results depend on the first rows of the arguments alone, so they can be checked alone.
    """

    name: str
    shape: tuple
    make: Callable
    rows: bool = True
    small: tuple = (67, 33)  # odd sizes; all results of this shape are checked

    @property
    def label(self):
        """As tables print it."""
        return f"{self.name} {' x '.join(map(str, self.shape))}"


def traffic(calls, results):
    """The bytes that calls must move: every array read once, every result written once.

    Bytes are counted only here. Other traffic of a kernel (intermediate arrays, an input read
    twice) is not counted, so it shows as a lower share of the bandwidth. Noise that a kernel draws
    itself is not read.

    Args:
        calls: a list of (kernel, arguments). results: a list of tuples of arrays, one a call.
    """
    arrays = []
    for (kernel, arguments), outputs in zip(calls, results, strict=True):
        if kernel == "gather_pixels":  # only the selected images are read
            images, index = arguments[:2]
            arrays += [images[: len(index)], index]
        else:
            arrays += [a for a in arguments if hasattr(a, "nbytes") and not isinstance(a, type)]
        arrays += [arguments[i] for i in IN_PLACE.get(kernel, ())]
        arrays += [a for a in outputs if a is not None]
    return sum(a.nbytes for a in arrays)


def operations(calls):
    """The arithmetic of calls, in the units of ``OPERATIONS``; 2 M N K for a product."""
    total = 0
    for kernel, arguments in calls:
        if kernel == "matmul":
            (m, k), n = arguments[0].shape, arguments[1].shape[1]
            total += 2 * m * n * k
        elif kernel in ("conv2d", "conv2d_grad_input", "conv2d_grad_weight"):
            total += convolution_operations(kernel, arguments)
        else:
            shapes = [a.shape for a in arguments if isinstance(a, np.ndarray)] or [arguments[1]]
            if kernel == "gather_pixels":
                shapes = [(len(arguments[1]), *arguments[0].shape[1:])]
            total += OPERATIONS[kernel] * max(int(np.prod(shape)) for shape in shapes)
    return total


def convolution_operations(kernel, arguments):
    """2 for every product of a kernel tap and a value of the input."""
    if kernel == "conv2d":
        x, w, _, stride, padding, dilation = arguments
        out = [
            (n + 2 * p - d * (k - 1) - 1) // s + 1
            for n, k, s, p, d in zip(
                x.shape[2:], w.shape[2:], stride, padding, dilation, strict=True
            )
        ]
        return 2 * len(x) * out[0] * out[1] * w.size
    if kernel == "conv2d_grad_input":
        dy, w = arguments[:2]
        return 2 * len(dy) * dy.shape[2] * dy.shape[3] * w.size
    x, dy, (kh, kw) = arguments[:3]
    return 2 * dy.size * x.shape[1] * kh * kw


def run(module, calls):
    """The results of all calls, each a tuple of arrays; in-place arguments count as results."""
    results = []
    for kernel, arguments in calls:
        if kernel == "adam":  # here with one parameter
            arguments = (*([a] for a in arguments[:4]), *arguments[4:])
        result = getattr(module, kernel)(*arguments)
        result = result if isinstance(result, tuple) else (result,)
        results.append(tuple(r for r in result if r is not None))
    return results


def all_results(calls, results):
    """Every array that the calls wrote: the results and the arguments changed in place."""
    arrays = []
    for (kernel, arguments), outputs in zip(calls, results, strict=True):
        arrays += [arguments[i] for i in IN_PLACE.get(kernel, ())] + list(outputs)
    return arrays


def mapped(calls, function):
    """The calls with ``function`` applied to their arrays, of any library."""

    def moved(a):
        return function(a) if hasattr(a, "nbytes") and not isinstance(a, type) else a

    return [(kernel, tuple(map(moved, arguments))) for kernel, arguments in calls]


def first_rows(calls, rows, total):
    """The calls on the first rows of every array that has ``total`` of them."""
    return mapped(calls, lambda a: a[:rows] if a.ndim and len(a) == total else a)


def exact(calls):
    """The results of the reference in float64, as a list of arrays."""
    calls = mapped(calls, lambda a: a.astype(np.float64) if a.dtype.kind == "f" else a.copy())
    calls = [
        (kernel, tuple(np.float64 if a is np.float32 else a for a in arguments))
        for kernel, arguments in calls
    ]
    return all_results(calls, run(reference, calls))


def normals(rng, shape, dtype):
    """Standard normal numbers; at most a million are drawn, then repeated, to save time."""
    size = int(np.prod(shape))
    return np.resize(rng.standard_normal(min(size, 1 << 20), dtype=dtype), shape)


def uniforms(rng, shape, dtype):
    """Uniform numbers in [0, 1), repeated like those of ``normals``."""
    size = int(np.prod(shape))
    return np.resize(rng.random(min(size, 1 << 20), dtype=dtype), shape)


def _reparam_kl(rng, shape, dtype, noise=None):
    mu, logvar, dz = (normals(rng, shape, dtype) for _ in range(3))
    dkl = normals(rng, shape[:1], dtype)
    eps = normals(rng, shape, dtype) if noise is None else noise
    return [
        ("reparam_kl_forward", (mu, logvar, eps)),
        ("reparam_kl_backward", (mu, logvar, eps, dz, dkl)),
    ]


def _reparam_kl_drawn(rng, shape, dtype):
    return _reparam_kl(rng, shape, dtype, noise=Noise(7, 1))


def _bce(rng, shape, dtype):
    target = uniforms(rng, shape, dtype)
    return [("bce_with_logits", (3 * normals(rng, shape, dtype), target, True))]


def _squared_error(rng, shape, dtype):
    target = uniforms(rng, shape, dtype)
    return [("squared_error_with_logits", (3 * normals(rng, shape, dtype), target, True))]


def _adam(rng, shape, dtype):
    param, grad, m = (normals(rng, shape, dtype) for _ in range(3))
    return [("adam", (param, grad, m, m * m, 3, 1e-3, 0.9, 0.999, 1e-8, 0.0))]


def _relu(rng, shape, dtype):
    x, dy = normals(rng, shape, dtype), normals(rng, shape, dtype)
    return [("relu", (x,)), ("relu_backward", (np.maximum(x, 0), dy))]


def _batch_norm(rng, shape, dtype):
    x, dy = normals(rng, shape, dtype), normals(rng, shape, dtype)
    w, b = normals(rng, shape[1:2], dtype), normals(rng, shape[1:2], dtype)
    mean, var = x.mean(axis=(0, 2)), x.var(axis=(0, 2))
    return [
        ("batch_norm_forward", (x, w, b, None, None, 1e-5)),
        ("batch_norm_backward", (x, w, mean, var, 1e-5, dy, True)),
    ]


def _channel_sum(rng, shape, dtype):
    return [("channel_sum", (normals(rng, shape, dtype),))]


def _log_mean_exp(rng, shape, dtype):
    return [("log_mean_exp", (5 * normals(rng, shape, dtype), True))]


def _gather(rng, shape, dtype, noise=None):
    images = rng.integers(0, 256, (4 * shape[0], *shape[1:]), dtype=np.uint8)
    index = rng.integers(0, len(images), shape[0])
    return [("gather_pixels", (images, index, dtype, noise))]


def _gather_drawn(rng, shape, dtype):
    return _gather(rng, shape, dtype, noise=Noise(7, 1))


def _normal(rng, shape, dtype):
    return [("normal", (Noise(7, 1), shape, dtype))]


def _matmul(rng, shape, dtype):
    m, k, n = shape
    a, b = normals(rng, (m, k), dtype), normals(rng, (n, k), dtype).T
    return [("matmul", (a, b, normals(rng, (n,), dtype)))]


def _conv(rng, shape, dtype):
    """A stride-2 layer with a 3 x 3 kernel: the map and both its adjoints."""
    n, c, o, size = shape
    rest, half = ((2, 2), (1, 1), (1, 1)), (size + 1) // 2
    x, w = normals(rng, (n, c, size, size), dtype), normals(rng, (o, c, 3, 3), dtype)
    dy = normals(rng, (n, o, half, half), dtype)
    return [
        ("conv2d", (x, w, None, *rest)),
        ("conv2d_grad_input", (dy, w, None, (size, size), *rest)),
        ("conv2d_grad_weight", (x, dy, (3, 3), *rest)),
    ]


CPU = [  # arrays of 24 MB
    Workload("reparam_kl", (12000, 512), _reparam_kl),
    Workload("bce_with_logits", (8000, 784), _bce),
    Workload("adam", (6_000_000,), _adam, small=(1001,)),
]
# Arrays several times the second-level cache; small arrays have the models' sizes at batch 128.
# In order of importance, because a run within a time budget may not reach the last ones.
GPU = [
    Workload("reparam_kl", (65536, 512), _reparam_kl),
    Workload("reparam_kl, noise drawn", (65536, 512), _reparam_kl_drawn, rows=False),
    Workload("reparam_kl", (128, 20), _reparam_kl),
    Workload("matmul", (128, 784, 400), _matmul, rows=False, small=(33, 65, 47)),
    Workload("matmul", (16, 1024, 30752), _matmul, rows=False, small=(33, 65, 47)),
    Workload("matmul", (4096, 4096, 4096), _matmul, rows=False, small=(33, 65, 47)),
    Workload("conv2d and adjoints", (128, 32, 64, 14), _conv, rows=False, small=(2, 3, 9, 9)),
    Workload("conv2d and adjoints", (16, 8, 16, 128), _conv, rows=False, small=(2, 3, 9, 9)),
    Workload("normal", (65536, 512), _normal, rows=False),
    Workload("bce_with_logits", (65536, 784), _bce),
    Workload("bce_with_logits", (128, 784), _bce),
    Workload("squared_error_with_logits", (256, 196608), _squared_error),
    Workload("adam", (63_332_411,), _adam, small=(1001,)),
    Workload("adam", (652_824,), _adam, small=(1001,)),
    Workload("relu", (65536, 512), _relu),
    Workload("batch_norm", (64, 16, 16384), _batch_norm, rows=False, small=(5, 3, 37)),
    Workload("channel_sum", (64, 16, 16384), _channel_sum, rows=False, small=(5, 3, 37)),
    Workload("log_mean_exp", (65536, 512), _log_mean_exp),
    Workload("gather_pixels", (16384, 784), _gather, rows=False),
    Workload("gather_pixels, drawn", (16384, 784), _gather_drawn, rows=False),
]
