"""Every way the kernels can run here, as test parameters: one per variant and instruction set."""

import contextlib

import pytest

from minivae import kernels
from minivae.kernels import reference


def _cpu_sets():
    """Names like cpu-avx2, one per instruction set; one to be skipped when nothing is built."""
    if "cpu" not in kernels.available():
        return ["cpu"]
    from minivae import _cpu

    return [f"cpu-{isa}" for isa in _cpu.isas()]


NAMES = ["reference", *_cpu_sets(), "numba"]
# Those that can run, for loops inside a test. As parameters NAMES is better: it shows a skip.
USABLE = [name for name in NAMES if name.partition("-")[0] in kernels.available()]


@contextlib.contextmanager
def variant(name):
    """The module of the variant ``name``, its instruction set in use; skips if missing."""
    base, _, isa = name.partition("-")
    if base in kernels.reasons():
        pytest.skip(f"{base}: {kernels.reasons()[base]}")
    if base == "reference":
        yield reference
    elif base == "numba":
        from minivae.kernels import numba_cpu

        yield numba_cpu
    else:
        from minivae import _cpu
        from minivae.kernels import cpu

        before = _cpu.isa()
        _cpu.use_isa(isa)
        try:
            yield cpu
        finally:
            _cpu.use_isa(before)
