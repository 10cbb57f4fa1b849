"""What every benchmark shares: the environment, percentiles, child processes, records.

Each contender runs in a process of its own, so that thread pools and allocator settings of one
never slow another; the processes are run in turn, so that drift of the machine affects all alike.
"""

import contextlib
import json
import os
import platform
import subprocess
import sys
from datetime import date
from pathlib import Path

import numpy as np
from _pages import ROOT

from minivae import kernels
from minivae.cli.info import processor


def environment():
    """Machine, versions and threads, as recorded beside every figure."""
    return {
        "date": date.today().isoformat(),
        "cpu": processor(),
        "instruction_set": kernels.instruction_set(),
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "commit": commit(),
    }


def commit():
    """The short hash of the checkout, with a + when files other than records differ from it; None
    outside one.
    """

    def git(*words):
        command = ["git", "-C", str(ROOT), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        differ = git("status", "--porcelain", "--untracked-files=no", ":!benchmarks/results")
        return git("rev-parse", "--short", "HEAD") + "+" * bool(differ)
    return None


def percentiles(samples):
    """Median with 20th and 80th percentile."""
    p20, p50, p80 = np.percentile(samples, [20, 50, 80])
    return {"median": float(p50), "p20": float(p20), "p80": float(p80), "n": len(samples)}


def run_child(script, *arguments, env=None):
    """Run a script in a fresh process and return the JSON object on its last line."""
    command = [sys.executable, str(script), *map(str, arguments)]
    done = subprocess.run(
        command, env={**os.environ, **(env or {})}, capture_output=True, text=True, cwd=ROOT
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def peak_memory_mib():
    """Largest resident set of this process so far."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def write_json(path, record):
    """A record as an indented file, its folder made when missing."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=2) + "\n")


def append_row(path, **row):
    """Append a row to a file of JSON objects, one per line; it stays if the run fails later."""
    if path:
        with open(path, "a") as file:
            file.write(json.dumps(row) + "\n")
