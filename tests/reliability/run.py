"""Run every section, record what it found and write the tables of docs/reliability.md.

python tests/reliability/run.py                 all of it, the better part of an hour
python tests/reliability/run.py --quick         the part for CI; records nothing
python tests/reliability/run.py --only NAME ... some sections
python tests/reliability/run.py --page          only write the tables anew
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import report

SECTIONS = (
    "crash_safety", "hostile_files", "native_code", "numerics", "long_runs", "determinism",
    "mutation", "install", "supply_chain",
)  # fmt: skip
HERE = Path(__file__).resolve().parent
RESULTS = report.ROOT / "benchmarks" / "results" / "reliability"
PAGE = report.ROOT / "docs" / "reliability.md"
NOT_RUN = 3
# A table follows the paragraph that ends with its section's name.
TABLE = re.compile(r"(<!--table:(\w+)-->\n\n)((?:\|.*\n)*)\n?")


def fill(text, results):
    """The page with every table as its section's record has it, and a line on the recording."""

    def written(match):
        if match[2] == "runs":
            return match[1] + _runs(results) + "\n"
        record = results.get(match[2])
        if record is None:
            return f"{match[1]}| |\n|---|\n| not recorded yet |\n\n"
        return match[1] + report.table(record["columns"], record["rows"]) + "\n"

    return TABLE.sub(written, text)


def _runs(results):
    """The table of the last full runs."""
    rows = [
        [section.replace("_", " "), r["date"], round(r["seconds"]), len(r["faults"])]
        for section in SECTIONS
        if (r := results.get(section))
    ]
    return report.table(["section", "date", "seconds", "faults"], rows)


def recorded():
    """Section -> record, of all that were recorded."""
    return {path.stem: json.loads(path.read_text("utf-8")) for path in RESULTS.glob("*.json")}


def main(argv=None):
    """Returns 1 if any section has a fault or does not end."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=SECTIONS, metavar="NAME")
    parser.add_argument("--page", action="store_true")
    args = parser.parse_args(argv)
    failed = []
    if not args.page:
        for section in args.only:
            print(f"\n=== {section}", flush=True)
            code = _run(section, args.quick)
            if code not in (0, NOT_RUN):
                failed.append(section)
    if not args.quick:
        PAGE.write_text(fill(PAGE.read_text("utf-8"), recorded()), "utf-8")
    print(f"\nfaults in: {', '.join(failed)}" if failed else "\nno faults")
    return 1 if failed else 0


def _run(section, quick):
    """Exit code of a section's script; its record replaces the last one when it ran in full."""
    with tempfile.TemporaryDirectory() as folder:
        record = Path(folder) / "record.json"
        command = [sys.executable, str(HERE / f"{section}.py"), "--json", str(record)]
        done = subprocess.run(command + ["--quick"] * quick, cwd=report.ROOT)
        if record.exists() and not quick:
            RESULTS.mkdir(parents=True, exist_ok=True)
            (RESULTS / f"{section}.json").write_bytes(record.read_bytes())
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
