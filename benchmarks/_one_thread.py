"""Measure processor time of one thread for each contender; the command line for such a script."""

import argparse
import json
import os
import time

import numpy as np
from _harness import environment, run_child, write_json
from _step_contenders import AVX2_ONLY, TUNED_MALLOC

SECONDS = 0.05  # of timed calls; there are at least three calls
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def microseconds(work):
    """The 10th percentile of this thread's processor time over many calls of ``work``.

    Other programs affect it little if the operands are in cache. It is not the minimum, because one
    wrong reading of the clock would decide that.
    """
    times, end = [], time.perf_counter() + SECONDS
    while len(times) < 3 or time.perf_counter() < end:
        start = time.thread_time()
        work()
        times.append(1e6 * (time.thread_time() - start))
    return float(np.percentile(times, 10))


def compare(script, summary, contenders, measure, table, argv=None):
    """Run a benchmark script: parse its options, measure, print a table and write the record.

    ``measure(contender)`` returns microseconds, ``table(record)`` text. The contenders' processes
    run in turn, and the least of each time is recorded.
    """
    parser = argparse.ArgumentParser(description=summary)
    parser.add_argument("--avx2", action="store_true", help="let no library use AVX-512")
    parser.add_argument("--repeats", type=int, default=4, help="processes of each contender")
    parser.add_argument("--json", help="write the record here")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.child:
        print(json.dumps(measure(args.child)))
        return
    os.environ.update(ONE_THREAD | TUNED_MALLOC | (AVX2_ONLY if args.avx2 else {}))
    where = {**environment(), "load": round(os.getloadavg()[0], 1)}
    found = {c: [] for c in contenders}
    for _ in range(args.repeats):
        for contender, runs in found.items():
            runs.append(run_child(script, "--child", contender))
    record = {
        "environment": where,
        "us": {c: np.min(runs, axis=0).tolist() for c, runs in found.items()},
    }
    print(table(record))
    if args.json:
        write_json(args.json, record)


def measured_on(record):
    """Machine, commit and load, to end the caption of a table."""
    env = record["environment"]
    commit = f"commit {env['commit']}, " if env.get("commit") else ""  # older records have none
    return f"{env['cpu']}, {env['instruction_set']}, {commit}load {env['load']}."
