"""Train what others published, measure what they measured, and say whether it agrees."""

import csv
import datetime
import json
import platform
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from _recipes import RECIPES

from minivae import checkpoint, optim
from minivae.data import PixelBatches, mnist
from minivae.data.batches import STATIC_TRAIN, binarize_once
from minivae.files import OutputFolder
from minivae.info import kernels_used
from minivae.noise import NoiseStream
from minivae.options import Parser, parse, positive_int, reported
from minivae.train import BEST, EagerStep, Trainer

ROOT = Path(__file__).resolve().parent.parent
RECORD = ROOT / "benchmarks" / "results" / "reproductions.csv"
COLUMNS = (
    "recipe", "form", "variant", "metric", "value", "low", "high", "published", "epochs",
    "date", "commit", "device", "kernels", "seconds",
)  # fmt: skip
OUTCOME = "outcome.json"
VALIDATION = 10_000  # of the training images, the last


def parser():
    """The command line."""
    p = Parser(prog="reproduce.py", description=__doc__)
    p.add_argument("name", choices=list(RECIPES), help="which recipe")
    p.add_argument("--variant", metavar="NAME", help="only this one; if not given, all in turn")
    p.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="where arrays live")
    p.add_argument("--data", metavar="DIR", help="folder that holds mnist/*-ubyte.gz")
    p.add_argument("--out", default="runs/reproduce", metavar="DIR",
                   help="folder of checkpoints; the same command again continues there")  # fmt: skip
    p.add_argument("--record", default=RECORD, type=Path, metavar="FILE",
                   help="table that outcomes are appended to")  # fmt: skip
    p.add_argument("--epochs", type=positive_int, metavar="N",
                   help="a trial of N epochs, which is not recorded")  # fmt: skip
    p.add_argument("--limit", type=positive_int, metavar="N",
                   help="a trial on N images of each part, which is not recorded")  # fmt: skip
    return p


@reported
def main(argv=None):
    """Run the variants of a recipe that are not done, and report all."""
    p = parser()
    args = parse(p, argv)
    recipe = RECIPES[args.name]
    if args.variant and args.variant not in recipe.variants:
        p.error(f"argument --variant: expected one of {list(recipe.variants)}")
    digits = mnist.load(args.data)
    trial = args.epochs or args.limit or digits.name != "mnist"
    form = "trial" if trial else "full"
    epochs = args.epochs or recipe.epochs
    print(stated(args.name, recipe, form, epochs))
    for variant in [args.variant] if args.variant else recipe.variants:
        folder = Path(args.out) / args.name / variant.replace(" ", "-")
        with OutputFolder(folder) as out:
            outcome = run(recipe, variant, digits, out, epochs, args.limit, args.device)
            told = {"recipe": args.name, "form": form, "variant": variant, **outcome}
            rows = lines(told, recipe.metrics)
            if not trial and not (out / OUTCOME).exists():
                append(args.record, rows)
            out.write(OUTCOME, json.dumps(told, indent=2) + "\n")
        for row in rows:
            inside = row["low"] <= row["value"] <= row["high"]
            print("{recipe}, {variant}: {metric} {value:.2f}; ".format(**row)
                  + "published {published}, band {low}-{high}: ".format(**row)
                  + (form if trial else "inside" if inside else "OUTSIDE"))  # fmt: skip


def stated(name, recipe, form, epochs):
    """What is about to run and where it should lead, as text."""
    rates = ", ".join(f"{rate:.3g} from epoch {first}" for first, rate in recipe.schedule)
    bands = "; ".join(
        f"{metric} {low}-{high} (published {published})"
        for metric, (published, low, high) in recipe.metrics.items()
    )
    return (
        f"{name}: {recipe.source}\n"
        f"  model      {recipe.set_up}\n"
        f"  images     {recipe.images}, binarize {recipe.binarize}, batch {recipe.batch_size}\n"
        f"  schedule   {epochs} of {recipe.epochs} epochs, Adam {recipe.adam or ''} {rates}\n"
        f"  measured   {recipe.measure}\n"
        f"  accepted   {bands}\n"
        f"  form       {form}"
    )


def run(recipe, variant, digits, out, epochs, limit, device):
    """Train one variant as far as it is not, and measure it: the outcome as a dict."""
    seed = recipe.variants[variant]["seed"]
    train, watched, test = batches(recipe, digits, seed, limit)
    model = recipe.model(seed).to(device)
    adam = optim.Adam(model.parameters(), lr=recipe.schedule[0][1], **recipe.adam)
    trainer = Trainer(
        model, adam, train, watched, out,
        epochs=epochs, seed=seed, schedule=recipe.schedule, keep_best=recipe.keep_best,
        step=EagerStep(model, adam), replaces=[OUTCOME],
        config={"variant": variant, "data": digits.name, "limit": limit, "device": device},
    )  # fmt: skip
    trainer.resume()
    row = trainer.run()[-1]
    if recipe.keep_best:
        checkpoint.load(out / BEST, model)
    values, start = dict(row), time.perf_counter()
    if recipe.nll_samples:
        from minivae import estimators

        noise = NoiseStream(seed, estimators.NLL)
        values["nll"] = estimators.importance_weighted_nll(
            model, test.epoch(0), noise, recipe.nll_samples, progress=True
        ).nll
    spent = (trainer.timing()["seconds"] or 0) + time.perf_counter() - start
    return {
        "values": {metric: float(values[metric]) for metric in recipe.metrics},
        "epochs": epochs, "date": datetime.date.today().isoformat(), "commit": commit(),
        "device": device_name(device), "kernels": kernels_used(device), "seconds": round(spent),
    }  # fmt: skip


def batches(recipe, digits, seed, limit):
    """(training batches, those tested after each epoch, those measured at the end)."""
    images, binarize = digits.train_images, recipe.binarize
    held_out = digits.test_images
    if recipe.images == "train+test":
        images = np.concatenate([images, held_out])
    if recipe.binarize == "static":  # drawn before the split, as a set that is on disk would be
        images, binarize = binarize_once(images, STATIC_TRAIN), "none"
    watched = held_out
    if recipe.images == "validated":
        images, watched = images[:-VALIDATION], images[-VALIDATION:]
    test = PixelBatches(held_out[:limit], recipe.batch_size, binarize=recipe.binarize, train=False)
    train = PixelBatches(images[:limit], recipe.batch_size, seed=seed, binarize=binarize)
    if recipe.images == "validated":
        watched = PixelBatches(watched[:limit], recipe.batch_size, binarize=binarize, train=False)
    else:
        watched = test
    return train, watched, test


def lines(told, metrics):
    """An outcome as rows of the table, one a metric."""
    return [
        {**{name: told[name] for name in COLUMNS if name in told},
         "metric": metric, "value": told["values"][metric],
         "published": published, "low": low, "high": high}
        for metric, (published, low, high) in metrics.items()
    ]  # fmt: skip


def append(path, rows):
    """Add rows to the table of outcomes, which is made when missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = not path.exists()
    with open(path, "a", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerows({**row, "value": f"{row['value']:.3f}"} for row in rows)


def commit():
    """The short hash of the checkout, or "unknown" outside one."""
    git = ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"]
    try:
        return subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def device_name(device):
    """What the arrays lived on, with the name of the machine's processor."""
    return f"{device} ({platform.processor() or platform.machine()})"


if __name__ == "__main__":
    sys.exit(main())
