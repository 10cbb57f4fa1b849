"""Reproduce published VAE results: train, measure, and compare with the published values."""

import contextlib
import csv
import datetime
import json
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from _measures import Trained
from _recipes import RECIPES

from minivae import kernels, optim
from minivae.backend import device_description
from minivae.cli.info import kernels_used, processor
from minivae.cli.options import Parser, parse, positive_int, reported, require_writable
from minivae.data import LabelledBatches, PixelBatches, mnist
from minivae.data.batches import STATIC_TRAIN, binarize_once
from minivae.errors import OutputError
from minivae.training import checkpoint
from minivae.training.output_folder import OutputFolder
from minivae.training.run_files import BEST
from minivae.training.step import EagerStep
from minivae.training.trainer import Interrupted, Trainer

ROOT = Path(__file__).resolve().parent.parent
RECORD = ROOT / "benchmarks" / "results" / "reproductions.csv"
COLUMNS = (
    "recipe", "form", "variant", "metric", "value", "low", "high", "published", "epochs",
    "date", "commit", "device", "kernels", "seconds",
)  # fmt: skip
OUTCOME = "outcome.json"  # beside the checkpoint of a variant that is trained and recorded
VALIDATION = 10_000  # the number of training images that are held out, from the end


def parser():
    """The command line."""
    p = Parser(
        prog="reproduce.py",
        description=f"{__doc__} Repeat the command to continue after it was stopped.",
    )
    add = p.add_argument
    add("name", choices=list(RECIPES), help="which recipe")
    add("--variant", metavar="NAME", help="only this variant; if not given, all in turn")
    add("--full", action="store_true", help="the full form, also where a CPU would run a short one")
    add("--device", choices=["cpu", "cuda"], default="cpu", help="device that computes")
    add("--data", metavar="DIR", help="folder that holds mnist/*-ubyte.gz; else as mnist_vae.py")
    add("--out", default="runs/reproduce", metavar="DIR", help="folder for the runs")
    add("--record", default=RECORD, type=Path, metavar="FILE", help="CSV table to append to")
    add("--epochs", type=positive_int, metavar="N",
        help="a trial of N epochs, not recorded; with --full the first N epochs of the full form, "
        "recorded but not judged")  # fmt: skip
    add("--limit", type=positive_int, metavar="N",
        help="a trial on the first N training and N test images, not recorded")  # fmt: skip
    return p


@reported
def main(argv=None):
    """Run the unfinished variants of a recipe, compare them with their bands and record them."""
    p = parser()
    args = parse(p, argv)
    recipe, form = RECIPES[args.name], "full"
    if recipe.short and args.device == "cpu" and not args.full:
        recipe, form = recipe.shortened(), "short"
    if args.variant and args.variant not in recipe.variants:
        p.error(f"argument --variant: expected one of {list(recipe.variants)}")
    digits = mnist.load(args.data)
    if args.limit or digits.name != "mnist" or (args.epochs and not args.full):
        form = "trial"
    elif args.epochs and args.epochs < recipe.epochs:
        recipe, form = unjudged(recipe), "part"
    recipe = replace(recipe, epochs=args.epochs or recipe.epochs)
    if form != "trial":
        with contextlib.suppress(OSError):
            args.record.parent.mkdir(parents=True, exist_ok=True)
        require_writable(args.record)  # before hours of work
    print(stated(args.name, recipe, form), flush=True)
    # The first epochs of the full form share its folder, so that the full form continues them.
    outcomes, folder = {}, Path(args.out) / args.name / ("full" if form == "part" else form)

    def settle(name, metrics, outcome_of):
        """The outcome of a variant or gain: kept by an earlier run, or computed and recorded."""
        with OutputFolder(folder / name.replace(" ", "-")) as out:
            outcome = None if form == "trial" else kept(out / OUTCOME, recipe.epochs)
            new = outcome is None
            if new:
                outcome = outcome_of(out)
            rows = [
                {"recipe": args.name, "form": form, "variant": name, "metric": metric,
                 "published": published, "low": low, "high": high,
                 "value": outcome["values"][metric],
                 **{column: outcome[column] for column in COLUMNS if column in outcome}}
                for metric, (published, low, high) in metrics.items()
            ]  # fmt: skip
            if new and form != "trial":
                append(args.record, rows)
                out.write(OUTCOME, json.dumps(outcome, indent=2) + "\n")
            print(*map(told, rows), sep="\n", flush=True)
        return outcome

    for name in [args.variant] if args.variant else recipe.variants:
        trained = partial(run, recipe, name, digits, args.limit, args.device)
        outcomes[name] = settle(name, judged(recipe, name), trained)
    if not args.variant:
        for (metric, worse, better), band in recipe.gains.items():
            gain = outcomes[worse]["values"][metric] - outcomes[better]["values"][metric]
            outcome = {**outcomes[better], "values": {metric: gain}}
            settle(f"{worse} less {better}", {metric: band}, lambda out, found=outcome: found)


def unjudged(recipe):
    """The recipe without bands: published values are not expected before the schedule's end."""
    variants = {
        name: replace(
            how, metrics={m: (published, None, None) for m, (published, *_) in how.metrics.items()}
        )
        for name, how in recipe.variants.items()
    }
    return replace(recipe, variants=variants, gains={})


def kept(path, epochs):
    """The outcome in a file if that exists and has ``epochs`` epochs, else None."""
    if path.exists():
        outcome = json.loads(path.read_text())
        if outcome["epochs"] == epochs:
            return outcome
    return None


def stated(name, recipe, form):
    """The settings of a recipe and its accepted values, as text."""
    rates = ", ".join(
        f"{rate:.3g} from epoch {first + 1}"
        for first, rate in recipe.schedule
        if first < recipe.epochs
    )
    lines = {
        "source": recipe.source,
        "model": recipe.set_up,
        "images": f"{recipe.images}, binarize {recipe.binarize}",
        "schedule": f"{recipe.epochs} epochs of batches of {recipe.batch_size}, Adam "
        + "".join(f"{option} {value:g}, " for option, value in recipe.adam.items())
        + f"learning rate {rates}",
        "measured": recipe.measured,
        "form": form,
    }
    accepted = [
        f"{variant}: {metric} {band_text(low, high)} (published {published})"
        for variant in recipe.variants
        for metric, (published, low, high) in judged(recipe, variant).items()
    ] + [
        f"{worse} less {better}: {metric} {band_text(low, high)} (published {published})"
        for (metric, worse, better), (published, low, high) in recipe.gains.items()
    ]
    text = [f"  {key:<10}{value}" for key, value in lines.items()]
    return "\n".join([name, *text, *(f"  {'accepted':<10}{line}" for line in accepted)])


def judged(recipe, variant):
    """The metrics of a variant; without bands where only gains are judged."""
    metrics = recipe.variants[variant].metrics
    if not recipe.gains:
        return metrics
    return {metric: (published, None, None) for metric, (published, _, _) in metrics.items()}


def band_text(low, high):
    """A band as text."""
    return "not judged" if low is None else f"in {low:g}..{high:g}"


def told(row):
    """A row of the table as a sentence."""
    low, high = row["low"], row["high"]
    if low is None or row["form"] == "trial":
        verdict = "not judged"
    else:
        verdict = f"{'inside' if low <= row['value'] <= high else 'OUTSIDE'} {low:g}..{high:g}"
    return (
        f"{row['recipe']}, {row['form']}, {row['variant']}: {row['metric']} {row['value']:.3f}, "
        f"published {row['published']}: {verdict}"
    )


def run(recipe, variant, digits, limit, device, out):
    """Train one variant, from its checkpoint if there is one; returns the outcome as a dict."""
    how, began_at = recipe.variants[variant], commit()
    train, watched, test = batches(recipe, digits, how.seed, limit)
    images = train.images
    if recipe.labelled:
        train = LabelledBatches(train, digits.train.labels["digit"][: train.count])
        watched = LabelledBatches(watched, digits.test.labels["digit"][: watched.count])
    model = (how.model or recipe.model)(how.seed, images).to(device)
    adam = optim.Adam(model.parameters(), lr=recipe.schedule[0][1], **recipe.adam)
    trainer = Trainer(
        model, adam, train, watched, out,
        epochs=recipe.epochs, seed=how.seed, schedule=recipe.schedule,
        keep_best=recipe.keep_best, step=EagerStep(model, adam, how.objective),
        replaces=[OUTCOME],
        config={
            "variant": variant, "binarize": recipe.binarize, "limit": limit, "device": device,
            **digits.limited(limit).record(),
        },
    )  # fmt: skip
    trainer.resume()
    try:
        row = trainer.run()[-1]
    except Interrupted as stop:  # this program has no --resume
        raise Interrupted(f"{stop}".partition(";")[0] + "; the same command goes on") from None
    if recipe.keep_best:
        checkpoint.load(out / BEST, model)
    start = time.perf_counter()
    values = recipe.measure(Trained(model, test, row, how.seed, digits))
    seconds = sum(trainer.state.seconds.values()) + time.perf_counter() - start  # those known
    return {
        "values": values, "epochs": recipe.epochs, "date": datetime.date.today().isoformat(),
        "commit": began_at, "device": where(device), "kernels": kernels_used(device),
        "seconds": round(seconds),
    }  # fmt: skip


def batches(recipe, digits, seed, limit):
    """Batches to train on, to watch after each epoch, and to measure at the end."""
    images, binarize = digits.train.images, recipe.binarize
    if recipe.images == "train+test":
        images = np.concatenate([images, digits.test.images])
    if binarize == "static":  # drawn before the split, as a set on disk would be
        images, binarize = binarize_once(images, STATIC_TRAIN), "none"
    test = PixelBatches(
        digits.test.images[:limit], recipe.batch_size, binarize=recipe.binarize, train=False
    )
    watched = test
    if recipe.images == "validated":
        images, held_out = images[:-VALIDATION], images[-VALIDATION:]
        watched = PixelBatches(held_out[:limit], recipe.batch_size, train=False)
    train = PixelBatches(images[:limit], recipe.batch_size, seed=seed, binarize=binarize)
    return train, watched, test


def append(path, rows):
    """Add rows to the table of outcomes, which is made when missing; OutputError if that fails."""
    new = not path.exists()
    try:
        with open(path, "a", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            if new:
                writer.writeheader()
            writer.writerows({**row, "value": f"{row['value']:.3f}"} for row in rows)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror}") from error


def commit():
    """The short hash of the checkout, or "unknown" outside one."""
    git = ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"]
    try:
        return subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def where(device):
    """The name of the device for the record."""
    if device == "cpu":
        threads = kernels.threads()
        return f"{processor()}, {threads} thread{'s' * (threads > 1)}"
    return device_description()["name"]


if __name__ == "__main__":
    sys.exit(main())
