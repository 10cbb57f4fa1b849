"""Make the README's table of published figures run again, from what examples/reproduce.py recorded.

    python benchmarks/reproductions.py [--readme]

prints it; ``--readme`` also puts it between the README's markers.
"""

import argparse
import csv
import sys

from _harness import ROOT, markdown_table, replace_between_markers

RECORD = ROOT / "benchmarks" / "results" / "reproductions.csv"
HEADER = [
    "recipe", "run", "metric", "published", "accepted", "here", "epochs", "minutes", "on", "date",
    "commit",
]  # fmt: skip


def table(lines):
    """Markdown from the rows of the CSV file: one line a metric of a run, in recorded order."""
    rows = [
        [
            line["recipe"], run_name(line), line["metric"], line["published"], accepted(line),
            f"{float(line['value']):.2f}{verdict(line)}", line["epochs"],
            f"{float(line['seconds']) / 60:.0f}", f"{line['device']}, {line['kernels']}",
            line["date"], f"`{line['commit']}`",
        ]
        for line in lines
    ]  # fmt: skip
    return markdown_table(HEADER, rows)


def run_name(line):
    """The variant, marked where it is not the published schedule."""
    return line["variant"] + ("" if line["form"] == "full" else f" ({line['form']})")


def accepted(line):
    """The band as text; empty where the value is not judged."""
    if not line["low"]:
        return ""
    low, high = float(line["low"]), float(line["high"])
    return f"above {low:g}" if high == float("inf") else f"{low:g}-{high:g}"


def verdict(line):
    """Words for a value outside its band."""
    if not line["low"] or float(line["low"]) <= float(line["value"]) <= float(line["high"]):
        return ""
    return " (outside)"


def main(argv=None):
    """Print the table and put it where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--readme", action="store_true", help="put the table into README.md")
    args = parser.parse_args(argv)
    with open(RECORD, newline="") as file:
        made = table(csv.DictReader(file))
    print(made)
    if args.readme:
        replace_between_markers(ROOT / "README.md", "reproductions", made)


if __name__ == "__main__":
    sys.exit(main())
