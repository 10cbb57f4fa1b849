#!/usr/bin/env bash
# Everything that needs a GPU, in two calls of at most 270 seconds each on a bare machine: build, tests,
# sanitizers, benchmarks, ten epochs of MNIST. No network and no pip: CUDA with nvcc, and a python3 with
# CuPy, PyTorch, pytest, setuptools and pybind11, as it is.
#
#   bash benchmarks/gpu_check.sh OUTDIR [first|second]
#
# Without the second word both are done in turn. Whatever is known is in OUTDIR at once, in at most eight
# files, so a call that is cut off loses only the part it was in; a part that fails or has no time left is
# named in OUTDIR/summary.txt, and the others go on. benchmarks/gpu_check.py has the parts.
set -u
cd "$(dirname "$0")/.." || exit 1
exec "${PYTHON:-python3}" benchmarks/gpu_check.py "$@"
