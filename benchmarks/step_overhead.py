"""What a training step costs beside its kernels: MLPVAE with 8 hidden units on one image.

    python benchmarks/step_overhead.py --json FILE

Microseconds of a step made operation by operation and of the same step recorded and replayed, the
batch being there already. The kernels of so small a step take next to nothing.
"""

import argparse
import time

import numpy as np
from _harness import environment, percentiles, write_json
from _pages import markdown_table

import minivae as mv
from minivae import models, optim
from minivae.training.step import EagerStep, recorded

STEPS, SAMPLES = 200, 50


def measure(kind):
    """Microseconds per step, one number per ``STEPS`` steps."""
    model = models.MLPVAE(4, 8, seed=0)
    step = EagerStep(model, optim.Adam(model.parameters()))
    if kind == "recorded":
        step, _ = recorded(step, None)
    x, noise = np.zeros((1, 1, 28, 28), np.float32), mv.NoiseStream(0)
    times = []
    for _ in range(SAMPLES + 2):
        start = time.perf_counter()
        for _ in range(STEPS):
            step(x, noise.draw(), 1.0)
        times.append((time.perf_counter() - start) / STEPS * 1e6)
    return percentiles(times[2:])


def table(record):
    """One row per kind of step."""
    rows = [
        [kind, f"{r['median']:.0f} ({r['p20']:.0f}-{r['p80']:.0f})"]
        for kind, r in record["results"].items()
    ]
    machine = record["environment"]
    where = f"{machine['cpu']}, {machine['cores']} cores, {machine['instruction_set']}"
    return markdown_table(["step", "µs, median (p20-p80)"], rows) + f"\n\n{where}."


def main():
    """Measure both kinds in turn."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", metavar="FILE", help="write the record here")
    args = parser.parse_args()
    results = {kind: measure(kind) for kind in ("operation by operation", "recorded")}
    record = {"environment": environment(), "results": results}
    print(table(record))
    if args.json:
        write_json(args.json, record)


if __name__ == "__main__":
    main()
