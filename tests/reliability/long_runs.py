"""A run of 100,000 steps: memory, open files and time per step stay constant.

Memory is sampled after each epoch; its slope, by least squares after the first tenth, comes with
its 95 % confidence interval. A step's time is that beside a run begun anew: other programs slow
both.
"""

import contextlib
import csv
import gc
import io
import math
import os
import statistics
import tempfile
import threading
import time
from pathlib import Path

if __name__ == "__main__":  # not where tests import it, which start processes of their own
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import report  # noqa: I001  puts tests/ on the path

import numpy as np

import tiny_run
from minivae.training import checkpoint, metrics
from minivae.training.output_folder import OutputFolder

PAGE = 4096
SAVE_EVERY = 333  # steps: checkpoints within epochs too
FRESH_STEPS = 50  # of the run begun anew after each epoch


def measure(quick):
    """One long run, sampled after each epoch."""
    epochs, steps = (40, 25) if quick else (200, 500)
    images = np.random.default_rng(1).integers(0, 256, (24 * steps, 28, 28), dtype=np.uint8)
    made = report.Report(["over the run", "at the start", "at the end", "slope or difference"], [])
    with tempfile.TemporaryDirectory() as folder, OutputFolder(folder) as out:
        trainer = tiny_run.trainer(out, epochs=epochs, images=images, save_every=SAVE_EVERY)
        samples, differences = [], 0
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            for trainer.epochs in range(1, epochs + 1):  # the same loop, stopped after each epoch
                start = time.process_time()
                trainer.run()
                seconds = time.process_time() - start
                samples.append(_sample(seconds / steps, _fresh_step(images)))
                differences += _differences(Path(folder))
                printed.seek(0)
                printed.truncate()
    _judge(made, np.array(samples), epochs, steps, differences, quick)
    return made


def _fresh_step(images):
    """CPU seconds of a step in a run that has just begun, in a process whose memory is its own."""
    read, write = os.pipe()

    def begun():
        with tempfile.TemporaryDirectory() as folder, OutputFolder(folder) as out:
            trainer = tiny_run.trainer(out, epochs=1, images=images[: 24 * FRESH_STEPS])
            start = time.process_time()
            trainer.run()
            os.write(write, str((time.process_time() - start) / FRESH_STEPS).encode())

    assert tiny_run.in_child(begun) == 0
    os.close(write)
    with open(read) as said:
        return float(said.read())


def _sample(step, fresh):
    """(resident bytes, open files, threads, Python objects, CPU seconds of a step, of another)."""
    gc.collect()
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * PAGE
    files = len(os.listdir("/proc/self/fd"))
    return resident, files, threading.active_count(), len(gc.get_objects()), step, fresh


def _differences(folder):
    """Rows of metrics.csv that are not those of the checkpoint."""
    with open(folder / "metrics.csv", newline="") as file:
        written = list(csv.DictReader(file))
    kept = checkpoint.load(folder / "checkpoint.safetensors")["metrics"]
    wanted = [{name: str(row[name]) for name in row} for row in kept]
    found = [{name: row[name] for name in metrics.COLUMNS if name != "seconds"} for row in written]
    return sum(a != b for a, b in zip(found, wanted, strict=True))


def slope(x, y):
    """Least-squares slope and the half width of its 95 % confidence interval."""
    x, y = np.asarray(x, float), np.asarray(y, float)
    dx = x - x.mean()
    b = (dx @ (y - y.mean())) / (dx @ dx)
    residual = y - y.mean() - b * dx
    error = math.sqrt(residual @ residual / (len(x) - 2) / (dx @ dx))
    return b, statistics.NormalDist().inv_cdf(0.975) * error


def _judge(made, samples, epochs, steps, differences, quick):
    tenth = max(2, epochs // 10)
    settled = samples[tenth:]
    step = steps * np.arange(tenth, epochs)
    relative = samples[:, 4] / samples[:, 5]
    first, last = np.median(relative[:tenth]), np.median(relative[-tenth:])
    resident, half = slope(step, settled[:, 0])
    made.rows = [
        ["resident memory", f"{settled[0, 0] / 2**20:.1f} MiB", f"{samples[-1, 0] / 2**20:.1f} MiB",
         f"{resident:+.2f} ± {half:.2f} bytes per step"],
        ["open files", *(str(int(s[1])) for s in (settled[0], samples[-1])),
         f"{int(samples[-1, 1] - settled[0, 1]):+d}"],
        ["threads", *(str(int(s[2])) for s in (settled[0], samples[-1])),
         f"{int(samples[-1, 2] - settled[0, 2]):+d}"],
        ["Python objects", *(f"{int(s[3]):,}" for s in (settled[0], samples[-1])),
         f"{slope(step, settled[:, 3])[0] * steps:+.1f} per epoch"],
        ["CPU time of a step / that of a new run, median of a tenth of the run", f"{first:.3f}",
         f"{last:.3f}", f"{last / first - 1:+.1%}"],
        ["rows of metrics.csv unlike the checkpoint, each epoch", "0", str(differences), ""],
    ]  # fmt: skip
    # What an epoch leaves for good: its row, and its line in every table and checkpoint to come.
    # An array of a batch leaked in each step would be 75,264 bytes a step.
    if resident - half > 8192 / steps:
        made.faults.append(f"memory grows by {resident:.1f} bytes per step")
    if (settled[:, 1] != settled[0, 1]).any() or (settled[:, 2] != settled[0, 2]).any():
        made.faults.append("open files or threads come and go")
    if differences:
        made.faults.append(f"{differences} rows of metrics.csv differ from the checkpoint")
    if not quick and last > 1.1 * first:
        made.faults.append(f"a step takes {last / first:.2f} times as long at the end")
    made.numbers = {
        "steps": epochs * steps, "checkpoints": epochs + epochs * steps // SAVE_EVERY,
        "microseconds_a_step": round(1e6 * float(np.median(samples[:, 4])), 1),
        "bytes_a_step": resident, "bytes_a_step_half_width": half,
        "resident_mib": [round(s / 2**20, 2) for s in samples[:, 0][:: max(1, epochs // 20)]],
    }  # fmt: skip


if __name__ == "__main__":
    raise SystemExit(report.main(measure))
