"""Memory traffic of reparam_kl as one operation and as a composition of basic operations."""

import numpy as np

import minivae as mv
from minivae import functional as F

N, D = 128, 20
BANDWIDTH = 4.8e12  # bytes per second, H200 datasheet
FLOPS = 67e12  # float32 operations per second outside the tensor cores, H200 datasheet
LAUNCH = 3e-6  # seconds; a kernel launch costs a few microseconds


def moved(result):
    """Bytes that the operations behind ``result`` read and write, single numbers left out."""
    arrays, seen, stack = 0, set(), list(result)
    while stack:
        tensor = stack.pop()
        op = tensor.creator
        if op is None or op in seen:
            continue
        seen.add(op)
        for source in op.inputs:
            if source.size > 1:
                arrays += source.data.nbytes
            stack.append(source)
        arrays += sum(int(np.prod(shape)) * dtype.itemsize for shape, dtype in op.output_like)
    return arrays


def composed_bytes(n, d):
    """Bytes that z and kl from basic operations read and write."""
    leaves = [mv.Tensor(np.ones((n, d), np.float32), requires_grad=True) for _ in range(2)]
    with mv.kernels.use("composed"):
        return moved(F.reparameterize_kl(*leaves, np.ones((n, d), np.float32)))


def measure():
    """Numbers of gpu-kernels.md."""
    large = 1 << 20
    fused = 16 * large * 64 + 4 * large
    composed = composed_bytes(1 << 14, 64) / (1 << 14) / 64
    face = 30752 * 1024 * 4
    return {
        "composed_per_element": composed,
        "composed_over_fused": composed / (fused / large / 64),
        "batch_kib": 16 * N * D / 1024,
        "batch_ns": 1e9 * 16 * N * D / BANDWIDTH,
        "batch_share_percent": 100 * 16 * N * D / BANDWIDTH / LAUNCH,
        "large_us": 1e6 * fused / BANDWIDTH,
        "ridge": FLOPS / BANDWIDTH,
        "face_weights_mb": face / 1e6,
        "face_weights_us": 1e6 * face / BANDWIDTH,
        "gemm_intensity": 2 * 128 * 784 * 400 / (4 * (128 * 784 + 784 * 400 + 128 * 400)),
        "face_intensity": 2 * 16 * 30752 * 1024 / (4 * (16 * 30752 + 30752 * 1024 + 16 * 1024)),
    }


FIGURES = {}
