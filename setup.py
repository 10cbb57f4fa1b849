"""Build the compiled kernels; everything else about the package is in pyproject.toml.

An extension is optional: where it cannot be built the install succeeds, prints one line that says
what was not built and why, and stores the reason in the package for `python -m minivae info`.
MINIVAE_CPU=0 skips the CPU extension, 1 makes a failure to build it an error, auto is the default;
MINIVAE_CUDA does the same for CUDA, which needs nvcc (from CUDA_HOME, CUDA_PATH or PATH). By
default it is compiled for the GPU that nvidia-smi reports, and skipped where there is none;
MINIVAE_CUDA=1 needs no GPU and compiles for all architectures, MINIVAE_CUDA_ARCH="80;90" for these
compute capabilities alone. The last one is also compiled to PTX, which newer GPUs can run.
"""

import hashlib
import itertools
import logging
import os
import re
import shutil
import sys
import time
from functools import partial
from glob import glob
from pathlib import Path
from subprocess import TimeoutExpired, run
from textwrap import shorten

from pybind11.setup_helpers import ParallelCompile, Pybind11Extension
from setuptools import setup
from setuptools.command.build_ext import build_ext

FLAGS = [
    "-O3",
    # No contraction and no fast-math: elementwise kernels and sums give the same bytes with every
    # instruction set (products and convolutions do not: see docs/reliability.md). The other two
    # change no value; without them a loop with a square root or a conditional is not vectorised.
    "-ffp-contract=off",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-pthread",
]

cpu = Pybind11Extension(  # C++17, hidden visibility and no debug information come with the class
    "minivae._cpu",
    sources=sorted(glob("csrc/cpu/*.cpp") + glob("csrc/bind/cpu/*.cpp")),
    depends=sorted(glob("csrc/**/*.h", recursive=True) + glob("csrc/**/*.inl", recursive=True)),
    include_dirs=["csrc"],
    cxx_std=17,
    extra_compile_args=FLAGS,
    extra_link_args=["-pthread"],
)
# Kernels are compiled by nvcc; bindings by the C++ compiler, so that nvcc never sees pybind11.
cuda = Pybind11Extension(
    "minivae._cuda",
    sources=sorted(glob("csrc/cuda/*.cu") + glob("csrc/cuda/*.cpp") + glob("csrc/bind/cuda/*.cpp")),
    depends=sorted(glob("csrc/**/*.h", recursive=True) + glob("csrc/cuda/*.cuh")),
    include_dirs=["csrc"],
    cxx_std=17,
    extra_compile_args=["-O1"],
    # The runtime's static copy looks for the driver at its first use, so importing needs none.
    libraries=["cudart_static", "dl", "rt"],
    extra_link_args=["-pthread"],
)
EXTENSIONS = [cpu, cuda]
# Prefixes of the names of sources in which nvcc may contract a product and a sum to one fma, for
# speed: their results can differ from the CPU's in the last bits. In all others both operations
# round, so that an aligned and an unaligned instantiation give the same bits; matrix products call
# fma explicitly.
CONTRACTED = ("reparam_kl", "noise")
RELATIVE_LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!https?:)([^)\s]+)\)")
SWITCHES = {"minivae._cpu": "MINIVAE_CPU", "minivae._cuda": "MINIVAE_CUDA"}
TOOLS = ("CC", "CXX", "CFLAGS", "CXXFLAGS", "CPPFLAGS", "LDFLAGS", "LDSHARED")  # of the environment
KEPT = Path("build", "kept")
ALL_ARCHITECTURES = ["75", "80", "86", "89", "90"]


def find_nvcc():
    """The path of nvcc; RuntimeError when there is none."""
    roots = [os.environ[name] for name in ("CUDA_HOME", "CUDA_PATH") if os.environ.get(name)]
    for nvcc in [*(os.path.join(root, "bin", "nvcc") for root in roots), "nvcc"]:
        if found := shutil.which(nvcc):
            return found
    raise RuntimeError("no nvcc in CUDA_HOME, CUDA_PATH or PATH")


def architectures():
    """Compute capabilities to compile for, such as "90"; RuntimeError when nothing names one."""
    if chosen := os.environ.get("MINIVAE_CUDA_ARCH"):
        found = re.split(r"[;, ]+", chosen.strip())
    elif os.environ.get("MINIVAE_CUDA") == "1":
        found = ALL_ARCHITECTURES
    else:
        query = ["nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader"]
        try:
            answer = run(query, capture_output=True, text=True, timeout=60)
        except (OSError, TimeoutExpired):
            answer = None
        found = re.findall(r"^\d+\.\d+$", answer.stdout, re.MULTILINE) if answer else []
        if not found:
            raise RuntimeError("no GPU answers; MINIVAE_CUDA=1 builds it for all architectures")
        found = sorted(set(found), key=float)
    return [capability.replace(".", "") for capability in found]


def nvcc_command(nvcc, capabilities):
    """The nvcc command with its flags, which compiles a .cu file of csrc to an object file."""
    if capabilities == ALL_ARCHITECTURES:  # one pass of the compiler serves all of 8.x
        targets = [("75", "sm_75"), ("80", "sm_80,sm_86,sm_89"), ("90", "sm_90")]
    else:
        targets = [(c, f"sm_{c}") for c in capabilities]
    last, codes = targets[-1]
    targets[-1] = (last, f"{codes},compute_{last}")
    return [
        nvcc, "-std=c++17", "-O3", "-Icsrc", "-Xcompiler=-fPIC,-fvisibility=hidden",
        *(["-ccbin", os.environ["CXX"]] if os.environ.get("CXX") else []),
        f'-DMINIVAE_CUDA_ARCHITECTURES="{" ".join("sm_" + c for c in capabilities)}"',
        *(f"-gencode=arch=compute_{arch},code=[{code}]" for arch, code in targets),
    ]  # fmt: skip


def library_folders(nvcc):
    """The folders in which nvcc has the linker look for the CUDA runtime."""
    plan = run([nvcc, "-dryrun", "-shared", "x.o", "-o", "x.so"], capture_output=True, text=True)
    return re.findall(r'"-L([^"]+)"', plan.stderr)


def contraction(source):
    """nvcc's flag for a source; see ``CONTRACTED``."""
    return f"-fmad={'true' if Path(source).name.startswith(CONTRACTED) else 'false'}"


def hand_to_nvcc(compiler, command):
    """Make a C++ compiler of distutils compile .cu files with the nvcc command."""
    compile_cpp = compiler._compile

    def compile_any(obj, src, ext, *options):
        if ext == ".cu":
            compiler.spawn([*command, contraction(src), "-c", src, "-o", obj])
        else:
            compile_cpp(obj, src, ext, *options)

    compiler._compile = compile_any
    compiler.src_extensions = [*compiler.src_extensions, ".cu"]


def tell_progress(compiler, count, announce):
    """Make a compiler of distutils announce each of ``count`` files after compiling it."""
    compile_file, done = compiler._compile, itertools.count(1)

    def compile_and_tell(obj, src, *options):
        start = time.monotonic()
        compile_file(obj, src, *options)
        announce(f"minivae: {next(done)}/{count} {src}, {time.monotonic() - start:.1f} s")

    compiler._compile = compile_and_tell
    return compile_file


def say(line):
    """Print a line, also to the terminal itself: pip shows a build's output only with -v."""
    # One write: print writes the line's end separately, and other threads may print in between.
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
    if not sys.stderr.isatty():
        try:
            with open("/dev/tty", "w") as terminal:
                print(line, file=terminal)
        except OSError:
            pass  # no terminal


def description(address):
    """The text of README.md for a package index, which has no other files of the repository.

    Relative links become links below ``address``. Without an address only the text of a link stays,
    and pictures are left out.
    """

    def moved(match):
        image, label, target = match.groups()
        if not address:
            return "" if image else label
        return f"{image}[{label}]({address}/{'raw' if image else 'blob'}/HEAD/{target})"

    parts = Path("README.md").read_text(encoding="utf-8").split("```")
    parts[::2] = [RELATIVE_LINK.sub(moved, part) for part in parts[::2]]  # what is not code
    return "```".join(parts)


def repository():
    """The address of the source in pyproject.toml's [project.urls], or None."""
    found = re.search(r'^Source = "(.+)"$', Path("pyproject.toml").read_text(), re.MULTILINE)
    return found and found[1].rstrip("/")


def fingerprint(ext, command):
    """SHA-256 in hex over all that an extension is made from: sources, flags and tools."""
    digest = hashlib.sha256()
    for name in sorted({*ext.sources, *ext.depends, "setup.py"}):
        body = Path(name).read_bytes()
        digest.update(f"{name} {len(body)}\n".encode() + body)
    tools = {name: os.environ.get(name) for name in TOOLS}
    digest.update(repr((sys.version, ext.extra_compile_args, command, tools)).encode())
    return digest.hexdigest()


class OptionalBuild(build_ext):
    """build_ext that succeeds without a working compiler and writes the reason to a file.

    A built extension is kept in build/kept under the hash of its sources, flags and tools; a second
    install of the same sources copies it.
    """

    def build_extension(self, ext):
        """Build one extension, or record why it was not built."""
        switch = SWITCHES[ext.name]
        wanted = os.environ.get(switch, "auto")
        if wanted not in ("auto", "0", "1"):
            raise SystemExit(f"{switch} must be auto, 0 or 1, not {wanted!r}")
        ext.optional = wanted != "1"
        ext.reason = None
        try:
            if wanted == "0":
                raise RuntimeError(f"{switch}=0")
            if self.compiler.compiler_type == "msvc":
                raise RuntimeError("MSVC lacks the vector types of GCC and clang")
            command = []
            if ext is cuda:
                nvcc, capabilities = find_nvcc(), architectures()
                ext.library_dirs = library_folders(nvcc)
                command = nvcc_command(nvcc, capabilities)
                hand_to_nvcc(self.compiler, command)
                version = run([nvcc, "--version"], capture_output=True, text=True).stdout
                command = [*command, version]  # an upgrade of CUDA may keep nvcc's path
            self.build_or_copy(ext, fingerprint(ext, command))
        except Exception as error:
            if wanted == "1":
                raise
            ext.reason = shorten(str(error) or type(error).__name__, 150, placeholder=" ...")
            say(f"minivae: {ext.name} was not built ({ext.reason}); the reference kernels serve.")
        self.leave_note(ext)

    def build_or_copy(self, ext, mark):
        """Build an extension, or copy the kept one whose fingerprint is ``mark``."""
        binary = Path(self.get_ext_fullpath(ext.name))
        kept = KEPT / f"{mark[:16]}-{binary.name}"
        if kept.is_file() and not self.force:
            self.announce(f"minivae: {ext.name} copied from an earlier build", logging.INFO)
            binary.parent.mkdir(parents=True, exist_ok=True)
            self.copy_file(str(kept), str(binary))
            return
        announce = partial(self.announce, level=logging.INFO)
        untold = tell_progress(self.compiler, len(ext.sources), announce)
        asked, self.force = self.force, True  # an existing binary is from other sources
        try:
            super().build_extension(ext)
        finally:
            self.force, self.compiler._compile = asked, untold
        for older in KEPT.glob(f"*-{binary.name}"):
            older.unlink(missing_ok=True)
        KEPT.mkdir(parents=True, exist_ok=True)
        self.copy_file(str(binary), str(kept))

    def copy_file(self, infile, outfile, *args, **kwargs):
        """Copy under another name, then rename: a process keeps an old file that it has mapped."""
        new = f"{outfile}.new"
        copied = super().copy_file(infile, new, *args, **kwargs)[1]
        os.replace(new, outfile)
        return outfile, copied

    def copy_extensions_to_source(self):
        """Copy the built extensions into the source tree, as an editable install needs."""
        super().copy_extensions_to_source()
        for ext in self.extensions:
            self.leave_note(ext)

    def leave_note(self, ext):
        """Write the reason beside where the extension would be, and remove an older extension.

        After a build, remove an older reason.
        """
        binary = Path(self.get_ext_fullpath(ext.name))
        note = binary.with_name(ext.name.rpartition(".")[2] + "_not_built.txt")
        if ext.reason is None:
            note.unlink(missing_ok=True)
        else:
            binary.unlink(missing_ok=True)
            note.parent.mkdir(parents=True, exist_ok=True)
            note.write_text(ext.reason + "\n")


if __name__ == "__main__":
    with ParallelCompile("MINIVAE_BUILD_JOBS", default=os.cpu_count() or 1):
        setup(
            ext_modules=EXTENSIONS,
            cmdclass={"build_ext": OptionalBuild},
            long_description=description(repository()),
            long_description_content_type="text/markdown",
        )
