"""Draw the graph of a computation: operations, shapes, values and gradients.

    mv.graph.draw(loss, "graph.svg", model, backward=True)

Each operation is a box with one section for each of its outputs, and each leaf is a box; arrows
point in the direction of the forward pass. ``draw`` needs Graphviz; ``to_svg`` has a layout of its
own, and ``to_dot`` gives the text that Graphviz reads.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..arguments import AnyPath
from ..errors import MinivaeError
from ..tensor import Tensor
from . import dot, svg
from . import trace as _trace
from .computation import Graph, Named

FORMATS = ("svg", "png", "pdf")


def to_dot(
    tensor: Tensor | Graph, model: Named | None = None, names: Mapping[str, Any] | None = None, *,
    backward: bool = False, max_values: int = 6,
) -> str:  # fmt: skip
    """The computation behind ``tensor`` as DOT text.

    Args:
        tensor: the result, before ``backward`` was called; or a ``Graph`` from ``capture``.
        model: a module. Its parameters are shown by name and its submodules as clusters.
        names: dict from a name to the tensor, or input array, that is labelled with it.
        backward: run ``tensor.backward()`` first and show the gradients of intermediate tensors
            as well; gradients of leaves are added to ``.grad`` as usual, and the graph is freed.
        max_values: the largest number of elements to print; larger arrays show mean and std.

    Raises:
        GradientError: the graph was freed by an earlier ``backward``; call ``capture`` before it.
    """
    graph = tensor if isinstance(tensor, Graph) else capture(tensor, model, names)
    if backward:
        graph.root.backward()
    return dot.to_dot(graph, max_values)


def to_svg(
    tensor: Tensor | Graph, model: Named | None = None, names: Mapping[str, Any] | None = None, *,
    backward: bool = False, max_values: int = 6,
) -> str:  # fmt: skip
    """The computation behind ``tensor`` as an SVG drawing, without Graphviz.

    Simpler than ``draw``: modules are named in the boxes, not drawn around them.
    Arguments and errors as ``to_dot``.
    """
    graph = tensor if isinstance(tensor, Graph) else capture(tensor, model, names)
    if backward:
        graph.root.backward()
    return svg.to_svg(graph, max_values)


def draw(
    tensor: Tensor | Graph, path: AnyPath, model: Named | None = None,
    names: Mapping[str, Any] | None = None, *, backward: bool = False, max_values: int = 6,
) -> Path:  # fmt: skip
    """Lay the graph out with Graphviz and write it to ``path``: .svg, .png or .pdf.

    Arguments and errors otherwise as ``to_dot``. In an SVG the tooltip of an operation shows its
    formulas. Returns the path.

    Raises:
        ValueError: another suffix.
        MinivaeError: Graphviz or its Python package is missing; the message says how to install it.
    """
    path = Path(path)
    suffix = path.suffix.lower().lstrip(".")
    if suffix not in FORMATS:
        raise ValueError(f"path: expected a name ending in one of {FORMATS}, got {path.name!r}")
    try:
        import graphviz
    except ImportError as error:
        raise MinivaeError(
            "draw: needs the Python package graphviz: pip install graphviz; "
            "to_svg draws without it, to_dot gives the text for another viewer of DOT"
        ) from error
    source = graphviz.Source(to_dot(tensor, model, names, backward=backward, max_values=max_values))
    try:
        picture = source.pipe(format=suffix)
    except graphviz.ExecutableNotFound as error:
        raise MinivaeError(
            "draw: needs Graphviz's program `dot` on the PATH: apt install graphviz, "
            "brew install graphviz or https://graphviz.org/download/; to_svg draws without it"
        ) from error
    path.write_bytes(picture)
    return path


def trace(
    tensor: Tensor | Graph, path: AnyPath, model: Named | None = None,
    names: Mapping[str, Any] | None = None, *, max_values: int = 8,
) -> Path:  # fmt: skip
    """Write an HTML page to ``path`` that steps through the computation behind ``tensor``.

    It shows each operation with its inputs, outputs, formulas and code; then the backward pass,
    with the gradients that each operation receives (dy) and returns (dx). The page needs no server,
    network or Graphviz. Runs ``tensor.backward()``. Arguments and errors otherwise as ``to_dot``;
    returns the path.

        mv.graph.trace(loss, "trace.html", model)
    """
    path = Path(path)
    graph = tensor if isinstance(tensor, Graph) else capture(tensor, model, names)
    drawing = svg.to_svg(graph, max_values)
    found = _trace.steps(graph, max_values)
    text = _trace.page("Forward and backward, step by step", drawing, {"the engine": found})
    path.write_text(text, encoding="utf-8")
    return path


def capture(
    tensor: Tensor, model: Named | None = None, names: Mapping[str, Any] | None = None
) -> Graph:
    """Record the graph behind ``tensor``, so that it can be drawn after ``backward`` has freed it.

        graph = mv.graph.capture(loss, model)
        loss.backward()
        mv.graph.draw(graph, "graph.svg")

    Intermediate tensors keep their gradients as long as the ``Graph`` exists. Values are those at
    the time of drawing: draw before the optimiser's step changes the parameters. Arguments and
    errors as ``to_dot``.
    """
    return Graph(tensor, model, names)
