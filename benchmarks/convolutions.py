"""Time the convolutions of ConvVAE and FaceVAE on one thread, beside PyTorch.

    python benchmarks/convolutions.py [--avx2] --json FILE

Forward and both gradients are compared with float64 and then timed as in ``products.py``: in
processor time, the contenders' processes in turn. The table also gives minivae's rate as a share of
its rate in the product of two matrices of 784 x 784, measured in the same process.
"""

import sys
from typing import NamedTuple

import numpy as np
from _one_thread import compare, measured_on, microseconds
from _pages import markdown_table


class Convolution(NamedTuple):
    """A layer with a 3 x 3 kernel; a transposed layer is the adjoint of the one described."""

    model: str
    layer: str
    batch: int
    channels: tuple[int, int]  # of the larger image and of the smaller one
    sizes: tuple[int, int]  # the heights and widths of both
    stride: int
    padding: int
    transposed: bool = False

    @property
    def flops(self):
        """Operations of one pass: two for each multiplication, the same in all three passes."""
        return 2 * 9 * self.batch * self.channels[0] * self.channels[1] * self.sizes[1] ** 2


LAYERS = (
    Convolution("ConvVAE", "conv1", 128, (1, 32), (28, 14), 2, 1),
    Convolution("ConvVAE", "conv2", 128, (32, 64), (14, 7), 2, 1),
    Convolution("ConvVAE", "transposed 1", 128, (64, 64), (14, 7), 2, 1, True),
    Convolution("ConvVAE", "transposed 2", 128, (32, 64), (28, 14), 2, 1, True),
    Convolution("ConvVAE", "transposed 3", 128, (1, 32), (28, 28), 1, 1, True),
    Convolution("FaceVAE", "conv1", 16, (3, 8), (256, 128), 2, 1),
    Convolution("FaceVAE", "conv2", 16, (8, 16), (128, 64), 2, 1),
    Convolution("FaceVAE", "conv3", 16, (16, 32), (64, 31), 2, 0),
    Convolution("FaceVAE", "transposed 1", 16, (16, 32), (64, 31), 2, 0, True),
    Convolution("FaceVAE", "transposed 2", 16, (8, 16), (128, 64), 2, 1, True),
    Convolution("FaceVAE", "transposed 3", 16, (3, 8), (256, 128), 2, 1, True),
)
PASSES = ("forward", "gradient of the input", "gradient of the weights")
CONTENDERS, SIDE = ("minivae", "torch"), 784


def operands(layer):
    """The larger image x, the smaller one y and the weights."""
    rng = np.random.default_rng(0)
    (C, F), (large, small) = layer.channels, layer.sizes
    x = rng.random((layer.batch, C, large, large), np.float32)
    y = rng.random((layer.batch, F, small, small), np.float32)
    return x, y, rng.random((F, C, 3, 3), np.float32)


def ordered(layer, down, up, weights):
    """What maps x to y, y to x and both to the weights' gradient, in the order of ``PASSES``."""
    return (up, down, weights) if layer.transposed else (down, up, weights)


def passes(contender, layer):
    """Functions that make the three passes."""
    x, y, w = operands(layer)
    large, small = layer.sizes
    if contender == "torch":
        from torch import from_numpy
        from torch.nn.functional import conv2d, conv_transpose2d
        from torch.nn.grad import conv2d_weight

        x, y, w = map(from_numpy, (x, y, w))
        how = {"stride": layer.stride, "padding": layer.padding}
        extra = large + 2 * layer.padding - 3 - layer.stride * (small - 1)
        return ordered(
            layer,
            lambda: conv2d(x, w, **how),
            lambda: conv_transpose2d(y, w, output_padding=extra, **how),
            lambda: conv2d_weight(x, w.shape, y, **how),
        )
    from minivae.kernels import get

    how = [(n, n) for n in (layer.stride, layer.padding, 1)]
    return ordered(
        layer,
        lambda: get("conv2d", x)(x, w, None, *how),
        lambda: get("conv2d_grad_input", y)(y, w, None, (large, large), *how),
        lambda: get("conv2d_grad_weight", x)(x, y, (3, 3), *how),
    )


def right(layer):
    """The results of the three passes by their definition, tap by tap in float64."""
    x, y, w = (a.astype(np.float64) for a in operands(layer))
    p, large, small = layer.padding, *layer.sizes
    x = np.pad(x, ((0, 0), (0, 0), (p, p), (p, p)))
    down, up, weights = np.zeros_like(y), np.zeros_like(x), np.zeros_like(w)
    for i, j in np.ndindex(3, 3):
        rows, columns = (slice(k, k + layer.stride * (small - 1) + 1, layer.stride) for k in (i, j))
        met = x[:, :, rows, columns]
        down += np.einsum("nchw,fc->nfhw", met, w[:, :, i, j], optimize=True)
        up[:, :, rows, columns] += np.einsum("nfhw,fc->nchw", y, w[:, :, i, j], optimize=True)
        weights[:, :, i, j] = np.einsum("nchw,nfhw->fc", met, y, optimize=True)
    return ordered(layer, down, up[:, :, p : p + large, p : p + large], weights)


def product(contender):
    """A function that multiplies two matrices of SIDE x SIDE."""
    a = np.random.default_rng(0).random((SIDE, SIDE), np.float32)
    if contender == "torch":
        import torch

        a = torch.from_numpy(a)
        return lambda: torch.mm(a, a)
    from minivae import kernels

    kernels.set_threads(1)
    multiply = kernels.get("matmul", a)
    return lambda: multiply(a, a)


def measure(contender):
    """Child process: the microseconds of a product, then those of each pass of each layer."""
    times = [microseconds(product(contender))]
    for layer in LAYERS:
        for run, expected in zip(passes(contender, layer), right(layer), strict=True):
            np.testing.assert_allclose(np.asarray(run()), expected, rtol=1e-4, atol=1e-4)
            times.append(microseconds(run))
    return times


def table(record):
    """One row per pass: GFLOP/s, the share of the product's, minivae's time over PyTorch's."""
    ours, theirs = (record["us"][c] for c in CONTENDERS)
    square = 2e-3 * SIDE**3 / ours[0]
    works = [(layer, name) for layer in LAYERS for name in PASSES]
    rows = []
    for (layer, name), t, other in zip(works, ours[1:], theirs[1:], strict=True):
        rate = 1e-3 * layer.flops / t
        rows.append([
            layer.model, layer.layer, name, f"{rate:.0f}", f"{rate / square:.0%}",
            f"{1e-3 * layer.flops / other:.0f}", f"{t / other:.2f}",
        ])  # fmt: skip
    for model in dict.fromkeys(layer.model for layer in LAYERS):
        chosen = [i for i, (layer, _) in enumerate(works) if layer.model == model]
        flops = sum(works[i][0].flops for i in chosen)
        t, other = (sum(us[1 + i] for i in chosen) for us in (ours, theirs))
        rate = 1e-3 * flops / t
        rows.append([
            model, "all", "", f"{rate:.0f}", f"{rate / square:.0%}",
            f"{1e-3 * flops / other:.0f}", f"{t / other:.2f}",
        ])  # fmt: skip
    header = ["", "", "", "minivae", "of its product", "torch", "time / torch's"]
    where = (
        f"GFLOP/s of one thread, {square:.0f} in the product of two matrices of {SIDE} x {SIDE}; "
        f"the last column is minivae's time divided by PyTorch's. {measured_on(record)}"
    )
    return f"{markdown_table(header, rows)}\n\n{where}"


def main(argv=None):
    """Measure, print, and write the requested files."""
    compare(__file__, __doc__.splitlines()[0], CONTENDERS, measure, table, argv)


if __name__ == "__main__":
    sys.exit(main())
