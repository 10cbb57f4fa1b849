"""nvcc compiles every kernel, within bounds on registers, spills and memory; no GPU needed.

benchmarks/cuda_resources.py asks the compiler. Registers decide how many threads a multiprocessor
holds, a spill is memory traffic that no formula counts, and a kernel that claims 128-bit accesses
should have them in its PTX.
"""

import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))
import cuda_resources  # noqa: E402

sys.path.pop(0)

pytestmark = [
    pytest.mark.minutes,
    pytest.mark.skipif(cuda_resources.nvcc() is None, reason="nvcc is not installed"),
]

# 64 Ki registers: at 64 each a multiprocessor holds 4 blocks of 256 threads, at 128 two.
REGISTERS = 128
# More, with the reason: an accumulator tile in registers is the point of these.
MORE_REGISTERS = {"matmul.cu": 176, "conv2d.cu": 176, "conv2d_grad_weight.cu": 176}
SHARED_BYTES = 48 << 10  # what a block has without asking for more

# Kernels that claim 128-bit accesses to aligned arrays: (name, loads, stores) of a pass.
# A quad of doubles is two accesses.
WIDE = [
    *(
        (f"{kernel}, {rows}, {dtype}>", loads * quad, stores * quad)
        for kernel, loads, stores in (
            ("forward_quads<true", 2, 1),
            ("forward_quads<false", 3, 1),
            ("backward_quads<true", 3, 2),
            ("backward_quads<false", 4, 2),
        )
        for rows in ("AlignedRows", "WholeRows")
        for dtype, quad in (("float", 1), ("double", 2))
    ),
    ("fill<MakeNormal, true, float>", 0, 1),
    ("fill<MakeNormal, true, double>", 0, 2),
    ("fill<MakeUniform, true, float>", 0, 1),
    ("fill<MakeUniform, true, double>", 0, 2),
    ("gather<true, true, float>", 0, 1),
    ("adam_step<true, float>", 4, 3),
    ("adam_step<true, double>", 8, 6),
    ("short_row_loss<CrossEntropy, true, float>", 2, 1),
    ("long_row_loss<SquaredError, true, double>", 4, 2),
    ("normalize<4, float>", 1, 1),
    ("input_gradient<2, double>", 2, 1),
    ("sum_pieces<PlainSum<float, 4> >", 2, 0),
]
NARROW = ["forward_quads<true, AnyRows, float>", "backward_quads<false, AnyRows, double>"]


@pytest.fixture(scope="module")
def report():
    return cuda_resources.resources()


def test_no_kernel_spills_or_takes_too_much(report):
    assert set(report) == {path.name for path in (ROOT / "csrc/cuda").glob("*.cu")}
    for file, kernels in report.items():
        for kernel, needs in kernels.items():
            assert needs["spill_bytes"] == needs["stack_bytes"] == 0, (kernel, needs)
            assert needs["registers"] <= MORE_REGISTERS.get(file, REGISTERS), (kernel, needs)
            assert needs["shared_bytes"] <= SHARED_BYTES, (kernel, needs)


MACHINE_CODE = pytest.mark.skipif(
    cuda_resources.disassembler() is None, reason="cuobjdump is not installed"
)


@MACHINE_CODE
def test_no_kernel_keeps_numbers_in_local_memory(report):
    """Arrays with an index unknown to the compiler lie in local memory; ptxas counts no spill."""
    found = {
        kernel: needs["local_accesses"]
        for kernels in report.values()
        for kernel, needs in kernels.items()
    }
    assert {kernel: count for kernel, count in found.items() if count} == {}


@MACHINE_CODE
@pytest.mark.parametrize("bound", cuda_resources.BOUNDS, ids=str)
def test_machine_code_is_within_its_bounds(report, bound):
    file, kernel, what, how, limit = bound
    values = cuda_resources.found_of(report, file, kernel, what)
    assert values, "no kernel begins so"
    for value in values:
        assert value <= limit if how == "at most" else value >= limit


@MACHINE_CODE
def test_machine_code_is_read_right(tmp_path):
    """A loop that is multiply-adds, wide accesses, and an array in local memory."""
    found = inspect(
        tmp_path,
        """
        __global__ void loop(const float* a, float* b, int n) {
          float x[8] = {}, y = a[threadIdx.x];
          #pragma unroll 1
          for (int k = 0; k < n; ++k) {
            #pragma unroll
            for (int i = 0; i < 8; ++i) x[i] = x[i] * y + a[i];
          }
          for (int i = 0; i < 8; ++i) b[i * 32 + threadIdx.x] = x[i];
        }
        __global__ void wide(const float4* a, float4* b) { b[threadIdx.x] = a[threadIdx.x]; }
        __global__ void local(const int* a, int* b) {
          int room[64];
          for (int i = 0; i < 64; ++i) room[a[i] & 63] = a[i + 64];
          b[0] = room[a[128] & 63] + room[a[129] & 63];
        }
        """,
        "-fmad=true",
    )
    assert found["loop"]["multiply_adds"] >= 8 and 15 < found["loop"]["loop_share"] < 90
    assert 8 < found["loop"]["loop_instructions"] < found["loop"]["instructions"]
    assert found["wide"]["wide_accesses"] == 2 and found["wide"]["loop_share"] == 0
    assert found["wide"]["loop_instructions"] == 0
    assert found["local"]["local_accesses"] > 0 == found["loop"]["local_accesses"]


def test_the_oldest_architecture_takes_the_launch_bounds():
    """A multiprocessor of Turing holds 1024 threads; ptxas is told to take warnings for errors."""
    oldest = min(cuda_resources.build_script().ALL_ARCHITECTURES, key=int)
    cuda_resources.inspect(ROOT / "csrc/cuda/reparam_kl.cu", oldest, cuda_resources.nvcc())


def test_reparam_kl_keeps_five_blocks_on_a_multiprocessor(report):
    """In float32: 1280 of its 2048 threads, or more."""
    for kernel, needs in report["reparam_kl.cu"].items():
        if "float" in kernel:
            assert needs["registers"] <= 48, (kernel, needs)


@pytest.mark.parametrize("file", ["adam.cu", "bias_activation.cu", "gather_pixels.cu", "relu.cu"])
def test_products_and_sums_are_rounded_apart(report, file):
    """These kernels have no fma, and so give the bits of the CPU (setup.py, ``CONTRACTED``)."""
    assert {
        kernel: needs["fused"] for kernel, needs in report[file].items() if needs["fused"]
    } == {}


def test_claimed_wide_accesses_are_there(report):
    kernels = {kernel: needs for file in report.values() for kernel, needs in file.items()}
    for kernel, loads, stores in WIDE:
        found = kernels[kernel]["wide_loads"], kernels[kernel]["wide_stores"]
        assert found == (loads, stores), kernel
    for kernel in NARROW:
        assert kernels[kernel]["wide_loads"] == kernels[kernel]["wide_stores"] == 0, kernel


def inspect(tmp_path, body, *flags):
    source = tmp_path / "planted.cu"
    source.write_text(f'#include "cuda/quad.cuh"\n{body}\n')
    return cuda_resources.inspect(source, 90, cuda_resources.nvcc(), *flags)


def test_the_report_sees_what_it_looks_for(tmp_path):
    """A stack frame, a spill, shared memory, wide and narrow accesses, and code that is wrong."""
    found = inspect(
        tmp_path,
        """
        __global__ void narrow(const float* a, float* b) { b[threadIdx.x] = a[threadIdx.x]; }
        __global__ void wide(const float4* a, float4* b) { b[threadIdx.x] = a[threadIdx.x]; }
        __global__ void stack(const int* a, int* b) {
          int room[64];
          for (int i = 0; i < 64; ++i) room[a[i] & 63] = a[i + 64];
          b[0] = room[a[128] & 63] + room[a[129] & 63];
        }
        __global__ void shared(float* a) {
          MV_SHARED(float, tile, [100]);
          tile[threadIdx.x] = a[threadIdx.x];
          __syncthreads();
          a[threadIdx.x] = tile[99 - threadIdx.x];
        }
        __global__ void __launch_bounds__(1024) spills(const double* a, double* b) {
          double x[64];
          for (int i = 0; i < 64; ++i) x[i] = a[i * 1024 + threadIdx.x];
          __syncthreads();
          for (int i = 0; i < 64; ++i) {
            double y = 0;
            for (int j = 0; j < 64; ++j) y += x[j] * x[(i + j) % 64];
            b[i * 1024 + threadIdx.x] = y;
          }
        }
        """,
    )
    assert (found["wide"]["wide_loads"], found["wide"]["wide_stores"]) == (1, 1)
    assert (found["narrow"]["wide_loads"], found["narrow"]["wide_stores"]) == (0, 0)
    assert found["stack"]["stack_bytes"] >= 256 > found["narrow"]["stack_bytes"] == 0
    assert found["shared"]["shared_bytes"] == 400
    assert found["spills"]["spill_bytes"] > 0 == found["narrow"]["spill_bytes"]
    with pytest.raises(RuntimeError, match="no_such_function"):
        inspect(tmp_path, "__global__ void f(float* a) { a[0] = no_such_function(); }")


def test_the_recorded_report_knows_every_kernel(report):
    """benchmarks/results/cuda_resources.json, which the docs show, has a row for every kernel."""
    import json

    recorded = json.loads((ROOT / "benchmarks/results/cuda_resources.json").read_text())
    assert re.fullmatch(r"sm_\d+", recorded["arch"])
    for file, kernels in report.items():
        assert set(kernels) == set(recorded["files"][file]), (
            f"{file} has changed: run python benchmarks/cuda_resources.py --json "
            "benchmarks/results/cuda_resources.json"
        )
