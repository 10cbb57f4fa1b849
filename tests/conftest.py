"""Which tests run, and how hard hypothesis tries.

``pytest -m "not slow"`` runs the quick ones, ``pytest`` also those that take some seconds each, and
``pytest --everything`` also what takes minutes: the CUDA kernels compiled for the CPU in place of a
GPU, sanitizers, nvcc, long trainings, additions to scratch copies.

HYPOTHESIS_PROFILE is dev (default), ci or deep. dev and ci draw the same examples on every run;
deep draws new ones each time.
"""

import collections
import gc
import os

import cuda_build
import pytest
from hypothesis import HealthCheck, settings

# A busy machine is not a property of the code: no deadline, and slow drawing is no failure.
PATIENT = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow], "print_blob": True}

GPU = {"gpu", "cuda", "cupy"}  # parameters that stand for a real one

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
    """What the environment says of threads, to the processes that tests start too."""
    return {name: count for name, count in os.environ.items() if name.endswith("_NUM_THREADS")}


THREADS = threads_asked_for()


def pytest_configure(config):
    cuda_build.asked_for = config.getoption("everything")


def pytest_collection_modifyitems(config, items):
    """A test that takes minutes is slow too, and skipped unless asked for. A test with a GPU among
    its parameters is marked ``gpu``, so that ``-m gpu`` runs what needs one and nothing else.
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
    gc.freeze()  # the tests themselves are no garbage: collections of it need not look at them
    if threads_asked_for() != THREADS:  # with which NumPy's BLAS gives other bits
        raise pytest.UsageError(f"importing tests made {threads_asked_for()} of {THREADS}")


def pytest_assertrepr_compare(op, left, right):
    """Where long bytes differ, on their own or in a dict: pytest's diff of them takes minutes."""
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
    """A line that says where two values differ; of bytes, the place and the lengths."""
    if not (isinstance(left, bytes) and isinstance(right, bytes)):
        return f"{name}: {str(left)[:100]} != {str(right)[:100]}"
    at = next((i for i, (a, b) in enumerate(zip(left, right, strict=False)) if a != b), None)
    at = min(len(left), len(right)) if at is None else at
    return f"{name}: {len(left)} and {len(right)} bytes, which differ from byte {at} on"


def pytest_terminal_summary(terminalreporter):
    """One line for each reason that tests were skipped for."""
    skipped = terminalreporter.stats.get("skipped", [])
    reasons = collections.Counter(r.longrepr[2].removeprefix("Skipped: ") for r in skipped)
    if reasons:
        terminalreporter.section("skipped")
    for reason, count in reasons.most_common():
        terminalreporter.write_line(f"{count:5} {reason}")
