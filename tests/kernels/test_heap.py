"""Freed memory stays with the process, so that a training step does not fault its pages in anew."""

import os
import platform
import subprocess
import sys

import pytest

pytest.importorskip("minivae._cpu", reason="the compiled kernels are not built")

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


def faults(**environment):
    """Page faults of twenty times the same allocations, in a fresh process."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_")}
    done = subprocess.run(
        [sys.executable, "-c", FAULTS],
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
