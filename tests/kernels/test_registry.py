"""The kernel registry: the default variant, a forced one, and why a variant is unavailable."""

import re
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from threadpoolctl import threadpool_info

import minivae as mv
from minivae import kernels
from minivae.kernels import reference

F4 = np.zeros((2, 3), np.float32)
DEFAULT = "cpu" if "cpu" in kernels.available() else "reference"


def serving(kernel="reparam_kl_forward", *arrays):
    """The last part of the name of the module whose function the registry returns."""
    return kernels.get(kernel, *arrays).__module__.rpartition(".")[2]


def test_every_variant_is_available_or_has_a_reason():
    available, reasons = kernels.available(), kernels.reasons()
    assert isinstance(available, tuple) and {"reference", "composed"} <= set(available)
    assert sorted((*available, *reasons)) == sorted(kernels.VARIANTS)
    assert {name: kernels.unavailable(name) for name in reasons} == reasons
    assert all(isinstance(why, str) and len(why) > 10 for why in reasons.values())


@pytest.mark.parametrize("name", kernels.VARIANTS)
def test_use_forces_or_refuses_with_the_reason(name):
    assert kernels.active() is None
    if name in kernels.available():
        with mv.kernels.use(name):
            assert kernels.active() == name
            expected = {"numba": "numba_cpu", "composed": DEFAULT}.get(name, name)
            assert serving("reparam_kl_forward", F4) == expected
    else:
        with pytest.raises(mv.KernelUnavailable) as caught, kernels.use(name):
            pytest.fail("an unavailable variant was entered")
        assert name in str(caught.value) and kernels.reasons()[name] in str(caught.value)
    assert kernels.active() is None


@pytest.mark.parametrize("name", ["", "CPU", "cpu:2", "cuda:", "cuda:fast", "refrence", None, 3])
def test_unknown_names_are_refused(name):
    with pytest.raises(mv.KernelUnavailable, match="expected a kernel variant") as caught:
        with kernels.use(name):
            pytest.fail("entered")
    assert isinstance(caught.value, mv.MinivaeError)


def test_uses_nest_and_end_with_their_block_even_by_an_error():
    with kernels.use("reference"):
        with kernels.use("composed"):
            assert kernels.active() == "composed"
        assert kernels.active() == "reference"
        with pytest.raises(ZeroDivisionError), kernels.use("composed"):
            raise ZeroDivisionError
        assert kernels.active() == "reference"
    assert kernels.active() is None


def test_use_belongs_to_its_thread():
    seen = []

    def look():
        seen.append(kernels.active())
        with kernels.use("composed"):
            seen.append(kernels.active())

    with kernels.use("reference"):
        thread = threading.Thread(target=look)
        thread.start()
        thread.join()
        assert kernels.active() == "reference"
    assert seen == [None, "composed"]


def test_default_order_goes_by_the_arrays():
    assert serving("adam", np.zeros(3), None) == DEFAULT
    assert serving("adam") == DEFAULT
    for dtype in (np.float16, np.longdouble, np.complex64, np.int64):
        assert serving("adam", np.zeros(3, dtype)) == "reference"


def test_no_operation_asks_which_variant_is_forced():
    """An operation gets ``composed`` from the registry as it gets every variant."""
    paths = list(Path(kernels.__file__).parents[1].glob("ops/*.py"))
    assert len(paths) > 5
    for path in paths:
        assert not re.search(r"\b(active|_forced|_load)\b", path.read_text()), path.name


def unfit_arrays():
    """Arrays that compiled kernels do not take: another width, byte order, alignment."""
    shifted = np.zeros(9, np.uint8)[1:].view(np.float32)
    assert not shifted.flags.aligned
    return [np.zeros(2, np.float16), np.zeros(2, np.longdouble), np.zeros(2, ">f4"), shifted]


@pytest.mark.parametrize("unfit", unfit_arrays())
def test_arrays_that_compiled_kernels_do_not_take(unfit):
    assert serving("adam", np.zeros(2), unfit) == "reference"
    with kernels.use("composed"):
        assert serving("adam", unfit) == "reference"
    for name in {"cpu", "numba"} & set(kernels.available()):
        with kernels.use(name), pytest.raises(mv.KernelUnavailable, match=f"'{name}' cannot run"):
            kernels.get("adam", unfit)


def test_to_know_what_serves_no_other_variant_is_loaded():
    """Asking for the default does not import numba, which takes longer than a small training."""
    code = "import sys; from minivae import kernels; kernels.default('cpu'); print(*sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "numpy" in found.stdout.split() and "numba" not in found.stdout.split()


@pytest.mark.skipif("numba" not in kernels.available(), reason="numba is missing")
def test_a_kernel_that_the_forced_variant_lacks_is_run_by_the_default():
    with kernels.use("numba"):
        assert serving("adam", F4) == "numba_cpu"
        assert not kernels.table()["conv2d"]["numba"]
        assert kernels.get("conv2d", F4).__module__ != "minivae.kernels.numba_cpu"


TRAINING = """
import sys
import numpy as np, minivae as mv
from minivae.training.choose_step import recorded
from minivae.training.step import EagerStep
model = mv.models.MLPVAE(2, 4)
train, _ = recorded(EagerStep(model, mv.optim.Adam(model.parameters())), None)
for noise in map(mv.Noise, range(3), range(3)):
    train(np.zeros((2, 1, 28, 28), np.float32), noise, 1.0)
mv.kernels.default("cpu")
print([name for name in ("numba", "cupy", "matplotlib", "scipy") if name in sys.modules])
"""


def test_training_imports_no_variant_but_its_own():
    """Training does not import the other variants: numba alone takes 110 MiB of memory."""
    done = subprocess.run([sys.executable, "-c", TRAINING], capture_output=True, text=True)
    *_why_no_tape, found = done.stdout.splitlines() or [""]
    assert found == "[]", done.stderr


def test_under_reference_nothing_compiled_runs():
    with kernels.use("reference"):
        for name in reference.__all__:
            assert kernels.get(name, F4) is getattr(reference, name)


def test_table_lists_every_kernel_of_every_variant():
    table = kernels.table()
    assert set(table) == set(reference.__all__)
    for row in table.values():
        assert tuple(row) == kernels.VARIANTS
        assert row["reference"] and not row["composed"]
    for name in kernels.reasons():
        assert not any(row[name] for row in table.values())


def test_unknown_kernel():
    with pytest.raises(AttributeError, match=r"'adamw'.*adam"):
        kernels.get("adamw")


def test_threads():
    before = kernels.threads()
    assert before >= 1
    try:
        kernels.set_threads(3)
        assert kernels.threads() == (3 if DEFAULT == "cpu" else 1)
        kernels.set_threads(1)
        pools = [p for p in threadpool_info() if p["user_api"] == "blas"]
        assert all(p["num_threads"] == 1 for p in pools)
        for bad, error in ((0, ValueError), (-1, ValueError), (1.0, TypeError), (True, TypeError)):
            with pytest.raises(error, match="count"):
                kernels.set_threads(bad)
    finally:
        kernels.set_threads(before)


def test_the_instruction_set_is_told():
    if "cpu" not in kernels.available():
        assert kernels.instruction_set() is None
        return
    from minivae import _cpu

    before = _cpu.isa()
    try:
        for name in _cpu.isas():
            _cpu.use_isa(name)
            assert kernels.instruction_set() == name
    finally:
        _cpu.use_isa(before)
