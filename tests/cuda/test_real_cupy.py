"""The real CuPy and its stand-in have every name that the package uses; no driver needed.

Skipped where CuPy is not installed; .ci/run installs it.
"""

import importlib.util
import inspect
import sys

import cupy_uses
import numpy as np
import pytest
from cuda_emulation import _stand_in, emulated_device
from cupy_arrays import DeviceArray
from cupy_streams import Stream

from minivae import backend

USES = cupy_uses.uses()
NAMES = sorted({use.name for use in USES})


@pytest.fixture(scope="module")
def cupy():
    return pytest.importorskip("cupy", reason="CuPy is not installed")


def resolved(module, name):
    for part in name.split("."):
        module = getattr(module, part)
    return module


def test_the_source_is_read_right():
    """The reader finds dotted names, names of ``self.xp`` and of function results, and keywords."""
    assert {"cuda.Stream", "cuda.using_allocator", "ElementwiseKernel", "expm1"} <= set(NAMES)
    assert cupy_uses.Use("cuda.Stream", 0, ("non_blocking",)) in USES
    assert cupy_uses.Use("full", 3) in USES and len(NAMES) > 30
    assert not any(name.startswith(("xp", "self")) for name in NAMES)


def test_a_module_that_cupy_loads_when_asked(cupy):
    """``cupy.cuda.nccl`` is an attribute only after it was imported (``backend.nccl_module``)."""
    assert importlib.util.find_spec("cupy.cuda.nccl") is not None
    assert "cuda.nccl" not in NAMES


@pytest.mark.parametrize("name", NAMES)
def test_cupy_has_every_name(cupy, name):
    assert resolved(cupy, name) is not None


@pytest.mark.parametrize("name", NAMES)
def test_the_stand_in_has_every_name(name):
    """The stand-in has every name; what it takes from NumPy has the same name in CuPy."""
    assert resolved(_stand_in(), name) is not None


@pytest.mark.parametrize("use", [use for use in USES if use.arguments is not None], ids=str)
def test_cupy_takes_the_arguments(cupy, use):
    function = resolved(cupy, use.name)
    if isinstance(function, cupy.ufunc):
        assert use.arguments in (function.nin, function.nin + 1)
        assert set(use.keywords) <= {"out", "dtype"}
        return
    try:
        signature = inspect.signature(function)
    except ValueError:  # compiled, without a signature; its docstring has one
        documented = (function.__doc__ or "").partition("\n")[0]
        assert all(name in (function.__doc__ or "") for name in use.keywords), documented
        return
    signature.bind(*[None] * use.arguments, **dict.fromkeys(use.keywords))


@pytest.mark.parametrize("kind", ["arrays", "streams"])
def test_methods_of_arrays_and_streams(cupy, kind):
    real, names = {
        "arrays": (cupy.ndarray, cupy_uses.ARRAY_METHODS),
        "streams": (cupy.cuda.Stream, cupy_uses.STREAM_METHODS),
    }[kind]
    mine = DeviceArray(np.zeros((2, 2), np.float32)) if kind == "arrays" else Stream()
    for name in names:
        assert hasattr(real, name) or name == "ptr", name  # ptr is set when a stream is made
        if kind == "streams" or name != "item":
            assert getattr(mine, name, None) is not None, name
    assert hasattr(cupy.cuda.Graph, "launch") and hasattr(cupy.cuda.MemoryPool, "malloc")


def test_graphs_count_no_launches(cupy):
    """CuPy's graphs do not count launches, so a step counts them (``RecordedStep.replays``)."""
    assert not hasattr(cupy.cuda.Graph, "launches")


def test_kernels_of_one_line_are_made(cupy, monkeypatch):
    """CuPy parses parameters when a kernel is made, and compiles it at its first call."""
    monkeypatch.setattr(backend, "_probe_cupy", lambda: (cupy, None))
    monkeypatch.delitem(sys.modules, "minivae.kernels.cupy_fused", raising=False)
    from minivae.kernels import cupy_fused

    made = [k for k in vars(cupy_fused).values() if isinstance(k, cupy.ElementwiseKernel)]
    with emulated_device():
        from minivae.kernels import cupy_fused as emulated

        counterparts = [k for k in vars(emulated).values() if hasattr(k, "kernel")]
    assert len(made) >= 5 and len(counterparts) >= len(made)
    sys.modules.pop("minivae.kernels.cupy_fused", None)
