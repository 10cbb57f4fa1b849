"""Building and installing: with no compiler the package still installs, says so and works."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("pybind11")
pytest.importorskip("setuptools")

ROOT = Path(__file__).parent.parent
SENTENCE = "minivae: minivae._cpu was not built ("


def run(*command, cwd, **environment):
    """Run Python with these environment variables; the finished process, outputs as one text."""
    environment = {**os.environ, **environment}
    return subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=cwd, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def build(tmp_path, **environment):
    """Build the extension into tmp_path, so that the checkout stays as it is."""
    return run(
        "setup.py", "build_ext", "-b", tmp_path / "lib", "-t", tmp_path / "tmp",
        cwd=ROOT, **environment,
    )  # fmt: skip


NO_COMPILER = {"CC": "/nonexistent/cc", "CXX": "/nonexistent/c++"}


@pytest.mark.parametrize(
    "environment, reason",
    [
        ({**NO_COMPILER, "MINIVAE_CPU": "auto"}, "/nonexistent/"),
        ({"MINIVAE_CPU": "0"}, "MINIVAE_CPU=0"),
    ],
)
def test_build_goes_on_and_says_why_in_one_line(tmp_path, environment, reason):
    process = build(tmp_path, **environment)
    assert process.returncode == 0, process.stdout
    lines = [line for line in process.stdout.splitlines() if line.startswith(SENTENCE)]
    assert len(lines) == 1 and reason in lines[0] and len(lines[0]) < 250
    note = tmp_path / "lib" / "minivae" / "_cpu_not_built.txt"
    assert reason in note.read_text()
    assert [path.name for path in note.parent.iterdir()] == [note.name]


def test_build_fails_when_the_extension_was_demanded(tmp_path):
    process = build(tmp_path, MINIVAE_CPU="1", **NO_COMPILER)
    assert process.returncode != 0 and SENTENCE not in process.stdout


def test_a_switch_with_another_value_is_refused(tmp_path):
    process = build(tmp_path, MINIVAE_CPU="yes")
    assert process.returncode != 0
    assert "MINIVAE_CPU must be auto, 0 or 1, not 'yes'" in process.stdout


@pytest.mark.slow
def test_pip_install_without_a_compiler(tmp_path):
    """From a copy of the source: it installs, computes and names the reason."""
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    unwanted = shutil.ignore_patterns("__pycache__", "*.so", "*_not_built.txt")
    for name in ("csrc", "minivae"):
        shutil.copytree(ROOT / name, source / name, ignore=unwanted)
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    process = run(
        "-m", "pip", "install", "-v", "--no-build-isolation", "--no-deps", "--no-index",
        "--disable-pip-version-check", "--target", target, source,
        cwd=tmp_path, MINIVAE_CPU="auto", **NO_COMPILER,
    )  # fmt: skip
    assert process.returncode == 0, process.stdout
    assert process.stdout.count(SENTENCE) == 1
    program = (
        # An editable install of the checkout would serve what is missing here.
        "import sys; sys.meta_path = [f for f in sys.meta_path if 'Editable' not in repr(f)];"
        "import minivae as mv; print(mv.__file__, mv.kernels.reasons()['cpu']);"
        "print(mv.Noise(0, 0).normal(3).shape)"
    )
    process = run("-c", program, cwd=tmp_path, PYTHONPATH=str(target))
    assert process.returncode == 0, process.stdout
    assert str(target) in process.stdout and "(3,)" in process.stdout
    assert "not built: " in process.stdout and "/nonexistent/" in process.stdout
