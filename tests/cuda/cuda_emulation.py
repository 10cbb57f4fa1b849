"""A GPU that is not there: CuPy's place is taken by arrays in host memory that behave like its own.

``DeviceArray`` is no ``numpy.ndarray`` and refuses to become one unasked, as CuPy's arrays do, so
code that would need a silent transfer fails here as it would on a GPU. What a stream captures is
not run but recorded, kernels of the extension and array code in one order, and run when the graph
is launched. Waiting for the device, or copying to or from it, while a stream captures is an error.

    with emulated_device(extension) as cupy: ...

puts the stand-in where ``minivae.backend`` finds CuPy and ``extension`` (the CUDA extension
compiled for the CPU, or None) where ``minivae.kernels`` finds ``minivae._cuda``.
"""

import contextlib
import itertools
import operator
import sys
import types

import cupy_kernels
import numpy as np

from minivae import backend, kernels


class CaptureError(RuntimeError):
    """What CuPy raises as CUDARuntimeError: something that a capturing stream does not allow."""


class DeviceArray:
    """An array "in device memory": NumPy's memory, CuPy's manners."""

    __slots__ = ("_host",)
    __array_ufunc__ = None  # a NumPy array or scalar on the left leaves the operation to us

    def __init__(self, host):
        self._host = host
        if _capturing():
            _keep(host)

    @property
    def __cuda_array_interface__(self):
        a = self._host
        return {
            "shape": a.shape,
            "typestr": a.dtype.str,
            "descr": a.dtype.descr,
            "data": (a.__array_interface__["data"][0] if a.size else 0, False),
            "strides": None if a.flags.c_contiguous else a.strides,
            "version": 3,
            "stream": None,
        }

    def __array__(self, dtype=None, copy=None):
        raise TypeError("Implicit conversion to a NumPy array is not allowed; use .get()")

    def __getattr__(self, name):
        if name.startswith("_"):
            raise AttributeError(name)
        value = getattr(self._host, name)
        if callable(value):
            return _function(getattr(np.ndarray, name)).__get__(self)
        return _wrapped(value)

    def get(self, out=None):
        _require_no_capture("a copy to the host")
        if out is None:
            return self._host.copy()
        out[...] = self._host
        return out

    def set(self, host):
        _require_no_capture("a copy from the host")
        self._host[...] = host

    def item(self, *index):
        _require_no_capture("waiting for a value")
        return self._host.item(*index)

    def __bool__(self):
        return bool(self.item())

    def __int__(self):
        return int(self.item())

    def __float__(self):
        return float(self.item())

    def __index__(self):
        return operator.index(self.item())

    def __len__(self):
        return len(self._host)

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def __repr__(self):
        return f"DeviceArray({self._host!r})"

    def __getitem__(self, key):
        return _call(_element, (self, key))

    def __setitem__(self, key, value):
        _require_device(value)
        key, value = _unwrapped(key), _unwrapped(value)
        _submit(lambda: operator.setitem(self._host, key, value))


def _element(host, key):
    """host[key]; a single element as a view without axes, where NumPy would copy it."""
    keys = key if isinstance(key, tuple) else (key,)
    plain = all(isinstance(k, int | np.integer | slice) for k in keys)
    return host[(*keys, ...)] if plain else host[key]


def _unwrapped(x):
    """Arguments of a NumPy function: the memory behind device arrays, however deep they lie."""
    if isinstance(x, DeviceArray):
        return x._host
    if isinstance(x, tuple | list) and not hasattr(x, "_fields"):
        return type(x)(map(_unwrapped, x))
    return x


def _wrapped(x):
    if isinstance(x, np.ndarray | np.generic):
        return DeviceArray(np.asarray(x))
    if isinstance(x, tuple | list):
        return type(x)(map(_wrapped, x)) if any(isinstance(i, np.ndarray) for i in x) else x
    return x


def _require_device(*arguments):
    for x in arguments:
        if isinstance(x, np.ndarray) and x.ndim:
            raise TypeError("Unsupported type <class 'numpy.ndarray'>")
        if isinstance(x, tuple | list):
            _require_device(*x)


def _call(function, arguments, keywords=None):
    """Run an array function, or record it; fresh results get their memory at once in both cases."""
    keywords = keywords or {}
    _require_device(*arguments, *keywords.values())
    arguments = _unwrapped(tuple(arguments))
    keywords = {name: _unwrapped(value) for name, value in keywords.items()}
    out = keywords.pop("out", None)
    if out is not None:
        _submit(lambda: np.copyto(out, function(*arguments, **keywords)))
        return _wrapped(out)
    with np.errstate(all="ignore" if _capturing() else None):
        result = function(*arguments, **keywords)
    result = [np.asarray(r) for r in result] if isinstance(result, list) else result
    if _capturing() and isinstance(result, np.ndarray | np.generic):
        result = np.asarray(result)
        known = [a for a in arguments if isinstance(a, np.ndarray)]
        if not any(np.may_share_memory(result, a) for a in known):
            _submit(lambda: np.copyto(result, function(*arguments, **keywords)))
    return _wrapped(result)


def _function(function):
    def called(*arguments, **keywords):
        return _call(function, arguments, keywords)

    return called


def _binary(name):
    function = getattr(operator, name)
    return (
        lambda self, other: _call(function, (self, other)),
        lambda self, other: _call(lambda a, b: function(b, a), (self, other)),
        lambda self, other: _in_place(function, self, other),
    )


def _in_place(function, array, other):
    _require_device(other)
    host, other = array._host, _unwrapped(other)
    _submit(lambda: np.copyto(host, function(host, other), casting="same_kind"))
    return array


for _name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "lshift",
              "rshift", "and_", "or_", "xor"):  # fmt: skip
    _plain = _name.rstrip("_")
    for _prefix, _method in zip(("", "r", "i"), _binary(_name), strict=True):
        setattr(DeviceArray, f"__{_prefix}{_plain}__", _method)
for _name in ("eq", "ne", "lt", "le", "gt", "ge"):
    setattr(DeviceArray, f"__{_name}__", _binary(_name)[0])
for _name in ("neg", "abs", "invert"):
    setattr(DeviceArray, f"__{_name}__", _function(getattr(operator, _name)))
DeviceArray.__hash__ = None


# Streams and graphs

_current = []  # streams in use, the innermost last
_pointers = itertools.count(0x1000)


class Stream:
    """CuPy's Stream as far as a captured step needs it."""

    extension = None  # the emulated extension, which records its own launches

    def __init__(self, null=False, non_blocking=False):
        self.ptr = 0
        if not null:
            emulator = self.extension and self.extension.emulator
            self.ptr = emulator.create_stream() if emulator else next(_pointers)
        self.recorded = None

    def __enter__(self):
        _current.append(self)
        return self

    def __exit__(self, *exc_info):
        _current.pop()

    def begin_capture(self, mode=None):
        if self.ptr == 0:
            raise CaptureError("cudaErrorStreamCaptureUnsupported: the default stream")
        self.recorded = []
        self._begin_part()

    def end_capture(self):
        self._end_part()
        graph, self.recorded = Graph(self.recorded), None
        return graph

    def is_capturing(self):
        return self.recorded is not None

    def submit(self, work):
        """Run ``work``, or record it after all that was recorded."""
        if self.recorded is None:
            work()
            return
        self._end_part()  # what the extension recorded so far comes first
        self.recorded.append(work)
        self._begin_part()

    def _begin_part(self):
        if self.extension:
            self.extension.emulator.begin_capture(self.ptr)

    def _end_part(self):
        if self.extension:
            part = self.extension.emulator.end_capture(self.ptr)
            if part.nodes:
                self.recorded.append(lambda: part.launch(self.ptr))

    def synchronize(self):
        if self.is_capturing():
            raise CaptureError("cudaErrorStreamCaptureUnsupported: waiting for the stream")

    def wait_event(self, event):
        pass

    def record(self, event=None):
        return event


class Graph:
    """What a stream recorded."""

    def __init__(self, works):
        self.works = works
        self.launches = 0

    def upload(self, stream=None):
        pass

    def launch(self, stream=None):
        self.launches += 1
        for work in self.works:
            work()


NULL = Stream(null=True)


def _stream():
    return _current[-1] if _current else NULL


def _capturing():
    return _stream().is_capturing()


def _submit(work):
    _stream().submit(work)


def _require_no_capture(what):
    if _capturing():
        raise CaptureError(f"cudaErrorStreamCaptureUnsupported: {what} while a stream captures")


class Event:
    """A moment of a stream; here everything is over when it is recorded."""

    def record(self, stream=None):
        self.recorded = True

    def synchronize(self):
        pass


_pools = []  # in use, the innermost last


class MemoryPool:
    """Memory taken from it while a stream captures lasts as long as the pool."""

    def __init__(self):
        self.kept = []

    def malloc(self, size):
        raise NotImplementedError


@contextlib.contextmanager
def _using_allocator(allocator):
    _pools.append(allocator.__self__)
    try:
        yield
    finally:
        _pools.pop()


def _keep(host):
    """What a graph will write to must not be given to anybody else after the capture."""
    if not _pools:
        raise CaptureError("a graph would use memory of the pool that everybody shares")
    _pools[-1].kept.append(host)


# The module


class _Ufunc:
    def __init__(self, ufunc):
        self.ufunc = ufunc

    def __call__(self, *arguments, **keywords):
        return _call(self.ufunc, arguments, keywords)

    def at(self, array, index, values):
        host, index, values = array._host, _unwrapped(index), _unwrapped(values)
        _submit(lambda: self.ufunc.at(host, index, values))


def _asarray(x, dtype=None, order=None):
    if isinstance(x, DeviceArray):
        return x if dtype in (None, x.dtype) else x.astype(dtype)
    if np.ndim(x):
        _require_no_capture("a copy from the host")
    host = np.array(x, dtype, order=order or "C")
    made = DeviceArray(host)
    if _capturing():  # a number is an argument of the kernel that fills the array
        value = host.copy()
        _submit(lambda: np.copyto(host, value))
    return made


def _array(x, dtype=None, order="K", copy=True):
    if isinstance(x, DeviceArray):
        return _call(np.array, (x,), {"dtype": dtype, "order": order})
    return _asarray(x, dtype)


class ElementwiseKernel:
    """CuPy's: outputs are fresh, or given after the inputs."""

    def __init__(self, in_params, out_params, operation, name="kernel", options=()):
        self.kernel = cupy_kernels.Elementwise(in_params, out_params, operation)

    def __call__(self, *arguments):
        _require_device(*arguments)
        arrays = [np.asarray(_unwrapped(a)) for a in arguments]
        arrays, outs = arrays[: len(self.kernel.inputs)], arrays[len(self.kernel.inputs) :]
        if not outs:
            shape = np.broadcast_shapes(*(a.shape for a in arrays))
            outs = [_poisoned(shape, arrays[0].dtype) for _ in self.kernel.outputs]
        _submit(lambda: self.kernel(arrays, outs))
        return _wrapped(outs[0] if len(outs) == 1 else tuple(outs))


class ReductionKernel:
    """CuPy's, over the last axis of matrices."""

    def __init__(
        self, in_params, out_params, map_expr, reduce_expr, post_map_expr, identity, name="kernel",
        reduce_type="T", options=(),
    ):  # fmt: skip
        self.kernel = cupy_kernels.Reduction(
            in_params, out_params, map_expr, reduce_expr, post_map_expr, identity, reduce_type
        )

    def __call__(self, *arrays, axis):
        assert axis == 1
        _require_device(*arrays)
        arrays = _unwrapped(list(arrays))
        out = _poisoned(len(arrays[0]), arrays[0].dtype)
        _submit(lambda: self.kernel(arrays, out))
        return _wrapped(out)


def _stand_in():
    """A module object that answers for ``cupy``."""
    module = types.ModuleType("cupy")
    module.ndarray, module.asarray, module.array = DeviceArray, _asarray, _array
    module.asnumpy = lambda x: x.get()
    module.empty = lambda shape, dtype=float, order="C": DeviceArray(_poisoned(shape, dtype))
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
        get_current_stream=_stream,
        using_allocator=_using_allocator,
        runtime=runtime,
        Device=lambda index=0: types.SimpleNamespace(id=index, synchronize=NULL.synchronize),
    )

    def lookup(name):
        value = getattr(np, name)
        if isinstance(value, np.ufunc):
            return _Ufunc(value)
        return _function(value) if callable(value) and not isinstance(value, type) else value

    module.__getattr__ = lookup
    return module


def _poisoned(shape, dtype):
    """Uninitialised memory: what nobody wrote is NaN, or a large number, and shows."""
    host = np.empty(shape, dtype)
    host.fill(np.nan if host.dtype.kind == "f" else 0x55)
    return host


ABSENT = object()


@contextlib.contextmanager
def emulated_device(extension=None):
    """Make minivae believe in a GPU inside a ``with`` block; yields the stand-in for cupy.

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


def _forget(name):
    """Make the next import of a module a fresh one; gives what ``_remember`` takes.

    ``import a.b`` leaves ``b`` in ``sys.modules`` and as an attribute of ``a``, and
    ``from a import b`` takes the attribute.
    """
    package, _, attribute = name.rpartition(".")
    return sys.modules.pop(name, ABSENT), vars(sys.modules[package]).pop(attribute, ABSENT)


def _remember(name, module, attribute):
    """Let imports find a module, or not, as given."""
    package, _, name_there = name.rpartition(".")
    if module is not ABSENT:
        sys.modules[name] = module
    if attribute is not ABSENT:
        setattr(sys.modules[package], name_there, attribute)
