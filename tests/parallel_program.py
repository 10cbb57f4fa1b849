"""Tiny training runs that several processes share, with a fault planted in one of them.

    mpiexec -n 4 python tests/parallel_program.py FOLDER --models mlp conv face --parts 4

leaves a run in FOLDER/mlp, and so on. Nine steps each, the last of an epoch smaller.
"""

import argparse
import errno
import functools
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np

from minivae import models, optim
from minivae.cli.options import reported
from minivae.data import PixelBatches
from minivae.training import output_folder, parallel
from minivae.training.output_folder import OutputFolder
from minivae.training.parts import PartsStep
from minivae.training.trainer import Trainer

STEPS = 9  # of a run
DIGITS = np.random.default_rng(0).integers(0, 256, (50, 28, 28), dtype=np.uint8)
FACES = np.random.default_rng(1).integers(0, 256, (28, 3, 64, 64), dtype=np.uint8)
MODELS = {  # name -> (a function of nothing that gives a model, images, batch size, binarize)
    "mlp": (lambda: models.MLPVAE(latent_dim=3, hidden=5), DIGITS, 21, "dynamic"),
    "conv": (lambda: models.ConvVAE(latent_dim=2), DIGITS, 21, "none"),
    "face": (lambda: models.FaceVAE(latent_dim=3, image_size=64), FACES, 10, "none"),
}
FAULTS = ("interrupt", "exception", "nan", "kill", "full disk")


def trainer(name, out, parts=4, epochs=3, **options):
    """A ``Trainer`` of one of ``MODELS``."""
    build, images, size, binarize = MODELS[name]
    model = build()
    train = PixelBatches(images, size, binarize=binarize)
    test = PixelBatches(images[::-1], 8, train=False)
    adam = optim.Adam(model.parameters(), lr=1e-3)
    return Trainer(
        model, adam, train, test, out, epochs=epochs, parts=parts, save_every=1, **options
    )


def train(folder, name, parts=4, resume=False, **options):
    """Train in a folder; returns the checkpoint's bytes, in rank 0."""
    ranks = parallel.world()
    with ranks.only_first(OutputFolder(folder)) as out:
        made = trainer(name, out, parts, **options)
        if resume:
            made.resume()
        made.run()
    return (Path(folder) / "checkpoint.safetensors").read_bytes() if ranks.leads else None


def plant(fault, rank, step, mark):
    """Plant a fault in ``rank`` before its ``step``-th step; its time is written to ``mark``."""
    if parallel.world().rank != rank:
        return
    call, count = PartsStep.__call__, [0]

    def fails(*args, **kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    @functools.wraps(call)
    def step_with_fault(self, *args):
        count[0] += 1
        if count[0] == step:
            Path(mark).write_text(repr(time.time()))
            if fault == "interrupt":
                os.kill(os.getpid(), signal.SIGINT)
            elif fault == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            elif fault == "exception":
                raise RuntimeError("planted")
            elif fault == "nan":
                self.model.parameters()[0].data.fill(np.nan)
            else:
                output_folder.write_atomically = fails
        return call(self, *args)

    PartsStep.__call__ = step_with_fault


@functools.partial(reported, several=True)
def main(argv=None):
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--models", nargs="+", default=["mlp"])
    parser.add_argument("--parts", type=int)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--fault", choices=FAULTS)
    parser.add_argument("--rank", type=int, default=0)
    parser.add_argument("--step", type=int, default=1)
    args = parser.parse_args(argv)
    if args.fault:
        plant(args.fault, args.rank, args.step, args.folder / "fault")
    for name in args.models:
        train(args.folder / name, name, args.parts, args.resume, epochs=args.epochs)


if __name__ == "__main__":
    sys.exit(main())
