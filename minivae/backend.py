"""Where arrays live: NumPy on the CPU, CuPy on a GPU. The only file that imports CuPy.

"Has a GPU" means that a device answered, not that an import worked.
"""

import contextlib
import functools
import importlib
import threading
from collections.abc import Iterator
from typing import Any, NoReturn, TypeAlias

import numpy as np

# An array of either; CuPy's have the methods of NumPy's, and type checkers know NumPy's alone.
Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]


@functools.cache
def _probe_cupy() -> tuple[Any, str | None]:
    """(cupy, None) when a device answered, else (None, reason)."""
    try:
        import cupy
    except Exception as error:  # a broken CUDA install raises more than ImportError
        return None, f"cupy cannot be imported ({type(error).__name__}: {error})"
    try:
        cupy.zeros(1).sum().item()
    except Exception as error:
        return None, f"no CUDA device answered ({type(error).__name__}: {error})"
    return cupy, None


def cuda_unavailable() -> str | None:
    """Why arrays cannot live on a GPU here, or None when they can."""
    return _probe_cupy()[1]


def device_module() -> Any:
    """The module of device arrays, CuPy; RuntimeError with the reason when no GPU answers."""
    cupy, reason = _probe_cupy()
    if cupy is None:
        raise RuntimeError(f"device 'cuda' is not available: {reason}")
    return cupy


def nccl_module() -> Any:
    """``cupy.cuda.nccl``, which CuPy has only when it is asked for; ImportError without NCCL."""
    cuda = device_module().cuda
    if not hasattr(cuda, "nccl"):
        importlib.import_module("cupy.cuda.nccl")
    return cuda.nccl


def current_stream() -> int:
    """The address of CuPy's current stream, which kernels are launched on."""
    return int(device_module().cuda.get_current_stream().ptr)


def device_description() -> dict[str, str]:
    """Name, compute capability, driver and runtime of the GPU in use, a dict of texts."""
    cupy = device_module()
    runtime, index = cupy.cuda.runtime, cupy.cuda.Device().id
    found = runtime.getDeviceProperties(index)
    name = found["name"]
    return {
        "name": name.decode() if isinstance(name, bytes) else str(name),
        "compute capability": f"{found['major']}.{found['minor']}",
        "devices": str(runtime.getDeviceCount()),
        "driver": _cuda_version(runtime.driverGetVersion()),
        "runtime": _cuda_version(runtime.runtimeGetVersion()),
        "cupy": cupy.__version__,
    }


def _cuda_version(number: int) -> str:
    """13000 as "13.0"."""
    return f"{number // 1000}.{number % 1000 // 10}"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error is CuPy's for a GPU without memory; it is told by its name, without CuPy."""
    return type(error).__name__ == "OutOfMemoryError"


def is_device_array(x: object) -> bool:
    """True for an array in GPU memory (it speaks the CUDA array interface)."""
    return not isinstance(x, np.ndarray) and hasattr(x, "__cuda_array_interface__")


def array_module(*arrays: object) -> Any:
    """The module (numpy or cupy) that the arrays belong to."""
    return _probe_cupy()[0] if any(map(is_device_array, arrays)) else np


def device_of(x: object) -> str:
    """``"cuda"`` or ``"cpu"``."""
    return "cuda" if is_device_array(x) else "cpu"


def to_device(x: Any, device: str) -> Any:
    """The array on ``device`` ("cpu" or "cuda"); no copy when it is there already.

    Raises ValueError for an unknown device, RuntimeError with the reason when no GPU answers.
    """
    if device not in ("cpu", "cuda"):
        raise ValueError(f"device: expected 'cpu' or 'cuda', got {device!r}")
    if device_of(x) == device:
        return x
    return x.get() if device == "cpu" else device_module().asarray(x)


_values = threading.local()


@contextlib.contextmanager
def values_unknown(write: Any = None) -> Iterator[None]:
    """Refuse ``to_numpy`` in this thread inside: a step is being recorded, nothing computed.

    ``write(function, inputs, options)`` gives the result of a function of ``UnknownArray``s that
    takes ``out``. What was refused is a RuntimeError at the end too, lest the step went on without.
    """
    _values.unknown, _values.write, _values.refused = True, write, None
    try:
        yield
        if _values.refused:
            raise RuntimeError(_values.refused)
    finally:
        _values.unknown, _values.write = False, None


def refuse(why: str) -> NoReturn:
    """RuntimeError, inside ``values_unknown``."""
    _values.refused = why
    raise RuntimeError(why)


def _written(function: Any, inputs: Any, options: Any) -> Any:
    """What the recording gives."""
    try:
        return _values.write(function, inputs, options)
    except Exception as error:
        _values.refused = f"{type(error).__name__}: {error}"
        raise


class UnknownArray(np.ndarray[Any, np.dtype[Any]]):
    """A NumPy array of a step that is being recorded: it gets its values when that is replayed.

    What NumPy's ufuncs and ``where`` do with it is handed to the recording, and a view of it is one
    too. What asks for its values, or changes them in another way, gives a RuntimeError.
    """

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        function = getattr(ufunc, method)
        if getattr(_values, "write", None):
            return _written(function, inputs, options)
        if out := options.get("out"):
            options["out"] = tuple(map(known, out))
        return function(*map(known, inputs), **options)

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        write = getattr(_values, "write", None)
        if write and func is np.where and len(args) == 3:
            return _written(where, args, kwargs)
        if write and func in (np.zeros_like, np.ones_like):
            return _written(full_like, (*args, int(func is np.ones_like)), kwargs)
        if write and func not in RECORDED:
            _refuse(f"NumPy's {func.__name__}")
        result = super().__array_function__(func, types, args, kwargs)
        if type(result) is np.ndarray and np.may_share_memory(result, known(self)):
            return result.view(UnknownArray)  # as of broadcast_to
        return result

    def __getitem__(self, index: Any) -> Any:
        """A view, also of a single element."""
        parts = index if isinstance(index, tuple) else (index,)
        if not any(part is Ellipsis for part in parts):
            parts = (*parts, Ellipsis)
        picked = super().__getitem__(parts)
        if picked.size and not np.may_share_memory(known(picked), known(self)):
            _refuse("an index by an array")
        return picked

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self)))

    def astype(self, dtype: Any, *_: Any, **options: Any) -> Any:
        """A copy in another dtype, by a ufunc."""
        if not options.get("copy", True) and self.dtype == dtype:
            return self
        return np.positive(self, dtype=dtype, casting="unsafe")

    def copy(self, *_: Any, **__: Any) -> Any:
        """A copy in C order, by a ufunc."""
        return np.positive(self, order="C")

    def reshape(self, *shape: Any, order: Any = "C", **options: Any) -> Any:
        """A view of it, or of a copy."""
        shaped = known(self).reshape(*shape, order=order, **options)
        if np.may_share_memory(shaped, known(self)):
            return shaped.view(UnknownArray)
        if order != "C":
            _refuse(f"a copy in order {order!r}")
        return self.copy().reshape(*shape, **options)

    def ravel(self, order: Any = "C") -> Any:
        """A view of it, or of a copy."""
        return self.reshape(-1, order=order)

    def flatten(self, order: Any = "C") -> Any:
        """A copy with one axis."""
        return self.copy().reshape(-1, order=order)

    @property
    def flat(self) -> Any:
        """RuntimeError while it is recorded."""
        _refuse("an array's flat")
        return known(self).flat


def _refuse(what: str) -> None:
    """RuntimeError in a thread that records."""
    if getattr(_values, "unknown", False):
        refuse(f"{what} asks for a value, which is not known while it is recorded")


def _refusing(name: str) -> Any:
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        _refuse(f"an array's {name}")
        return getattr(known(self), name)(*args, **kwargs)

    return method


# What NumPy has of views, of shapes and of ufuncs, and of nothing else.
RECORDED = {
    np.all, np.any, np.array_split, np.broadcast_to, np.clip, np.empty_like, np.expand_dims,
    np.max, np.may_share_memory, np.mean, np.min, np.moveaxis, np.ndim, np.prod, np.ravel,
    np.reshape, np.result_type, np.round, np.shape, np.size, np.split, np.squeeze, np.std, np.sum,
    np.swapaxes, np.transpose, np.var,
}  # fmt: skip
for _name in (
    "argmax argmin argpartition argsort byteswap choose compress cumprod diagonal dot dump dumps "
    "fill item nonzero partition put repeat resize searchsorted sort take tobytes tofile tolist "
    "trace __bool__ __complex__ __contains__ __copy__ __deepcopy__ __float__ __format__ __index__ "
    "__int__ __reduce_ex__ __repr__ __setitem__ __str__"
).split():
    setattr(UnknownArray, _name, _refusing(_name))


def where(condition: Any, x: Any, y: Any, out: Any = None) -> Any:
    """``np.where``, which has no ``out``."""
    if out is None:
        return np.where(condition, x, y)
    np.copyto(out, y)
    np.copyto(out, x, where=condition)
    return out


def full_like(x: Any, value: Any, dtype: Any = None, out: Any = None) -> Any:
    """``np.full_like``, which has no ``out``."""
    if out is None:
        return np.full_like(x, value, dtype=dtype)
    out.fill(value)
    return out


def known(x: Any) -> Any:
    """An ``UnknownArray`` as the plain array that it is otherwise; anything else as it is."""
    return x.view(np.ndarray) if isinstance(x, UnknownArray) else x


def as_array(x: Any) -> Any:
    """``np.asarray``, which lets arrays on a GPU and of a recording through as they are."""
    return x if is_device_array(x) or isinstance(x, UnknownArray) else np.asarray(x)


def contiguous(x: Array, copy: bool = False) -> Array:
    """The array in C order, itself where it is so and no copy is asked for."""
    if x.flags.c_contiguous and not copy:
        return x
    made: Array = x.copy() if isinstance(x, UnknownArray) else array_module(x).array(x, order="C")
    return made


def to_numpy(x: Any) -> Array:
    """The values as a NumPy array (a copy from the GPU, the array itself on the CPU).

    Raises RuntimeError inside ``values_unknown``.
    """
    _refuse("the step")
    values: Array = to_device(x, "cpu")
    return values


def placement(device: Any, dtype: Any) -> tuple[str | None, np.dtype[Any] | None]:
    """(device, dtype) of a move, each None where it stays; a dtype may come in the device's place.

    Raises:
        ValueError: an unknown device. TypeError: a dtype that is not floating-point.
    """
    if device is not None and dtype is None and not isinstance(device, str):
        device, dtype = None, device
    if device not in (None, "cpu", "cuda"):
        raise ValueError(f"device: expected 'cpu' or 'cuda', got {device!r}")
    if dtype is not None:
        dtype = np.dtype(dtype)
        if dtype.kind != "f":
            raise TypeError(f"dtype: expected a floating-point dtype, got {dtype}")
    return device, dtype


def placed(x: Any, device: str | None, dtype: Any) -> Array:
    """The array moved as ``placement`` says; itself where nothing changes."""
    moved: Array = x if device is None else to_device(x, device)
    return moved if dtype is None else moved.astype(dtype, copy=False)
