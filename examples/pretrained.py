"""Train the models that `minivae fetch` downloads, and write their files, hashes and cards."""

import hashlib
import json
import os
import sys
from pathlib import Path

import faces_vae
import mnist_vae

from minivae.cli.options import Parser, reported
from minivae.errors import DataError
from minivae.interop import pretrained, weights
from minivae.training import loaded_run
from minivae.training.output_folder import OutputFolder
from minivae.training.run_files import CHECKPOINT

# name -> the program that trains the model, its options, and the data set that it must use
RUNS = {
    "mnist-mlp": (mnist_vae, ["--model", "mlp"], "mnist"),
    "mnist-conv": (mnist_vae, ["--model", "conv"], "mnist"),
    "faces-64": (faces_vae, ["--size", "64"], "synthetic-faces"),
}


def parser():
    """The command line."""
    p = Parser(prog="pretrained.py", description=__doc__)
    add = p.add_argument
    add("--out", default="runs/pretrained", metavar="DIR",
        help="output folder: a folder for each model, and pretrained.json")  # fmt: skip
    add("--only", choices=list(RUNS), help="one model; if not given, all")
    add("--data", metavar="DIR", help="folder that holds mnist/*-ubyte.gz; else as mnist_vae.py")
    add("--address", metavar="TEXT",
        help="URL of the files, with {name} and {file} in it")  # fmt: skip
    add("--trial", action="store_true", help="one epoch of 64 images, of any data set")
    return p


@reported
def main(argv=None):
    """Train the models, write their files, and write the hashes of these."""
    args = parser().parse_args(argv)
    hashes = {}
    for name in [args.only] if args.only else RUNS:
        files = trained(name, Path(args.out), args.data, args.trial)
        with OutputFolder(Path(args.out) / name) as out:
            for file, body in files.items():
                out.write(file, body)
        hashes[name] = {file: hashlib.sha256(body).hexdigest() for file, body in files.items()}
    with OutputFolder(args.out) as out:
        known = {"address": args.address, "sha256": hashes}
        out.write(pretrained.PINNED.name, json.dumps(known, indent=2) + "\n")
        print(f"hashes in {out / pretrained.PINNED.name}")


def trained(name, folder, data=None, trial=False):
    """Train one of ``RUNS`` under ``folder``; returns the contents of its three files by name.

    Raises:
        DataError: the training failed, or used another data set.
    """
    program, options, expected = RUNS[name]
    run = folder / "runs" / name
    options = [*options, "--out", str(run), "--no-plots"]
    if data and program is mnist_vae:
        options += ["--data", data]
    if trial:
        options += ["--epochs", "1", "--limit", "64"]
    before = os.environ.get("MINIVAE_DATA")
    try:
        if program is faces_vae:
            os.environ["MINIVAE_DATA"] = ""  # drawn faces, even if others exist
        code = program.main(options)
    finally:
        os.environ.pop("MINIVAE_DATA", None)
        if before is not None:
            os.environ["MINIVAE_DATA"] = before
    if code:
        raise DataError(f"{name}: training ended with code {code}")
    results = weights.read_results(run / "summary.json")
    if results["dataset"] != expected and not trial:
        raise DataError(f"{name}: expected the data set {expected}, got {results['dataset']}")
    model, config = loaded_run.load_model(run / CHECKPOINT)
    return weights.to_files(model, config, results, license="mit")


if __name__ == "__main__":
    sys.exit(main())
