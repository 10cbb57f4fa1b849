"""Draw the pictures and the film that a run on digits writes at its end."""

from argparse import Namespace
from collections.abc import Iterator

import numpy as np

from ..backend import to_device
from ..data import LabelledImages, PixelBatches
from ..evaluation import posteriors
from ..models import VAE
from ..noise import SAMPLING, Noise
from ..training.film import Film
from ..training.metrics import Row
from ..training.output_folder import OutputFolder
from ..viz import film, latent, plots
from ..viz.without_backend import Figure

FILMED, DECODED = 500, 64  # test images and codes in each frame of a film


def draw(
    model: VAE, test: PixelBatches, labels: np.ndarray, name: str, rows: list[Row], args: Namespace
) -> Iterator[tuple[str, Figure]]:
    """(name, figure) of each picture.

    Args:
        model: the trained model.
        test: batches of the test images, as the model takes them.
        labels: their classes, (N,).
        name: of the data set.
        rows: the rows of ``metrics.csv``.
        args: the run's options.
    """
    about = f"\n{_about(model, name, args)}, epoch {len(rows)}"
    x = to_device(test.images[:20].astype(np.float32) / 255, args.device)
    title = f"Training images during each epoch, test images after it{about}"
    yield "loss", plots.losses(rows, title)
    decoded, title = model.reconstruct(x).numpy(), f"Test images and their reconstructions{about}"
    yield "reconstructions", plots.reconstructions(test.images[:20] / 255, decoded, title)
    drawn = model.sample(100, Noise(args.seed, SAMPLING)).numpy()
    yield "samples", plots.samples(drawn, f"Decoded draws from the prior{about}")
    one_each = np.unique(labels[: len(x)], return_index=True)[1]  # of every class
    half = (len(one_each) + 1) // 2  # 0 to 5, 1 to 6, ...
    walks = [
        model.interpolate(x[a], x[b], steps=11).numpy()
        for a, b in zip(one_each[:half], one_each[-half:], strict=True)
    ]
    title = f"From one test image to another{about}"
    yield "interpolation", plots.interpolation(np.stack(walks), title)
    if model.latent_dim == 2:
        grid = model.pixels(to_device(latent.manifold_grid(), args.device)).numpy()
        levels = np.linspace(0.01, 0.99, 20)
        yield "manifold", plots.manifold(grid, levels, f"The latent plane{about}")
        codes, _ = posteriors(model, test.epoch(0))
        yield "latent", plots.latent_plane(codes, labels, f"Mean codes of the test images{about}")


def film_of(
    model: VAE, test: LabelledImages, out: OutputFolder, batches: int, args: Namespace
) -> Film:
    """The ``Film`` of a run. It encodes the first test images, and decodes a grid of codes for two
    latents, else draws from the prior.
    """
    images = PixelBatches(
        test.images[:FILMED], FILMED, seed=args.seed, binarize=args.binarize, train=False
    )
    if model.latent_dim == 2:
        codes = latent.manifold_grid(round(DECODED**0.5))
    else:
        codes = model.standard_normal(Noise(args.seed, SAMPLING), DECODED)
    return Film(model, images, codes, out, batches)


def gif_of(taken: Film, labels: np.ndarray, name: str, args: Namespace) -> bytes:
    """``film.gif``; arguments as ``draw``."""
    frames = taken.arrays()
    title = _about(taken.model, name, args)
    title += f", warm-up {args.warmup:g} epochs" if args.warmup else ""
    return film.gif(frames, labels[: frames["mu"].shape[1]], taken.batches, title)


def _about(model: VAE, name: str, args: Namespace) -> str:
    """Data set, pixels, model and beta, for titles."""
    kind = "grey pixels" if args.binarize == "none" else f"{args.binarize} binarisation"
    return f"{name}, {kind}; {type(model).__name__}, {model.latent_dim} latents, beta {args.beta:g}"
