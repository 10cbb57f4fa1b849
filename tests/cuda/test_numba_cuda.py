"""numba's GPU kernels, run by its simulator in a process of its own (it is chosen at import)."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
BENCHMARKS = TESTS.parent / "benchmarks"

PROGRAM = """
import sys
import numpy as np
sys.path[:0] = sys.argv[1:]
import kernel_oracles as oracles
import _numba_cuda as numba_cuda

numba_cuda.THREADS = 8  # the simulator's threads are Python's: a few show every path
worst = 0.0
for dtype, unit in ((np.float32, 1e-6), (np.float64, 1e-14)):
    for shape in ((0, 3), (1, 1), (2, 7), (3, 19)):
        rng = np.random.default_rng(1)
        mu, logvar, eps, dz = (rng.normal(size=shape).astype(dtype) for _ in range(4))
        dkl = rng.normal(size=shape[:1]).astype(dtype)
        z, dmu, dlogvar = (np.full(shape, np.nan, dtype) for _ in range(3))
        kl = np.full(shape[:1], np.nan, dtype)
        numba_cuda.reparam_kl_forward(mu, logvar, eps, z, kl)
        numba_cuda.reparam_kl_backward(mu, logvar, eps, dz, dkl, dmu, dlogvar)
        exact = oracles.reparam_kl_forward(mu, logvar, eps)
        exact += oracles.reparam_kl_backward(mu, logvar, eps, dz, dkl)
        for got, right in zip((z, kl, dmu, dlogvar), exact, strict=True):
            error = np.abs(got - right) / (unit * np.maximum(1, np.abs(right)))
            assert np.isfinite(error).all()
            worst = max(worst, float(error.max(initial=0)))
print(worst)
"""


def simulate(program):
    return subprocess.run(
        [sys.executable, "-c", program, str(BENCHMARKS), str(TESTS)],
        env={**os.environ, "NUMBA_ENABLE_CUDASIM": "1"},
        capture_output=True,
        text=True,
    )


@pytest.mark.skipif(importlib.util.find_spec("numba") is None, reason="numba is missing")
def test_reparam_kl_under_the_simulator():
    done = simulate(PROGRAM)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 8


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("numba") is None, reason="numba is missing")
@pytest.mark.parametrize(
    "planted",
    [
        ("partial[lane + width]", "partial[lane]"),
        ("g * eps[row, d]", "g"),
    ],
)
def test_a_planted_error_is_seen(planted):
    source = (BENCHMARKS / "_numba_cuda.py").read_text()
    assert source.count(planted[0]) == 1
    program = f"import sys, types\nsource = {source.replace(*planted)!r}\n"
    program += "planted = sys.modules['_numba_cuda'] = types.ModuleType('_numba_cuda')\n"
    program += "exec(compile(source, 'planted.py', 'exec'), planted.__dict__)\n" + PROGRAM
    done = simulate(program)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) > 8
