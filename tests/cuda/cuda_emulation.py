"""A stand-in for CuPy: arrays in host memory that behave like arrays on a GPU.

``DeviceArray`` is no ``numpy.ndarray`` and refuses implicit conversion to one, as CuPy's arrays do,
so code that would need an implicit transfer fails here as it would on a GPU. Work on a capturing
stream is recorded, kernels of the extension and array code in one order, and run when the graph is
launched. Waiting for the device, or copying to or from it, while a stream captures is an error.

    with emulated_device(extension) as cupy: ...

puts the stand-in where ``minivae.backend`` finds CuPy and ``extension`` (the CUDA extension
compiled for the CPU, or None) where ``minivae.kernels`` finds ``minivae._cuda``.
"""

import contextlib
import sys
import types

import cuda_build
import cupy_kernels
import numpy as np
import pytest
from cupy_arrays import DeviceArray, poisoned, recorded, require_device, run, unwrapped, wrapped
from cupy_streams import (
    NULL,
    Event,
    Graph,
    MemoryPool,
    Stream,
    capturing,
    current_stream,
    require_no_capture,
    submit,
    using_allocator,
)

from minivae import backend, kernels


class _Ufunc:
    def __init__(self, ufunc):
        self.ufunc = ufunc

    def __call__(self, *arguments, **keywords):
        return run(self.ufunc, arguments, keywords)

    def at(self, array, index, values):
        host, index, values = array._host, unwrapped(index), unwrapped(values)
        submit(lambda: self.ufunc.at(host, index, values))


def _asarray(x, dtype=None, order=None):
    if isinstance(x, DeviceArray):
        return x if dtype in (None, x.dtype) else x.astype(dtype)
    if np.ndim(x):
        require_no_capture("a copy from the host")
    host = np.array(x, dtype, order=order or "C")
    made = DeviceArray(host)
    if capturing():  # a number is an argument of the kernel that fills the array
        value = host.copy()
        submit(lambda: np.copyto(host, value))
    return made


def _array(x, dtype=None, order="K", copy=True):
    if isinstance(x, DeviceArray):
        return run(np.array, (x,), {"dtype": dtype, "order": order})
    return _asarray(x, dtype)


class ElementwiseKernel:
    """CuPy's ElementwiseKernel: outputs are new arrays, or given after the inputs."""

    def __init__(self, in_params, out_params, operation, name="kernel", options=()):
        self.kernel = cupy_kernels.Elementwise(in_params, out_params, operation)

    def __call__(self, *arguments):
        require_device(*arguments)
        arrays = [np.asarray(unwrapped(a)) for a in arguments]
        arrays, outs = arrays[: len(self.kernel.inputs)], arrays[len(self.kernel.inputs) :]
        if not outs:
            shape = np.broadcast_shapes(*(a.shape for a in arrays))
            outs = [poisoned(shape, arrays[0].dtype) for _ in self.kernel.outputs]
        submit(lambda: self.kernel(arrays, outs))
        return wrapped(outs[0] if len(outs) == 1 else tuple(outs))


class ReductionKernel:
    """CuPy's ReductionKernel, over the last axis of matrices."""

    def __init__(
        self, in_params, out_params, map_expr, reduce_expr, post_map_expr, identity, name="kernel",
        reduce_type="T", options=(),
    ):  # fmt: skip
        self.kernel = cupy_kernels.Reduction(
            in_params, out_params, map_expr, reduce_expr, post_map_expr, identity, reduce_type
        )

    def __call__(self, *arrays, axis):
        assert axis == 1
        require_device(*arrays)
        arrays = unwrapped(list(arrays))
        out = poisoned(len(arrays[0]), arrays[0].dtype)
        submit(lambda: self.kernel(arrays, out))
        return wrapped(out)


def _stand_in():
    """A module object that replaces ``cupy``."""
    module = types.ModuleType("cupy")
    module.ndarray, module.asarray, module.array = DeviceArray, _asarray, _array
    module.asnumpy = lambda x: x.get()
    module.empty = lambda shape, dtype=float, order="C": DeviceArray(poisoned(shape, dtype))
    module.empty_like = lambda x: module.empty(x.shape, x.dtype)
    module.ElementwiseKernel, module.ReductionKernel = ElementwiseKernel, ReductionKernel
    module.__version__ = "emulated"
    runtime = types.SimpleNamespace(
        getDeviceCount=lambda: 1,
        driverGetVersion=lambda: 13000,
        runtimeGetVersion=lambda: 13000,
        memGetInfo=lambda: (2**34, 2**34),
        getDeviceProperties=lambda device: {"name": b"emulated device", "major": 9, "minor": 0},
    )
    module.cuda = types.SimpleNamespace(
        Stream=Stream,
        Graph=Graph,
        Event=Event,
        get_elapsed_time=lambda start, end: 1.0,
        MemoryPool=MemoryPool,
        get_current_stream=current_stream,
        using_allocator=using_allocator,
        runtime=runtime,
        Device=lambda index=0: types.SimpleNamespace(id=index, synchronize=NULL.synchronize),
    )

    def lookup(name):
        value = getattr(np, name)
        if isinstance(value, np.ufunc):
            return _Ufunc(value)
        return recorded(value) if callable(value) and not isinstance(value, type) else value

    module.__getattr__ = lookup
    return module


ABSENT = object()


@contextlib.contextmanager
def emulated_device(extension=None):
    """Give minivae an emulated GPU inside a ``with`` block; yields the stand-in for cupy.

    ``extension`` is the module that serves as ``minivae._cuda``; None when that was not built.
    """
    cupy = _stand_in()
    modules = ("cuda", "cuda_layers", "cupy_fused", "cublaslt")
    names = ("minivae._cuda", *(f"minivae.kernels.{name}" for name in modules))
    before = {name: _forget(name) for name in names}
    probe = backend._probe_cupy
    Stream.extension = extension
    # None in sys.modules makes the import fail.
    _remember("minivae._cuda", extension, ABSENT if extension is None else extension)
    backend._probe_cupy = lambda: (cupy, None)
    kernels._load.cache_clear()
    try:
        yield cupy
    finally:
        backend._probe_cupy = probe
        Stream.extension = None
        for name in names:
            _forget(name)
            _remember(name, *before[name])
        kernels._load.cache_clear()


DEVICES = ["stand-in", "gpu"]  # parameters of a fixture: where a test of whole steps runs


@contextlib.contextmanager
def device_called(name):
    """CuPy with the CUDA extension: the stand-in for both, or a real GPU's; yields the module.

    Skips, with the reason, where there is none.
    """
    if name == "stand-in":
        with emulated_device(cuda_build.emulated()) as cupy:
            assert "cuda" in kernels.available(), kernels.reasons()
            yield cupy
        return
    if why := kernels.reasons().get("cuda"):
        pytest.skip(f"no GPU for whole steps: {why}")
    yield backend.device_module()


def _forget(name):
    """Make the next import of a module a fresh one; gives what ``_remember`` takes.

    ``import a.b`` leaves ``b`` in ``sys.modules`` and as an attribute of ``a``, and
    ``from a import b`` takes the attribute.
    """
    package, _, attribute = name.rpartition(".")
    return sys.modules.pop(name, ABSENT), vars(sys.modules[package]).pop(attribute, ABSENT)


def _remember(name, module, attribute):
    """Restore what ``_forget`` returned: whether and where imports find a module."""
    package, _, name_there = name.rpartition(".")
    if module is not ABSENT:
        sys.modules[name] = module
    if attribute is not ABSENT:
        setattr(sys.modules[package], name_there, attribute)
