"""Faults in one of several processes: all must end in time and leave a checkpoint to resume from.

Each run is the tiny one of tests/parallel_program.py, of two or four ranks of the MPI beside
mpi4py. A fault comes in a random rank before a random step. All must end within 15 seconds of it,
with an exit code other than 0 and the rank named; one process that resumes must end with the bytes
of a run never stopped.
"""

import contextlib
import io
import os
import random
import tempfile

os.environ |= {"OPENBLAS_NUM_THREADS": "1"}  # before NumPy comes

import report

import mpi_runs
import parallel_program
from minivae.training import parallel

ATTEMPTS = 50  # of each fault


def measure(quick):
    """The table; ``quick`` tries each fault once."""
    if reason := mpi_runs.missing():
        raise report.Unavailable(reason)
    chance, faults = random.Random(0), []
    seconds = {fault: [] for fault in parallel_program.FAULTS}
    for number in range(1 if quick else ATTEMPTS):
        for fault, times in seconds.items():
            ranks = 4 if number % 5 == 0 else 2
            rank, step = chance.randrange(ranks), chance.randint(2, parallel_program.STEPS)
            with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
                wrong, lasted = mpi_runs.with_fault(folder, fault, rank, step, ranks)
            times.append(lasted)
            faults += [f"{fault}, rank {rank} of {ranks}, step {step}: {text}" for text in wrong]
    rows = [
        [fault, len(times), f"all ended, in {max(times):.1f} s at most; resumed, same bytes"]
        for fault, times in seconds.items()
    ]
    numbers = {"seconds": seconds, "mpi": parallel.library()}
    return report.Report(["fault in one rank", "tried", "outcome"], rows, faults, numbers)


if __name__ == "__main__":
    raise SystemExit(report.main(measure))
