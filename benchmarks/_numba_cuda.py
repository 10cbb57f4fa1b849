"""reparam_kl for a GPU by numba: a baseline for the versions of csrc/cuda/reparam_kl.cu.

A block takes a row, its threads the elements, and the row's KL is summed in shared memory: the
second of those versions, written in Python. Noise is an array. The caller allocates the outputs,
with any array library; the kernels run on numba's current stream.

    reparam_kl_forward(mu, logvar, eps, z, kl)
    reparam_kl_backward(mu, logvar, eps, dz, dkl, dmu, dlogvar)

It is not a variant of the registry: benchmarks/kernels.py times it, and tests run it under numba's
simulator (NUMBA_ENABLE_CUDASIM=1), where threads and barriers are Python's.
"""

import math

from numba import cuda, float64

THREADS = 256  # a power of two: the sum halves it again and again


@cuda.jit
def _forward(mu, logvar, eps, half, z, kl):
    partial = cuda.shared.array(THREADS, float64)
    row, lane = cuda.blockIdx.x, cuda.threadIdx.x
    total = 0.0
    for d in range(lane, mu.shape[1], THREADS):
        m, v = mu[row, d], logvar[row, d]
        z[row, d] = m + math.exp(half * v) * eps[row, d]
        total += half * (m * m + (math.expm1(v) - v))
    partial[lane] = total
    cuda.syncthreads()
    width = THREADS // 2
    while width > 0:
        if lane < width:
            partial[lane] += partial[lane + width]
        cuda.syncthreads()
        width //= 2
    if lane == 0:
        kl[row] = partial[0]


@cuda.jit
def _backward(mu, logvar, eps, dz, dkl, half, dmu, dlogvar):
    row = cuda.blockIdx.x
    k = dkl[row]
    for d in range(cuda.threadIdx.x, mu.shape[1], THREADS):
        v, g = logvar[row, d], dz[row, d]
        dmu[row, d] = g + k * mu[row, d]
        dlogvar[row, d] = half * (g * eps[row, d] * math.exp(half * v) + k * math.expm1(v))


def reparam_kl_forward(mu, logvar, eps, z, kl):
    """z (N, D) and kl (N,), written; see ``reference.reparam_kl_forward``."""
    if len(mu):
        _forward[len(mu), THREADS](mu, logvar, eps, mu.dtype.type(0.5), z, kl)


def reparam_kl_backward(mu, logvar, eps, dz, dkl, dmu, dlogvar):
    """dmu, dlogvar (N, D), written; see ``reference.reparam_kl_backward``."""
    if len(mu):
        _backward[len(mu), THREADS](mu, logvar, eps, dz, dkl, mu.dtype.type(0.5), dmu, dlogvar)
