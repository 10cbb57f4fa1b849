#!/usr/bin/env bash
# Run everything that needs a GPU, in two calls of at most 270 seconds each: build, tests, sanitizers,
# benchmarks, ten epochs of MNIST. Needs CUDA with nvcc, and a python3 with CuPy, PyTorch, pytest,
# setuptools and pybind11; uses no network and no pip.
#
#   bash benchmarks/gpu_check.sh OUTDIR [first|second]
#
# Without the second argument both calls run in turn. Results are written to OUTDIR at once, in at most
# eight files, so an interrupted call loses only the part that was running. A part that fails or has no
# time left is named in OUTDIR/summary.txt, and the others still run. benchmarks/gpu_check.py has the parts.
set -u
cd "$(dirname "$0")/.." || exit 1
exec "${PYTHON:-python3}" benchmarks/gpu_check.py "$@"
