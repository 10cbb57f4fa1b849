"""Write a run's results except checkpoints: summary.json, pictures and the explorer page."""

import json
from argparse import Namespace
from collections.abc import Iterable
from typing import Any

from ..evaluation import TrainedModel
from ..explore import explorer_page
from ..training.film import FILM, Film
from ..training.metrics import Row
from ..training.output_folder import OutputFolder
from ..training.tensorboard import EVENTS
from .info import kernels_used

SUMMARY, PAGE, GIF = "summary.json", "explorer.html", "film.gif"
DIGIT_PICTURES = ("loss", "reconstructions", "samples", "interpolation", "manifold", "latent")
EDITED = ("glasses", "smile")  # attributes whose vectors are drawn and scored
FACE_PICTURES = (
    "loss", "reconstructions", "samples", "interpolation", "morph", "arithmetic",
    *(f"{name}_vector" for name in EDITED),
)  # fmt: skip


def leftovers(pictures: Iterable[str], film: Film | None = None) -> list[str]:
    """The names of an earlier run's files to remove, because a new run may not overwrite them.

    ``pictures`` are the names of pictures; ``film`` is the new run's, or None.
    """
    found = [SUMMARY, PAGE, EVENTS, GIF, *(f"{name}.png" for name in pictures)]
    return found if film else [*found, FILM]


def write_summary(
    out: OutputFolder, args: Namespace, trained: TrainedModel, model: str, rows: list[Row],
    terms: dict[str, float], timing: dict[str, Any], **more: Any,
) -> None:  # fmt: skip
    """Write ``summary.json``.

    Args:
        out: the ``OutputFolder``, entered.
        args: the run's options.
        trained: model and data.
        model: the name of the model.
        rows: the rows of ``metrics.csv``, one per epoch.
        terms: losses on the test images: "loss", "rec" and "kl".
        timing: ``Trainer.timing()``.
        **more: further entries.
    """  # fmt: skip
    out.write(SUMMARY, json.dumps({
        "dataset": trained.data.name, "model": model,
        "parameters": sum(p.size for p in trained.model.parameters()),
        "epochs": len(rows), "batch_size": args.batch_size, "seed": args.seed,
        "device": args.device, "kernels": kernels_used(args.device),
        **{f"test_{name}": terms[name] for name in ("loss", "rec", "kl")},
        **timing, **more,
    }, indent=2) + "\n")  # fmt: skip


def write_pictures(out: OutputFolder, pictures: Iterable[tuple[str, Any]]) -> None:
    """Write each (name, figure) as soon as it is drawn, in matplotlib's default style.

    A user's ``matplotlibrc`` could end a finished run, for lack of LaTeX say, and equal runs leave
    equal files.
    """
    from ..viz import plots  # here, because a run without pictures needs no matplotlib
    from ..viz.without_backend import style

    with style.context("default"):
        for name, figure in pictures:
            out.write(f"{name}.png", plots.png(figure))


def write_page(
    out: OutputFolder, trained: TrainedModel, config: dict[str, Any], rows: list[Row]
) -> None:
    """Write ``explorer.html``."""
    out.write(PAGE, explorer_page(trained, config, rows))
