"""Draw the pictures that a run on faces, or on a folder of pictures, writes at its end."""

from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from ..backend import Array, to_device, to_numpy
from ..data import FaceDataset
from ..evaluation import face_edits
from ..models import VAE
from ..noise import SAMPLING, Noise
from ..training.metrics import Row
from ..viz import latent, plots
from ..viz.without_backend import Figure
from .run_output import EDITED

Pictures: TypeAlias = Iterator[tuple[str, Figure]]  # (name, figure) pairs
STRENGTHS = np.linspace(-2, 2, 7)


def draw(
    model: VAE, train: FaceDataset, test: FaceDataset, rows: list[Row], args: Namespace, noun: str
) -> Pictures:
    """(name, figure) of each picture that can be drawn from the images and their attributes.

    Args:
        model: the trained model.
        train, test: the parts of the set.
        rows: the rows of ``metrics.csv``; empty if nothing was trained.
        args: the run's options.
        noun: the word for the images in titles: "faces" or "images".
    """
    about = f"\n{test.name} at {test.size}; {type(model).__name__}, {model.latent_dim} latents, "
    about += f"{args.likelihood}, beta {args.beta:g}, "
    about += f"epoch {len(rows)}" if rows else f"weights of {Path(args.checkpoint).name}"
    if rows:
        title = f"Training {noun} during each epoch, held-out {noun} after it{about}"
        yield "loss", plots.losses(rows, title)
    x = to_device(face_edits.unit_pixels(test.images[:20]), args.device)
    decoded = model.reconstruct(x).numpy()
    yield "reconstructions", plots.reconstructions(to_numpy(x), decoded, f"Held-out {noun}{about}")
    drawn = model.sample(32, Noise(args.seed, SAMPLING)).numpy()
    yield "samples", plots.samples(drawn, f"New {noun} from the prior{about}", columns=8)
    codes, held_out = (face_edits.encode_means(model, part.images) for part in (train, test))
    yield from _walks(model, held_out, args.seed, noun, about)
    yield from _arithmetic(model, train, codes, about)
    for name in EDITED:
        if face_edits.has_both(train, name):
            vector = latent.attribute_vector(codes, train.attributes[name])
            walks = _decoded(model, held_out[:4, None] + STRENGTHS[:, None] * vector)
            title = f"The {name} vector on held-out {noun}{about}"
            yield f"{name}_vector", plots.attribute_walks(walks, STRENGTHS, name, title)


def _walks(model: VAE, codes: Array, seed: int, noun: str, about: str) -> Pictures:
    """Interpolations between pairs of held-out images."""
    order = np.random.default_rng(seed).permutation(len(codes))
    pairs = order[: 2 * min(4, len(codes) // 2)].reshape(-1, 2)
    if not len(pairs):
        return
    straight = _decoded(model, [latent.lerp(codes[a], codes[b], 6) for a, b in pairs])
    title = f"Six steps between held-out {noun}{about}"
    yield "interpolation", plots.interpolation(straight, title)
    round_about = _decoded(model, [great_circle(codes[a], codes[b], 9) for a, b in pairs[:2]])
    yield "morph", plots.interpolation(round_about, f"Along the great circle{about}")


def _arithmetic(model: VAE, train: FaceDataset, codes: Array, about: str) -> Pictures:
    """Arithmetic on mean codes: man with glasses - woman with glasses + woman without."""
    if not all(face_edits.has_both(train, name) for name in ("male", "glasses")):
        return
    man, glasses = train.attributes["male"], train.attributes["glasses"]
    groups = {
        "man with glasses": man & glasses,
        "woman with glasses": ~man & glasses,
        "woman without": ~man & ~glasses,
    }
    if all(group.any() for group in groups.values()):
        typical = [latent.exemplars(codes, g, min(3, g.sum())) for g in groups.values()]
        means = [codes[rows].mean(axis=0) for rows in typical]
        panels = _decoded(model, [*means, latent.arithmetic(*means)])
        title = f"Mean codes of three typical faces, decoded{about}"
        yield "arithmetic", plots.arithmetic(panels, [*groups, "man without?"], title)


def _decoded(model: VAE, codes: ArrayLike) -> Array:
    """Pictures (..., C, S, S) of codes (..., D)."""
    codes = np.asarray(codes, np.float32)
    images = face_edits.decode_means(model, codes.reshape(-1, model.latent_dim))
    return images.reshape(*codes.shape[:-1], *images.shape[1:])


def great_circle(a: np.ndarray, b: np.ndarray, steps: int) -> np.ndarray:
    """``latent.slerp``, or ``latent.lerp`` for codes of the same or opposite direction, for which
    slerp is undefined: equal pictures, a single latent, a collapsed posterior.
    """
    try:
        return latent.slerp(a, b, steps)
    except ValueError:
        return latent.lerp(a, b, steps)
