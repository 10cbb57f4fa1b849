"""Time the examples for study in their default form.

    python benchmarks/study_times.py [NAME ...]

Each runs in a process of its own, with one thread, into a scratch folder. Recorded are seconds on
the clock and seconds of processor time; the second hardly depends on what else the machine does, so
it bounds the time on a quiet one. ``tables.py --write`` puts the table on docs/path.md.
"""

import argparse
import ast
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from _harness import environment, write_json
from _pages import ROOT, markdown_table

RECORD = ROOT / "benchmarks" / "results" / "study_times.json"
EXAMPLES = (
    "backprop_by_hand", "trace_backward", "gradcheck_tour", "elbo_identity", "gaussian_kl",
    "one_image", "ae_vs_vae", "planted_bugs", "posterior_collapse",
)  # fmt: skip
LIMIT = 60  # seconds of processor time


def timed(name):
    """Seconds on the clock and of processor time of one example."""
    one_thread = {"MINIVAE_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, str(ROOT / "examples" / f"{name}.py"), "--out", out]
        subprocess.run(command, check=True, capture_output=True, env=os.environ | one_thread)
    clock, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"clock": round(clock, 1), "processor": round(processor, 1)}


def about(name):
    """The first line of an example's docstring."""
    text = (ROOT / "examples" / f"{name}.py").read_text(encoding="utf-8")
    return ast.get_docstring(ast.parse(text)).splitlines()[0].replace("|", "\\|")


def table(record):
    """A row for each example: what it shows, and its seconds of processor time."""
    rows = [
        [f"[{name}](../examples/{name}.py)", about(name), f"{times['processor']:.0f} s"]
        for name, times in record["examples"].items()
    ]
    return markdown_table(["example", "what it shows", "one core, default form"], rows)


def main(argv=None):
    """Time all examples, or the named ones; write the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", default=EXAMPLES, help="examples to time; default all")
    names = parser.parse_args(argv).names
    if unknown := set(names) - set(EXAMPLES):
        parser.error(f"expected some of {', '.join(EXAMPLES)}, got {sorted(unknown)}")
    known = json.loads(RECORD.read_text())["examples"] if Path(RECORD).exists() else {}
    for name in names:
        known[name] = timed(name)
        print(name, known[name], flush=True)
        if known[name]["processor"] > LIMIT:
            print(f"{name}: expected at most {LIMIT} s of processor time")
    ordered = {name: known[name] for name in EXAMPLES if name in known}
    write_json(RECORD, {**environment(), "threads": 1, "examples": ordered})


if __name__ == "__main__":
    sys.exit(main())
