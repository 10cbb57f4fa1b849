"""Measure how the cost of a training step grows with batch, image side, latents and threads.

    python benchmarks/scaling.py --json FILE --plot FILE
    python benchmarks/scaling.py --record FILE --plot FILE     draws without running

Each point is a process of its own; time and peak memory above that of a process that only imported
the package. The slope of log time over log size tells whether a step grows faster than its work.
"""

import argparse
import json
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
from _harness import environment, peak_memory_mib, percentiles, run_child, write_json
from _step_contenders import WORKLOADS, minivae_step, torch_step

SWEEPS = {  # name -> (workload, x axis, sizes)
    "batch": ("mlp", "images in a batch", (1, 4, 16, 64, 256, 1024, 4096)),
    "conv batch": ("conv", "images in a batch", (1, 4, 16, 64, 256)),
    "image side": ("face", "pixels on a side", (32, 64, 128, 256)),
    "latents": ("mlp", "latents", (2, 8, 32, 128, 512)),
}
STEPS = {"minivae": minivae_step, "torch": partial(torch_step, best=True)}
THREADS = (1, 2)


def workload(sweep, size):
    """The sweep's workload at one size."""
    name, axis, _ = SWEEPS[sweep]
    work = WORKLOADS[name]
    if axis == "images in a batch":
        return work._replace(batch=size)
    if axis == "latents":
        return work._replace(options={"latent_dim": size})
    return work._replace(image_shape=(3, size, size), batch=16, options={"image_size": size})


def measure(contender, sweep, size, threads):
    """Child process: milliseconds per step, and MiB above an idle process."""
    import minivae as mv

    mv.kernels.set_threads(threads)
    if contender == "torch":
        import torch

        torch.set_num_threads(threads)
    idle = peak_memory_mib()
    step = STEPS[contender](workload(sweep, size))
    for i in range(3):
        step(i)
    times, began = [], time.perf_counter()
    while len(times) < 200 and (time.perf_counter() - began < 1.5 or len(times) < 5):
        start = time.perf_counter()
        step(100 + len(times))
        times.append(1e3 * (time.perf_counter() - start))
    return {**percentiles(times), "mib": peak_memory_mib() - idle}


def slope(sizes, values, last=3):
    """The exponent p of value = c size^p over the largest sizes."""
    return float(np.polyfit(np.log(sizes[-last:]), np.log(values[-last:]), 1)[0])


def plot(record, path):
    """Time above, memory below, a column for each sweep."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    sweeps = record["sweeps"]
    figure, axes = plt.subplots(
        2, len(sweeps), figsize=(3.2 * len(sweeps), 5.4), sharex="col", layout="constrained",
        squeeze=False,
    )  # fmt: skip
    for column, (sweep, curves) in zip(axes.T, sweeps.items(), strict=True):
        for curve in curves:
            style = "-o" if curve["threads"] == 2 else "--o"
            colour = "C0" if curve["contender"] == "minivae" else "0.6"
            label = f"{curve['contender']}, {curve['threads']} thread{'s' * (curve['threads'] > 1)}"
            for axis, key in zip(column, ("median", "mib"), strict=True):
                values = [max(point[key], 0.1) for point in curve["points"]]
                axis.loglog(curve["sizes"], values, style, color=colour, ms=3, label=label)
        model, axis_label, sizes = SWEEPS[sweep]
        column[0].set_title(WORKLOADS[model].model, fontsize=11)
        column[1].set_xlabel(axis_label)
        # Label the measured sizes, or every other one where the labels would overlap.
        column[1].set_xticks(sizes[:: 2 if len(sizes) > 5 else 1])
        for axis in column:
            axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            for ticks in (axis.xaxis, axis.yaxis):
                ticks.set_major_formatter(StrMethodFormatter("{x:g}"))
                ticks.set_minor_formatter(NullFormatter())
            axis.tick_params(axis="x", which="minor", bottom=False)
            axis.grid(alpha=0.25)
    axes[0, 0].set_ylabel("ms per step")
    axes[1, 0].set_ylabel("peak MiB above an idle process")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    figure.savefig(path, dpi=110)


def run(sweeps, contenders):
    """Measure every point: the record."""
    record = {"environment": environment(), "sweeps": {}}
    for sweep in sweeps:
        sizes = SWEEPS[sweep][2]
        record["sweeps"][sweep] = curves = []
        for contender in contenders:
            for threads in THREADS if contender == "minivae" else THREADS[-1:]:
                points = [
                    run_child(__file__, "--child", contender, sweep, size, threads)
                    for size in sizes
                ]
                exponents = {
                    key: slope(sizes, [max(p[key], 0.1) for p in points])
                    for key in ("median", "mib")
                }
                curves.append({
                    "contender": contender, "threads": threads, "sizes": sizes,
                    "points": points, "slope": exponents,
                })  # fmt: skip
                times = " ".join(f"{p['median']:.3g}" for p in points)
                print(f"{sweep}: {contender}, {threads} threads: {times} ms, "
                      f"slope {exponents['median']:.2f}", flush=True)  # fmt: skip
    return record


def main(argv=None):
    """Run the sweeps and write the requested files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sweeps", default=",".join(SWEEPS), help="sweeps, comma-separated")
    parser.add_argument("--contenders", default="minivae,torch", help="comma-separated")
    parser.add_argument("--json", help="write the record here")
    parser.add_argument("--plot", help="draw the record here")
    parser.add_argument("--record", help="run nothing, use this record of an earlier run")
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.child:
        contender, sweep, size, threads = args.child
        print(json.dumps(measure(contender, sweep, int(size), int(threads))))
        return
    if args.record:
        record = json.loads(Path(args.record).read_text())
    else:
        record = run(args.sweeps.split(","), args.contenders.split(","))
    if args.json:
        write_json(args.json, record)
    if args.plot:
        plot(record, args.plot)


if __name__ == "__main__":
    sys.exit(main())
