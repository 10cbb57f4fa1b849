"""CUDA kernels' bodies under the thread, address and undefined-behaviour sanitizers, on the CPU.

Every CUDA thread is an OS thread here, and threads of two blocks or warps are ordered by nothing
but the barriers and shuffles that CUDA gives them (tests/cuda/stand_in). So a missing barrier is a
data race, and an index past the end reads unallocated memory. Planted bugs show that the sanitizers
report both.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import cuda_build
import pytest

HERE = Path(__file__).parent
SANITIZERS = ["thread", "address,undefined"]
pytestmark = [
    pytest.mark.minutes,
    pytest.mark.skipif(cuda_build.missing() is not None, reason=cuda_build.missing() or ""),
]


def library(name):
    """The sanitizer's runtime, which has to be loaded before Python."""
    found = subprocess.run(
        ["g++", f"-print-file-name=lib{name}.so"], capture_output=True, text=True
    )
    path = found.stdout.strip()
    return path if Path(path).is_absolute() else None


def run_cases(module, sanitize, *cases):
    """Run cuda_sanitized.py on these cases; the finished process."""
    names = {"thread": ["tsan"], "address,undefined": ["asan", "ubsan"]}[sanitize]
    libraries = [library(name) for name in names]
    if None in libraries:
        pytest.skip(f"g++ has no {' and '.join(names)} library")
    environment = os.environ | {
        "LD_PRELOAD": " ".join(libraries),
        "TSAN_OPTIONS": "halt_on_error=1:exitcode=66",
        "ASAN_OPTIONS": "detect_leaks=0:exitcode=66",  # Python leaves much behind
        "OPENBLAS_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    # Without address randomisation, which some kernels do more of than the sanitizers can take.
    prefix = ["setarch", "-R"] if shutil.which("setarch") else []
    if prefix and subprocess.run([*prefix, "true"], capture_output=True).returncode:
        prefix = []
    command = [*prefix, sys.executable, HERE / "cuda_sanitized.py", module, *cases]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


@pytest.fixture(scope="module")
def ran():
    """The kernels that the cases ran, by sanitizer."""
    return {}


@pytest.mark.parametrize("sanitize", SANITIZERS)
def test_every_kernel_is_clean(sanitize):
    done = run_cases(cuda_build.build(sanitize), sanitize)
    assert done.returncode == 0, done.stdout + done.stderr[-6000:]
    ran = {kernel for line in done.stdout.splitlines() for kernel in line.split()[1:]}
    host = r"_scratch$|^device$|^cublaslt$|^set_tf32$"  # functions that launch nothing
    module = cuda_build.emulated()
    functions = {name for name in dir(module) if callable(getattr(module, name)) and name[0] != "_"}
    missed = {name for name in functions - ran if not re.search(host, name)}
    assert not missed, "cuda_sanitized.py has no case for these"


# (what to change in csrc/cuda/reparam_kl.cu, to what, the case that meets it, what is said then)
RACES = [
    # v2 without the barrier between writing the warps' sums and adding them
    ('#include "cuda/reduce.cuh"', "REDUCE WITHOUT BARRIER", "reparam_kl-2", "data race"),
    # v3: all lanes write the row's sum; the value is right, the writes race
    ("  if (lane == 0) kl[row] = static_cast<T>(sum);\n}\n\ntemplate <class T>\n__global__ void "
     "backward_v3", "  kl[row] = static_cast<T>(sum);\n}\n\ntemplate <class T>\n__global__ void "
     "backward_v3", "reparam_kl-3", "data race"),
    # v4: lanes beyond the last row stay away from the shuffle
    ("  sum = lane_sum(sum, lanes);", "  if (row < N) sum = lane_sum(sum, lanes);", "reparam_kl-4",
     "is not reached by every thread that it waits for"),
]  # fmt: skip
SLIPS = [
    # v1: one element too many
    ("  if (i < count) z[i]", "  if (i <= count) z[i]", "reparam_kl-1", "heap-buffer-overflow"),
    # v2: the row of dkl one too far
    ("const Index row = blockIdx.x;\n  const T gradient = dkl[row];",
     "const Index row = blockIdx.x;\n  const T gradient = dkl[row + 1];",
     "reparam_kl-2", "heap-buffer-overflow"),
    # v4: wide accesses to arrays that do not begin on a 16-byte boundary
    ("  return launch_rows(AnyRows{});", "  return launch_rows(AlignedRows{});", "reparam_kl-4",
     "misaligned address"),
    # v6: rows of any length taken for whole ones
    ("return D % 4 == 0 && ", "return D > 0 && ", "reparam_kl-6", "heap-buffer-overflow"),
]  # fmt: skip


def planted(tmp_path, sanitize, bugs):
    """The module from a copy of csrc with these bugs."""
    csrc = tmp_path / "csrc"
    shutil.copytree(cuda_build.CSRC, csrc)
    path = csrc / "cuda" / "reparam_kl.cu"
    source = path.read_text()
    for old, new, *_ in bugs:
        if new == "REDUCE WITHOUT BARRIER":  # in a copy of the header, or all kernels would compile
            header = (csrc / "cuda" / "reduce.cuh").read_text()
            assert header.count("  __syncthreads();\n") == 1
            copy = csrc / "cuda" / "reduce_planted.cuh"
            copy.write_text(header.replace("  __syncthreads();\n", ""))
            new = '#include "cuda/reduce_planted.cuh"'
        assert source.count(old) == 1, f"the place to plant a bug is gone: {old}"
        source = source.replace(old, new)
    path.write_text(source)
    return cuda_build.build(sanitize, csrc)


@pytest.mark.parametrize("sanitize, bugs", [("thread", RACES), ("address,undefined", SLIPS)])
def test_planted_bugs_are_seen(tmp_path, sanitize, bugs):
    module = planted(tmp_path, sanitize, bugs)
    for *_, case, said in bugs:
        done = run_cases(module, sanitize, case)
        assert done.returncode != 0, f"{case} passed with a planted bug"
        assert said in done.stderr, done.stderr[-3000:]
    clean = run_cases(module, sanitize, "noise")  # nothing is planted there
    assert clean.returncode == 0, clean.stderr[-3000:]
