"""Determinism: the same seed gives the same bytes across runs, threads, kernels, instruction sets.

Each way of running is a process of its own that draws noise and trains two tiny networks; its
results are compared with those of the first. Results that may differ are listed with their bound.
"""

import argparse
import hashlib
import importlib.util
import io
import os
import subprocess
import sys
import tempfile
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import report

BASE = {"MINIVAE_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
SAME = ("again", "two threads", "other hashes and addresses")  # to the byte
STEPS = 60
# What other kernels may differ by, relative to the largest number: noise by its last bit, and
# weights after STEPS steps, over which rounding errors grow.
BOUNDS = {"noise float64": 1e-15, "noise float32": 2e-7, "MLPVAE": 1e-3, "ConvVAE": 0.1}
PARTS = tuple(BOUNDS)


# ---------------------------------------------------------------- the child
def produce(folder, variant):
    """Write what one way of running makes: noise, and the weights of trained networks."""
    from minivae import Noise, kernels, models, optim
    from minivae.data import PixelBatches
    from minivae.training.output_folder import OutputFolder
    from minivae.training.trainer import Trainer

    images = np.random.default_rng(0).integers(0, 256, (480, 28, 28), dtype=np.uint8)
    with kernels.use(variant) if variant else redirect_stdout(io.StringIO()):
        noise = Noise(2**63 + 5, 2**40 + 3)
        arrays = {
            "noise float64": noise.normal((100_003,), np.float64),
            "noise float32": noise.normal((100_003,), np.float32),
        }
        for model in (models.MLPVAE(5, 64), models.ConvVAE(2)):
            name = type(model).__name__
            train = PixelBatches(images, 24, binarize="dynamic")
            test = PixelBatches(images[:48], 24, train=False)
            adam = optim.Adam(model.parameters())
            with OutputFolder(folder / name) as out, redirect_stdout(io.StringIO()):
                rows = Trainer(model, adam, train, test, out, epochs=STEPS // len(train)).run()
            arrays[f"{name} loss"] = np.array(rows[-1]["test_loss"])
            arrays[name] = np.concatenate([p.data.ravel() for p in model.parameters()])
            checkpoint = (folder / name / "checkpoint.safetensors").read_bytes()
            arrays[f"{name} checkpoint"] = np.frombuffer(checkpoint, np.uint8)
    np.savez(folder / "made.npz", **arrays)


# ---------------------------------------------------------------- the comparison
def ways():
    """name -> (environment, variant) of every way of running that this machine has."""
    found = {
        "again": ({}, None),
        "two threads": ({"MINIVAE_NUM_THREADS": "2"}, None),
        "two BLAS threads": ({"OPENBLAS_NUM_THREADS": "2"}, None),
        "other hashes and addresses": ({"PYTHONHASHSEED": "7", "PADDING": "x" * 3000}, None),
    }
    for isa in ("plain", "avx2"):
        found[f"instruction set {isa}"] = ({"MINIVAE_ISA": isa}, None)
    for variant in ("reference", "composed", "numba"):
        if variant != "numba" or importlib.util.find_spec("numba"):
            found[f"{variant} kernels"] = ({}, variant)
    return found


def made(folder, environment, variant):
    """The arrays of one way of running; None when this machine has no such kernels."""
    folder.mkdir()
    command = [sys.executable, __file__, "--produce", str(folder), "--variant", variant or ""]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MINIVAE_")}
    done = subprocess.run(
        command, env={**clean, **BASE, **environment}, capture_output=True, text=True
    )
    if "KernelUnavailable" in done.stderr:
        return None
    if done.returncode:
        raise RuntimeError(done.stderr)
    with np.load(folder / "made.npz") as arrays:
        return dict(arrays)


def measure(quick):
    """One row for each way of running; ``quick`` leaves out all but threads and kernels."""
    found = report.Report(["compared with one thread", *PARTS], [])
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        base = made(folder / "base", {}, None)
        found.numbers["sha256"] = {
            name: hashlib.sha256(base[name]).hexdigest()[:16] for name in PARTS
        }
        for i, (name, (environment, variant)) in enumerate(ways().items()):
            if quick and name not in ("two threads", "reference kernels"):
                continue
            other = made(folder / str(i), environment, variant)
            if other is None:
                found.rows.append([name, *["not here"] * len(PARTS)])
                continue
            found.rows.append([name, *(_compared(base, other, part) for part in PARTS)])
            _judge(found, name, base, other)
    return found


def _compared(base, other, part):
    names = [name for name in (part, f"{part} checkpoint") if name in base]
    if all(np.array_equal(base[name], other[name]) for name in names):
        return "same bytes"
    within = f"{_distance(base[part], other[part]):.1e}"
    if f"{part} loss" not in base:
        return f"within {within}"
    return f"loss {_distance(base[f'{part} loss'], other[f'{part} loss']):.1e}, weights {within}"


def _distance(a, b):
    """Largest difference, relative to the largest number."""
    return float(np.abs(a.astype(float) - b).max() / np.abs(a).max())


def _judge(found, name, base, other):
    distances = {part: _distance(base[part], other[part]) for part in PARTS}
    found.numbers[name] = distances
    for part, distance in distances.items():
        if not distance <= BOUNDS[part]:  # nor is NaN
            found.faults.append(f"{name}, {part}: differs by {distance:.1e}")
        if name in SAME and _compared(base, other, part) != "same bytes":
            found.faults.append(f"{name}, {part}: other bytes")


if __name__ == "__main__":
    if "--produce" in sys.argv:
        parser = argparse.ArgumentParser()
        parser.add_argument("--produce", type=Path)
        parser.add_argument("--variant")
        arguments = parser.parse_args()
        produce(arguments.produce, arguments.variant)
        raise SystemExit
    raise SystemExit(report.main(measure))
