"""Freed memory stays with the process, so that a step does not fault its pages in anew."""

import itertools
import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

_cpu = pytest.importorskip("minivae._cpu", reason="the compiled kernels are not built")

FAULTS = """
import resource, sys
import numpy as np
import minivae as mv
def step():
    for megabytes in (3, 20, 6):
        a = np.empty(megabytes << 20, np.uint8)
        a[::4096] = 1
mv.kernels.get("relu", np.empty(1, np.float32))
step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


LARGE = """
import resource, sys
import numpy as np
import minivae as mv
a, b = np.ones((3000, 1), np.float32), np.ones((1, 3000), np.float32)
product = mv.kernels.get("matmul", a)
def step():
    return product(a, b) if KEEP else len(product(a, b))
held = [step(), step()]
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    held.append(step())
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(program=FAULTS, **environment):
    """Page faults of a program's repeated allocations, in a fresh process."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_")}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**kept, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told")
def test_freed_memory_is_used_again_unless_the_environment_says_otherwise():
    assert faults() < 20
    assert faults(MALLOC_TRIM_THRESHOLD_="65536", MALLOC_MMAP_THRESHOLD_="65536") > 100


@pytest.mark.slow
def test_large_results_take_the_memory_of_those_that_are_gone():
    """Results of 36 MB, more than malloc keeps, take the memory of deleted ones."""
    assert faults("KEEP = False" + LARGE) < 100
    assert faults("KEEP = True" + LARGE) > 1000 or huge_pages()


def huge_pages():
    """Whether the system uses huge pages, with which even new memory causes few page faults."""
    path = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    return path.exists() and "[always]" in path.read_text()


@pytest.mark.slow
@settings(max_examples=30)
@given(st.lists(st.integers(0, 9), min_size=8, max_size=20), st.randoms())
def test_memory_is_used_again_only_when_no_reference_remains(moves, random):
    """Large arrays that are held, directly or through a view, keep their memory and values."""
    held = []
    for number, move in enumerate(moves):
        if move < 5 and held:
            held.pop(random.randrange(len(held)))
        else:
            rows = 2100 + 100 * (move % 3)
            a = np.full((rows, 1), float(number + 1))
            y = _cpu.matmul(a, np.ones((1, 2100)), None, False)
            assert y.nbytes >= 32 << 20
            held.append((y, number + 1) if move % 2 else (y[5:7, ::3].T, number + 1))
            del y
    for (a, _), (b, _) in itertools.combinations(held, 2):
        assert not np.shares_memory(a, b)
    for a, number in held:
        assert (a == number).all()
