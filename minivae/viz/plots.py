"""Plots of a training run: losses, reconstructions, samples, interpolations, latent plane.

Each function returns a Figure; ``png`` gives its bytes, which are equal for equal pictures. Figures
are made without pyplot, so no global state changes and no display is needed.
"""

import io
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import NormalDist
from typing import Any

import numpy as np

from ..backend import Array
from .without_backend import Figure, MaxNLocator, colormaps

DPI = 150
COLOURS = 10  # number of colours in matplotlib's cycle
LEGEND_ROWS = 20  # largest number of rows in a legend's column
HEIGHT = 9  # largest height of a grid of images, inches
TRAIN, TEST = "#0072b2", "#d55e00"  # distinguishable for colour-blind readers


def png(figure: Any) -> bytes:
    """A figure as PNG bytes, without date or version, so that equal pictures give equal bytes."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # a missing glyph is drawn as a box
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # so that drawing again does not move anything
        figure.savefig(
            buffer, format="png", dpi=DPI, metadata={"Software": None}, bbox_inches="tight"
        )
    return buffer.getvalue()


def write(set_text: Callable[..., Any], text: str, **options: Any) -> None:
    """Call ``set_text`` with a text that a user may have chosen, such as the name of a set.

    Dollar signs do not start mathematics, and bytes that are not Unicode are escaped. ``options``
    are passed on.
    """
    text = text.encode("utf-8", "backslashreplace").decode()
    set_text(text, parse_math=False, **options)


def losses(rows: Sequence[Mapping[str, Any]], title: str) -> Any:
    """Loss, reconstruction and KL by epoch, on training and test images.

    ``rows``: dicts with the columns of metrics.csv. There are three panels, because the terms
    differ in scale and the sum does not show which term changes.
    """
    figure = Figure(figsize=(11, 3.8), layout="constrained")
    write(figure.suptitle, title)
    epochs = [row["epoch"] for row in rows]
    panels = {"loss": "loss = rec + beta KL", "rec": "reconstruction", "kl": "KL(q(z|x) || p(z))"}
    for axes, (term, name) in zip(figure.subplots(1, 3), panels.items(), strict=True):
        for part, colour, mark in (("train", TRAIN, "o-"), ("test", TEST, "s--")):
            values = [row[f"{part}_{term}"] for row in rows]
            axes.plot(epochs, values, mark, color=colour, ms=4, label=f"{part} {values[-1]:.2f}")
        axes.set_title(name, fontsize="medium")
        axes.set_xlabel("epoch")
        axes.set_ylabel("nats per image")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        axes.legend(title=f"after epoch {epochs[-1]}", fontsize="small", title_fontsize="small")
    return figure


def reconstructions(originals: Array, decoded: Array, title: str) -> Any:
    """Pairs of rows: images above, reconstructions below.

    ``originals`` and ``decoded`` are (N, ...) in [0, 1]; N should be below 10 or a multiple of 10,
    as an incomplete pair of rows is left out.
    """
    columns = min(10, len(originals))
    gap = 2
    pairs = []
    for start in range(0, len(originals) - columns + 1, columns):
        above, below = (pixels(a[start : start + columns]) for a in (originals, decoded))
        pairs.append(tiled(np.concatenate([above, below]), columns, gap))
    height, width = pairs[0].shape[:2]
    strip = np.ones((3 * gap, width, *pairs[0].shape[2:]))
    stacked = [part for pair in pairs for part in (pair, strip)][:-1]
    figure, axes = _picture(np.concatenate(stacked), title)
    rows = np.arange(len(pairs)) * (height + 3 * gap)
    ticks = np.concatenate([rows + height / 4, rows + 3 * height / 4])
    axes.set_yticks(ticks, ["image"] * len(pairs) + ["decoded"] * len(pairs), fontsize="small")
    axes.tick_params(length=0)
    return figure


def samples(images: Array, title: str, columns: int = 10) -> Any:
    """Images (N, ...) in [0, 1] in a grid, row by row."""
    figure, _ = _picture(tiled(pixels(images), columns, gap=2), title)
    return figure


def interpolation(strips: Array, title: str) -> Any:
    """One row per pair of images: ``strips`` (rows, steps, ...) of decoded codes, in [0, 1]."""
    names = [f"{t:.2g}" for t in np.linspace(0, 1, strips.shape[1])]
    figure, axes = _walks(strips, names, title)
    axes.set_xlabel("share of the way to the second image")
    return figure


def attribute_walks(walks: Array, strengths: Iterable[float], attribute: str, title: str) -> Any:
    """One row per face, edited along an attribute's vector; ``walks`` (rows, strengths, ...)."""
    names = ["as encoded" if s == 0 else f"{s:+.2g}" for s in strengths]
    figure, axes = _walks(walks, names, title)
    write(axes.set_xlabel, f"times the {attribute} vector")
    return figure


def arithmetic(panels: Array, names: Sequence[str], title: str) -> Any:
    """a - b + c = d: four images (4, ...) with their names."""
    figure, axes = _walks(panels[None], names, title)
    side = panels.shape[-1] + 2
    for i, sign in enumerate("\N{MINUS SIGN}+="):
        axes.text(
            (i + 1) * side - 1.5, panels.shape[-2] / 2, sign, fontsize=16, weight="bold",
            ha="center", va="center", bbox={"fc": "white", "ec": "none", "boxstyle": "circle"},
        )  # fmt: skip
    return figure


def manifold(images: Array, probabilities: Array, title: str) -> Any:
    """The decoded plane of two latents: ``images`` (n * n, ...) in the order of
    ``latent.manifold_grid``; ``probabilities`` are the n quantile levels of each axis.
    """
    n = len(probabilities)
    figure, axes = _picture(tiled(pixels(images), n, gap=0), title, size=8)
    side = images.reshape(n * n, -1).shape[1] ** 0.5
    shown = [0, n // 4, n // 2, 3 * n // 4, n - 1]
    z = [NormalDist().inv_cdf(probabilities[i]) for i in shown]
    names = [
        f"{probabilities[i]:.2f}\n$z$ = {value:.2f}" for i, value in zip(shown, z, strict=True)
    ]
    at = (np.array(shown) + 0.5) * side - 0.5
    axes.set_xticks(at, names)
    axes.set_yticks((n - 1 - np.array(shown) + 0.5) * side - 0.5, names)
    axes.set_xlabel("first latent: its quantile under the prior, and its value")
    axes.set_ylabel("second latent: its quantile under the prior, and its value")
    return figure


def latent_plane(codes: Array, labels: Array, title: str) -> Any:
    """A scatter plot of ``codes`` (N, 2) coloured by class, with a legend."""
    figure = Figure(figsize=(8, 6.8), layout="constrained")
    axes = figure.subplots()
    colours = class_colours(labels)
    few = len(colours) <= COLOURS
    for label, colour in colours.items():
        x, y = codes[labels == label].T
        axes.plot(x, y, ".", ms=4, alpha=0.6, mew=0, color=colour, label=label, rasterized=True)
        axes.annotate(  # the class's name at its median, for colour-blind readers
            str(label), (np.median(x), np.median(y)), weight="bold", fontsize=13 if few else 9,
            ha="center", va="center", bbox={"fc": "white", "ec": "none", "alpha": 0.7, "pad": 1},
        )  # fmt: skip
    # Limits by percentiles, because a few outliers would make the rest too small to see.
    for set_limits, values in ((axes.set_xlim, codes[:, 0]), (axes.set_ylim, codes[:, 1])):
        low, high = np.percentile(values, [0.2, 99.8])
        margin = 0.05 * (high - low) or 1.0
        set_limits(low - margin, high + margin)
    write(axes.set_title, title)
    axes.set_xlabel("mean of the first latent")
    axes.set_ylabel("mean of the second latent")
    axes.grid(alpha=0.3)
    axes.legend(
        title="class", markerscale=4, loc="center left", bbox_to_anchor=(1, 0.5),
        ncols=-(-len(colours) // LEGEND_ROWS),
    )  # fmt: skip
    return figure


def class_colours(labels: Array) -> Any:
    """A dict from class to colour, a different one for each class in ``labels``."""
    classes = np.unique(labels)
    if len(classes) == 0 or classes[-1] < COLOURS:  # a digit has the same colour in all pictures
        return {label: f"C{label}" for label in classes}
    return dict(zip(classes, colormaps["turbo"](np.linspace(0, 1, len(classes))), strict=True))


def pixels(images: Array) -> Array:
    """Images (N, P), (N, H, W) or (N, C, H, W) as (N, H, W) grey or (N, H, W, 3) colour."""
    images = np.asarray(images, dtype=np.float64)
    if images.ndim == 2:  # rows of pixels are square images
        side = round(images.shape[1] ** 0.5)
        images = images.reshape(len(images), side, side)
    if images.ndim == 4:
        images = np.moveaxis(images, 1, -1)
        images = images[..., 0] if images.shape[-1] == 1 else images
    return images


def tiled(images: Array, columns: int, gap: int) -> Array:
    """N images tiled to one, with ``gap`` white pixels between; unused places are white."""
    n, height, width = images.shape[:3]
    rows = -(-n // columns)
    page = np.ones((rows * (height + gap) - gap, columns * (width + gap) - gap, *images.shape[3:]))
    for i, image in enumerate(images):
        top, left = i // columns * (height + gap), i % columns * (width + gap)
        page[top : top + height, left : left + width] = image
    return page


def _walks(strips: Array, names: Sequence[str], title: str) -> Any:
    """(figure, axes) of images (rows, columns, ...) with a name under each column."""
    rows, columns = strips.shape[:2]
    images = pixels(strips.reshape(rows * columns, *strips.shape[2:]))
    figure, axes = _picture(tiled(images, columns, gap=2), title)
    at = (np.arange(columns) + 0.5) * (images.shape[2] + 2)
    axes.set_xticks(at, names, fontsize="small")
    axes.tick_params(length=0)
    return figure, axes


def _picture(page: Array, title: str, size: float = 7.5) -> Any:
    """(figure, axes) that show one image without interpolation between pixels."""
    height, width = page.shape[:2]
    size = min(size, HEIGHT * width / height)  # narrower for tall images
    figure = Figure(figsize=(size, size * height / width + 0.6), layout="constrained")
    axes = figure.subplots()
    write(axes.set_title, title, fontsize="medium", pad=10)
    axes.imshow(page, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
    return figure, axes
