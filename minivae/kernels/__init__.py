"""The registry of kernel variants, which chooses the function that runs a kernel.

A variant is a module whose functions have the names, signatures and meaning of ``reference``:

    reference   plain array code, the definition; for NumPy and CuPy arrays
    composed    no module: fused operations are composed of basic ones (``ops.composed``)
    cpu         compiled C++ (csrc/)
    numba       the same loops compiled by numba
    cupy        fused kernels that CuPy compiles, for arrays on a GPU
    cuda        CUDA C++ (csrc/cuda), for arrays on a GPU

Unless ``use`` forces a variant, the fastest one that is built and takes the arrays is used: ``cpu``
for arrays in host memory, ``cuda`` then ``cupy`` for arrays on a GPU, ``reference`` for others.
"""

import contextlib
import functools
import importlib
import os
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from threadpoolctl import threadpool_limits

from ..arguments import whole
from ..backend import cuda_unavailable, device_module, device_of
from ..errors import KernelUnavailable
from . import reference
from .interface import OtherSourcesError, extension
from .philox import NoiseKey
from .thread_count import initial_threads

VARIANTS = ("reference", "composed", "cpu", "numba", "cupy", "cuda")
_MODULES = {
    "reference": "reference",
    "cpu": "cpu",
    "numba": "numba_cpu",
    "cupy": "cupy_fused",
    "cuda": "cuda",
}
_MEMORY = {"cpu": "cpu", "numba": "cpu", "cupy": "cuda", "cuda": "cuda"}  # device of its arrays
_DEFAULTS = {"cpu": ("cpu",), "cuda": ("cuda", "cupy")}  # variants by device, fastest first
_COMPILED_DTYPES = np.dtype("f"), np.dtype("d"), np.dtype("B")  # uint8 for images

_forced = threading.local()
Way = TypeVar("Way")


@functools.cache
def _load(name: str) -> tuple[Any, str | None]:
    """(module, None) if the variant ran a tiny kernel, else (None, reason)."""
    if name == "composed":
        return None, None
    if name == "cpu":
        initial_threads()  # raises now if MINIVAE_NUM_THREADS is no number
    on_gpu = _MEMORY.get(name) == "cuda"
    no_gpu = cuda_unavailable() if on_gpu else None
    try:
        if no_gpu and name == "cupy":
            return None, no_gpu
        if name in ("cpu", "cuda"):
            extension(name)
        module = importlib.import_module("." + _MODULES[name], __name__)
        if on_gpu:
            module.relu(device_module().zeros((1,), np.float32))
        else:
            module.uniform(NoiseKey(0, 0), (1,), np.float32)
    except Exception as error:  # a broken compiler or library raises more than ImportError
        reason = f"{type(error).__name__}: {error}"
        if isinstance(error, OtherSourcesError):
            reason = str(error)
            warnings.warn(f"{reason}; other kernels are used until then", stacklevel=2)
        elif name in ("cpu", "cuda"):
            reason = why_not_built(f"_{name}") or reason
        if name == "cpu" and os.environ.get("MINIVAE_ISA"):  # an explicit request: no fall-back
            raise KernelUnavailable(f"MINIVAE_ISA is set, but: {reason}") from error
        return None, f"{reason}; {no_gpu}" if no_gpu and no_gpu not in reason else reason
    return module, None


def why_not_built(extension: str) -> str | None:
    """The reason that the build recorded for not building the extension, or None."""
    note = Path(__file__).parent.parent / f"{extension}_not_built.txt"
    return f"not built: {note.read_text().strip()}" if note.exists() else None


def unavailable(name: str) -> str | None:
    """Why the variant ``name`` cannot run here, or None; imports no other variant."""
    return _load(name)[1]


def reasons() -> dict[str, str]:
    """Why each unavailable variant is unavailable: a dict from name to text."""
    return {name: why for name in VARIANTS if (why := unavailable(name))}


def available() -> tuple[str, ...]:
    """The names of the variants that can run here."""
    missing = reasons()
    return tuple(name for name in VARIANTS if name not in missing)


def active() -> str | None:
    """The name of the variant that ``use`` forces in this thread, or None."""
    stack = getattr(_forced, "stack", None)
    return str(stack[-1]).partition(":")[0] if stack else None


def fused_or_composed(fused: Way, composed: Way) -> Way:
    """``composed`` if ``use`` forces the variant of that name, else ``fused``."""
    return composed if active() == "composed" else fused


def default(device: str) -> str:
    """The name of the variant for arrays on ``device`` ("cpu" or "cuda") if none is forced."""
    return next((name for name in _DEFAULTS[device] if not unavailable(name)), "reference")


@contextlib.contextmanager
def use(name: str) -> Iterator[None]:
    """Run the kernels of one variant inside a ``with`` block, in this thread; blocks nest.

    A kernel that the variant ``name`` lacks is run by the default variant. "cuda:3" means version 3
    of every kernel that has several versions. A kernel whose versions do not reach that number
    raises: "cuda:6" runs convolutions and ``reparam_kl`` but no linear layer, as matrix products
    have five versions (in float64 four).

    Raises:
        KernelUnavailable: the name is unknown, or the variant cannot run here; the message says
            why. Inside the block: the variant does not take the arrays, or the kernel does not
            have this version for their dtype.
    """
    variant, colon, version = str(name).partition(":")
    if variant not in VARIANTS or (colon and not (variant == "cuda" and version.isdecimal())):
        raise KernelUnavailable(
            f"expected a kernel variant ({', '.join(VARIANTS)} or cuda:VERSION), got {name!r}"
        )
    if reason := _load(variant)[1]:
        raise KernelUnavailable(f"kernel variant {name!r} is not available here: {reason}")
    if colon and not 1 <= int(version) <= (highest := max(_load(variant)[0].VERSIONS.values())):
        raise KernelUnavailable(f"cuda: expected a version from 1 to {highest}, got {version}")
    if not hasattr(_forced, "stack"):
        _forced.stack = []
    _forced.stack.append(name)
    try:
        yield
    finally:
        _forced.stack.pop()


def _unfit(a: Any, variant: str) -> str | None:
    """Why a variant's kernels do not take the array, or None."""
    if variant not in _MEMORY:
        return None
    if device_of(a) != _MEMORY[variant]:
        return "it is " + ("on a GPU" if _MEMORY[variant] == "cpu" else "in host memory")
    if a.dtype not in _COMPILED_DTYPES:
        return f"its dtype is {a.dtype}, expected float32 or float64 in native byte order"
    if _MEMORY[variant] == "cpu" and not a.flags.aligned:  # CuPy has no arrays that are not
        return "it is not aligned to its elements"
    return None


def _all_plain(arrays: Sequence[Any]) -> bool:
    """Whether all are NumPy arrays that the compiled kernels take, or None."""
    for a in arrays:
        if a is not None and not (
            type(a) is np.ndarray and a.dtype in _COMPILED_DTYPES and a.flags.aligned
        ):
            return False
    return True


def get(kernel: str, *arrays: Any) -> Callable[..., Any]:
    """The function that runs ``kernel`` (a name in ``reference``) on ``arrays``.

    Raises:
        AttributeError: there is no kernel of that name.
        KernelUnavailable: ``use`` forces a variant that does not take these arrays, or a version
            that this kernel does not have for their dtype.
        TypeError: some arrays are on a GPU and some are not.
    """
    name = active()
    if name is None and _all_plain(arrays):  # the common case, without the search below
        fast: Callable[..., Any] | None = getattr(_load("cpu")[0], kernel, None)
        if fast is not None:
            return fast
    given = [a for a in arrays if a is not None]
    places = {device_of(a) for a in given} or {_MEMORY.get(name or "", "cpu")}
    if len(places) > 1:
        raise TypeError(f"{kernel}: arrays on cpu and cuda do not mix; move one with .to")
    for variant in (name, *_DEFAULTS[places.pop()], "reference"):
        function = getattr(_load(variant)[0], kernel, None) if variant else None
        if function is None:
            continue
        unfit = variant in _MEMORY and next(
            (why for a in given if (why := _unfit(a, variant))), None
        )
        if not unfit:
            return _version(function, kernel, given) if variant == name == "cuda" else function
        if variant == name:
            raise KernelUnavailable(f"kernel variant {name!r} cannot run {kernel}: {unfit}")
    raise AttributeError(
        f"no kernel is called {kernel!r}; there are {', '.join(reference.__all__)}"
    )


def _version(
    function: Callable[..., Any], kernel: str, arrays: Sequence[Any]
) -> Callable[..., Any]:
    """The function, at the version that ``use("cuda:VERSION")`` asks for."""
    version, cuda = _forced.stack[-1].partition(":")[2], _load("cuda")[0]
    double = any(a.dtype == np.float64 for a in arrays)
    highest = (cuda.FLOAT64_VERSIONS if double else cuda.VERSIONS).get(kernel)
    if not version or highest is None:
        return function
    if int(version) > highest:
        which = " for float64" if double else ""
        raise KernelUnavailable(
            f"{kernel}: expected a version from 1 to {highest}{which}, got {version}"
        )
    return functools.partial(function, version=int(version))


def table() -> dict[str, dict[str, bool]]:
    """Which variants have a kernel: a dict from kernel to a dict from variant to bool."""
    modules = {name: _load(name)[0] for name in VARIANTS}
    return {
        kernel: {name: hasattr(module, kernel) for name, module in modules.items()}
        for kernel in reference.__all__
    }


def threads() -> int:
    """The number of threads a compiled kernel may use; 1 when none is built."""
    cpu = _load("cpu")[0]
    return int(cpu.threads()) if cpu else 1


def instruction_set() -> str | None:
    """The instruction set of the compiled kernels, such as "avx512"; None if none is built."""
    cpu = _load("cpu")[0]
    return cpu.isa() if cpu else None


def set_threads(count: int) -> None:
    """Set the number of threads of compiled kernels and of NumPy's BLAS (for reference kernels).

    No result of a compiled kernel depends on ``count``. Its initial value is MINIVAE_NUM_THREADS,
    else OMP_NUM_THREADS, else the number of CPUs that this process may use, limited by its
    container's CPU quota (``kernels.thread_count``).

    Raises:
        TypeError: ``count`` is no whole number. ValueError: it is below 1.
    """
    count = whole("count", count, 1)
    if cpu := _load("cpu")[0]:
        cpu.set_threads(count)
    threadpool_limits(count, user_api="blas")
