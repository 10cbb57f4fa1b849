"""Install the package in fresh environments as its users would, and run tests against each.

Interpreters are those found on PATH or under $PYENV_ROOT/versions; a tool that is missing (clang,
nvcc, qemu) leaves its row saying so. Each environment gets its libraries from the package index.
"""

import glob
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import report

PYTHONS = ("3.10", "3.11", "3.12", "3.13", "3.14")
# What the interpreters run: kernels, operations, files and models. .ci/run runs the whole suite.
TESTS = [f"tests/{name}.py" for name in (
    "kernels/test_kernels", "kernels/test_kernels_conv", "kernels/test_kernels_layers",
    "kernels/test_kernels_products", "kernels/test_kernel_arguments", "engine/test_boundaries",
    "engine/test_ops", "engine/test_optim", "engine/test_noise", "training/test_checkpoint",
    "data/test_idx",
    "models/test_models")]  # fmt: skip
KERNEL_TESTS = ["tests/kernels/test_kernels.py", "tests/engine/test_boundaries.py"]
# What the tests themselves would compile, the stand-in for a GPU and numba's kernels, is left out.
LEFT_OUT = ["-k", "not numba"]
# Small enough for an emulator: products, convolutions, the fused losses and Adam.
EMULATED = ["tests/engine/test_boundaries.py", "tests/kernels/test_kernels.py", "-k",
            "boundaries or ((reparam_kl or bce or adam) and cpu-plain)"]  # fmt: skip
QEMU = shutil.which("qemu-x86_64") or shutil.which("qemu-x86_64-static")
NO_COMPILER = {"CC": "/nonexistent/cc", "CXX": "/nonexistent/c++"}


class InstallError(Exception):
    """A command that should have worked; the message ends its output."""


def interpreter(version):
    """A Python of that version, or None."""
    places = [shutil.which(f"python{version}")]
    root = os.environ.get("PYENV_ROOT", os.path.expanduser("~/.pyenv"))
    places += sorted(glob.glob(f"{root}/versions/{version}.*/bin/python"))
    for python in filter(None, places):
        asked = subprocess.run([python, "-c", "import sys; print(sys.version)"],
                               capture_output=True, text=True)  # fmt: skip
        if asked.returncode == 0 and asked.stdout.startswith(f"{version}."):
            return python
    return None


def clang():
    """The environment that makes setuptools take clang, or None."""
    for version in ("", "-19", "-18", "-17", "-16", "-15", "-14"):
        pair = shutil.which(f"clang{version}"), shutil.which(f"clang++{version}")
        if all(pair):
            return dict(zip(("CC", "CXX"), pair, strict=True))
    return None


def run(*command, cwd, **environment):
    """Output of a command; InstallError when it does not exit with 0."""
    drop = ("PYTHONPATH", "VIRTUAL_ENV")
    inherited = {k: v for k, v in os.environ.items() if k not in drop}
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env={**inherited, **environment}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    if done.returncode:
        raise InstallError(f"{' '.join(map(str, command))[-120:]}: {done.stdout.strip()[-600:]}")
    return done.stdout


class Environment:
    """A virtual environment in `folder`."""

    def __init__(self, python, folder):
        run(python, "-m", "venv", folder, cwd=folder.parent)
        self.python = folder / "bin" / "python"

    def pip(self, *arguments, cwd, **environment):
        """Run pip quietly."""
        run(self.python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
            *arguments, cwd=cwd, **environment)  # fmt: skip

    def test(self, *selection, cwd, **environment):
        """How many tests passed."""
        out = run(self.python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--no-header",
                  *LEFT_OUT, *selection, cwd=cwd,
                  **{"CXX": NO_COMPILER["CXX"], **environment})  # fmt: skip
        return int(re.search(r"(\d+) passed", out)[1])

    def kernels(self, cwd, **environment):
        """The compiled kernels' instruction sets, or the reason why there are none."""
        code = (
            "from minivae import kernels, info; why = kernels.reasons().get('cpu')\n"
            "if why is None: from minivae import _cpu; print(_cpu.isa(), *_cpu.isas())\n"
            "else: print('none:', why)"
        )
        return run(self.python, "-c", code, cwd=cwd, **environment).strip()


def source_tree(folder):
    """The tracked files, as a fresh clone has them."""
    folder.mkdir(parents=True)
    names = run("git", "ls-files", "-z", cwd=report.ROOT).split("\0")
    for name in filter(None, names):
        if (report.ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(report.ROOT / name, folder / name)
    return folder


def tests_alone(folder):
    """The tests and their settings without the package beside them."""
    folder.mkdir()
    shutil.copytree(report.ROOT / "tests", folder / "tests",
                    ignore=shutil.ignore_patterns("__pycache__"))  # fmt: skip
    shutil.copy(report.ROOT / "pyproject.toml", folder)
    return folder


def editable_in_a_strange_path(python, scratch):
    """`pip install -e` in a folder whose name has spaces and letters outside ASCII."""
    source = source_tree(scratch / "a path with spaces, ünïcödé 変分")
    env = Environment(python, source / "my venv")
    env.pip("-e", ".[test]", cwd=source, MINIVAE_CPU="1", MINIVAE_CUDA="0")
    return env.test(*TESTS, cwd=source), env.kernels(source)


def wheel(python, scratch, tests=TESTS, **compiler):
    """A wheel, built and then installed; the tests see nothing of the source."""
    source, env = source_tree(scratch / "source"), Environment(python, scratch / "venv")
    run(env.python, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", scratch / "wheels", source,
        cwd=scratch, **{"MINIVAE_CPU": "1", "MINIVAE_CUDA": "0", **compiler})  # fmt: skip
    shutil.rmtree(source)
    (built,) = (scratch / "wheels").glob("*.whl")
    env.pip(f"{built}[test]", cwd=scratch)
    elsewhere = tests_alone(scratch / "elsewhere")
    return env.test(*tests, cwd=elsewhere), env.kernels(elsewhere)


def wheel_for_gpu(python, scratch):
    """The same with minivae._cuda for one architecture; it imports without a GPU and says so."""
    passed, isas = wheel(
        python, scratch, KERNEL_TESTS, MINIVAE_CUDA="1", MINIVAE_CUDA_ARCH="90"
    )  # fmt: skip
    code = "import minivae._cuda; from minivae import kernels; print(kernels.reasons()['cuda'])"
    why = run(scratch / "venv" / "bin" / "python", "-c", code, cwd=scratch).strip()
    return passed, f"{isas}; without a GPU: {why}"


def sdist(python, scratch, **compiler):
    """`pip install` of the source distribution; the tests are those it carries."""
    source, env = source_tree(scratch / "source"), Environment(python, scratch / "venv")
    env.pip("build", cwd=scratch)
    run(env.python, "-m", "build", "--sdist", "--outdir", scratch / "dist", source, cwd=scratch)
    (archive,) = (scratch / "dist").glob("*.tar.gz")
    with tarfile.open(archive) as file:
        if hasattr(tarfile, "data_filter"):
            file.extractall(scratch / "unpacked", filter="data")
        else:
            file.extractall(scratch / "unpacked")
    (unpacked,) = (scratch / "unpacked").iterdir()
    missing = sorted(
        path.relative_to(source).as_posix()
        for path in source.rglob("*")
        if path.is_file() and not (unpacked / path.relative_to(source)).exists()
        and path.name != ".gitignore"
    )  # fmt: skip
    if missing:
        raise InstallError(
            f"the source distribution lacks {missing[:5]}, {len(missing)} files in all"
        )
    wanted = {"MINIVAE_CPU": "auto" if compiler else "1", "MINIVAE_CUDA": "0", **compiler}
    env.pip(f"{archive}[test]", cwd=scratch, **wanted)
    shutil.rmtree(source)
    shutil.rmtree(unpacked / "minivae")  # so that the tests import what was installed
    return env.test(*TESTS, cwd=unpacked), env.kernels(unpacked)


def measure(quick):
    """All environments; there is no quick run."""
    if quick:
        raise report.Unavailable("environments take minutes each; .ci/run makes two of its own")
    rows, faults, found = [], [], {}
    pythons = {version: interpreter(version) for version in PYTHONS}
    cases = [
        ("editable, path with spaces and ünïcödé, GCC", "3.10", editable_in_a_strange_path, {}),
        ("wheel, GCC", "3.11", wheel, {}),
        ("wheel, GCC", "3.13", wheel, {}),
        ("wheel, clang", "3.12", wheel, clang()),
        ("wheel, GCC and nvcc", "3.11", wheel_for_gpu, {} if shutil.which("nvcc") else None),
        ("source distribution, GCC", "3.14", sdist, {}),
        ("source distribution, no compiler", "3.12", sdist, NO_COMPILER),
    ]  # fmt: skip
    with tempfile.TemporaryDirectory() as root:
        for number, (name, version, install, options) in enumerate(cases):
            if pythons[version] is None or options is None:
                what = f"Python {version}" if pythons[version] is None else name.split()[-1]
                rows.append([name, version, "–", f"not run: no {what} here"])
                continue
            scratch = Path(root) / str(number)
            scratch.mkdir()
            try:
                passed, isas = install(pythons[version], scratch, **options)
            except (InstallError, ValueError, TypeError) as error:
                faults.append(f"{name}, Python {version}: {error}")
                rows.append([name, version, 0, "fails"])
                continue
            rows.append([name, version, passed, f"pass; {_told(isas)}"])
            found[f"{name}, Python {version}"] = isas
            print(*rows[-1], sep=" | ", flush=True)
            if (name, version) == ("wheel, GCC", "3.11"):
                rows += _instruction_sets(scratch, version, faults)
    missing = [v for v, python in pythons.items() if python is None]
    numbers = {"kernels": found, "tools": _tools(), "interpreters_missing": missing,
               "interpreters": [v for v in PYTHONS if v not in missing]}  # fmt: skip
    return report.Report(["install", "Python", "tests passed", "result"], rows, faults, numbers)


def _tools():
    """The first line of what each compiler and the emulator say of themselves."""
    found = {"nvcc": shutil.which("nvcc"), "g++": shutil.which("g++"), "qemu": QEMU,
             "clang": (clang() or {}).get("CXX")}  # fmt: skip
    said = {
        name: run(tool, "--version", cwd=report.ROOT) for name, tool in found.items() if tool
    }  # fmt: skip
    return {name: max(text.splitlines(), key=_has_version) for name, text in said.items()}


def _has_version(line):
    return bool(re.search(r"\d+\.\d+", line))


def _told(isas):
    return "reference kernels" if isas.startswith("none") else f"compiled, {isas.split()[0]}"


def _instruction_sets(scratch, version, faults):
    """The wheel on smaller machines: forced, then emulated."""
    rows, python = [], scratch / "venv" / "bin" / "python"
    env, cwd = Environment.__new__(Environment), scratch / "elsewhere"
    env.python = python
    forced, passed = env.kernels(cwd).split()[1:-1], 0
    for isa in forced:
        try:
            got = env.kernels(cwd, MINIVAE_ISA=isa)
            assert got.split()[0] == isa, got
            passed += env.test(*KERNEL_TESTS, cwd=cwd, MINIVAE_ISA=isa)
        except (InstallError, AssertionError) as error:
            faults.append(f"MINIVAE_ISA={isa}: {error}")
    if forced:
        rows.append([f"wheel, MINIVAE_ISA={', '.join(forced)}", version, passed, "pass"])
    name = "wheel, emulated CPU without AVX"
    if not QEMU:
        return [*rows, [name, version, "–", "not run: no qemu-x86_64 here"]]
    try:
        binary = Path(python).resolve()
        home = {"PYTHONPATH": str(next((scratch / "venv" / "lib").glob("*/site-packages"))),
                "OPENBLAS_CORETYPE": "Nehalem", "HYPOTHESIS_PROFILE": "dev"}  # fmt: skip
        emulated = (QEMU, "-cpu", "Nehalem", binary)
        isas = run(
            *emulated, "-c", "from minivae import _cpu; print(*_cpu.isas())", cwd=cwd, **home
        )
        assert isas.split() == ["plain"], isas
        out = run(*emulated, "-m", "pytest", "-q", "-p", "no:cacheprovider", *EMULATED,
                  cwd=cwd, **home)  # fmt: skip
        passed = int(re.search(r"(\d+) passed", out)[1])
        rows.append([name, version, passed, "pass; compiled, plain"])
    except (InstallError, AssertionError) as error:
        faults.append(f"{name}: {error}")
        rows.append([name, version, 0, "fails"])
    return rows


if __name__ == "__main__":
    sys.exit(report.main(measure))
