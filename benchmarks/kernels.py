"""Time the kernels: every variant beside the baselines, as a share of the memory bandwidth.

    python benchmarks/kernels.py --device cpu --peak GB/S --json benchmarks/results/kernels_cpu.json
    python benchmarks/kernels.py --device cuda --json FILE --csv FILE --plot FILE

A contender is checked before it is timed, against the reference in float64: all results at a small
shape with odd sizes, and the first rows at the timed shape. Then it runs

    cold    on several copies of the arrays in turn, larger together than the last-level cache,
    warm    on the same arrays again and again;

the time is the median of single calls, with the 20th and 80th percentile. On a GPU, where Python
takes longer to start a call than the call itself, many calls are captured as one graph, and a
sample is the time of a launch between two events of its stream, divided by the number of calls;
calls that cannot be captured are timed one by one, and the row says so. The share is the bytes of
arguments and results (``_kernel_workloads.traffic``) divided by the time and by the bandwidth of a
plain copy, which is measured in the same run.

On the CPU every contender has a process of its own, so that no thread pool waits for another's, and
malloc is set to keep freed memory in all of them.
"""

import argparse
import csv
import itertools
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError, version

import numpy as np
from _harness import append_row, environment, percentiles, run_child, write_json
from _kernel_contenders import contenders
from _kernel_workloads import CPU, GPU, all_results, exact, first_rows, mapped, operations, traffic
from _pages import markdown_table

from minivae import kernels
from minivae.backend import device_description, device_module, to_device

DTYPE = np.float32
ROWS = 64  # of the timed shape, checked
# Largest error allowed, relative to the largest value of an array: float32 sums in any order.
TOLERANCE = 2e-4
TF32 = 4e-3  # the same where factors are rounded to 10 bits, as in version 5 of the following
ROUNDED = "matmul", "conv2d and adjoints"
CACHE = {"cpu": 64 << 20, "cuda": 64 << 20}  # an upper bound of the last-level cache, in bytes
# malloc keeps freed memory: otherwise each call with large results would include page faults.
KEEP_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(32 << 20), "MALLOC_TRIM_THRESHOLD_": str(1 << 40)}
COLUMNS = (
    "kernel", "shape", "contender", "state", "timed", "median_us", "p20_us", "p80_us", "calls",
    "bytes", "operations", "gb_s", "share", "largest_error",
)  # fmt: skip


# ------------------------------------------------------------ checks


class WrongResultError(Exception):
    """A contender's results are wrong: it is not timed, and the run fails after the others."""


def check(contender, workload, calls):
    """Largest relative error at the small shape and in the first rows, else WrongResultError.

    None when the results cannot be compared, because the contender draws its own noise.
    """
    rng = np.random.default_rng(1)
    small = workload.make(rng, workload.small, DTYPE)
    drawn = any(isinstance(a, tuple) and len(a) == 2 and a == (7, 1) for _, c in calls for a in c)
    if drawn and not contender.draws:
        return None
    parts = [small]
    if workload.rows:
        parts.append(first_rows(calls, ROWS, workload.shape[0]))
    rounded = contender.name == "cuda:5" and workload.name in ROUNDED
    worst = 0.0
    for part in parts:
        expected = exact(part)
        placed = mapped(part, contender.place)
        results = contender.run(placed)
        got = [contender.fetch(a) for a in all_results(placed, results)]
        got = [a.astype(np.float64) for a in got]
        if len(got) < len(expected):  # PyTorch's batch norm returns no mean and variance
            expected = [e for e in expected if any(e.shape == g.shape for g in got)][-len(got) :]
        for g, e in zip(got, expected, strict=True):
            scale = max(1.0, float(np.abs(e).max(initial=0)))
            error = float(np.abs(g - e).max(initial=0)) / scale
            if not error <= (TF32 if rounded else TOLERANCE):  # also for NaN
                raise WrongResultError(f"{contender.name} at {workload.label}: error {error:.2g}")
            worst = max(worst, error)
    return worst


# ------------------------------------------------------------ clocks


def time_on_cpu(run, sets, count):
    """Microseconds of single calls, the sets in turn."""
    times = []
    for calls in itertools.islice(itertools.cycle(sets), count):
        start = time.perf_counter()
        run(calls)
        times.append(1e6 * (time.perf_counter() - start))
    return times


def time_on_gpu(run, sets, count, stream=None):
    """The same between two events of a stream; the calls are queued without waiting."""
    cuda = device_module().cuda
    events = []
    for calls in itertools.islice(itertools.cycle(sets), count):
        start, end = cuda.Event(), cuda.Event()
        start.record(stream)
        run(calls)
        end.record(stream)
        events.append((start, end))
    events[-1][1].synchronize()
    return [1e3 * cuda.get_elapsed_time(start, end) for start, end in events]


def time_captured(contender, sets, once, launches=15):
    """Microseconds of a call; each sample is the mean over the calls of one graph.

    Args:
        once: microseconds of one call, started from Python. launches: of the graph.

    Raises:
        RuntimeError: the calls cannot be captured.
    """
    count = int(np.clip(1000 / once, 4, 100))
    count = len(sets) * -(-count // len(sets))  # each set as often as any other
    launch, stream = contender.capture([*itertools.islice(itertools.cycle(sets), count)])
    times = time_on_gpu(lambda _: launch(), [None], launches + 3, stream)
    return [t / count for t in times[3:]]


def copy_bandwidth(device, size=1 << 28):
    """Bytes a second, read and written, of the fastest fifth of plain copies of ``size`` bytes."""
    if device == "cuda":
        cupy = device_module()
        a, b = cupy.zeros(size, np.uint8), cupy.empty(size, np.uint8)
        times = time_on_gpu(lambda _: cupy.copyto(b, a), [None], 25)
    else:
        a, b = np.zeros(size, np.uint8), np.ones(size, np.uint8)
        parts = np.array_split(np.arange(size, dtype=np.int64)[:: size // 64], kernels.threads())
        bounds = [(p[0], p[-1] + size // 64) for p in parts]
        with ThreadPoolExecutor(len(bounds)) as pool:

            def copy(_):
                list(pool.map(lambda ij: np.copyto(b[ij[0] : ij[1]], a[ij[0] : ij[1]]), bounds))

            times = time_on_cpu(copy, [None], 12)
    return 2 * size / (1e-6 * percentiles(times[2:])["p20"])


# ------------------------------------------------------------ the table of times


class Arguments:
    """The calls of a workload, made once for all its contenders; on a GPU in memory they share."""

    def __init__(self, workload, device, quick):
        rng = np.random.default_rng(0)
        self.calls = workload.make(rng, workload.small if quick else workload.shape, DTYPE)
        self.device, self.resident = device, []

    def sets(self, contender, count):
        """``count`` copies of the calls where the contender takes them."""
        if self.device == "cpu":
            return [mapped(self.calls, contender.place) for _ in range(count)]
        while len(self.resident) < count:
            there = mapped(self.calls, lambda a: to_device(np.array(a, order="K"), "cuda"))
            self.resident.append(there)
        return [mapped(calls, contender.place) for calls in self.resident[:count]]


def measure(contender, workload, arguments, quick):
    """Rows of one contender at one workload: cold and warm."""
    calls, device = arguments.calls, arguments.device
    error = check(contender, workload, calls)
    (placed,) = arguments.sets(contender, 1)
    results = contender.run(placed)  # also warm-up, which may compile
    moved = traffic(calls, mapped_results(contender, results))
    clock = time_on_gpu if device == "cuda" else time_on_cpu
    copies = 1 + min(31, (0 if quick else 4 * CACHE[device]) // max(1, moved))
    sets = arguments.sets(contender, copies)
    if quick:
        once, count = 1000, 1
    else:
        clock(contender.run, sets, 2 * copies)
        once = min(clock(contender.run, sets, 3))
        budget = 1.2e6 if device == "cpu" else 2e5  # microseconds
        count = int(np.clip(budget / once, 5, 200))
    for state in ("cold", "warm"):
        chosen, timed = sets if state == "cold" else sets[:1], "call by call"
        try:
            if not hasattr(contender, "capture") or device == "cpu":
                raise RuntimeError("no graphs there")
            times = percentiles(time_captured(contender, chosen, once))
            timed = "in a graph"
        except (RuntimeError, TypeError):
            times = percentiles(clock(contender.run, chosen, count))
        yield {
            "kernel": workload.name,
            "shape": " x ".join(map(str, workload.small if quick else workload.shape)),
            "contender": contender.name,
            "state": state,
            "timed": timed,
            "median_us": times["median"],
            "p20_us": times["p20"],
            "p80_us": times["p80"],
            "calls": times["n"],
            "bytes": moved,
            "operations": operations(calls),
            "gb_s": 1e-3 * moved / times["median"],
            "largest_error": error,
        }


def mapped_results(contender, results):
    """The results as NumPy arrays, to count their bytes."""
    return [tuple(contender.fetch(a) for a in outputs) for outputs in results]


def run_all(device, workloads, found, quick=False, budget=None, tell=lambda row: None):
    """(rows, skipped) of all contenders at all workloads; those past the budget are skipped.

    ``tell`` is called with each row as soon as it is known.
    """
    start, rows, skipped = time.perf_counter(), [], []
    for workload in workloads:
        arguments = None
        for contender in found:
            calls = workload.make(np.random.default_rng(0), workload.small, DTYPE)
            reason = contender.missing(calls)
            if budget and time.perf_counter() - start > budget:
                reason = "no time left"
            try:
                if not reason:
                    arguments = arguments or Arguments(workload, device, quick)
                    for row in measure(contender, workload, arguments, quick):
                        rows.append(row)
                        tell(row)
            except (RuntimeError, ValueError, TypeError, WrongResultError) as error:
                reason = f"{type(error).__name__}: {error}"
            if reason:
                skipped.append(
                    {"kernel": workload.label, "contender": contender.name, "why": reason}
                )
    return rows, skipped


def in_children(found, options):
    """``run_all`` with a process for each contender."""
    rows, skipped = [], []
    for contender in found:
        arguments = ["--child", "--contenders", contender.name, *options]
        part = run_child(__file__, *arguments, env=KEEP_MEMORY)
        rows, skipped = rows + part["rows"], skipped + part["skipped"]
    names = list(dict.fromkeys((row["kernel"], row["shape"]) for row in rows))
    return sorted(rows, key=lambda row: names.index((row["kernel"], row["shape"]))), skipped


def about(device):
    """The environment, with versions of what was compared."""
    found = environment()
    if device == "cpu":
        found["threads"] = kernels.threads()
    else:
        found |= device_description()
        try:
            from minivae.kernels import cublaslt

            found |= {f"cublaslt {name}": str(value) for name, value in cublaslt.found().items()}
        except ImportError:
            found["cuda extension"] = "not built"
    for name in ("torch", "numba"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            pass
    return found


def line(row):
    """A row as the terminal shows it."""
    return (
        f"{row['kernel']:<28} {row['shape']:<20} {row['contender']:<14} {row['state']:<5}"
        f"{row['median_us']:>12.1f} us {row['gb_s']:>9.1f} GB/s {100 * row['share']:>6.1f} %"
    )


def table(record):
    """The page's table: cold, each contender beside the fastest of this project's own."""
    rows, peak = [], record.get("peak_gb_s")
    for row in record["rows"]:
        if row["state"] == "cold":
            spread = f"{row['median_us']:.0f} ({row['p20_us']:.0f}-{row['p80_us']:.0f})"
            rows.append([
                f"{row['kernel']} {row['shape']}", row["contender"], spread,
                f"{row['gb_s']:.1f}", f"{100 * row['share']:.0f}%",
                *([f"{100 * row['gb_s'] / peak:.0f}%"] if peak else []),
            ])  # fmt: skip
    header = ["kernel", "", "µs, median (p20-p80)", "GB/s", "share of a copy's"]
    header += ["of the peak"] if peak else []
    env = record["environment"]
    versions = ", ".join(f"{k} {v}" for k, v in env.items() if k not in ("date", "cpu", "cores"))
    caption = (
        f"float32, arrays out of cache; a copy moves {record['copy_gb_s']:.1f} GB/s"
        f"{f', the memory at its peak {peak:g}' if peak else ''}. "
        f"{env['cpu']}, {env['cores']} cores, {versions}."
    )
    return markdown_table(header, rows) + "\n\n" + caption


def plot(record, path):
    """The roofline: arithmetic achieved against operations per byte, under the copy's slope."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 5))
    cold = [row for row in record["rows"] if row["state"] == "cold"]
    for contender in dict.fromkeys(row["contender"] for row in cold):
        own = [row for row in cold if row["contender"] == contender]
        axes.plot(
            [row["operations"] / row["bytes"] for row in own],
            [1e-3 * row["operations"] / row["median_us"] for row in own],
            "o", alpha=0.7, label=contender,
        )  # fmt: skip
    x = np.geomspace(0.1, max(r["operations"] / r["bytes"] for r in cold) * 2, 50)
    axes.plot(x, x * record["copy_gb_s"], "k-", lw=1, label="measured copy")
    axes.set(
        xscale="log", yscale="log", xlabel="operations per byte",
        ylabel="10^9 operations per second",
        title=f"Kernels on {record['environment'].get('name', record['environment']['cpu'])}",
    )  # fmt: skip
    axes.legend(fontsize="small")
    figure.savefig(path, dpi=120, bbox_inches="tight")
    plt.close(figure)


def measured(args):
    """Measure what the arguments select; returns the record. Each row is printed at once."""
    found, reasons, workloads = chosen(args)
    bandwidth = copy_bandwidth(args.device, 1 << 22 if args.quick else 1 << 28)
    environment_row = {**about(args.device), "copy_gb_s": 1e-9 * bandwidth}
    append_row(args.rows, part="kernels", environment=environment_row)

    def tell(row):
        row["share"] = 1e9 * row["gb_s"] / bandwidth
        append_row(args.rows, part="kernels", **row)
        print(line(row), flush=True)

    if args.device == "cpu":
        options = ["--kernels", args.kernels] if args.kernels else []
        rows, skipped = in_children(found, options + ["--quick"] * args.quick)
        for row in rows:
            tell(row)
    else:
        rows, skipped = run_all(args.device, workloads, found, args.quick, args.budget, tell)
    for row in skipped:
        append_row(args.rows, part="kernels", skipped=row)
    return {
        "environment": about(args.device), "device": args.device,
        "copy_gb_s": 1e-9 * bandwidth, "rows": rows, "skipped": skipped, "left_out": reasons,
        **({"peak_gb_s": args.peak} if args.peak else {}),
    }  # fmt: skip


def chosen(args):
    """The contenders, why others are left out, and the workloads that the arguments name."""
    found, reasons = contenders(args.device, args.contenders and args.contenders.split(","))
    for name, reason in reasons.items():
        print(f"{name} is left out: {reason}")
    workloads = CPU if args.device == "cpu" else GPU
    if args.kernels:
        workloads = [w for w in workloads if w.name.startswith(tuple(args.kernels.split(",")))]
    return found, reasons, workloads


def main(argv=None):
    """Measure, print, and write the requested files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument(
        "--kernels", help="comma-separated beginnings of kernels' names; default all"
    )
    parser.add_argument("--contenders", help="comma-separated; default all that can run")
    parser.add_argument("--peak", type=float, help="GB/s of the memory, by its data sheet")
    parser.add_argument("--budget", type=float, help="seconds after which no measurement begins")
    parser.add_argument("--quick", action="store_true", help="small arrays, to test the script")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--json", help="write the record here")
    parser.add_argument("--rows", help="append each row to this file as soon as it is known")
    parser.add_argument("--csv", help="write the rows here")
    parser.add_argument("--plot", help="draw the roofline here")
    parser.add_argument("--from-json", help="measure nothing, use this record")
    args = parser.parse_args(argv)
    if args.child:
        found, _, workloads = chosen(args)
        rows, skipped = run_all(args.device, workloads, found, args.quick, args.budget)
        print(json.dumps({"rows": rows, "skipped": skipped}))
        return
    if args.from_json:
        with open(args.from_json) as file:
            record = json.load(file)
    else:
        record = measured(args)
    wrong = [s["why"] for s in record["skipped"] if s["why"].startswith("WrongResultError")]
    if args.json:
        write_json(args.json, record)
    if args.csv:
        with open(args.csv, "w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(record["rows"])
    if args.plot:
        plot(record, args.plot)
    print(table(record))
    if wrong:
        raise SystemExit("\n".join(wrong))


if __name__ == "__main__":
    sys.exit(main())
