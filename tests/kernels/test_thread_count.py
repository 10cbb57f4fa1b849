"""The compiled kernels' initial number of threads: environment, CPUs, a container's quota."""

import math
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from minivae import KernelUnavailable
from minivae.kernels import thread_count

CPUS = 8


@pytest.fixture(autouse=True)
def eight_cpus(monkeypatch):
    """Eight CPUs, no quota and an empty environment, unless a test says otherwise."""
    monkeypatch.setattr(thread_count, "usable_cpus", lambda: CPUS)
    monkeypatch.setattr(thread_count, "cpu_quota", lambda root=None: None)
    for name in ("MINIVAE_NUM_THREADS", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    "environment, expected",
    [
        ({}, CPUS),
        ({"OMP_NUM_THREADS": "3"}, 3),
        ({"OMP_NUM_THREADS": "4,2"}, 4),  # of nested levels the outermost
        ({"OMP_NUM_THREADS": " 5 "}, 5),
        ({"OMP_NUM_THREADS": "many"}, CPUS),
        ({"OMP_NUM_THREADS": "0"}, CPUS),
        ({"MINIVAE_NUM_THREADS": "6", "OMP_NUM_THREADS": "3"}, 6),
        ({"MINIVAE_NUM_THREADS": "", "OMP_NUM_THREADS": "3"}, 3),
        ({"MINIVAE_NUM_THREADS": "12"}, 12),  # asked for: more than there are CPUs
    ],
)
def test_the_environment(monkeypatch, environment, expected):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert thread_count.initial_threads() == expected


@pytest.mark.parametrize("wrong", ["0", "-1", "abc", "2x", "1.5", "²", "9" * 30, " 2"])
def test_a_number_of_threads_that_is_none_is_refused(monkeypatch, wrong):
    monkeypatch.setenv("MINIVAE_NUM_THREADS", wrong)
    with pytest.raises(KernelUnavailable) as caught:
        thread_count.initial_threads()
    expected = f"MINIVAE_NUM_THREADS: expected a whole number of at least 1, got {wrong!r}"
    assert str(caught.value) == expected


@pytest.mark.parametrize("quota, threads", [(None, 8), (0.1, 1), (1, 1), (1.5, 2), (2, 2), (64, 8)])
def test_a_quota_is_rounded_up_and_more_cpus_than_there_are_do_not_help(
    monkeypatch, quota, threads
):
    monkeypatch.setattr(thread_count, "cpu_quota", lambda: quota)
    assert thread_count.initial_threads() == threads


# (quota, period) in microseconds of the group of the process and those around it; None: no limit
limits = st.lists(
    st.none() | st.tuples(st.integers(1000, 10**7), st.integers(1000, 10**6)),
    min_size=1,
    max_size=4,
)


def write(folder, version, limit):
    """The files of one control group."""
    folder.mkdir(parents=True, exist_ok=True)
    quota, period = limit or ("max" if version == 2 else -1, 100_000)
    if version == 2:
        (folder / "cpu.max").write_text(f"{quota} {period}\n")
    else:
        (folder / "cpu.cfs_quota_us").write_text(f"{quota}\n")
        (folder / "cpu.cfs_period_us").write_text(f"{period}\n")


@given(limits, st.sampled_from([1, 2]), st.booleans())
@example([None, (150_000, 100_000)], 2, False)
@example([(50_000, 100_000), (150_000, 100_000)], 1, True)
def test_the_tightest_limit_of_a_group_and_those_around_it(limits, version, in_container):
    """In a container only the root of the mount is seen, whatever /proc says the path is."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        mount = root / "sys/fs/cgroup" / ("" if version == 2 else "cpu,cpuacct")
        names = [f"g{level}" for level in range(len(limits) - 1)]
        for level, limit in enumerate(limits):
            write(mount.joinpath(*names[:level]), version, limit)
        path = "/" + "/".join(["docker", "4f0d"] if in_container else names)
        (root / "proc/self").mkdir(parents=True)
        line = f"0::{path}" if version == 2 else f"4:cpu,cpuacct:{path}"
        (root / "proc/self/cgroup").write_text(f"7:memory:/elsewhere\n{line}\n")
        seen = limits[:1] if in_container else limits
        expected = min((q / p for q, p in filter(None, seen)), default=None)
        assert REAL_QUOTA(root) == expected


REAL_QUOTA = thread_count.cpu_quota


@pytest.mark.parametrize("content", ["", "max", "0 100000", "a b", "-1 100000", "1 0", "1 2 3"])
def test_what_cannot_be_read_is_no_limit(tmp_path, content):
    assert REAL_QUOTA(tmp_path) is None  # no /proc
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("0::/x\nnonsense\n3:cpu\n")
    folder = tmp_path / "sys/fs/cgroup/x"
    folder.mkdir(parents=True)
    (folder / "cpu.max").write_text(content)
    assert REAL_QUOTA(tmp_path) is None


@pytest.mark.slow
def test_compiled_kernels_start_with_it():
    pytest.importorskip("minivae._cpu", reason="the compiled kernels are not built")
    code = "from minivae import kernels; print(kernels.threads())"

    def threads(**environment):
        plain = {k: v for k, v in os.environ.items() if not k.endswith("_NUM_THREADS")}
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, env=plain | environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return int(done.stdout)

    assert threads(MINIVAE_NUM_THREADS="3") == threads(OMP_NUM_THREADS="3,1") == 3
    assert threads(MINIVAE_NUM_THREADS="1000000000") == 1024
    if hasattr(os, "sched_getaffinity"):
        cpus = len(os.sched_getaffinity(0))
        assert threads() == max(1, min(cpus, math.ceil(REAL_QUOTA() or cpus)))
