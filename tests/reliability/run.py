"""Run every section, record its result and write the tables of docs/reliability.md.

python tests/reliability/run.py                 all of it, the better part of an hour
python tests/reliability/run.py --quick         the part for CI; records nothing
python tests/reliability/run.py --only NAME ... some sections
python tests/reliability/run.py --page          only write the tables anew

Sections run side by side, three on two cores; what each prints comes when it has ended. The whole
needs atheris and mutmut beside minivae[test].
"""

import argparse
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import report

SECTIONS = (
    "crash_safety", "hostile_files", "native_code", "numerics", "long_runs", "determinism",
    "mutation", "install", "supply_chain", "what_users_do", "several_processes",
)  # fmt: skip
HERE = Path(__file__).resolve().parent
RESULTS = report.ROOT / "benchmarks" / "results" / "reliability"
PAGE = report.ROOT / "docs" / "reliability.md"
NOT_RUN = 3
SECONDS, QUICK_SECONDS = 3600, 900  # for one section; one that hangs is ended, all of it
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
        [section.replace("_", " "), r["date"], r["commit"], round(r["seconds"]),
         round(r["cpu_seconds"]), len(r["faults"])]
        for section in SECTIONS
        if (r := results.get(section))
    ]  # fmt: skip
    return report.table(["section", "date", "commit", "seconds", "CPU seconds", "faults"], rows)


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
    # One more than there are cores: installs wait for the network.
    parser.add_argument("--jobs", type=int, default=os.cpu_count() + 1, metavar="N")
    args = parser.parse_args(argv)
    failed = []
    if not args.page:
        codes = _run_all(_longest_first(args.only), args.quick, args.jobs)
        failed = [name for name, code in codes.items() if code not in (0, NOT_RUN)]
    if not args.quick:
        PAGE.write_text(fill(PAGE.read_text("utf-8"), recorded()), "utf-8")
    print(f"\nfaults in: {', '.join(failed)}" if failed else "\nno faults")
    return 1 if failed else 0


def _longest_first(sections):
    """The sections by the time they took when they were last recorded."""
    known = recorded()
    return sorted(sections, key=lambda name: -known.get(name, {"seconds": 0})["seconds"])


def _run_all(sections, quick, jobs):
    """Exit codes by section, run several at a time; those still running end with this program."""
    waiting, running, codes = list(sections), [], {}
    with tempfile.TemporaryDirectory() as folder:
        try:
            while waiting or running:
                while waiting and len(running) < jobs:
                    running.append(Job(waiting.pop(0), quick, Path(folder)))
                time.sleep(0.2)
                for job in [job for job in running if job.over()]:
                    running.remove(job)
                    codes[job.section] = job.finish()
        finally:
            for job in running:
                job.end()
    return codes


class Job:
    """A section's script in a process of its own, and all that the script starts."""

    def __init__(self, section, quick, folder):
        self.section, self.quick, self.record = section, quick, folder / f"{section}.json"
        self.seconds = QUICK_SECONDS if quick else SECONDS
        self.deadline = time.monotonic() + self.seconds
        command = [sys.executable, str(HERE / f"{section}.py"), "--json", str(self.record)]
        self.said = folder / f"{section}.txt"
        with open(self.said, "w") as said:
            self.process = subprocess.Popen(
                command + ["--quick"] * quick, cwd=report.ROOT, stdout=said,
                stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip

    def over(self):
        """Whether the process has ended, or has reached its time limit."""
        return self.process.poll() is not None or time.monotonic() > self.deadline

    def end(self):
        """End the process and all that it started; its exit code."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        return self.process.wait()

    def finish(self):
        """Print the process's output; its record replaces the last one if it was a full run."""
        code = self.end()
        late = f"ended after {self.seconds} seconds\n" if time.monotonic() > self.deadline else ""
        said = self.said.read_text("utf-8", errors="replace")
        print(f"\n=== {self.section}\n{said}{late}", end="", flush=True)
        if self.record.exists() and not self.quick:
            RESULTS.mkdir(parents=True, exist_ok=True)
            shutil.copy(self.record, RESULTS)
        return code


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # ends what it started, as Ctrl-C does
    sys.exit(main())
