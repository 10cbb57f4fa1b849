"""``python -m minivae info``: versions, kernel variants and devices, and why one is missing."""

import subprocess
import sys

import numpy as np
import pytest

from minivae import kernels
from minivae.__main__ import main
from minivae.cli.info import info, kernels_used


@pytest.mark.slow
def test_info_runs_as_a_command():
    done = subprocess.run(
        [sys.executable, "-m", "minivae", "info"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("minivae ")
    assert done.stderr == ""


def test_every_variant_kernel_and_reason_is_told(capsys):
    main(["info"])
    text = capsys.readouterr().out
    lines = text.splitlines()
    reasons = kernels.reasons()
    first = next(i for i, line in enumerate(lines) if line.startswith("kernel variants")) + 1
    for name, line in zip(kernels.VARIANTS, lines[first:], strict=False):
        assert line.split()[0] == name
        assert (" yes" in line) == (name in kernels.available())
        assert name not in reasons or " ".join(reasons[name].split()) in line
    header = next(i for i, line in enumerate(lines) if line == "kernels") + 1
    columns = lines[header].split()
    for line, (kernel, row) in zip(lines[header + 1 :], kernels.table().items(), strict=True):
        assert line.split() == [kernel, *("yes" if row[name] else "-" for name in columns)]
    for library in ("numpy", "safetensors", "cuda"):
        assert any(line.split()[:1] == [library] for line in lines)


def test_the_cache_is_told_with_its_size(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    cache = tmp_path / "minivae"
    (line,) = (line for line in info().splitlines() if line.startswith("cache"))
    assert line.split(maxsplit=1)[1] == (
        f"{cache}: 0 decoded image sets, 0.00 GB of at most 17.2; MNIST, 0.0 MB"
    )
    for folder in ("images", "mnist"):
        (cache / folder).mkdir(parents=True)
    (cache / "mnist" / "t10k-images-idx3-ubyte.gz").write_bytes(bytes(300_000))
    for name, size in ((f"a-8-{24 * '0'}.npy", 30_000_000), ("other.npy", 99_000_000)):
        with open(cache / "images" / name, "wb") as file:
            file.truncate(size)
    assert f"{cache}: 1 decoded image set, 0.03 GB of at most 17.2; MNIST, 0.3 MB" in info()
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.delenv("HOME", raising=False)

    def unknown(uid):
        raise KeyError(uid)

    monkeypatch.setattr("pwd.getpwuid", unknown)
    assert "no: no cache folder: this user has no home; set XDG_CACHE_HOME" in info()


def line_of(name):
    """The text of the line for ``name`` in the output of ``info``."""
    (line,) = (line for line in info().splitlines() if line.split()[:1] == [name])
    return line.split(maxsplit=1)[1]


def import_anew(monkeypatch, folder, *names):
    """Import these modules anew, from the folder; restore ``sys.modules`` after the test."""
    monkeypatch.syspath_prepend(folder)
    for name in names:
        monkeypatch.setitem(sys.modules, name, None)  # restored also where there was none
        del sys.modules[name]


def test_a_library_is_there_when_it_can_be_imported(tmp_path, monkeypatch):
    """``info`` imports a library: metadata would be found even for a broken one."""
    import_anew(monkeypatch, tmp_path, "tqdm", "graphviz", "scipy")
    (tmp_path / "tqdm.py").write_text("raise OSError('libfoo.so:\\n cannot open')")
    (tmp_path / "scipy.py").write_text("import warnings; warnings.warn('x'); __version__ = '9.8'")
    (tmp_path / "graphviz.py").write_text("import nothing_of_that_name")
    assert line_of("tqdm") == "no: OSError: libfoo.so: cannot open"
    assert line_of("scipy") == "9.8 (optional)"
    assert line_of("graphviz") == "no: No module named 'nothing_of_that_name' (optional)"
    assert line_of("numpy") == np.__version__


@pytest.mark.slow
def test_torch_is_not_imported_to_be_told():
    pytest.importorskip("torch")
    program = "import sys; from minivae.cli.info import info; info(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "False\n"
    assert line_of("torch").endswith("(optional, not imported)")


def test_the_mpi_is_named_and_not_initialised(tmp_path, monkeypatch):
    import_anew(monkeypatch, tmp_path, "mpi4py", "mpi4py.MPI")
    (tmp_path / "mpi4py").mkdir()
    (tmp_path / "mpi4py" / "__init__.py").write_text("class rc: initialize = True")
    (tmp_path / "mpi4py" / "MPI.py").write_text(
        "from mpi4py import rc\n"
        "assert not rc.initialize\n"
        "def Get_library_version(): return 'MPICH Version: 5.0.2\\nABI: 1\\0'\n"
    )
    assert line_of("mpi") == "MPICH Version: 5.0.2"
    assert sys.modules["mpi4py"].rc.initialize
    monkeypatch.setitem(sys.modules, "mpi4py.MPI", None)
    monkeypatch.delattr(sys.modules["mpi4py"], "MPI")
    assert line_of("mpi").startswith("no: ")


def test_the_instruction_set_is_named():
    _cpu = pytest.importorskip("minivae._cpu")
    assert line_of("instructions") == f"{_cpu.isa()} (available: {', '.join(_cpu.isas())})"


def test_a_missing_extension_is_explained(monkeypatch):
    why = "not built: no compiler\nfound"
    there = {"reference": None, "composed": None}
    monkeypatch.setattr(kernels, "unavailable", lambda name: there.get(name, why))
    text = info()
    assert "  cpu            no: not built: no compiler found" in text
    assert "(default: reference for NumPy arrays, reference for CuPy arrays;" in text


def test_the_variant_in_use_is_the_forced_one():
    with kernels.use("reference"):
        assert kernels_used("cpu") == "reference"
    assert kernels_used("cpu") in ("cpu", "reference")
    assert kernels_used("cuda") == "reference"


def test_an_unknown_command_is_refused(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["nonsense"])
    assert caught.value.code == 2
