"""pytest configuration: which tests run, Hypothesis profiles, and short failure reports.

``pytest -m "not slow"`` runs the quick tests, ``pytest`` also those that take some seconds each,
and ``pytest --everything`` also those that take minutes: the CUDA kernels compiled for the CPU in
place of a GPU, sanitizers, nvcc, long trainings, additions to scratch copies.

HYPOTHESIS_PROFILE is dev (default), ci or deep. dev and ci draw the same examples on every run;
deep draws new ones each time.
"""

import collections
import gc
import os

import cuda_build
import pytest
from hypothesis import HealthCheck, settings

# No deadline and no failure for slow data generation: time depends on the machine's load.
PATIENT = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow], "print_blob": True}

GPU = {"gpu", "cuda", "cupy"}  # values of test parameters that need a real GPU

settings.register_profile("dev", max_examples=25, derandomize=True, **PATIENT)
settings.register_profile("ci", max_examples=60, derandomize=True, **PATIENT)
settings.register_profile("deep", max_examples=1000, **PATIENT)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))


def pytest_addoption(parser):
    parser.addoption(
        "--everything", action="store_true",
        help="run what takes minutes too: stand-in for a GPU, sanitizers, nvcc, long trainings",
    )  # fmt: skip


def threads_asked_for():
    """The ``*_NUM_THREADS`` variables, which processes started by tests inherit."""
    return {name: count for name, count in os.environ.items() if name.endswith("_NUM_THREADS")}


THREADS = threads_asked_for()


def pytest_configure(config):
    cuda_build.asked_for = config.getoption("everything")


def pytest_collection_modifyitems(config, items):
    """Mark a test of ``minutes`` as ``slow`` too, and skip it without ``--everything``. Mark a test
    whose parameters name a GPU as ``gpu``, so that ``-m gpu`` runs the tests that need one.
    """
    for item in items:
        given = getattr(item, "callspec", None)
        if given and not GPU.isdisjoint(p for p in given.params.values() if isinstance(p, str)):
            item.add_marker(pytest.mark.gpu)
        if item.get_closest_marker("minutes"):
            item.add_marker(pytest.mark.slow)
            if not config.getoption("everything"):
                item.add_marker(pytest.mark.skip(reason="takes minutes; see pytest --everything"))


def pytest_collection_finish():
    gc.freeze()  # the collected tests stay alive: later garbage collections need not visit them
    if threads_asked_for() != THREADS:  # the number of threads changes the bits of BLAS results
        raise pytest.UsageError(f"importing tests changed {THREADS} to {threads_asked_for()}")


def pytest_assertrepr_compare(op, left, right):
    """Where long bytes differ, alone or in a dict, in a few lines: pytest's diff takes minutes."""
    if op == "==" and isinstance(left, bytes) and isinstance(right, bytes):
        return [told_apart("bytes", left, right)] if len(left) + len(right) > 1000 else None
    if op == "==" and isinstance(left, dict) and isinstance(right, dict):
        long = [v for v in (*left.values(), *right.values()) if isinstance(v, bytes)]
        if sum(map(len, long)) > 1000:
            both = [name for name in left if name in right and left[name] != right[name]]
            return [
                f"only one has {sorted(map(str, left.keys() ^ right.keys()))}",
                *(told_apart(name, left[name], right[name]) for name in both),
            ]
    return None


def told_apart(name, left, right):
    """A line that shows two different values; for bytes, the first difference and the lengths."""
    if not (isinstance(left, bytes) and isinstance(right, bytes)):
        return f"{name}: {str(left)[:100]} != {str(right)[:100]}"
    at = next((i for i, (a, b) in enumerate(zip(left, right, strict=False)) if a != b), None)
    at = min(len(left), len(right)) if at is None else at
    return f"{name}: {len(left)} and {len(right)} bytes, which differ from byte {at} on"


def pytest_terminal_summary(terminalreporter):
    """Print one line per skip reason, with the number of tests skipped for it."""
    skipped = terminalreporter.stats.get("skipped", [])
    reasons = collections.Counter(r.longrepr[2].removeprefix("Skipped: ") for r in skipped)
    if reasons:
        terminalreporter.section("skipped")
    for reason, count in reasons.most_common():
        terminalreporter.write_line(f"{count:5} {reason}")
