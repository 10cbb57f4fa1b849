"""Time the matrix products of the three models on one thread, beside NumPy's BLAS and PyTorch.

    python benchmarks/products.py [--avx2] --json FILE

In processor time (``_one_thread.microseconds``); the contenders' processes run in turns. A product
is compared with float64 before it is timed. ``--avx2`` keeps all libraries from AVX-512.
"""

import sys

import numpy as np
from _one_thread import compare, measured_on, microseconds
from _pages import markdown_table

# (M, K) by (K, N), and which of the two operands is a transposed view: a layer's output x W^T, the
# gradient of its input dy W and that of its weights dy^T x.
LAYERS = {
    "MLPVAE": [(128, 784, 400), (128, 400, 20), (128, 20, 400), (128, 400, 784)],
    "ConvVAE": [(128, 3136, 16), (128, 2, 3136)],
    "FaceVAE": [(16, 30752, 1024), (16, 1024, 100), (16, 100, 1024), (16, 1024, 30752)],
}
PRODUCTS = [
    (model, *product)
    for model, layers in LAYERS.items()
    for B, K, N in layers
    for product in (("x W'", B, K, N), ("dy W", B, N, K), ("dy' x", N, B, K))
]
CONTENDERS = ("minivae", "numpy", "torch")


def operands(form, M, K, N):
    """The two matrices in the layouts that a training step has them in."""
    rng = np.random.default_rng(0)
    a = rng.random((K, M) if form == "dy' x" else (M, K), np.float32)
    b = rng.random((N, K) if form == "x W'" else (K, N), np.float32)
    return a.T if form == "dy' x" else a, b.T if form == "x W'" else b


def call(contender, a, b):
    """A function that multiplies a by b with the contender's library."""
    if contender == "torch":
        import torch

        a, b = map(torch.from_numpy, (a, b))
        return lambda: torch.mm(a, b)
    if contender == "numpy":
        return lambda: np.matmul(a, b)
    from minivae import kernels

    kernels.set_threads(1)
    product = kernels.get("matmul", a, b)
    return lambda: product(a, b)


def measure(contender):
    """Child process: the microseconds of each product, after a check of its result."""
    times = []
    for _, *product in PRODUCTS:
        a, b = operands(*product)
        multiply = call(contender, a, b)
        right = a.astype(np.float64) @ b.astype(np.float64)
        np.testing.assert_allclose(np.asarray(multiply()), right, rtol=1e-4)
        times.append(microseconds(multiply))
    return times


def table(record):
    """One row per product: GFLOP/s of each contender, minivae's time over the others'."""
    rows = []
    for (model, form, M, K, N), *us in zip(PRODUCTS, *record["us"].values(), strict=True):
        rates = [f"{2e-3 * M * K * N / t:.0f}" for t in us]
        ratios = [f"{us[0] / t:.2f}" for t in us[1:]]
        rows.append([model, form, f"({M}, {K}) ({K}, {N})", *rates, *ratios])
    names = list(record["us"])
    header = ["", "", "shapes", *names, *(f"time / {name}'s" for name in names[1:])]
    where = (
        "GFLOP/s of one thread; the last columns are minivae's time divided by the other's. "
        f"{measured_on(record)}"
    )
    return f"{markdown_table(header, rows)}\n\n{where}"


def main(argv=None):
    """Measure, print, and write the requested files."""
    compare(__file__, __doc__.splitlines()[0], CONTENDERS, measure, table, argv)


if __name__ == "__main__":
    sys.exit(main())
