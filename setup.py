"""Build the compiled kernels; everything else about the package is in pyproject.toml.

An extension is optional: where it cannot be built the install succeeds, prints one line that says
what was not built and why, and leaves that line beside the package for `python -m minivae info`.
MINIVAE_CPU=0 skips the CPU extension, 1 makes a failure to build it an error, auto is the default.
"""

import os
import sys
from glob import glob
from pathlib import Path
from textwrap import shorten

from pybind11.setup_helpers import ParallelCompile, Pybind11Extension
from setuptools import setup
from setuptools.command.build_ext import build_ext

FLAGS = [
    "-O3",
    # No contraction and no fast-math: every instruction set gives the same bytes. The other two
    # change no value; without them a loop that holds a square root or a choice is not vectorised.
    "-ffp-contract=off",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-pthread",
]

cpu = Pybind11Extension(  # C++17, hidden visibility and no debug information come with the class
    "minivae._cpu",
    sources=sorted(glob("csrc/cpu/*.cpp") + glob("csrc/bind/*.cpp")),
    depends=sorted(glob("csrc/**/*.h", recursive=True) + glob("csrc/**/*.inl", recursive=True)),
    include_dirs=["csrc"],
    cxx_std=17,
    extra_compile_args=FLAGS,
    extra_link_args=["-pthread"],
)
# A CUDA extension would be declared here, beside `cpu`, with its switch in SWITCHES.
EXTENSIONS = [cpu]
SWITCHES = {"minivae._cpu": "MINIVAE_CPU"}


def say(line):
    """Print a line, also to the terminal itself: pip shows a build's output only with -v."""
    print(line, file=sys.stderr, flush=True)
    if not sys.stderr.isatty():
        try:
            with open("/dev/tty", "w") as terminal:
                print(line, file=terminal)
        except OSError:
            pass  # no terminal, nobody to tell


class OptionalBuild(build_ext):
    """build_ext that survives a missing or broken compiler and leaves a note in its stead."""

    def build_extension(self, ext):
        """Build one extension, or remember why not."""
        switch = SWITCHES[ext.name]
        wanted = os.environ.get(switch, "auto")
        if wanted not in ("auto", "0", "1"):
            raise SystemExit(f"{switch} must be auto, 0 or 1, not {wanted!r}")
        ext.optional = wanted != "1"
        ext.reason = None
        try:
            if wanted == "0":
                raise RuntimeError(f"{switch}=0")
            super().build_extension(ext)
        except Exception as error:
            if wanted == "1":
                raise
            ext.reason = shorten(str(error) or type(error).__name__, 150, placeholder=" ...")
            say(f"minivae: {ext.name} was not built ({ext.reason}); the reference kernels serve.")
        self.leave_note(ext)

    def copy_extensions_to_source(self):
        """Copy what was built into the source tree, as an editable install wants."""
        super().copy_extensions_to_source()
        for ext in self.extensions:
            self.leave_note(ext)

    def leave_note(self, ext):
        """Put the reason where the extension would be, and remove what an earlier build left."""
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
        setup(ext_modules=EXTENSIONS, cmdclass={"build_ext": OptionalBuild})
