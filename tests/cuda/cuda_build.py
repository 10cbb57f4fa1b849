"""Build the CUDA extension with g++ for the CPU in place of a GPU (tests/cuda/stand_in).

Headers and sources of the stand-in replace those of the same name in csrc, so that nothing in csrc
refers to the stand-in.

``emulated()`` is the module for functional tests. ``build`` also builds it with a sanitizer, and
from a changed copy of csrc, to show that a test fails for a planted bug. Object files are kept
under build/, named by a hash of everything they were compiled from, and so shared between runs and
between copies that differ in one file.
"""

import functools
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sysconfig
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CSRC = ROOT / "csrc"
STAND_IN = Path(__file__).with_name("stand_in")
CACHE = ROOT / "build" / "cuda_emulated"
NAME = "_cuda_emulated"
asked_for = True  # set by conftest.py under pytest; other programs want the module built
FLAGS = (
    "-std=c++17 -g1 -fPIC -fvisibility=hidden -Wall -Wextra -Werror -Wno-unknown-pragmas "
    "-ffp-contract=off -fno-math-errno -fno-trapping-math -pthread"
).split()
FLAGS += [f"-I{STAND_IN}", "-I."]  # its headers come before csrc's of the same name
KERNEL_FLAGS = {
    None: ["-O2"],
    "thread": ["-O1", "-fsanitize=thread", "-DMINIVAE_EMULATED_THREADS"],
    "address,undefined": [
        *("-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"),
        "-DMINIVAE_EMULATED_THREADS",
    ],
}


def missing():
    """Why the emulated module is not built here, or None."""
    if not CSRC.is_dir():
        return "csrc is not beside the tests"  # they try a package that was installed
    if (chosen := os.environ.get("CXX")) and shutil.which(chosen.split()[0]) is None:
        return f"CXX={chosen} names no compiler"  # as setup.py sees it
    if shutil.which("g++") is None:
        return "g++ is not installed"
    if importlib.util.find_spec("pybind11") is None:
        return "pybind11 is not installed"
    return None if asked_for else "the stand-in for a GPU is compiled by pytest --everything"


def sources(csrc, folder):
    """The sources of a folder of the extension: the stand-in's before csrc's of the same name."""
    found = {p.stem: p for s in ("cu", "cpp") for p in csrc.glob(f"{folder}/*.{s}")}
    found |= {p.stem: p for p in STAND_IN.glob(f"{folder}/*.cpp")}
    return sorted(found.values())


def _digest(csrc, flags, dependencies):
    state = hashlib.sha256(repr(flags).encode())
    for name in dependencies:
        state.update(name.encode() + (csrc / name).read_bytes())
    return state.hexdigest()[:20]


def _object(csrc, source, flags):
    """The object file of one source, compiled unless one with the same hash exists."""
    name = (source.relative_to(csrc) if source.is_relative_to(csrc) else source).as_posix()
    folder = CACHE / hashlib.sha256(repr(flags).encode()).hexdigest()[:8]
    known = folder / (name.strip("/").replace("/", ".") + ".dependencies")
    if known.exists():
        dependencies = known.read_text().split()
        if all((csrc / d).exists() for d in dependencies):
            found = folder / (_digest(csrc, flags, dependencies) + ".o")
            if found.exists():
                return found
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        made, rules = Path(scratch, "made.o"), Path(scratch, "made.d")
        command = ["g++", *flags, "-x", "c++", "-MMD", "-MF", rules, "-c", name, "-o", made]
        done = subprocess.run(command, cwd=csrc, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{name} does not compile for the CPU:\n{done.stderr}")
        words = rules.read_text().replace("\\\n", " ").split()[1:]
        dependencies = sorted({os.path.normpath(w) for w in words})
        result = folder / (_digest(csrc, flags, dependencies) + ".o")
        made.replace(result)
        rules.write_text("\n".join(dependencies))
        rules.replace(known)
    return result


def build(sanitize=None, csrc=CSRC):
    """Path of the module, built from ``csrc`` with a sanitizer (a key of KERNEL_FLAGS) or none.

    Only kernels and the stand-in are instrumented: the bindings are the same objects in all.
    """
    import pybind11

    includes = [pybind11.get_include(), sysconfig.get_path("include")]
    bind_flags = [*FLAGS, "-O0", *(w for i in includes for w in ("-isystem", i))]
    kernels = sources(csrc, "cuda") + sorted(STAND_IN.glob("emulated/*.cpp"))
    jobs = [(path, [*FLAGS, *KERNEL_FLAGS[sanitize]]) for path in kernels]
    jobs += [(path, bind_flags) for path in sources(csrc, "bind/cuda")]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        objects = list(pool.map(lambda job: _object(csrc, *job), jobs))
    digest = hashlib.sha256("".join(sorted(o.stem for o in objects)).encode()).hexdigest()[:12]
    module = CACHE / digest / (NAME + sysconfig.get_config_var("EXT_SUFFIX"))
    if not module.exists():
        module.parent.mkdir(exist_ok=True)
        flags = [f"-fsanitize={sanitize}"] if sanitize else []
        made = module.with_name(f"{os.getpid()}.so")
        command = ["g++", "-shared", *flags, *objects, "-pthread", "-o", made]
        subprocess.run(command, check=True)
        made.replace(module)
    return module


def load(path):
    """Import the module at ``path``."""
    spec = importlib.util.spec_from_file_location(NAME, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@functools.cache
def emulated():
    """The module for functional tests; skips the test where it cannot be built."""
    if reason := missing():
        pytest.skip(reason)
    return load(build())
