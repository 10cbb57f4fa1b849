"""Put runs of the examples on record: their summary.json, with date, commit and machine.

    python benchmarks/record_run.py NAME=RUN_FOLDER ... [--readme]

writes benchmarks/results/runs/NAME.json; ``--readme`` makes the README's tables of all runs anew.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

from _harness import ROOT, environment, markdown_table, replace_between_markers, write_json

RESULTS = ROOT / "benchmarks" / "results" / "runs"


def record(name, folder):
    """Copy the summary of a run with where and when it was recorded."""
    summary = json.loads((Path(folder) / "summary.json").read_text())
    git = ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
    write_json(RESULTS / f"{name}.json", {**environment(), "commit": commit, "summary": summary})


def losses_table(records):
    """One row a run: what was trained and the test loss it reached."""
    rows = []
    for name, entry in records.items():
        s = entry["summary"]
        rows.append([
            name, s["dataset"], s["model"], s["epochs"], s["seed"], f"{s['test_loss']:.2f}",
            f"{s['test_rec']:.2f}", f"{s['test_kl']:.2f}", f"{s['seconds']:.0f}",
        ])  # fmt: skip
    header = ["run", "data", "model", "epochs", "seed", "test loss", "rec", "KL", "seconds"]
    return markdown_table(header, rows)


def edits_table(records):
    """One row an attribute: how often the classifier saw it, how near the truth the edit came."""
    rows = []
    for name, entry in records.items():
        edits = entry["summary"].get("edits", {})
        for attribute, scores in edits.items():
            if attribute == "classifier_accuracy":
                continue
            agreement = scores["agreement"]
            plain, edited = agreement["reconstructed"], agreement["strength 1.5"]
            truth = scores.get("counterfactual", {}).get("from originals")
            gain = "unknown"
            if truth:
                errors = (f"{truth[start]:.4f}" for start in ("nothing", "pixel", "latent"))
                gain = f"{truth['gain']:.4f} ± {truth['gain_standard_error']:.4f}"
                gain = f"{' / '.join(errors)}, {gain}"
            rows.append([
                name, attribute, f"{edits['classifier_accuracy'][attribute]:.0%}",
                f"{plain['without']:.0%} → {edited['added']:.0%}",
                f"{1 - plain['with']:.0%} → {edited['removed']:.0%}", gain,
            ])  # fmt: skip
    header = [
        "run", "attribute", "classifier right on originals", "seen after adding (before → after)",
        "not seen after removing", "distance to the truth: nothing / pixel / latent, gain",
    ]  # fmt: skip
    return markdown_table(header, rows)


def main(argv=None):
    """Record the runs named; make the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="*", metavar="NAME=FOLDER")
    parser.add_argument("--readme", action="store_true", help="put the tables into README.md")
    args = parser.parse_args(argv)
    for run in args.runs:
        name, equals, folder = run.partition("=")
        if not equals:
            parser.error(f"expected NAME=FOLDER, got {run!r}")
        record(name, folder)
    records = {p.stem: json.loads(p.read_text()) for p in sorted(RESULTS.glob("*.json"))}
    print(losses_table(records), edits_table(records), sep="\n\n")
    if args.readme:
        replace_between_markers(ROOT / "README.md", "runs", losses_table(records))
        replace_between_markers(ROOT / "README.md", "edits", edits_table(records))


if __name__ == "__main__":
    sys.exit(main())
