"""Draw a captured graph as SVG with a layout of its own, without Graphviz."""

import html
from collections import Counter
from collections.abc import Sequence
from typing import Any

from ..tensor import Function, Tensor
from .computation import Graph, Label, Lines
from .dot import COLOURS, GRADIENT
from .layered import Point, layered

CHARACTER, LINE, PADDING = 6.1, 13, 8  # pixels of a monospaced font of size 10
BESIDE = 24  # pixels between edges that join the same two boxes
STYLE = (
    """
text { font: 10px ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace; fill: #222; }
.node rect { stroke: #666; } .edge { fill: none; stroke: #666; }
.title { font-weight: bold; } .name { font-style: italic; } .wrong { font-weight: bold; }
"""
    + f".gradient {{ fill: {GRADIENT}; }}"
)


class Drawing(str):
    """SVG text that a notebook displays as a picture."""

    __slots__ = ()

    def _repr_svg_(self) -> str:
        return str(self)


def to_svg(graph: Graph, max_values: int) -> Drawing:
    """The SVG text; see ``minivae.viz.graph.to_svg``. Elements ``node0``, ``node1``, ... are the
    operations and then the leaves.

    Args:
        graph: a ``Graph``.
        max_values: the largest number of elements to print.
    """
    # Leaves first: ``layered`` requires each node to come after its inputs.
    labels = {item: graph.label(item, max_values) for item in [*graph.leaves, *graph.ops]}
    lines = {item: _lines(graph, item, label) for item, label in labels.items()}
    sizes: dict[Any, Point] = {
        item: (
            max(len(text) for _, text in rows) * CHARACTER + 2 * PADDING,
            len(rows) * LINE + PADDING,
        )
        for item, rows in lines.items()
    }
    arrows = graph.edges()
    edges = [(tensor if tensor.creator is None else tensor.creator, op) for tensor, op, _ in arrows]
    places, routes = layered(sizes, edges)
    number = {item: i for i, item in enumerate([*graph.ops, *graph.leaves])}
    body, alike = [], Counter(edges)
    drawn: dict[Any, int] = {}
    for route, (tail, head), (_, _, role) in zip(routes, edges, arrows, strict=True):
        beside = drawn[tail, head] = drawn.get((tail, head), -1) + 1
        aside = (beside - (alike[tail, head] - 1) / 2) * BESIDE
        route = [(x + aside, y) for x, y in route]  # separates edges between the same two boxes
        body.append(_edge(route, sizes[tail], sizes[head], role))
    for item, (x, y) in places.items():
        width, height = sizes[item]
        label = labels[item]
        texts = "".join(
            f'<text class="{style}" x="{x:.1f}" y="{y - height / 2 + PADDING + 5 + i * LINE:.1f}" '
            f'text-anchor="middle">{html.escape(text)}</text>'
            for i, (style, text) in enumerate(lines[item])
        )
        body.append(
            f'<g class="node" id="node{number[item]}"><title>{html.escape(label.about)}</title>'
            f'<rect x="{x - width / 2:.1f}" y="{y - height / 2:.1f}" width="{width:.1f}" '
            f'height="{height:.1f}" rx="5" fill="{COLOURS[label.kind]}"/>{texts}</g>'
        )
    right = max(x + sizes[item][0] / 2 for item, (x, _) in places.items())
    bottom = max(y + sizes[item][1] / 2 for item, (_, y) in places.items())
    width, height = right + 20, bottom + 20
    return Drawing(
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="-10 -10 {width:.0f} {height:.0f}">\n<style>{STYLE}</style>\n'
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
        'markerHeight="7" orient="auto"><path d="M0,0 L8,4 L0,8 z" fill="#666"/></marker></defs>\n'
        + "\n".join(body)
        + "\n</svg>\n"
    )


def _lines(graph: Graph, item: Tensor | Function, label: Label) -> Lines:
    """(style, text) of each line of a box: title, module, then each output."""
    path = ".".join(graph.owner.get(item, ()))
    title = f"{path}.{label.title}" if path and label.kind == "parameter" else label.title
    lines = [("title", title)] if title else []
    if path and label.kind == "operation":
        lines.append(("", path))
    return [*lines, *(line for output in label.outputs for line in output)]


def _edge(route: Sequence[Point], tail: Point, head: Point, role: str) -> str:
    """A smooth line, labelled ``role``, from the bottom of box ``tail`` to the top of ``head``."""
    points = [list(point) for point in route]
    points[0][1] += tail[1] / 2
    points[-1][1] -= head[1] / 2
    (x, y), *rest = points
    path = f"M{x:.1f},{y:.1f}"
    for a, b in rest:
        middle = (y + b) / 2
        path += f" C{x:.1f},{middle:.1f} {a:.1f},{middle:.1f} {a:.1f},{b:.1f}"
        x, y = a, b
    (x0, y0), (x1, y1) = points[-2:]
    label = (
        f'<text x="{(x0 + 3 * x1) / 4 + 4:.1f}" y="{(y0 + 3 * y1) / 4:.1f}" fill="#666">'
        f"{html.escape(role)}</text>"
        if role
        else ""
    )
    return f'<path class="edge" d="{path}" marker-end="url(#tip)"/>{label}'
