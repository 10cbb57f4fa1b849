"""The graph of a computation as a drawing: operations, shapes, values and gradients.

    mv.graph.draw(loss, "graph.svg", model, backward=True)

Each operation is a box with one line for each of its outputs, each leaf a box of its own; arrows
run the way values flow, ``backward`` runs against them. ``draw`` needs Graphviz; ``to_svg`` lays
the graph out itself, and ``to_dot`` gives the text that Graphviz reads.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from ..errors import GradientError, MinivaeError
from ..tensor import Function, Tensor
from . import dot, svg
from . import trace as _trace
from .graph_text import argument_names, value_lines

FORMATS = ("svg", "png", "pdf")


class Named(Protocol):
    """A module: what has parameters by name."""

    def named_parameters(self) -> Iterable[tuple[str, Tensor]]:
        """Pairs of a name and a parameter."""


def to_dot(
    tensor: Tensor | Graph,
    model: Named | None = None,
    names: Mapping[str, Any] | None = None,
    *,
    backward: bool = False,
    max_values: int = 6,
) -> str:
    """The computation behind ``tensor`` as DOT text.

    Args:
        tensor: the result, not yet used by ``backward``; or a ``Graph`` from ``capture``.
        model: a module. Its parameters are shown by name and its parts as clusters.
        names: dict from a name to the tensor, or input array, to be labelled with it.
        backward: run ``tensor.backward()`` first and show the gradients of intermediate tensors
            as well; leaves accumulate into ``.grad`` as always, and the graph is freed.
        max_values: the largest number of elements to be written out; else mean and std.

    Raises:
        GradientError: the graph was freed by an earlier backward (``capture`` it before).
    """
    graph = tensor if isinstance(tensor, Graph) else capture(tensor, model, names)
    if backward:
        graph.root.backward()
    return dot.to_dot(graph, max_values)


def to_svg(
    tensor: Tensor | Graph,
    model: Named | None = None,
    names: Mapping[str, Any] | None = None,
    *,
    backward: bool = False,
    max_values: int = 6,
) -> str:
    """The computation behind ``tensor`` as an SVG drawing, laid out here, without Graphviz.

    Plainer than ``draw``: modules are named in the boxes, not drawn around them.
    Arguments and errors as ``to_dot``.
    """
    graph = tensor if isinstance(tensor, Graph) else capture(tensor, model, names)
    if backward:
        graph.root.backward()
    return svg.to_svg(graph, max_values)


def draw(
    tensor: Tensor | Graph,
    path: str | os.PathLike[str],
    model: Named | None = None,
    names: Mapping[str, Any] | None = None,
    *,
    backward: bool = False,
    max_values: int = 6,
) -> Path:
    """Lay the graph out with Graphviz and write it to ``path``: .svg, .png or .pdf.

    Arguments and errors otherwise as ``to_dot``; in an SVG the formulas of an operation show when
    the pointer rests on it. Returns the path.

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
    tensor: Tensor | Graph,
    path: str | os.PathLike[str],
    model: Named | None = None,
    names: Mapping[str, Any] | None = None,
    *,
    max_values: int = 8,
) -> Path:
    """Write a page that goes through the computation behind ``tensor`` step by step.

    Each operation with its inputs, its outputs, its formulas and its code; then backward, with what
    each receives (dy) and gives (dx). The page needs no server, network or Graphviz. Runs
    ``tensor.backward()``. Arguments and errors otherwise as ``to_dot``; returns the path.

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
    """Keep the graph behind ``tensor``, so that it can be drawn after ``backward`` has freed it.

        graph = mv.graph.capture(loss, model)
        loss.backward()
        mv.graph.draw(graph, "graph.svg")

    Intermediate tensors keep their gradients while the ``Graph`` lives. Values are those at the
    time of drawing: draw before the optimiser's step changes the parameters. Arguments and errors
    as ``to_dot``.
    """
    return Graph(tensor, model, names)


class Graph:
    """The operations and leaves behind ``root``; arguments and errors as ``to_dot``.

    Attributes:
        ops: functions, each after those it depends on.
        inputs: dict from function to its input tensors (None for one left out).
        outputs: dict from function to {output index: tensor}, as far as they are used.
        leaves: tensors no operation made, in the order of their first use.
    """

    def __init__(
        self, root: Tensor, model: Named | None = None, names: Mapping[str, Any] | None = None
    ) -> None:
        self.root = root
        self.inputs: dict[Function, tuple[Any, ...]] = {}
        self.outputs: dict[Function, dict[int, Tensor]] = {}
        found: dict[Tensor, None] = {}  # keeps the order of discovery
        stack = [root]
        while stack:
            tensor = stack.pop()
            if tensor in found:
                continue
            found[tensor] = None
            op = tensor.creator
            if op is None:
                continue
            tensor.retain_grad()
            self.outputs.setdefault(op, {})[tensor.index] = tensor
            if op not in self.inputs:
                if op.released:
                    raise GradientError(
                        f"graph: the graph behind {type(op).__name__} was freed by an earlier "
                        "backward; capture or draw it before, or draw it with backward=True"
                    )
                self.inputs[op] = op.inputs
                stack += [t for t in op.inputs if t is not None]
        self.ops = sorted(self.inputs, key=lambda op: op.serial)
        used = dict.fromkeys(t for op in self.ops for t in self.inputs[op] if t is not None)
        self.leaves = [t for t in used if t.creator is None] or [root]
        # tensor -> name; the first name of a shared parameter counts
        self.names: dict[Any, str] = {}
        # parameter or function -> path of the module it belongs to
        self.owner: dict[Any, list[str]] = {}
        for name, parameter in model.named_parameters() if model is not None else ():
            if parameter in found and parameter not in self.names:
                *self.owner[parameter], self.names[parameter] = name.split(".")
        for name, value in (names or {}).items():
            self.names.update((t, name) for t in found if t is value)
            self.names.update((t, name) for t in self.leaves if _reshaped(t.data, value))
        self._assign_modules()

    def _assign_modules(self):
        """An operation belongs to the module that owns the parameters it uses. One without
        parameters belongs to the innermost module around all its nearest neighbours that have
        some, both before and after it: the relu between two layers of an encoder, to the encoder.
        """
        users = {op: [] for op in self.ops}
        makers = {op: [] for op in self.ops}
        for op in self.ops:
            tensors = [t for t in self.inputs[op] if t is not None]
            makers[op] = [t.creator for t in tensors if t.creator is not None]
            for maker in makers[op]:
                users[maker].append(op)
            if mine := [self.owner[t] for t in tensors if t in self.owner]:
                self.owner[op] = _common(mine)
        with_parameters = dict(self.owner)

        def nearest(order, neighbours):
            seen = {}
            for op in order:
                paths = []
                for n in neighbours[op]:
                    paths += [with_parameters[n]] if n in with_parameters else seen[n]
                seen[op] = [list(p) for p in dict.fromkeys(map(tuple, paths))]
            return seen

        before, after = nearest(self.ops, makers), nearest(self.ops[::-1], users)
        for op in self.ops:
            if op not in self.owner and before[op] and after[op]:
                self.owner[op] = _common(before[op] + after[op])

    def edges(self) -> list[tuple[Tensor, Function, str]]:
        """(tensor, function that takes it, name of that argument), "" for an only one."""
        found = []
        for op in self.ops:
            inputs = self.inputs[op]
            roles = [""] if len(inputs) == 1 else argument_names(op.forward, len(inputs))
            pairs = zip(inputs, roles, strict=True)
            found += [(tensor, op, role) for tensor, role in pairs if tensor is not None]
        return found

    def label(self, item: Any, max_values: int = 6) -> Label:
        """The text of a function's or a leaf's box; ``max_values`` as in ``to_dot``."""
        if item not in self.inputs:
            name = self.names.get(item, "")
            kind = "parameter" if item.requires_grad else "input"
            path = ".".join([*self.owner.get(item, ()), name])
            return Label(name, [_lines(item, "", max_values)], kind, path)
        several = len(item.output_like) > 1
        outputs = []
        for index, (shape, dtype) in enumerate(item.output_like):
            tensor = self.outputs[item].get(index)
            name = self.names.get(tensor, f"output {index}" if several else "")
            unused = [("name", name), ("", f"{shape} {dtype}"), ("", "unused")]
            outputs.append(unused if tensor is None else _lines(tensor, name, max_values))
        about = inspect.getdoc(type(item)) or ""
        return Label(type(item).__name__, outputs, "operation", about)


class Label(NamedTuple):
    """The text of a box: of a function or of a leaf.

    ``outputs`` has for each output the lines (style, text), the style one of "", "name", "wrong"
    and "gradient"; ``kind`` is "operation", "parameter" or "input"; ``about`` is an operation's
    docstring or a leaf's full name.
    """

    title: str
    outputs: list
    kind: str
    about: str


def _lines(tensor, name, max_values):
    """Name, shape and dtype, value, and the gradient where there is one."""
    lines = [("name", name)] if name else []
    lines.append(("", f"{tensor.shape} {tensor.dtype}"))
    for line in value_lines(tensor.data, max_values):
        lines.append(("wrong" if line.endswith("not finite") else "", line))
    if tensor.grad is not None:
        first, *rest = value_lines(tensor.grad, max_values)
        lines += [("gradient", line) for line in [f"grad {first}", *rest]]
    return lines


def _reshaped(array, original):
    """Whether ``array`` is the array ``original``, or the whole of it in another shape."""
    whole = array.base is original and array.size == original.size
    return array is original or whole


def _common(paths):
    """The longest module path that all of ``paths`` start with."""
    shared = []
    for parts in zip(*paths, strict=False):
        if len(set(parts)) > 1:
            break
        shared.append(parts[0])
    return shared
