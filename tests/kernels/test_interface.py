"""Interface number of the compiled extensions: raised with their bindings, checked before use."""

import hashlib
import os
import re
import subprocess
import sys
import textwrap
import types
from pathlib import Path

import cuda_build
import pytest

from minivae import kernels
from minivae.kernels import interface

# Digest of the names of functions and arguments, for each interface number. When a binding's
# arguments change, raise the number in csrc/bind/interface.h and minivae/kernels/interface.py and
# add a line.
KNOWN = {
    1: {"_cpu": "41497a0fc743", "_cuda": "18510fdc36e6"},
    2: {"_cpu": "1c56f42fcb03", "_cuda": "18510fdc36e6"},
    3: {"_cpu": "9c6b8d415660", "_cuda": "18510fdc36e6"},
    4: {"_cpu": "fdd6caeaba7c", "_cuda": "18510fdc36e6"},  # noise is (seed, offset, first)
    5: {"_cpu": "305b491d86f4", "_cuda": "09f5e6643a31"},
    6: {"_cpu": "fe885ba9c7a7", "_cuda": "09f5e6643a31"},
    7: {"_cpu": "fe885ba9c7a7", "_cuda": "5d6f7c4b5a42"},  # convolutions have versions
}


def signatures(module):
    """A digest of the names of all functions and of their arguments, as pybind11 documents them."""
    lines = []
    for name, function in sorted(vars(module).items()):
        if isinstance(function, types.BuiltinFunctionType):
            text = function.__doc__.splitlines()[0].partition("(")[2]
            while (shorter := re.sub(r"\[[^\[\]]*\]", "", text)) != text:
                text = shorter  # types in brackets have commas of their own
            arguments = re.findall(r"(\w+): ", text.partition(")")[0])
            lines.append(f"{name}({', '.join(arguments)})")
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:12]


def test_the_number_is_raised_when_a_binding_changes():
    _cpu = pytest.importorskip("minivae._cpu", reason="the compiled kernels are not built")
    assert signatures(_cpu) == KNOWN[interface.INTERFACE]["_cpu"], "see KNOWN"


def test_the_number_is_raised_when_a_binding_of_cuda_changes():
    module = cuda_build.emulated()
    names = {name for name in vars(module) if name != "emulator"}
    module = types.SimpleNamespace(**{name: getattr(module, name) for name in names})
    assert signatures(module) == KNOWN[interface.INTERFACE]["_cuda"], "see KNOWN"


def test_both_places_have_the_same_number():
    header = Path(__file__).parents[2] / "csrc" / "bind" / "interface.h"
    if not header.exists():
        pytest.skip("csrc is not beside the tests")
    assert f"kInterface = {interface.INTERFACE};" in header.read_text()


@pytest.mark.slow
@pytest.mark.skipif("cpu" not in kernels.available(), reason="the compiled kernels are not built")
@pytest.mark.parametrize("number", [None, interface.INTERFACE + 1])
def test_an_extension_that_does_not_fit_is_told_and_not_called(number):
    """One warning and ``info`` say what to do, and the reference kernels are used instead."""
    code = f"""
    import warnings
    from minivae import _cpu, kernels
    vars(_cpu).update(INTERFACE={number})
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        print(kernels.default("cpu"), kernels.default("cpu"))
    print(*(str(w.message) for w in told), sep="\\n")
    from minivae.cli.info import info
    print(next(line for line in info().splitlines() if line.startswith("  cpu            no")))
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    free = {name: value for name, value in os.environ.items() if name != "MINIVAE_ISA"}
    done = subprocess.run(command, env=free, capture_output=True, text=True, check=True)
    said = (
        f"minivae._cpu was built from other sources (interface {number}, expected "
        f"{interface.INTERFACE}); install again: python -m pip install -e ."
    )
    assert done.stdout.splitlines() == [
        "reference reference",
        f"{said}; other kernels are used until then",
        f"  cpu            no: {said}",
    ]
    assert done.stderr == ""
