"""Where arrays live: NumPy on the CPU, CuPy on a GPU. The only file that imports CuPy.

"Has a GPU" means that a device answered, not that an import worked.
"""

import functools

import numpy as np


@functools.cache
def _probe_cupy():
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


def cuda_unavailable():
    """Why arrays cannot live on a GPU here, or None when they can."""
    return _probe_cupy()[1]


def device_module():
    """The module of device arrays, CuPy; RuntimeError with the reason when no GPU answers."""
    cupy, reason = _probe_cupy()
    if cupy is None:
        raise RuntimeError(f"device 'cuda' is not available: {reason}")
    return cupy


def current_stream():
    """The address of CuPy's current stream, which kernels are launched on."""
    return device_module().cuda.get_current_stream().ptr


def device_description():
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


def _cuda_version(number):
    """13000 as "13.0"."""
    return f"{number // 1000}.{number % 1000 // 10}"


def is_device_array(x):
    """True for an array in GPU memory (it speaks the CUDA array interface)."""
    return not isinstance(x, np.ndarray) and hasattr(x, "__cuda_array_interface__")


def array_module(*arrays):
    """The module (numpy or cupy) that the arrays belong to."""
    return _probe_cupy()[0] if any(map(is_device_array, arrays)) else np


def device_of(x):
    """``"cuda"`` or ``"cpu"``."""
    return "cuda" if is_device_array(x) else "cpu"


def to_device(x, device):
    """The array on ``device`` ("cpu" or "cuda"); no copy when it is there already.

    Raises ValueError for an unknown device, RuntimeError with the reason when no GPU answers.
    """
    if device not in ("cpu", "cuda"):
        raise ValueError(f"device: expected 'cpu' or 'cuda', got {device!r}")
    if device_of(x) == device:
        return x
    return x.get() if device == "cpu" else device_module().asarray(x)


def to_numpy(x):
    """The values as a NumPy array (a copy from the GPU, the array itself on the CPU)."""
    return to_device(x, "cpu")
