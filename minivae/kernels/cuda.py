"""The CUDA kernels (csrc/cuda, built as minivae._cuda), for float32 and float64.

Signatures and meaning are those of ``reference``; arrays are CuPy's, and kernels are launched on
CuPy's current stream: no function waits for the GPU. The bindings check every array: TypeError for
a wrong dtype, ValueError for a wrong shape, layout or device and for arrays that overlap.

Kernels with several versions take ``version``. By default ``reparam_kl`` runs its last version,
and products and convolutions the fastest one in full precision (``cuda_layers.BEST``).

A captured step (``training.cuda_graph``) repeats the same launches, so values that change from
step to step are read from GPU memory: a ``counter``, which is added to the offset of a noise or to
a step count, and a learning rate that is an array of one element.

The registry imports this module if a device answered.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from .. import _cuda
from ..backend import Array, current_stream, device_module
from .cuda_layers import *  # noqa: F403
from .cuda_layers import beside as beside
from .cuda_layers import scratch
from .philox import Eps, NoiseKey, Shape, resolved
from .reference import RowLoss
from .reference_layers import Arrays

# The highest version of each kernel that has several; float64 lacks those that use tensor cores.
VERSIONS = dict(_cuda.VERSIONS)
FLOAT64_VERSIONS = VERSIONS | _cuda.FLOAT64_VERSIONS
for _versions in (VERSIONS, FLOAT64_VERSIONS):
    _versions |= {kernel: _versions["matmul"] for kernel in ("linear", "linear_backward")}
DRAWS_NOISE = _cuda.DRAWS_NOISE  # the version of reparam_kl from which on the kernel draws noise

_cupy = device_module()


def _noise(noise: Eps, like: Array, version: int) -> Array | tuple[Any, ...]:
    """The noise as the version takes it: an array, or the draw's address if the kernel draws."""
    if version >= DRAWS_NOISE:
        return resolved(noise, lambda key: key.argument(like.shape))
    return resolved(noise, lambda key: normal(key, like.shape, like.dtype))


def normal(noise: NoiseKey, shape: Shape, dtype: DTypeLike) -> Array:
    """Standard normal numbers; see ``philox.normal``."""
    out = _cupy.empty(shape, dtype)
    _cuda.normal(out, noise.argument(out.shape), current_stream())
    return out


def uniform(noise: NoiseKey, shape: Shape, dtype: DTypeLike) -> Array:
    """Uniform numbers in (0, 1); rounded to float32, (0, 1]; see ``philox.uniform``."""
    out = _cupy.empty(shape, dtype)
    _cuda.uniform(out, noise.argument(out.shape), current_stream())
    return out


def reparam_kl_forward(
    mu: Array, logvar: Array, noise: Eps, version: int = VERSIONS["reparam_kl_forward"]
) -> tuple[Array, Array]:
    """A sample and its row's KL; see ``reference.reparam_kl_forward``."""
    z, kl = _cupy.empty(mu.shape, mu.dtype), _cupy.empty(len(mu), mu.dtype)
    eps = _noise(noise, mu, version)
    _cuda.reparam_kl_forward(mu, logvar, eps, z, kl, version, current_stream())
    return z, kl


def reparam_kl_backward(
    mu: Array, logvar: Array, noise: Eps, dz: Array, dkl: Array,
    version: int = VERSIONS["reparam_kl_backward"],
) -> tuple[Array, Array]:  # fmt: skip
    """Gradients of both; see ``reference.reparam_kl_backward``."""
    dmu, dlogvar = (_cupy.empty(a.shape, a.dtype) for a in (mu, logvar))
    eps = _noise(noise, mu, version)
    _cuda.reparam_kl_backward(
        mu, logvar, eps, dz, dkl, dmu, dlogvar, version, current_stream()
    )  # fmt: skip
    return dmu, dlogvar


def bce_with_logits(logits: Array, target: Array, with_grad: bool, scale: float = 1.0) -> RowLoss:
    """Row sums of the cross-entropy, and the gradient; see ``reference.bce_with_logits``."""
    return _row_loss(_cuda.bce_with_logits, logits, target, with_grad, scale)


def squared_error_with_logits(
    logits: Array, target: Array, with_grad: bool, scale: float = 1.0
) -> RowLoss:
    """Row sums of the squared error; see ``reference.squared_error_with_logits``."""
    return _row_loss(_cuda.squared_error_with_logits, logits, target, with_grad, scale)


def _row_loss(
    kernel: Callable[..., None], logits: Array, target: Array, with_grad: bool, scale: float
) -> RowLoss:
    loss = _cupy.empty(len(logits), logits.dtype)
    dlogits = _cupy.empty(logits.shape, logits.dtype) if with_grad else None
    room = scratch(_cuda.row_loss_scratch(*logits.shape))
    kernel(logits, target, loss, dlogits, scale, room, current_stream())
    return loss, dlogits


def negative_elbo(rec: Array, kl: Array, beta: Array) -> tuple[Array, Array]:
    """Means, their weighted sum, its derivative; see ``reference.negative_elbo``."""
    terms, share = _cupy.empty(3, rec.dtype), _cupy.empty(len(kl), kl.dtype)
    _cuda.negative_elbo(rec, kl, beta, terms, share, current_stream())
    return terms, share


def log_mean_exp(x: Array, with_grad: bool) -> RowLoss:
    """Rows' log mean exp, and the softmax; see ``reference.log_mean_exp``."""
    y = _cupy.empty(len(x), x.dtype)
    softmax = _cupy.empty(x.shape, x.dtype) if with_grad else None
    _cuda.log_mean_exp(x, y, softmax, current_stream())
    return y, softmax


def adam(
    params: Arrays, grads: Arrays, ms: Arrays, vs: Arrays, step: int | tuple[int, Array],
    lr: float | Array, beta1: float, beta2: float, eps: float, weight_decay: float,
) -> None:  # fmt: skip
    """One step of Adam in place, ``step`` and ``lr`` as in ``cpu.adam``; see ``reference.adam``."""
    step, counter = step if isinstance(step, tuple) else (step, None)
    _cuda.adam(
        params, grads, ms, vs, step, lr, beta1, beta2, eps, weight_decay, counter, current_stream()
    )  # fmt: skip


def gather_pixels(
    images: Array, index: Array, dtype: DTypeLike, noise: NoiseKey | None = None
) -> Array:
    """Images at an index, as p/255 or binarised; see ``reference.gather_pixels``.

    An index outside [0, N) gives a row of NaN, since an error would require waiting for the GPU.
    """
    out = _cupy.empty((index.size, *images.shape[1:]), dtype)
    gather_into(out, images, index, noise)
    return out


def gather_into(
    out: Array, images: Array, order: Array, noise: NoiseKey | None = None,
    batch: Array | None = None,
) -> None:  # fmt: skip
    """Write the images ``order[k B : (k + 1) B]`` to ``out``, with k = ``batch[0]`` or 0.

    Args:
        out: (B, ...), written. images: uint8 (N, ...). order: int64, at least B (k + 1) elements.
        noise: as in ``reference.gather_pixels``.
        batch: a counter, a uint64 array of one element; None for k = 0.
    """
    draw = noise and noise.argument(out.shape)
    _cuda.gather_pixels(images, order, draw, batch, out, current_stream())


def finish(counters: Array, terms: Arrays, out: Array) -> None:
    """End a captured step: add 1 to every element of ``counters`` (uint64), and copy the three
    ``terms``, arrays of one element, to ``out`` (3,).
    """
    _cuda.finish(counters, terms, out, current_stream())


def permutation(seed: int, offset: int, count: int) -> Array:
    """A random order of range(count), computed on the GPU; see ``data.batches.permutation``."""
    order = _cupy.empty(count, np.int64)
    room = scratch(_cuda.permutation_scratch(count), np.uint64)
    _cuda.permutation((seed, offset, 0), order, room, current_stream())
    return order
