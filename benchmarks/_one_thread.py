"""Processor time of one thread, contender by contender, and the command line that measures it."""

import argparse
import json
import os
import time

import numpy as np
from _harness import environment, run_child, write_json
from _step_contenders import AVX2_ONLY, TUNED_MALLOC

SECONDS = 0.05  # of calls that are timed, at the least three
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def microseconds(work):
    """What a tenth of many calls of ``work`` stay below, in processor time of this thread.

    A busy machine disturbs it little where the caches hold the operands; the least of all would be
    what the clock got wrong once.
    """
    times, end = [], time.perf_counter() + SECONDS
    while len(times) < 3 or time.perf_counter() < end:
        start = time.thread_time()
        work()
        times.append(1e6 * (time.thread_time() - start))
    return float(np.percentile(times, 10))


def compare(script, summary, contenders, measure, table, argv=None):
    """The command line of a script: ``measure(contender)`` gives microseconds, ``table(record)``
    text. The contenders' processes run in turns, and the least of each figure counts.
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
    """Machine and load as the last words of a table's caption."""
    env = record["environment"]
    commit = f"commit {env['commit']}, " if env.get("commit") else ""  # older records have none
    return f"{env['cpu']}, {env['instruction_set']}, {commit}load {env['load']}."
