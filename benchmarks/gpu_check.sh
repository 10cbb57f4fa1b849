#!/usr/bin/env bash
# Everything that needs a GPU, in one call on a bare machine: build, tests, sanitizers, benchmarks,
# ten epochs of MNIST. No network; needs CUDA with nvcc, python3 with CuPy, PyTorch, setuptools and
# pybind11.
#
#   bash benchmarks/gpu_check.sh OUTDIR
#
# At most ten minutes and eight files in OUTDIR; a part that fails or has no time left is named in
# OUTDIR/summary.txt, and the others go on. benchmarks/gpu_check.py has the parts.
set -u
cd "$(dirname "$0")/.." || exit 1
exec "${PYTHON:-python3}" benchmarks/gpu_check.py "$@"
