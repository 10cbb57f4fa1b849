"""Time the convolutions of ConvVAE and FaceVAE on one thread, beside PyTorch and the own product.

    python benchmarks/convolutions.py [--avx2] --json FILE

Each convolution is timed forward and in both gradients, the least processor time over many calls,
as ``products.py`` does; the share is that of the rate at which the compiled kernels multiply two
matrices of 784 x 784 on the same machine in the same process.
"""

import argparse
import json
import os
import sys
from typing import NamedTuple

import numpy as np
from _harness import environment, run_child, write_json
from _pages import markdown_table
from _step_contenders import AVX2_ONLY, TUNED_MALLOC
from products import ONE_THREAD, least_microseconds


class Convolution(NamedTuple):
    """A layer with 3 x 3 taps; a transposed one is the adjoint of what is described."""

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
        """Two for each multiplication of one pass, the same number in all three."""
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


def passes(contender, layer):
    """Functions that make the three passes, in the order of ``PASSES``."""
    rng = np.random.default_rng(0)
    (C, F), (large, small) = layer.channels, layer.sizes
    x = rng.random((layer.batch, C, large, large), np.float32)
    y = rng.random((layer.batch, F, small, small), np.float32)
    w = rng.random((F, C, 3, 3), np.float32)
    if contender == "torch":
        from torch import from_numpy
        from torch.nn import grad
        from torch.nn.functional import conv2d, conv_transpose2d

        x, y, w = map(from_numpy, (x, y, w))
        how = {"stride": layer.stride, "padding": layer.padding}
        down = lambda: conv2d(x, w, **how)  # noqa: E731
        extra = large + 2 * layer.padding - 3 - layer.stride * (small - 1)
        up = lambda: conv_transpose2d(y, w, output_padding=extra, **how)  # noqa: E731
        weights = lambda: grad.conv2d_weight(x, w.shape, y, **how)  # noqa: E731
    else:
        from minivae import kernels

        s, p, d = ((n, n) for n in (layer.stride, layer.padding, 1))
        run = {name: kernels.get(name, x) for name in (
            "conv2d", "conv2d_grad_input", "conv2d_grad_weight")}  # fmt: skip
        down = lambda: run["conv2d"](x, w, None, s, p, d)  # noqa: E731
        up = lambda: run["conv2d_grad_input"](y, w, None, (large, large), s, p, d)  # noqa: E731
        weights = lambda: run["conv2d_grad_weight"](x, y, (3, 3), s, p, d)  # noqa: E731
    return (up, down, weights) if layer.transposed else (down, up, weights)


def measure(contender):
    """Child process: the least microseconds of each pass of each layer, last those of a product."""
    square = np.random.default_rng(0).random((SIDE, SIDE), np.float32)
    if contender == "torch":
        import torch

        a = torch.from_numpy(square)
        product = lambda: torch.mm(a, a)  # noqa: E731
    else:
        from minivae import kernels

        kernels.set_threads(1)
        multiply = kernels.get("matmul", square)
        product = lambda: multiply(square, square)  # noqa: E731
    calls = [call for layer in LAYERS for call in passes(contender, layer)]
    return [least_microseconds(call) for call in (*calls, product)]


def table(record):
    """One row per pass: GFLOP/s, the share of the product's, minivae's time over PyTorch's."""
    ours, theirs = (record["us"][c] for c in CONTENDERS)
    product = 2e-3 * SIDE**3 / ours[-1]
    works = [(layer, name) for layer in LAYERS for name in PASSES]
    rows = []
    for (layer, name), t, other in zip(works, ours, theirs, strict=False):
        rate = 1e-3 * layer.flops / t
        rows.append([
            layer.model, layer.layer, name, f"{rate:.0f}", f"{rate / product:.0%}",
            f"{1e-3 * layer.flops / other:.0f}", f"{t / other:.2f}",
        ])  # fmt: skip
    for model in dict.fromkeys(layer.model for layer in LAYERS):
        chosen = [i for i, (layer, _) in enumerate(works) if layer.model == model]
        flops = sum(works[i][0].flops for i in chosen)
        t, other = (sum(us[i] for i in chosen) for us in (ours, theirs))
        rate = 1e-3 * flops / t
        rows.append([
            model, "all", "", f"{rate:.0f}", f"{rate / product:.0%}",
            f"{1e-3 * flops / other:.0f}", f"{t / other:.2f}",
        ])  # fmt: skip
    header = ["", "", "", "minivae", "of its product", "torch", "time / torch's"]
    env = record["environment"]
    where = (
        f"GFLOP/s of one thread, {product:.0f} in the product of two matrices of {SIDE} x {SIDE}; "
        f"the last column is minivae's time divided by PyTorch's. {env['cpu']}, "
        f"{env['instruction_set']}, load {env['load']}."
    )
    return f"{markdown_table(header, rows)}\n\n{where}"


def main(argv=None):
    """Measure, print, and write what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--avx2", action="store_true", help="let no library use AVX-512")
    parser.add_argument("--repeats", type=int, default=3, help="processes of each contender")
    parser.add_argument("--json", help="write the record here")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.child:
        print(json.dumps(measure(args.child)))
        return
    os.environ.update(ONE_THREAD | TUNED_MALLOC | (AVX2_ONLY if args.avx2 else {}))
    where = {**environment(), "load": round(os.getloadavg()[0], 1)}
    found = {c: [] for c in CONTENDERS}
    for _ in range(args.repeats):
        for contender, runs in found.items():
            runs.append(run_child(__file__, "--child", contender))
    us = {c: np.min(runs, axis=0).tolist() for c, runs in found.items()}
    record = {"environment": where, "us": us}
    print(table(record))
    if args.json:
        write_json(args.json, record)


if __name__ == "__main__":
    sys.exit(main())
