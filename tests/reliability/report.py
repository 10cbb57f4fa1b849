"""The report that every script here returns, prints and records: a table, faults, environment."""

import argparse
import datetime
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LIBRARIES = (
    "minivae", "numpy", "safetensors", "Pillow", "numba", "hypothesis", "atheris", "mutmut",
)  # fmt: skip

sys.path.insert(0, str(ROOT / "tests"))


class Unavailable(Exception):  # noqa: N818  not a fault
    """No part of a section can run on this machine; the message says why."""


@dataclass
class Report:
    """The result of a section.

    Attributes:
        columns, rows: the table of docs/reliability.md; cells are text or numbers.
        faults: what went wrong, a line each; must be empty.
        numbers: what else is worth keeping, JSON-able.
    """

    columns: list
    rows: list
    faults: list = field(default_factory=list)
    numbers: dict = field(default_factory=dict)

    def markdown(self):
        """The table."""
        return table(self.columns, self.rows)


def table(columns, rows):
    """A table in Markdown; whole numbers get thousands separators."""
    cells = [[f"{c:,}" if isinstance(c, int) else str(c) for c in row] for row in rows]
    lines = [columns, ["---"] * len(columns), *cells]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def main(measure, argv=None):
    """Run a section from the command line; the exit code is 0 without faults."""
    parser = argparse.ArgumentParser(description=sys.modules["__main__"].__doc__)
    parser.add_argument("--quick", action="store_true", help="the part for CI: seconds")
    parser.add_argument("--json", metavar="FILE", type=Path, help="record the result here")
    args = parser.parse_args(argv)
    start = time.monotonic()
    try:
        found = measure(args.quick)
    except Unavailable as reason:
        print(f"not run: {reason}")
        return 3
    seconds = round(time.monotonic() - start, 1)
    print(found.markdown())
    for fault in found.faults:
        print(f"FAULT: {fault}")
    if args.json:
        record = {
            **surroundings(), "quick": args.quick, "seconds": seconds,
            "cpu_seconds": _cpu_seconds(), **asdict(found),
        }  # fmt: skip
        args.json.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", "utf-8")
    return 1 if found.faults else 0


def surroundings():
    """Where and with what a result was made."""
    return {
        "command": f"python tests/reliability/{Path(sys.argv[0]).name}",
        "date": datetime.date.today().isoformat(),
        "commit": _commit(),
        "machine": {"cpu": _cpu(), "cores": os.cpu_count(), "system": platform.system(),
                    "kernel": platform.release(), "libc": " ".join(platform.libc_ver()),
                    "load": round(os.getloadavg()[0], 1)},
        "versions": {"python": platform.python_version(),
                     **{name: v for name in LIBRARIES if (v := _version(name))}},
    }  # fmt: skip


def _cpu_seconds():
    """Of this process and all that it started and waited for."""
    return round(sum(os.times()[:4]), 1)


def _commit():
    """The commit, with a + where a tracked file is not as in it; what a run writes is left out."""
    written = [":!benchmarks/results", ":!docs/reliability.md"]
    try:
        commit, changed = (
            subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True).stdout.strip()
            for words in (
                ["describe", "--always"], ["diff", "--name-only", "HEAD", "--", ".", *written],
            )
        )  # fmt: skip
    except OSError:  # no git here
        return None
    return commit + "+" * bool(changed) or None


def _cpu():
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(": ")[1] for line in lines if line.startswith("model name")), None)


def _version(name):
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
