"""Options, plotting and output files that the examples for study share."""

import itertools
import json
import sys
from pathlib import Path

import numpy as np

import minivae as mv
from minivae import data
from minivae.cli.options import Parser, reported, seed
from minivae.viz import plots
from minivae.viz.without_backend import Figure


def options(doc, name, argv):
    """The command line: ``--out`` (created), ``--short`` or ``--full``, ``--seed``, ``--data``.

    ``args.choose(short, usual, full)`` returns the argument for the selected size.
    """
    parser = Parser(prog=f"{name}.py", description=doc.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs") / name, help="folder for results")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--short", action="store_true", help="a few seconds, rougher numbers")
    size.add_argument("--full", action="store_true", help="some minutes, sharper numbers")
    parser.add_argument("--seed", type=seed, default=0, help="seed of all random numbers")
    parser.add_argument("--data", metavar="DIR", help="folder of MNIST, as for mnist_vae.py")
    args = parser.parse_args(argv)
    args.choose = lambda short, usual, full: short if args.short else full if args.full else usual
    args.out.mkdir(parents=True, exist_ok=True)
    return args


def run_example(main):
    """Run an example and exit; an error of the library, such as missing data, is one line."""
    sys.exit(reported(main)())


def panels(rows, columns, width=4.0, height=3.2, **share):
    """(figure, axes): a grid of plots, axes an array (rows, columns) or flat when one is 1."""
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    return figure, figure.subplots(rows, columns, **share)


def tiles(axes, images, columns, title=""):
    """Show images (N, pixels) or (N, H, W) in [0, 1] as one grid on ``axes``."""
    side = round(np.prod(images.shape[1:]) ** 0.5)
    rows = -(-len(images) // columns)
    page = np.ones((rows * columns, side + 2, side + 2))  # two white pixels between images
    page[: len(images), :side, :side] = np.reshape(images, (-1, side, side))
    page = page.reshape(rows, columns, side + 2, side + 2).swapaxes(1, 2)
    axes.imshow(page.reshape(rows * (side + 2), -1), cmap="gray", vmin=0, vmax=1)
    axes.set_title(title, fontsize="medium")
    axes.set_axis_off()


def strips(named, columns):
    """A figure with the images (N, pixels) of each name, ``columns`` images to a row."""
    heights = [-(-len(images) // columns) for images in named.values()]
    size = (0.75 * columns, sum(0.78 * h + 0.3 for h in heights))
    figure = Figure(figsize=size, layout="constrained")
    parts = figure.subplots(len(named), 1, height_ratios=heights)
    for axes, (name, images) in zip(parts, named.items(), strict=True):
        tiles(axes, images, columns, name)
    return figure


def first_batches(images, batch_size, steps, seed):
    """``steps`` batches, binarised anew in each epoch, over as many epochs as needed."""
    batches = data.PixelBatches(images, batch_size, seed=seed, binarize="dynamic")
    endless = (x for epoch in itertools.count() for x in batches.epoch(epoch))
    return itertools.islice(endless, steps)


def save(args, numbers, **figures):
    """Write numbers.json, and NAME.png for each figure; print their names."""
    (args.out / "numbers.json").write_text(json.dumps(numbers, indent=2, default=float) + "\n")
    for name, figure in figures.items():
        (args.out / f"{name}.png").write_bytes(plots.png(figure))
    print(f"\nIn {args.out}: numbers.json", *(f"{name}.png" for name in figures))


def draw_graph(tensor, path, *args, **options):
    """Draw a graph as SVG: with Graphviz, or else, and with a printed line, by minivae's layout."""
    try:
        mv.graph.draw(tensor, path, *args, **options)
    except mv.MinivaeError:
        path.write_text(mv.graph.to_svg(tensor, *args, **options), encoding="utf-8")
        print("Graphviz is not installed: minivae draws the graph with a simpler layout of its own")


def save_graph(args, graph):
    """Write a captured graph as graph.dot and graph.svg."""
    (args.out / "graph.dot").write_text(mv.graph.to_dot(graph))
    draw_graph(graph, args.out / "graph.svg")
