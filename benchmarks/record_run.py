"""Record runs of the examples: their summary.json, with date, commit and machine.

    python benchmarks/record_run.py NAME=RUN_FOLDER ...

writes benchmarks/results/runs/NAME.json; ``tables.py --write`` puts them into the tables.
"""

import argparse
import json
import sys
from pathlib import Path

from _harness import environment, write_json
from _pages import ROOT

RESULTS = ROOT / "benchmarks" / "results" / "runs"


def record(name, folder):
    """Copy the summary of a run with where and when it was recorded."""
    summary = json.loads((Path(folder) / "summary.json").read_text())
    write_json(RESULTS / f"{name}.json", {**environment(), "summary": summary})


def main(argv=None):
    """Record the named runs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", metavar="NAME=FOLDER")
    args = parser.parse_args(argv)
    for run in args.runs:
        name, equals, folder = run.partition("=")
        if not equals:
            parser.error(f"expected NAME=FOLDER, got {run!r}")
        record(name, folder)


if __name__ == "__main__":
    sys.exit(main())
