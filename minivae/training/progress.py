"""The progress bar and the lines that a training run prints."""

import math
from collections.abc import Callable
from typing import TypeAlias

from ..models.vae import ELBO
from ..progress_bar import ProgressBar
from .metrics import Row

Tell: TypeAlias = Callable[[str], object]  # called with a line of text for the user


class EpochBar:
    """A progress bar over the images of an epoch, on stderr if that is a terminal.

    Args:
        epoch: its number, counted from 1.
        epochs: number of epochs in the run.
        images: number of images in the epoch.
        done: images of the epoch that were trained on before the run was resumed.
    """

    def __init__(self, epoch: int, epochs: int, images: int, done: int) -> None:
        self._bar = ProgressBar(
            total=images, initial=done, desc=f"epoch {epoch}/{epochs}", unit="img", leave=False
        )

    def __enter__(self) -> "EpochBar":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._bar.close()

    def step(self, images: int, mean: ELBO | None) -> None:
        """Advance by the images of a step; show ``mean``, the epoch's mean losses, if known."""
        if self._bar.disable:
            return
        if mean:
            loss, rec, kl = mean
            self._bar.set_postfix_str(f"loss {loss:.2f} rec {rec:.2f} kl {kl:.2f}", refresh=False)
        self._bar.update(images)


def say(line: str) -> None:
    """Print a line without buffering, also if stdout is a file."""
    print(line, flush=True)


def epoch_line(row: Row, epochs: int, seconds: float) -> str:
    """The line that reports a finished epoch.

    ``row`` is a row of metrics.csv; ``seconds`` is NaN if the epoch began before a resume.
    """
    took = "begun before the run was resumed" if math.isnan(seconds) else f"{seconds:.1f} s"
    return (
        f"epoch {row['epoch']}/{epochs}: train {row['train_loss']:.2f}, "
        f"test {row['test_loss']:.2f} (rec {row['test_rec']:.2f}, kl {row['test_kl']:.2f}), "
        f"{row['active_units']} active units, {took}"
    )
