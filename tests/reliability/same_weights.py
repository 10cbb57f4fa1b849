"""Compare, bit for bit, the weights that the examples train to with those of another revision.

    python tests/reliability/same_weights.py v0.1.0
    python tests/reliability/same_weights.py HEAD~20 --isa avx2

builds that revision and this working tree in scratch folders, runs the examples in a short form in
both, on this machine and one instruction set, and compares the weights in the checkpoints. It exits
with 1 where they differ. Optimisers' states are not compared: their format may change.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

ROOT = Path(__file__).resolve().parents[2]
BUILT = ("csrc", "examples", "minivae", "setup.py", "pyproject.toml", "README.md", "LICENSE")
COMMON = ("--epochs", "2", "--no-plots", "--seed", "7", "--lr", "1e-3")
RUNS = {  # the examples as they stand, on a few images
    "mlp": ("mnist_vae.py", "--limit", "1000", "--binarize", "dynamic"),
    "conv": ("mnist_vae.py", "--model", "conv", "--limit", "500"),
    "faces": ("faces_vae.py", "--size", "256", "--limit", "40", "--batch-size", "16"),
}


def unpack(revision, folder):
    """What ``BUILT`` names of a revision, or of the working tree for None, into a folder."""
    folder.mkdir()
    if revision is None:
        listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", *BUILT]
        names = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True)
        for name in filter(None, names.stdout.split("\0")):
            if (ROOT / name).exists():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, folder / name)
    else:
        archive = subprocess.run(
            ["git", "archive", revision, *BUILT], cwd=ROOT, stdout=subprocess.PIPE, check=True
        )
        subprocess.run(["tar", "-x", "-C", folder], input=archive.stdout, check=True)
    return folder


def build(folder):
    """Compile the CPU kernels in place."""
    environment = {**os.environ, "MINIVAE_CPU": "1", "MINIVAE_CUDA": "0"}
    command = [sys.executable, "setup.py", "-q", "build_ext", "--inplace"]
    subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)


def weights(tree, run, out, isa):
    """{name: array} of the model that one example leaves."""
    script, *options = RUNS[run]
    environment = {**os.environ, "PYTHONPATH": str(tree), **({"MINIVAE_ISA": isa} if isa else {})}
    command = [sys.executable, f"examples/{script}", *options, *COMMON, "--out", out]
    done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))} in {tree}:\n{done.stderr}")
    found = load_file(out / "checkpoint.safetensors")
    shutil.rmtree(out)
    return {name: array for name, array in found.items() if name.startswith("model.")}


def compared(before, now):
    """(tensors, those with other bytes, the largest difference relative to its tensor's)."""
    different, worst = sorted(before.keys() ^ now.keys()), 0.0
    for name in before.keys() & now.keys():
        old, new = before[name], now[name]
        if old.shape != new.shape:
            different.append(f"{name} {old.shape} -> {new.shape}")
        elif old.tobytes() != new.tobytes():
            different.append(name)
            gap = np.abs(np.subtract(new, old, dtype=np.float64)).max()
            worst = max(worst, gap / max(np.abs(old).max(), np.finfo(np.float32).tiny))
    return len(before), different, worst


def main(argv=None):
    """Print the comparison; the number of runs with other weights."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("revision", help="what git calls the other revision")
    parser.add_argument("--isa", help="the instruction set; the best of this machine by default")
    parser.add_argument("--only", choices=RUNS, nargs="+", default=list(RUNS), help="these runs")
    args = parser.parse_args(argv)
    failed = 0
    with tempfile.TemporaryDirectory() as scratch:
        scratch = Path(scratch)
        trees = unpack(args.revision, scratch / "before"), unpack(None, scratch / "now")
        for tree in trees:
            build(tree)
        print(f"{'run':8}{'tensors':>8}{'other bytes':>13}  largest relative difference")
        for run in args.only:
            pair = (weights(tree, run, scratch / "out", args.isa) for tree in trees)
            tensors, different, worst = compared(*pair)
            print(f"{run:8}{tensors:8}{len(different):13}  {worst:.2g}  {', '.join(different[:4])}")
            failed += bool(different)
    return failed


if __name__ == "__main__":
    sys.exit(min(main(), 1))
