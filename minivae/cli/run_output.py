"""Write what a training command leaves beside its checkpoints: summary, pictures, explorer page."""

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
    """The files of an earlier run that a new one, with ``film`` or without, may not replace."""
    found = [SUMMARY, PAGE, EVENTS, GIF, *(f"{name}.png" for name in pictures)]
    return found if film else [*found, FILM]


def write_summary(
    out: OutputFolder, args: Namespace, trained: TrainedModel, model: str, rows: list[Row],
    terms: dict[str, float], timing: dict[str, Any], **more: Any,
) -> None:  # fmt: skip
    """Write ``summary.json``.

    Args:
        out: the folder.
        args: the run's options.
        trained: model and data.
        model: what the model is called.
        rows: of ``metrics.csv``, one per epoch.
        terms: of the test images, by name.
        timing: of the run.
        **more: what only some runs have.
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
    """Write each picture as soon as it is drawn, in matplotlib's own style and not the user's: a
    run that has trained shall not fail for want of LaTeX, and equal runs shall leave equal files.
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
