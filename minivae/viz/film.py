"""Draw the film of a training run as a GIF: codes, decoded pictures, reconstruction loss and KL.

Equal frames give equal bytes. The axes are the same in all pictures, so that only the model's
changes are visible.
"""

import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from PIL import Image

from ..backend import Array
from . import plots
from .without_backend import Figure, FigureCanvasAgg, MaxNLocator, style, to_rgb

Frames: TypeAlias = Mapping[str, Array]
Update: TypeAlias = Callable[[int], object]  # makes a panel show frame i
DPI = 100
WIDTH, HEIGHT, SIDE = 800, 340, 224  # of a picture and of its square panels, in dots
SHOWN = 50  # largest number of pictures in a GIF
GREYS = 8  # grey levels of the decoded pictures: fewer make a smaller file
DURATION, LAST = 120, 2500  # milliseconds that a picture is shown; the last one
FAR = 99.5  # percentage of the codes inside the panel


@style.context("default")  # not the user's: equal runs leave equal files
def gif(frames: Frames, labels: Array, per_epoch: float, title: str) -> bytes:
    """A film as GIF bytes.

    Args:
        frames: a dict of arrays, the result of ``training.film.Film.arrays``: ``step``, ``beta``
            and ``rec`` (F,), ``kl`` (F, D), ``mu`` (F, N, D), ``pixels`` (F, M, P) uint8, with M a
            square number.
        labels: class of each code, (N,).
        per_epoch: number of steps in an epoch.
        title: the title of all pictures.
    """
    count = len(frames["step"])
    shown = np.unique(np.linspace(0, count - 1, min(count, SHOWN)).round().astype(int))
    colours = plots.class_colours(labels)
    figure, update = _figure(frames, [colours[label] for label in labels], per_epoch, title)
    canvas, palette, pictures = FigureCanvasAgg(figure), _palette(colours.values()), []
    for i in shown:
        update(i)
        canvas.draw()
        picture = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
        pictures.append(picture.quantize(palette=palette, dither=Image.Dither.NONE))
    body = io.BytesIO()
    pictures[0].save(
        body, "GIF", save_all=True, append_images=pictures[1:], loop=0, optimize=False,
        duration=[*[DURATION] * (len(shown) - 1), LAST],
    )  # fmt: skip
    return body.getvalue()


def _palette(colours: Iterable[Any]) -> Image.Image:
    """Greys, and each colour with two lighter ones, cut to the 256 colours of a GIF."""
    shades = [np.linspace(0, 1, 4 * GREYS)[:, None].repeat(3, axis=1)]
    for colour in (plots.TRAIN, plots.TEST, *colours):
        shades.append(1 - np.array([[1], [0.7], [0.35]]) * (1 - np.array(to_rgb(colour))))
    palette = Image.new("P", (1, 1))
    palette.putpalette(np.rint(255 * np.concatenate(shades)[:256]).astype(np.uint8).tobytes())
    return palette


def _figure(
    frames: Frames, colours: Sequence[Any], per_epoch: float, title: str
) -> tuple[Figure, Update]:
    """(figure, function that makes it show frame i); ``colours`` are those of the codes."""
    figure = Figure(figsize=(WIDTH / DPI, HEIGHT / DPI), dpi=DPI)
    plots.write(lambda text, **o: figure.text(0.5, 0.97, text, ha="center", va="top", **o), title)
    line = figure.text(0.5, 0.03, "", ha="center", family="monospace")
    codes, grid = (_axes(figure, left, 50, SIDE, SIDE) for left in (50, 300))
    parts = [_codes(codes, frames, colours), _pictures(grid, frames)]
    epochs, rec, kl = frames["step"] / per_epoch, frames["rec"], frames["kl"]
    late = epochs >= min(0.25, epochs[-1])  # these set the scales; first losses are huge
    above, middle, below = (_axes(figure, 580, bottom, 200, 46) for bottom in (228, 139, 50))
    parts.append(_curve(above, "rec", epochs, rec, plots.TRAIN, rec[late].min(), rec[late].max()))
    total = kl.sum(axis=1)
    parts.append(_curve(middle, "KL", epochs, total, plots.TEST, 0, total[late].max()))
    parts.append(_bars(below, kl, max(kl[late].max(), 0.1)))

    def update(i: int) -> None:
        line.set_text(
            f"epoch {epochs[i]:5.2f}  step {frames['step'][i]:6d}  beta {frames['beta'][i]:5.2f}  "
            f"rec {rec[i]:6.1f}  KL {total[i]:5.1f}"
        )
        for part in parts:
            part(i)

    return figure, update


def _axes(figure: Figure, left: float, bottom: float, width: float, height: float) -> Any:
    """Axes at a position given in dots."""
    axes = figure.add_axes((left / WIDTH, bottom / HEIGHT, width / WIDTH, height / HEIGHT))
    axes.tick_params(labelsize="x-small")
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    return axes


def _codes(axes: Any, frames: Frames, colours: Sequence[Any]) -> Update:
    """The two latents with the largest KL, and circles at one and two deviations of the prior."""
    two = np.sort(np.argsort(-np.median(frames["kl"], axis=0), kind="stable")[:2])
    mu = frames["mu"][..., two]
    if len(two) == 1:
        mu = np.concatenate([mu, np.zeros_like(mu)], axis=-1)
    limit = max(3.2, np.percentile(np.abs(mu), FAR))
    dots = axes.scatter(*mu[0].T, s=5, lw=0, alpha=0.7, c=colours)
    angle = np.linspace(0, 2 * np.pi, 100)
    for radius in (1, 2):
        axes.plot(radius * np.cos(angle), radius * np.sin(angle), "k--", lw=0.7)
    axes.set(xlim=(-limit, limit), ylim=(-limit, limit))
    names = " and ".join(f"$z_{{{d + 1}}}$" for d in two)
    axes.set_title(f"mean codes: {names}", fontsize="small")
    return lambda i: dots.set_offsets(mu[i])


def _pictures(axes: Any, frames: Frames) -> Update:
    """The decoded codes, tiled to a square."""
    columns = round(frames["pixels"].shape[1] ** 0.5)
    plane = frames["mu"].shape[-1] == 2
    axes.set_title("the plane, decoded" if plane else "draws from the prior", fontsize="small")
    axes.set_axis_off()

    def page(i: int) -> Array:
        grey = np.rint(frames["pixels"][i] / 255 * (GREYS - 1)) / (GREYS - 1)
        return plots.tiled(plots.pixels(grey), columns, gap=0)

    image = axes.imshow(page(0), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    return lambda i: image.set_data(page(i))


def _curve(
    axes: Any, name: str, epochs: Array, values: Array, colour: str, low: float, high: float
) -> Update:
    """The curve of a loss up to the current frame."""
    margin = 0.05 * (high - low) or 1.0
    axes.set(xlim=(0, epochs[-1] or 1), ylim=(low - margin, high + margin))
    axes.set_title(f"{name}, nats per image, by epoch", fontsize="small")
    (line,) = axes.plot([], [], color=colour)
    return lambda i: line.set_data(epochs[: i + 1], values[: i + 1])


def _bars(axes: Any, kl: Array, high: float) -> Update:
    """A bar for the KL of each latent."""
    bars = axes.bar(1 + np.arange(kl.shape[1]), kl[0], color=plots.TEST)
    axes.set_ylim(0, 1.05 * high)
    axes.set_title("KL of each latent", fontsize="small")
    return lambda i: [bar.set_height(height) for bar, height in zip(bars, kl[i], strict=True)]
