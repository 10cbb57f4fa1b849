"""Time the matrix products of the three models on one thread, beside NumPy's BLAS and PyTorch.

    python benchmarks/products.py [--avx2] --json FILE

The least processor time of each product over many calls, which a busy machine disturbs little where
the caches hold the operands; the contenders' processes run in turns. A product is compared with
float64 before it is timed. ``--avx2`` keeps all libraries from AVX-512.
"""

import argparse
import json
import os
import sys
import time

import numpy as np
from _harness import environment, run_child, write_json
from _pages import markdown_table
from _step_contenders import AVX2_ONLY, TUNED_MALLOC

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
CONTENDERS, SECONDS = ("minivae", "numpy", "torch"), 0.05
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def operands(form, M, K, N):
    """The two matrices in the layouts that a training step has them in."""
    rng = np.random.default_rng(0)
    a = rng.random((K, M) if form == "dy' x" else (M, K), np.float32)
    b = rng.random((N, K) if form == "x W'" else (K, N), np.float32)
    return a.T if form == "dy' x" else a, b.T if form == "x W'" else b


def call(contender, a, b):
    """A function that multiplies."""
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
    """Child process: the least microseconds of each product, which must be right."""
    least = []
    for _, *product in PRODUCTS:
        a, b = operands(*product)
        multiply = call(contender, a, b)
        right = a.astype(np.float64) @ b.astype(np.float64)
        np.testing.assert_allclose(np.asarray(multiply()), right, rtol=1e-4)
        least.append(least_microseconds(multiply))
    return least


def least_microseconds(work):
    """The least processor time of this thread over many calls of ``work``."""
    times, end = [], time.perf_counter() + SECONDS
    while len(times) < 3 or time.perf_counter() < end:
        start = time.thread_time()
        work()
        times.append(1e6 * (time.thread_time() - start))
    return min(times)


def table(record):
    """One row per product: GFLOP/s of each contender, minivae's time over the others'."""
    rows = []
    for (model, form, M, K, N), *us in zip(PRODUCTS, *record["us"].values(), strict=True):
        rates = [f"{2e-3 * M * K * N / t:.0f}" for t in us]
        ratios = [f"{us[0] / t:.2f}" for t in us[1:]]
        rows.append([model, form, f"({M}, {K}) ({K}, {N})", *rates, *ratios])
    names = list(record["us"])
    header = ["", "", "shapes", *names, *(f"time / {name}'s" for name in names[1:])]
    env = record["environment"]
    where = (
        "GFLOP/s of one thread; the last columns are minivae's time divided by the other's. "
        f"{env['cpu']}, {env['instruction_set']}, load {env['load']}."
    )
    return f"{markdown_table(header, rows)}\n\n{where}"


def main(argv=None):
    """Measure, print, and write what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--avx2", action="store_true", help="let no library use AVX-512")
    parser.add_argument("--repeats", type=int, default=4, help="processes of each contender")
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
