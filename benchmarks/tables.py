"""Make the tables of README.md and docs/ from the records in benchmarks/results.

    python benchmarks/tables.py            name the tables that differ from the records; exit 1
    python benchmarks/tables.py --write    write them into the pages

A table stands between ``<!-- name:begin -->`` and ``<!-- name:end -->``; ``TABLES`` has the names.
"""

import argparse
import csv
import json
import sys

import captured_step
import checkerboard
import convolutions
import cuda_resources
import explorer_decoding
import mnist_epochs
import products
import scaling_processes
import step_overhead
import study_times
import train_step
from _pages import ROOT, markdown_table, replace_between_markers

import kernels

RESULTS = ROOT / "benchmarks" / "results"


def recorded(name):
    """The record ``name``.json."""
    return json.loads((RESULTS / f"{name}.json").read_text())


def by_processor(benchmark):
    """{"instruction set, processor": record} of a benchmark's last run on each, widest first."""
    found = {}
    for path in sorted((RESULTS / benchmark).glob("*.json")):
        record = json.loads(path.read_text())
        found[record["environment"]["instruction_set"], record["environment"]["cpu"]] = record
    widest_first = sorted(found, key=lambda key: (-int(key[0].removeprefix("avx")), key[1]))
    return {", ".join(key): found[key] for key in widest_first}


def tables_by_processor(benchmark):
    """The benchmark's table for each instruction set and processor, each under a heading."""
    records = by_processor(benchmark.__name__)
    return "\n\n".join(f"**{name}**\n\n{benchmark.table(r)}" for name, r in records.items())


def runs():
    """{name: record} of the runs that record_run.py has recorded."""
    return {p.stem: json.loads(p.read_text()) for p in sorted((RESULTS / "runs").glob("*.json"))}


def reproduced():
    """The rows that examples/reproduce.py recorded, as dicts of text."""
    with open(RESULTS / "reproductions.csv", newline="") as file:
        return list(csv.DictReader(file))


def losses_table(records):
    """One row per run: what was trained and the test loss it reached."""
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
    """One row per attribute: how often the classifier saw it, how near to the truth it was."""
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


def reproductions_table(lines):
    """One row per metric of a run, in recorded order, beside the published figure."""
    rows = [
        [
            line["recipe"], run_name(line), line["metric"], line["published"], accepted(line),
            f"{float(line['value']):.2f}{verdict(line)}", line["epochs"],
            f"{float(line['seconds']) / 60:.0f}", f"{line['device']}, {line['kernels']}",
            line["date"], f"`{line['commit']}`",
        ]
        for line in lines
    ]  # fmt: skip
    header = [
        "recipe", "run", "metric", "published", "accepted", "here", "epochs", "minutes", "on",
        "date", "commit",
    ]  # fmt: skip
    return markdown_table(header, rows)


def run_name(line):
    """The variant, with its form where that is not the full schedule."""
    return line["variant"] + ("" if line["form"] == "full" else f" ({line['form']})")


def accepted(line):
    """The band as text; empty where the value is not judged."""
    if not line["low"]:
        return ""
    low, high = float(line["low"]), float(line["high"])
    return f"above {low:g}" if high == float("inf") else f"{low:g}-{high:g}"


def verdict(line):
    """The mark "(outside)" for a value outside its band, else nothing."""
    if not line["low"] or float(line["low"]) <= float(line["value"]) <= float(line["high"]):
        return ""
    return " (outside)"


def headlines():
    """The results of the README."""

    def found(recipe, variant=""):
        lines = [r for r in reproduced() if r["recipe"] == recipe and variant in r["variant"]]
        return [float(line["value"]) for line in lines], lines[0]["published"]

    def seconds(side):
        return sorted(run["seconds"] for run in epochs["runs"][side])[1]

    example, example_published = found("pytorch-example")
    (nll,), nll_published = found("static-400-40", "two layers")
    epochs, steps = recorded("mnist_epochs"), by_processor("train_step")
    faces = {  # only on the processor that ran mnist_epochs.py
        r["environment"]["instruction_set"]: r["models"]["face"] for r in steps.values()
        if r["environment"]["cpu"] == epochs["environment"]["cpu"] and "face" in r["models"]
    }  # fmt: skip
    *_, (_, _, run, noticed, same_result, _) = recorded("reliability/mutation")["rows"]
    rows = [
        ["Test loss of PyTorch's VAE example, grey MNIST, three seeds",
         f"{min(example):.2f} to {max(example):.2f}", f"{example_published} published"],
        ["-log p(x) of binary MNIST, two layers of 400, 40 latents",
         f"{nll:.2f}", f"{nll_published} published"],
        ["Ten epochs of MNIST, training and testing", f"{seconds('minivae'):.0f} s",
         f"{seconds('torch'):.0f} s PyTorch"],
        *(
            [f"One step of the face model, 16 pictures of 256 x 256, {isa}",
             f"{face['minivae']['median']:.0f} ms",
             f"{face['torch-best']['median']:.0f} ms PyTorch at its best"]
            for isa, face in faces.items()
        ),
        ["Sampled mutations of the Python maths detected by a test", f"{noticed} of {run}",
         f"the other {same_result} are equivalent"],
    ]  # fmt: skip
    return markdown_table(["", "minivae", "for comparison"], rows)


RESULTS_PAGE = ROOT / "docs" / "results.md"
GPU_PAGE = ROOT / "docs" / "gpu-kernels.md"
PERFORMANCE_PAGE = ROOT / "docs" / "performance.md"
PRODUCTS_PAGE = ROOT / "docs" / "products.md"
TABLES = {
    "headlines": (ROOT / "README.md", headlines),
    "runs": (RESULTS_PAGE, lambda: losses_table(runs())),
    "edits": (RESULTS_PAGE, lambda: edits_table(runs())),
    "reproductions": (RESULTS_PAGE, lambda: reproductions_table(reproduced())),
    "captured_step": (GPU_PAGE, lambda: captured_step.table(recorded("captured_step"))),
    "machine_code": (GPU_PAGE, lambda: cuda_resources.bounds_table(recorded("cuda_resources"))),
    "products": (PRODUCTS_PAGE, lambda: tables_by_processor(products)),
    "convolutions": (PRODUCTS_PAGE, lambda: tables_by_processor(convolutions)),
    "train_step": (PERFORMANCE_PAGE, lambda: tables_by_processor(train_step)),
    "mnist_epochs": (PERFORMANCE_PAGE, lambda: mnist_epochs.table(recorded("mnist_epochs"))),
    "checkerboard": (
        ROOT / "docs" / "checkerboard.md",
        lambda: checkerboard.table(recorded("checkerboard")),
    ),
    "scaling_processes": (
        ROOT / "docs" / "several-processes.md",
        lambda: scaling_processes.table(recorded("scaling_processes")),
    ),
    "step_overhead": (PERFORMANCE_PAGE, lambda: tables_by_processor(step_overhead)),
    "explorer_decoding": (
        ROOT / "docs" / "explorer.md",
        lambda: explorer_decoding.table(recorded("explorer_decoding")),
    ),
    "study_times": (ROOT / "docs" / "path.md", lambda: study_times.table(recorded("study_times"))),
    "kernels_cpu": (PERFORMANCE_PAGE, lambda: kernels.table(recorded("kernels_cpu"))),
}


def stale():
    """The names of the tables that differ from the records."""
    return [
        name
        for name, (page, make) in TABLES.items()
        if f"<!-- {name}:begin -->\n{make()}\n<!-- {name}:end -->" not in page.read_text()
    ]


def main(argv=None):
    """Compare the pages with the records, or write the pages."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="write the tables into the pages")
    args = parser.parse_args(argv)
    if args.write:
        for name, (page, make) in TABLES.items():
            replace_between_markers(page, name, make())
    elif names := stale():
        raise SystemExit(f"differ from the records, python benchmarks/tables.py --write: {names}")


if __name__ == "__main__":
    sys.exit(main())
