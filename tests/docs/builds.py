"""Helpers for tests of building and installing in scratch folders."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SENTENCE = "minivae: minivae._cpu was not built ("
CUDA_SENTENCE = "minivae: minivae._cuda was not built ("
NO_COMPILER = {"CC": "/nonexistent/cc", "CXX": "/nonexistent/c++"}
NO_NVCC = {"CUDA_HOME": "", "CUDA_PATH": "", "PATH": "/nonexistent"}


def run(*command, cwd, **environment):
    """Run Python with these environment variables; the finished process, outputs as one text."""
    environment = {**os.environ, **environment}
    return subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=cwd, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def build(tmp_path, **environment):
    """Build into tmp_path, so that the checkout stays as it is; only what is asked for."""
    environment = {"MINIVAE_CPU": "0", "MINIVAE_CUDA": "0", **environment}
    return run(
        "setup.py", "build_ext", "-b", tmp_path / "lib", "-t", tmp_path / "tmp",
        cwd=ROOT, **environment,
    )  # fmt: skip


def fake_command(folder, name, script):
    """Write an executable shell script with this name into the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    command = folder / name
    command.write_text(f"#!/bin/sh\n{script}\n")
    command.chmod(0o755)
