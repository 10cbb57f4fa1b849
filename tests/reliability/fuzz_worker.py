"""Fuzz one target in a process of bounded memory and print the outcome as JSON.

python fuzz_worker.py "IDX files" --seconds 60      led by coverage, with atheris
python fuzz_worker.py "IDX files" --runs 1000       random changes of good inputs, no tool needed
"""

import argparse
import atexit
import contextlib
import json
import os
import resource
import signal
import sys
import tempfile
import time
from pathlib import Path

HANG = 60  # seconds for one input, on a machine that may be busy
LEAD = ["minivae", "PIL", "csv", "gzip", "json", "zipfile"]  # whose coverage leads


class Counter:
    """Calls a target and keeps the figures, in a file that outlives any end of the process."""

    def __init__(self, target, out):
        self.target, self.out = target, out
        self.figures = {"executions": 0, "accepted": 0, "slowest_seconds": 0.0}
        self.before, self.written = peak_mib(), time.monotonic()

    def __call__(self, data):
        start = time.monotonic()
        signal.alarm(HANG)  # ends the process, which is a fault
        with contextlib.redirect_stdout(None), contextlib.redirect_stderr(None):
            accepted = self.target(bytes(data))
        signal.alarm(0)
        figures = self.figures
        figures["executions"] += 1
        figures["accepted"] += accepted
        now = time.monotonic()
        figures["slowest_seconds"] = max(figures["slowest_seconds"], now - start)
        if now > self.written + 0.5:  # libFuzzer ends the process without a word
            self.written = now
            self.write()

    def write(self):
        figures = {**self.figures, "memory_mib": round(peak_mib() - self.before)}
        self.out.write_text(json.dumps(figures))


def peak_mib():
    """The most memory this process ever had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main():
    """Parse, limit, fuzz."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target")
    parser.add_argument("--runs", type=int)
    parser.add_argument("--seconds", type=int)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--memory-mib", type=int, default=4096, help="address space")
    parser.add_argument("--out", type=Path, required=True, help="where the figures go")
    args = parser.parse_args()
    limit = args.memory_mib << 20
    if args.seconds:
        import atheris

        with atheris.instrument_imports(include=LEAD):
            import fuzz_targets
    else:
        import fuzz_targets
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    target = fuzz_targets.TARGETS[args.target]()
    seeds = target.seeds()
    atexit.register(target.close)
    for seed in seeds:
        target(seed)
    counter = Counter(target, args.out)
    atexit.register(counter.write)
    if args.seconds:
        with tempfile.TemporaryDirectory() as corpus:
            for i, seed in enumerate(seeds):
                (Path(corpus) / f"seed{i}").write_bytes(seed)
            options = [
                f"-max_total_time={args.seconds}", f"-seed={args.seed}", "-max_len=4096",
                f"-artifact_prefix={args.out}.", "-rss_limit_mb=0", "-verbosity=0",
            ]  # fmt: skip
            atheris.Setup([sys.argv[0], corpus, *options], counter)
            atheris.Fuzz()
    else:
        import numpy as np

        rng = np.random.default_rng(args.seed)
        for _ in range(args.runs):
            data = fuzz_targets.mutated(seeds, rng)
            try:
                counter(data)
            except BaseException:
                Path(f"{args.out}.crash").write_bytes(data)
                raise


if __name__ == "__main__":
    os.environ |= {"OPENBLAS_NUM_THREADS": "1", "MINIVAE_NUM_THREADS": "1"}
    main()
