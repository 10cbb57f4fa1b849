"""Where a test runs CUDA kernels: on a GPU, or on the CPU that stands in for one.

    @pytest.fixture(params=cuda_machine.NAMES)
    def gpu(request): return cuda_machine.machine(request.param)

``gpu.run("relu", x, gpu.out(shape, dtype))`` calls a function of the extension on NumPy arrays,
copied to the device and back. Arrays stand between guard values and begin ``shift`` elements past
an aligned address, and outputs are NaN before the call. So a test fails if a kernel writes or reads
outside its arrays, needs an alignment that it does not require, or leaves elements out.
"""

import functools

import numpy as np
import pytest
from cuda_build import emulated

NAMES = ["emulated", "gpu"]
GUARD = 8  # elements on both sides: 32 bytes of float32
ALIGNMENT = 64


def _poison(dtype):
    return np.nan if np.dtype(dtype).kind == "f" else 0xA5 if dtype == np.uint8 else 0x5A5A5A5A


class Out:
    """An output: its value before the call, replaced by the result after it."""

    def __init__(self, value):
        self.value = value


class _Memory:
    """An array between guard values; ``base`` is the whole allocation on the device."""

    def __init__(self, machine, value, shift):
        self.value, self.dtype = value, value.dtype
        self.first = GUARD + shift
        whole = np.full(self.first + value.size + GUARD, _poison(value.dtype), value.dtype)
        whole[self.first : self.first + value.size] = value.ravel()
        self.whole = whole
        self.base = machine.upload(whole)
        self.shape = value.shape

    def interface(self):
        address = self.base.__cuda_array_interface__["data"][0] + self.first * self.dtype.itemsize
        return {
            "shape": self.shape,
            "typestr": self.dtype.str,
            "data": (address, False),
            "strides": None,
            "version": 3,
        }


class Interface:
    """The argument that a kernel gets: the CUDA array interface and nothing else."""

    def __init__(self, interface, keep):
        self.__cuda_array_interface__, self.keep = interface, keep


def strided(view):
    """A NumPy view of any strides as an argument; its whole base array is copied."""
    return Strided(view)


class Strided:
    """See ``strided``."""

    def __init__(self, view):
        self.view = view


class _Machine:
    """Calls functions of ``module``, the extension; subclasses say how memory gets there."""

    emulated = False

    def assert_same(self, a, b):
        """Assert that two arrays are equal to the bit on the stand-in, to rounding on a GPU.

        nvcc may contract a product and a sum into one fma in one instantiation of a kernel and not
        in another.
        """
        if self.emulated:
            assert a.tobytes() == b.tobytes()
        else:
            np.testing.assert_allclose(a, b, rtol=(tol := 16 * np.finfo(a.dtype).eps), atol=tol)

    def upload(self, whole):
        raise NotImplementedError

    def download(self, base):
        raise NotImplementedError

    def out(self, shape, dtype):
        """An output that is NaN (or another odd value) before the call."""
        return Out(np.full(shape, _poison(dtype), dtype))

    def run(self, name, *arguments, shift=0, stream=0):
        """Call a kernel; returns its outputs (one, or a tuple of several)."""
        memories = []

        def sent(argument):
            if isinstance(argument, list):
                return [sent(each) for each in argument]
            if isinstance(argument, Strided):
                return self._strided(argument.view)
            if not isinstance(argument, Out | np.ndarray):
                return self._nested(argument)
            written = isinstance(argument, Out)
            memory = _Memory(self, argument.value if written else argument, shift)
            memories.append((memory, written))
            return Interface(memory.interface(), memory)

        getattr(self.module, name)(*map(sent, arguments), stream)
        results = []
        for memory, written in memories:
            whole, after = memory.whole, self.download(memory.base)
            end = memory.first + memory.value.size
            inside = after[memory.first : end].reshape(memory.shape)
            if written:
                results.append(inside.copy())
                after[memory.first : end] = whole[memory.first : end]
            assert after.tobytes() == whole.tobytes(), f"{name} wrote where it should not"
        return results[0] if len(results) == 1 else tuple(results)

    def _nested(self, argument):
        """A tuple such as (seed, offset, first, counter) may hold an array."""
        if not isinstance(argument, tuple):
            return argument
        return tuple(self.upload(a) if isinstance(a, np.ndarray) else a for a in argument)

    def _strided(self, view):
        base = view
        while isinstance(base.base, np.ndarray):
            base = base.base
        memory = self.upload(base)
        offset = view.__array_interface__["data"][0] - base.__array_interface__["data"][0]
        interface = _interface_of(memory)
        interface.update(
            shape=view.shape, strides=view.strides, data=(interface["data"][0] + offset, False)
        )
        return Interface(interface, memory)


def _interface_of(array):
    return dict(array.__cuda_array_interface__)


class _HostArray:
    def __init__(self, whole):
        room = np.empty(whole.nbytes + ALIGNMENT, np.uint8)
        first = -room.__array_interface__["data"][0] % ALIGNMENT
        self.host = room[first : first + whole.nbytes].view(whole.dtype).reshape(whole.shape)
        self.host[...] = whole

    @property
    def __cuda_array_interface__(self):
        a = self.host
        return {
            "shape": a.shape,
            "typestr": a.dtype.str,
            "data": (a.__array_interface__["data"][0], False),
            "strides": None,
            "version": 3,
        }


class _Emulated(_Machine):
    emulated = True

    def __init__(self):
        self.module = emulated()

    def upload(self, whole):
        return _HostArray(whole)

    def download(self, base):
        return base.host


class _Gpu(_Machine):
    def __init__(self):
        self.cupy = pytest.importorskip("cupy")
        from minivae import _cuda

        self.module = _cuda

    def upload(self, whole):
        return self.cupy.asarray(whole)

    def download(self, base):
        return base.get()


@functools.cache
def machine(name):
    """The machine with one of NAMES; skips the test, with the reason, if it is not available."""
    if name == "emulated":
        return _Emulated()
    try:
        from minivae import _cuda

        _cuda.device()
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"no GPU for minivae._cuda: {error}")
    return _Gpu()
