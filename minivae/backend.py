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

# A NumPy or a CuPy array. Type checkers see NumPy's, whose methods CuPy's arrays have.
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
    """``cupy.cuda.nccl``, which CuPy does not import by itself; ImportError without NCCL."""
    cuda = device_module().cuda
    if not hasattr(cuda, "nccl"):
        importlib.import_module("cupy.cuda.nccl")
    return cuda.nccl


def current_stream() -> int:
    """The address of CuPy's current stream, on which kernels are launched."""
    return int(device_module().cuda.get_current_stream().ptr)


def device_description() -> dict[str, str]:
    """Name, compute capability, driver and runtime version of the GPU in use, as strings."""
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
    """Whether ``error`` is CuPy's OutOfMemoryError, by its name, so that CuPy is not imported."""
    return type(error).__name__ == "OutOfMemoryError"


def is_device_array(x: object) -> bool:
    """True for an array in GPU memory (it has ``__cuda_array_interface__``)."""
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


class _Recording(threading.local):
    """This thread's recording of a step: whether one is on, its writer, the refused operation."""

    unknown = False
    write: Any = None
    refused: str | None = None


recording = _Recording()


@contextlib.contextmanager
def values_unknown(write: Any = None) -> Iterator[None]:
    """A block in which this thread records a step: arrays have no values and ``to_numpy`` raises.

    Args:
        write: ``write(function, inputs, options)`` records a call of a function that takes ``out``
            and returns its result, an ``UnknownArray``.

    Raises:
        RuntimeError: at the end of the block, if an operation was refused inside and the step
            caught the error.
    """
    recording.unknown, recording.write, recording.refused = True, write, None
    try:
        yield
        if recording.refused:
            raise RuntimeError(recording.refused)
    finally:
        recording.unknown, recording.write = False, None


def refuse(why: str) -> NoReturn:
    """Raise RuntimeError(why) and note it, so that ``values_unknown`` raises it again."""
    recording.refused = why
    raise RuntimeError(why)


def refuse_values(what: str) -> None:
    """RuntimeError if this thread is recording a step: ``what`` would need an array's values."""
    if recording.unknown:
        refuse(f"{what} asks for a value, which is not known while it is recorded")


def is_unknown(x: Any) -> bool:
    """Whether ``x`` is a ``tensor.unknown_array.UnknownArray``."""
    return getattr(x, "is_unknown", False)


def as_array(x: Any) -> Any:
    """``np.asarray(x)``; a GPU array or an ``UnknownArray`` unchanged.

    Raises:
        TypeError: ``x`` has masked elements, which would be taken for numbers like the others.
    """
    if type(x) is np.ndarray or is_unknown(x) or is_device_array(x):
        return x
    if isinstance(x, np.ma.MaskedArray) and np.ma.is_masked(x):
        raise TypeError("expected a plain array, got one with masked elements; use x.filled(value)")
    return np.asarray(x)


def contiguous(x: Array, copy: bool = False) -> Array:
    """The array in C order; ``x`` itself if it is already, unless ``copy``."""
    if x.flags.c_contiguous and not copy:
        return x
    made: Array = x.copy() if is_unknown(x) else array_module(x).array(x, order="C")
    return made


def to_numpy(x: Any) -> Array:
    """The values as a NumPy array (a copy from the GPU, the array itself on the CPU).

    Raises RuntimeError inside ``values_unknown``.
    """
    refuse_values("the step")
    values: Array = to_device(x, "cpu")
    return values


def placement(device: Any, dtype: Any) -> tuple[str | None, np.dtype[Any] | None]:
    """The checked arguments of ``x.to(device, dtype)``; None for one that stays as it is.

    A dtype may also be given alone, as the first argument.

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
