"""Measure the cost of a training step outside its kernels: MLPVAE, 8 hidden units, one image.

    python benchmarks/step_overhead.py --json FILE

Microseconds of a step made operation by operation and of the same step recorded and replayed; the
batch is selected before. The kernels of so small a step take almost no time.
"""

import argparse
import os
import time

import numpy as np
from _harness import environment, percentiles, write_json
from _pages import markdown_table

import minivae as mv
from minivae import models, optim
from minivae.training.choose_step import recorded
from minivae.training.step import EagerStep

TURNS, SAMPLES, STEPS = 50, 20, 10


def made(kind):
    """A step as a function of its number."""
    model = models.MLPVAE(4, 8, seed=0)
    step = EagerStep(model, optim.Adam(model.parameters()))
    if kind == "recorded":
        step, _ = recorded(step, None)
    x, noise = np.zeros((1, 1, 28, 28), np.float32), mv.NoiseStream(0)
    return lambda: step(x, noise.draw(), 1.0)


def sample(step):
    """Microseconds per step, the mean of ``STEPS``."""
    start = time.perf_counter()
    for _ in range(STEPS):
        step()
    return (time.perf_counter() - start) / STEPS * 1e6


def measure(kinds):
    """Percentiles and least of microseconds per step of each kind, measured in turns.

    The first turn is warm-up. Other programs can only add time, so the least is recorded too.
    """
    steps, times = {kind: made(kind) for kind in kinds}, {kind: [] for kind in kinds}
    for _ in range(TURNS):
        for kind, step in steps.items():
            times[kind] += [sample(step) for _ in range(SAMPLES)]
    return {k: {**percentiles(t[SAMPLES:]), "least": min(t[SAMPLES:])} for k, t in times.items()}


def table(record):
    """One row per kind of step."""
    rows = [
        [kind, f"{r['least']:.0f}", f"{r['median']:.0f} ({r['p20']:.0f}-{r['p80']:.0f})"]
        for kind, r in record["results"].items()
    ]
    machine = record["environment"]
    where = (
        f"{machine['cpu']}, {machine['cores']} cores, {machine['instruction_set']}, "
        f"load of others {machine['load']}"
    )
    return markdown_table(["step", "µs, least", "median (p20-p80)"], rows) + f"\n\n{where}."


def main():
    """Measure both kinds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", metavar="FILE", help="write the record here")
    args = parser.parse_args()
    where = {**environment(), "load": round(os.getloadavg()[0], 1)}
    record = {"environment": where, "results": measure(["operation by operation", "recorded"])}
    print(table(record))
    if args.json:
        write_json(args.json, record)


if __name__ == "__main__":
    main()
