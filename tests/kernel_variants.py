"""Kernel variants as test parameters: one per variant and instruction set.

``cupy`` and ``cuda`` run on a GPU, and are skipped without one; ``cupy-emulated`` and
``cuda-emulated`` run the same Python and the same kernels' bodies on the CPU. All four take and
return NumPy arrays here, so that one suite serves every variant.
"""

import contextlib
import functools

import cuda_build
import numpy as np
import pytest
from cuda_emulation import emulated_device

from minivae import backend, kernels
from minivae.kernels import reference


def _cpu_sets():
    """Names like cpu-avx2, one per instruction set; ``cpu``, which skips, if nothing is built."""
    if "cpu" not in kernels.available():
        return ["cpu"]
    from minivae import _cpu

    return [f"cpu-{isa}" for isa in _cpu.isas()]


EMULATED = [] if cuda_build.missing() else ["cupy-emulated", "cuda-emulated"]
NAMES = ["reference", *_cpu_sets(), "numba", "cupy", "cuda", *EMULATED]
# The variants that can run, for loops inside a test. As test parameters use NAMES, which reports
# skips. The CuPy variants lack some kernels, and a skip inside a loop would end the test.
USABLE = [
    name
    for name in NAMES
    if (name.partition("-")[0] in kernels.available() or name in EMULATED) and "cupy" not in name
]


class OnDevice:
    """A module of device kernels that takes and returns NumPy arrays.

    Each contiguous float array is copied to device memory with guard values (NaN) on both sides,
    which are checked after the call. If the sizes add up to an odd number, all these arrays begin
    one element past an aligned address. Writeable ones are copied back; read-only ones must not
    have changed.
    """

    GUARD = 8  # elements on either side

    def __init__(self, module, contracts=False):
        self.module, self.__name__ = module, module.__name__
        self.contracts = contracts  # whether its compiler may contract a * b + c into one fma

    def __getattr__(self, name):
        if not hasattr(self.module, name):
            pytest.skip(f"{self.__name__} leaves {name} to the reference")
        function = getattr(self.module, name)
        if not callable(function):
            return function

        @functools.wraps(function)
        def on_host(*arguments, **keywords):
            sent = []
            values = [*arguments, *keywords.values()]
            values += [x for several in values if isinstance(several, list) for x in several]
            given = [x for x in values if isinstance(x, np.ndarray)]
            before = self.GUARD + sum(x.size for x in given) % 2
            arguments = [self._send(x, before, sent) for x in arguments]
            keywords = {key: self._send(x, before, sent) for key, x in keywords.items()}
            result = function(*arguments, **keywords)
            for host, device, room, before in sent:
                after = backend.to_numpy(room)
                inside = slice(before, before + host.size)
                assert np.isnan(np.delete(after, np.r_[inside])).all(), "written out of bounds"
                if host.flags.writeable:
                    host[...] = backend.to_numpy(device)
                else:
                    np.testing.assert_array_equal(backend.to_numpy(device), host)
            return self._receive(result, sent)

        return on_host

    def _send(self, x, before, sent):
        """Copy an array, or each of a list, ``before`` elements into a larger one on the device."""
        if isinstance(x, list):
            return [self._send(each, before, sent) for each in x]
        if not isinstance(x, np.ndarray) or not x.flags.aligned:
            return x
        if x.dtype.char not in "fd" or not x.flags.c_contiguous:
            return backend.to_device(np.array(x, order="K"), "cuda")
        room = backend.to_device(np.full(x.size + 2 * before, np.nan, x.dtype), "cuda")
        device = room[before : before + x.size].reshape(x.shape)
        device[...] = backend.to_device(x, "cuda")
        sent.append((x, device, room, before))
        return device

    def _receive(self, result, sent):
        if isinstance(result, tuple):
            return tuple(self._receive(r, sent) for r in result)
        for host, device, *_ in sent:
            if result is device:
                return host
        return backend.to_numpy(result) if backend.is_device_array(result) else result


@contextlib.contextmanager
def variant(name):
    """The kernel module of variant ``name``, with its instruction set in use; skips if missing."""
    base, _, isa = name.partition("-")
    if isa == "emulated":
        with emulated_device(cuda_build.emulated()):
            if base in kernels.reasons():
                raise AssertionError(kernels.reasons()[base])
            yield OnDevice(kernels._load(base)[0])
        return
    if base in kernels.reasons():
        pytest.skip(f"{base}: {kernels.reasons()[base]}")
    if base == "reference":
        yield reference
    elif base == "numba":
        from minivae.kernels import numba_cpu

        yield numba_cpu
    elif base in ("cupy", "cuda"):
        yield OnDevice(kernels._load(base)[0], contracts=base == "cuda")
    else:
        from minivae import _cpu
        from minivae.kernels import cpu

        before = _cpu.isa()
        _cpu.use_isa(isa)
        try:
            yield cpu
        finally:
            _cpu.use_isa(before)
