"""Start ``parallel_program.py`` under the installed MPI, and check how the run ends."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import parallel_program

TESTS = Path(__file__).parent
PROMISED = 15  # seconds after a fault by which all processes must have ended
ALONE = [name for name in os.environ if name.startswith(("PMI", "OMPI_", "MPI_", "SLURM_"))]


def launcher():
    """The path of the ``mpiexec`` beside this Python, else the first on PATH, else None."""
    return shutil.which("mpiexec", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")


def missing():
    """Why no MPI program can be started here, or None."""
    if importlib.util.find_spec("mpi4py") is None:
        return "mpi4py is not installed"
    return None if launcher() else "there is no mpiexec"


class Outcome(NamedTuple):
    """How a run ended."""

    code: int
    text: str  # of stdout and stderr
    end: float  # the time, as of time.time()

    def processes(self):
        """{rank: process id}, from the line that the run prints at its start."""
        found = re.search(r"\d+ ranks: (.*)", self.text)
        assert found, self.text
        return {int(r): int(pid) for r, pid in re.findall(r"(\d+) is process (\d+)", found[1])}


def begin(ranks, *args):
    """Start the program with ``ranks`` processes; returns the ``Popen``."""
    program = [sys.executable, str(TESTS / "parallel_program.py"), *map(str, args)]
    environment = {name: value for name, value in os.environ.items() if name not in ALONE}
    environment |= {
        "PYTHONPATH": f"{TESTS.parent}:{TESTS}:{os.environ.get('PYTHONPATH', '')}",
        "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
        **{f"{name}_ALLOW_RUN_AS_ROOT{more}": "1" for name in ("OMPI", "PRTE")
           for more in ("", "_CONFIRM")},
    }  # fmt: skip
    return subprocess.Popen(
        [launcher(), "-n", str(ranks), *program], env=environment, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def ended(process):
    """Wait for the end of a process that ``begin`` started; returns its ``Outcome``."""
    text, _ = process.communicate(timeout=300)
    return Outcome(process.returncode, text, time.time())


def start(ranks, *args):
    """Run the program with ``ranks`` processes to its end; returns its ``Outcome``."""
    return ended(begin(ranks, *args))


def alive(pid):
    """Whether a process runs; a zombie (ended, but not waited for) does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def with_fault(folder, fault, rank, step, ranks=4):
    """Plant a fault in a run of ``mlp`` on several processes, then resume the run in one process.

    Returns:
        (what was not as promised, a list of texts; the seconds from the fault to the end).
    """
    if fault == "full disk":
        rank = 0  # the only rank that writes files
    folder = Path(folder)
    planted = ["--fault", fault, "--rank", rank, "--step", step]
    outcome = start(ranks, folder, "--parts", 4, *planted)
    began, processes, wrong = float((folder / "fault").read_text()), outcome.processes(), []
    while any(map(alive, processes.values())) and time.time() < began + PROMISED:
        time.sleep(0.05)  # an aborted rank may outlive mpiexec by a moment
    seconds = time.time() - began
    if outcome.code == 0:
        wrong.append("exit code 0")
    if seconds > PROMISED:
        wrong.append(f"ended after {seconds:.1f} s")
    named = rf"rank {rank}\b" if fault != "kill" else rf"(?i)rank {rank}\b|pid {processes[rank]}\b"
    told = outcome.text.replace(re.search(r"\d+ ranks: .*", outcome.text)[0], "")
    if not re.search(named, told):
        wrong.append(f"rank {rank} is not named in {told!r}")
    if left := [pid for pid in processes.values() if alive(pid)]:
        wrong.append(f"processes left: {left}")
    whole = parallel_program.train(folder / "whole", "mlp")
    if parallel_program.train(folder / "mlp", "mlp", resume=True) != whole:
        wrong.append("the resumed run ends with other bytes")
    return wrong, seconds
