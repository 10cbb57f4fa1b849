"""Add a line to docs/performance-log.md: the cost of a training step of each model.

    python benchmarks/performance_log.py "what was changed"

Processor time of one thread, the least over the steps: a machine that is busy with other work
disturbs it far less than it does the time on the clock.
"""

import argparse
import json
import re
import resource
import sys
import time

from _harness import environment, peak_memory_mib, run_child, write_json
from _pages import ROOT, markdown_table
from _step_contenders import CONTENDERS, WORKLOADS

PAGE = ROOT / "docs" / "performance-log.md"
LOG = ROOT / "benchmarks" / "results" / "performance_log.json"


def measure(name):
    """Child process: least milliseconds of a step, page faults per step, peak memory."""
    from minivae import kernels

    kernels.set_threads(1)
    work = WORKLOADS[name]
    step = CONTENDERS["minivae"].make(work)
    for i in range(3):
        step(i)
    times, faults = [], resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for i in range(work.steps):
        start = time.process_time()
        step(i)
        times.append(1e3 * (time.process_time() - start))
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults
    return {
        "cpu_ms": round(min(times), 2),
        "faults": round(faults / work.steps),
        "peak_mib": round(peak_memory_mib()),
    }


def table(log):
    """The page's table: one row per change, processor time and page faults of each model."""
    rows = []
    for entry in log:
        row = [entry["date"], entry["change"]]
        for name in WORKLOADS:
            step = entry["steps"].get(name)
            row.append(f"{step['cpu_ms']:.1f} ms, {step['faults']} faults" if step else "")
        rows.append(row)
    return markdown_table(["date", "after", *(work.model for work in WORKLOADS.values())], rows)


def write_table(log):
    """Put the table where the page has it."""
    page = PAGE.read_text()
    PAGE.write_text(re.sub(r"(?m)^\| date .*\n(\|.*\n)*", lambda _: table(log) + "\n", page))


def main(argv=None):
    """Measure, append, and write the page's table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("change", help="what was changed, in a few words")
    parser.add_argument("--models", default=",".join(WORKLOADS), help="models, comma-separated")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.child:
        print(json.dumps(measure(args.models)))
        return
    steps = {
        name: run_child(__file__, "--child", "--models", name, args.change)
        for name in args.models.split(",")
    }
    log = json.loads(LOG.read_text()) if LOG.exists() else []
    log.append({"change": args.change, **environment(), "steps": steps})
    write_json(LOG, log)
    write_table(log)
    print(table(log[-1:]))


if __name__ == "__main__":
    sys.exit(main())
