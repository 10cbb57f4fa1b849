"""Measure the cost of parts and processes in a training step; model when a second rank pays.

    python benchmarks/scaling_processes.py --json FILE

Measured: processor time of steps on the whole batch and on its parts in turn, in one process of one
thread; and, under the ``mpiexec`` beside mpi4py where there is one, the exchange of a step between
processes. Each time is the least of many, because other programs only make steps slower. Modelled:
the exchange over three networks, from the bytes that every rank sends and an assumed speed and
latency, and the batch from which two ranks are faster than one.
"""

import argparse
import functools
import json
import math
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from _harness import environment, write_json
from _pages import ROOT, markdown_table

from minivae import kernels, models, nn, optim
from minivae.data import PixelBatches
from minivae.data.batches import CutBatches
from minivae.noise import NoiseStream
from minivae.training import parallel
from minivae.training.choose_step import recorded
from minivae.training.parts import PartsStep
from minivae.training.step import EagerStep

MODELS = {  # name -> (a function that gives the model, shape of an image, images in a batch)
    "mlp": (models.MLPVAE, (28, 28), 128),
    "conv": (models.ConvVAE, (28, 28), 128),
    "face": (lambda: models.FaceVAE(image_size=64), (3, 64, 64), 16),
}
MODELLED = {  # models that train_step.py timed
    "mlp": (models.MLPVAE, (1, 28, 28), 128),
    "conv": (models.ConvVAE, (1, 28, 28), 128),
    "face": (models.FaceVAE, (3, 256, 256), 16),
}
RECORD = ROOT / "benchmarks" / "results" / "train_step" / "avx512-3.json"
PARTS, RANKS = (2, 4), (2, 4)
STEPS, EXCHANGES = {"mlp": 200, "conv": 30, "face": 60}, 400
NETWORKS = {  # name -> (bytes per second out of a rank, seconds of latency of a message): assumed
    "10 GbE": (1.25e9, 30e-6),
    "100 Gb/s": (12.5e9, 3e-6),
    "NVLink": (450e9, 5e-6),
}
GPU_FLOPS = 67e12  # float32 of an H200 by datasheet, which no step can exceed


def stepper(name, parts, ranks):
    """A function of no arguments that makes a training step; parts None is the step of one process
    without parts, "eager" the same operation by operation.
    """
    build, shape, size = MODELS[name]
    model = build()
    eager = EagerStep(model, optim.Adam(model.parameters()))
    images = np.random.default_rng(0).integers(0, 256, (size, *shape), dtype=np.uint8)
    batches, noise = PixelBatches(images, size), NoiseStream(0)
    if parts is None:
        step, batches = recorded(eager, batches, tell=lambda line: None)
    elif parts == "eager":
        step = eager
    else:
        step, batches = PartsStep(eager, ranks), CutBatches(batches, parts, ranks.mine(parts))
    x = next(iter(batches.epoch(0)))
    return lambda: step(x, noise.draw(), 1.0)


def least(steps, count, clock=time.process_time):
    """Milliseconds of the fastest of ``count`` calls of each function; they are called in turn."""
    times = {name: math.inf for name in steps}
    for _ in range(count):
        for name, step in steps.items():
            start = clock()
            step()
            times[name] = min(times[name], (clock() - start) * 1e3)
    return times


def worker(name):
    """Time the exchange of a step; rank 0 prints the milliseconds."""
    ranks, size = parallel.world(), sum(p.size for p in MODELS[name][0]().parameters())
    vector = np.zeros(size + -size % ranks.size, np.float32)
    times = least({"exchange": lambda: ranks.sum([vector])}, EXCHANGES, time.perf_counter)
    slowest = max(ranks.gather(times["exchange"]))
    if ranks.leads:
        print(json.dumps(slowest))


def in_processes(name, ranks):
    """Milliseconds of the exchange of a step between ``ranks`` processes."""
    mpiexec = shutil.which("mpiexec", path=Path(sys.executable).parent)
    command = [mpiexec, "-n", str(ranks), sys.executable, __file__, "--worker", name]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def multiplications(model, shape):
    """Multiplications of one image's forward pass: each weight once for each place it is used."""
    total = 0

    def counted(layer, x, **options):
        nonlocal total
        y = type(layer).forward(layer, x, **options)
        places = {nn.Conv2d: y, nn.ConvTranspose2d: x}.get(type(layer))
        total += layer.weight.size * (places.size // places.shape[1] if places is not None else 1)
        return y

    for layer in model.modules():
        if isinstance(layer, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)):
            layer.forward = functools.partial(counted, layer)
    mu, _ = model.encode(np.zeros((1, *shape), np.float32))
    model.decode(mu)
    return total


def modelled(name, ranks=2):
    """{network: (ms of an exchange, the batch from which two ranks are quicker than one)}.

    The time of an image on a CPU is the record of train_step.py; on a GPU it is a lower bound, the
    multiplications and additions of forward and twice as many of backward.
    """
    build, shape, size = MODELLED[name]
    model, found = build(), {}
    parameters = sum(p.size for p in model.parameters())
    milliseconds = json.loads(RECORD.read_text())["models"][name]["minivae"]["median"]
    for network, (speed, latency) in NETWORKS.items():
        exchange = 2 * (ranks - 1) * (4 * parameters / ranks / speed + latency)
        image = milliseconds / 1e3 / size
        if network == "NVLink":
            image = 6 * multiplications(model, shape) / GPU_FLOPS
        found[network] = exchange * 1e3, math.ceil(exchange / (image * (1 - 1 / ranks)))
    return found


def measure():
    """All figures of all models."""
    alone, results = parallel.Ranks(), {}
    for name in MODELS:
        kinds = {"whole": None, "eagerly": "eager", **{f"{s} parts": s for s in PARTS}}
        steps = {kind: stepper(name, parts, alone) for kind, parts in kinds.items()}
        times = least(steps, STEPS[name])
        for ranks in RANKS if shutil.which("mpiexec", path=Path(sys.executable).parent) else ():
            times[f"exchange of {ranks} processes"] = in_processes(name, ranks)
        results[name] = {"measured": times, "modelled": modelled(name)}
    return results


def table(record):
    """Two tables: what was measured, what was modelled."""
    results = record["results"]
    kinds = list(next(iter(results.values()))["measured"])
    rows = [
        [
            f"{n}, {side} x {side}, {images} images",
            *(f"{results[n]['measured'][k]:.2f}" for k in kinds),
        ]
        for n, (_, (*_, side), images) in MODELS.items()
    ]
    networks = [
        [f"{n}, {MODELLED[n][1][1]} x {MODELLED[n][1][2]}"]
        + [f"{ms:.2f} ms, {b:,}" for ms, b in r["modelled"].values()]
        for n, r in results.items()
    ]
    machine, mpi = record["environment"], " ".join(record["mpi"].replace("Version:", "").split())
    return (
        markdown_table(["least ms", *kinds], rows)
        + f"\n\n{machine['cpu']}, {machine['cores']} cores, {machine['instruction_set']}, "
        f"{machine['date']}, {mpi}.\n\n"
        + markdown_table(["exchange of two ranks, batch from which it pays", *NETWORKS], networks)
    )


def main():
    """Measure all, print and record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", metavar="FILE", help="write the record here")
    parser.add_argument("--worker", metavar="MODEL", help=argparse.SUPPRESS)
    args = parser.parse_args()
    os.environ["MINIVAE_NUM_THREADS"] = "1"  # inherited by the processes
    kernels.set_threads(1)
    if args.worker:
        worker(args.worker)
        return
    record = {"environment": environment(), "mpi": parallel.library(), "results": measure()}
    print(table(record))
    if args.json:
        write_json(args.json, record)


if __name__ == "__main__":
    main()
