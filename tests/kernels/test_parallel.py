"""The thread pool of the compiled kernels: coverage, errors, nesting, sharing, forks, settings."""

import os
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minivae import kernels

_cpu = pytest.importorskip("minivae._cpu", reason="the compiled kernels are not built")


@pytest.fixture(autouse=True)
def restore_threads():
    before = kernels.threads()
    yield
    kernels.set_threads(before)


def run(code, **environment):
    """Run a program in a fresh interpreter; its output, or a failure with its error."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@given(st.integers(-1, 300), st.integers(-1, 60), st.integers(1, 3), st.integers(1, 9))
def test_every_index_is_visited_once_at_each_level(n, grain, depth, count):
    kernels.set_threads(count)
    np.testing.assert_array_equal(_cpu.parallel_visits(n, grain, depth), np.full(max(n, 0), depth))


@pytest.mark.parametrize("count", [1, 2, 5])
def test_an_error_reaches_the_caller_and_the_pool_goes_on(count):
    kernels.set_threads(count)
    for fail in (0, 57, 99):
        with pytest.raises(IndexError, match=f"visited {fail}"):
            _cpu.parallel_visits(100, 1, 2, fail)
        assert (_cpu.parallel_visits(100, 1) == 1).all()


def test_several_python_threads_may_call_at_once():
    kernels.set_threads(3)
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(60, 300)), rng.normal(size=(300, 200))
    alone = _cpu.matmul(a, b, None).tobytes()

    def work(_):
        for _ in range(20):
            assert _cpu.matmul(a, b, None).tobytes() == alone
            assert (_cpu.parallel_visits(500, 1, 2) == 2).all()

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(work, range(4)))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_has_threads_of_its_own():
    """The child of a process whose pool is running works, forks again, and so does the parent."""
    out = run(
        """
        import os, sys
        from minivae import _cpu
        def check():
            for _ in range(50):
                assert (_cpu.parallel_visits(1000, 1, 2) == 2).all()
        _cpu.set_threads(3)
        check()
        child = os.fork()
        check()
        if child == 0:
            grandchild = os.fork()
            check()
            if grandchild:
                assert os.waitpid(grandchild, 0)[1] == 0
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        check()
        print("done")
        """
    )
    assert out == "done\n"


def test_set_threads_within_bounds():
    for count in (4, 1):
        kernels.set_threads(count)
        assert kernels.threads() == count
    for wrong in (0, -2, 1025, 2**31 - 1):
        with pytest.raises(ValueError, match="at least 1 and at most 1024, got"):
            _cpu.set_threads(wrong)


@pytest.mark.parametrize("work", ["get('relu', a)(a)", "get('matmul', a)(a[:, None], a[None, :2])"])
def test_exit_while_a_daemon_thread_is_inside_a_kernel(work):
    """The exit status is the one asked for, not that of SIGABRT from a destructor that throws."""
    code = f"""
    import threading, time, sys, numpy as np
    from minivae import kernels
    a = np.ones(3_000_000, np.float32)
    def forever():
        while True:
            kernels.{work}
    threading.Thread(target=forever, daemon=True).start()
    time.sleep(0.2)
    sys.exit(3)
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (3, "")


def test_no_binding_releases_the_lock_by_a_destructor():
    if not (root := Path(__file__).parents[2] / "csrc").is_dir():
        pytest.skip("csrc is not beside the tests")
    users = [p for p in root.rglob("*.*") if "gil_scoped_release release" in p.read_text()]
    assert not users, "without_gil.h says what ends in SIGABRT"
