"""Extreme numbers: a run ends with a defined result, or with an error that names the cause.

Each case is a run of two epochs of a tiny VAE, with the compiled kernels and with the reference
ones; both must end alike. A run that stops keeps its last good checkpoint.
"""

import contextlib
import io
import re
import tempfile
import warnings
from pathlib import Path

import numpy as np
import report

import tiny_run
from minivae import kernels, models, optim
from minivae.data import PixelBatches
from minivae.errors import NonFiniteError
from minivae.training import checkpoint
from minivae.training.output_folder import OutputFolder
from minivae.training.step import EagerStep
from minivae.training.trainer import Trainer

IMAGES, HELD_OUT = tiny_run.IMAGES, tiny_run.IMAGES[:30]
EPOCHS = 2


class Wild(PixelBatches):
    """Batches whose pixels are changed by a function."""

    def __init__(self, images, batch_size, change, from_epoch=0, **options):
        super().__init__(images, batch_size, **options)
        self.change, self.from_epoch = change, from_epoch

    def epoch(self, epoch, start=0):
        for x in super().epoch(epoch, start):
            yield self.change(x) if epoch >= self.from_epoch else x


def grey(value):
    """Fifty images of one value."""
    return np.full_like(IMAGES, value)


def bias(name, value):
    """A change of a model before its first step: one bias set to a value everywhere."""

    def change(model):
        parameter = dict(model.named_parameters())[name]
        parameter.data[...] = value

    return change


def spoiled(x):
    """A batch with one NaN."""
    x[0, 0, 3, 3] = np.nan
    return x


TRAINS, REFUSED, STOPS = "trains", "refused", "stops"
# (what is extreme, how it must end, a part of the message, the run's options)
CASES = [
    ("logvar = 100", STOPS, "the output of ReparameterizeKL", {"spoil": bias("fc22.bias", 100)}),
    ("logvar = -100", TRAINS, "", {"spoil": bias("fc22.bias", -100)}),
    ("mu = 1e20", STOPS, "the output of ReparameterizeKL", {"spoil": bias("fc21.bias", 1e20)}),
    ("mu = 1e15", TRAINS, "", {"spoil": bias("fc21.bias", 1e15)}),
    ("logits = 10,000", TRAINS, "", {"spoil": bias("fc4.bias", 1e4)}),
    ("logits = -10,000", TRAINS, "", {"spoil": bias("fc4.bias", -1e4)}),
    ("black images", TRAINS, "", {"images": grey(0)}),
    ("white images", TRAINS, "", {"images": grey(255)}),
    ("pixels 0 to 255", REFUSED, "train: expected pixels from 0 to 1, got",
     {"change": lambda x: 255 * x}),
    ("a NaN pixel in the first batch", REFUSED, "train: expected pixels from 0 to 1, got nan",
     {"change": spoiled}),
    ("a NaN pixel in epoch 2", STOPS, "the input batch", {"change": spoiled, "from_epoch": 1}),
    ("beta = 0", TRAINS, "", {"beta": 0.0}),
    ("beta = -1", REFUSED, "beta: expected a finite number >= 0, got -1", {"beta": -1.0}),
    ("beta = NaN", REFUSED, "beta: expected a finite number >= 0, got nan", {"beta": float("nan")}),
    ("beta = 1e38", STOPS, "", {"beta": 1e38}),
    ("latent size 1", TRAINS, "", {"latent_dim": 1}),
    ("latent size 0", REFUSED, "latent_dim: expected at least 1", {"latent_dim": 0}),
    ("batches of 1", TRAINS, "", {"batch": 1}),
    ("a last batch of 1", TRAINS, "", {"batch": 49}),
    ("a batch larger than the set", TRAINS, "", {"batch": 1000}),
    ("learned sigma = 1e-13", STOPS, "the optimiser's v",
     {"likelihood": "gaussian", "spoil": bias("pixel_logvar", -60)}),
    ("learned sigma = 1e-22", STOPS, "GaussianNLL",
     {"likelihood": "gaussian", "spoil": bias("pixel_logvar", -100)}),
    ("learned sigma of a perfect fit, which falls to 0", STOPS, "GaussianNLL",
     {"likelihood": "gaussian", "images": grey(0), "spoil": bias("fc4.bias", -1e4), "lr": 1.0,
      "epochs": 60}),
    ("learning rate 1e30", STOPS, "", {"lr": 1e30}),
]  # fmt: skip


def measure(quick):
    """Both kernels for each case; ``quick`` is all of it, it takes seconds."""
    made = report.Report(["what is extreme", "what happens"], [])
    variants = [v for v in ("cpu", "reference") if v in kernels.available()]
    for name, expected, message, options in CASES:
        ends = {variant: _end(variant, options) for variant in variants}
        first = ends[variants[0]]
        for variant, (kind, text, kept) in ends.items():
            if kind != expected or message not in text or not kept:
                made.faults.append(f"{name}, {variant} kernels: {kind} ({text}), kept {kept}")
        made.rows.append([name, first[1]])
    made.numbers = {"cases": len(CASES), "variants": variants}
    return made


def _end(variant, options):
    """(how a run ends, its message, whether its last checkpoint loads and is of a good epoch)."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")  # NumPy's, of overflow: what comes of it is the question
        stack.enter_context(kernels.use(variant))
        out = stack.enter_context(OutputFolder(folder))
        path = Path(folder) / "checkpoint.safetensors"
        try:
            trainer = _trainer(out, **options)
        except ValueError as error:
            return REFUSED, f"refused: {error}", True
        try:
            rows = trainer.run()
        except ValueError as error:
            return REFUSED, f"refused: {error}", trainer.state.step == 0 and not path.exists()
        except NonFiniteError as error:
            reason = re.search(r"step \d+: (.*) is NaN or infinite", str(error))[1]
            done = trainer.state.epoch
            kept = checkpoint.load(path)["epoch"] == done if done else not path.exists()
            return STOPS, f"stops by name: {reason}", kept
        finite = all(np.isfinite(value) for row in rows for value in row.values())
        good = finite and checkpoint.load(path)["epoch"] == trainer.epochs
        return TRAINS, f"trains, test loss {rows[-1]['test_loss']:.3g}", good


def _trainer(
    out, *, images=IMAGES, batch=24, latent_dim=2, likelihood="bernoulli", lr=1e-3, beta=1.0,
    spoil=lambda model: None, change=lambda x: x, from_epoch=0, epochs=EPOCHS,
):  # fmt: skip
    model = models.MLPVAE(latent_dim, hidden=4, likelihood=likelihood)
    adam = optim.Adam(model.parameters(), lr=lr)
    train = Wild(images, batch, change, from_epoch)
    test = PixelBatches(images[: len(HELD_OUT)], batch, train=False)
    trainer = Trainer(model, adam, train, test, out, epochs=epochs, beta=beta)
    spoil(model)
    trainer.step_function = EagerStep(model, adam)
    return trainer


if __name__ == "__main__":
    raise SystemExit(report.main(measure))
