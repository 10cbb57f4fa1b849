"""The graph of a computation, seen: operations, shapes, values and gradients as a DOT drawing.

    mv.graph.draw(loss, "graph.svg", model, backward=True)

Each operation is a box with one line for each of its outputs, each leaf a box of its own; arrows
run the way values flow, ``backward`` runs against them. DOT is the language of Graphviz
(https://graphviz.org/doc/info/lang.html); writing it needs no library, ``draw`` needs Graphviz.
"""

import html
import inspect
from pathlib import Path

import numpy as np

from ..backend import to_numpy
from ..errors import GradientError, MinivaeError

FORMATS = ("svg", "png", "pdf")
LEARNED, GIVEN, COMPUTED, GRADIENT = "#fff2cc", "#eeeeee", "#dae8fc", "#b85450"  # colours


def to_dot(tensor, model=None, names=None, *, backward=False, max_values=6):
    """The computation behind ``tensor`` as DOT text.

    Args:
        tensor: the result, not yet used by ``backward``; or a ``Graph`` from ``capture``.
        model: a module. Its parameters are shown by name and its parts as clusters.
        names: dict from a name to a tensor, or to an array given as input, to be shown with it.
        backward: run ``tensor.backward()`` first and show the gradients of intermediate tensors
            as well; leaves accumulate into ``.grad`` as always, and the graph is freed.
        max_values: the largest number of elements to be written out; more are summed up.

    Raises:
        GradientError: the graph was freed by an earlier backward (``capture`` it before).
    """
    graph = tensor if isinstance(tensor, Graph) else capture(tensor, model, names)
    if backward:
        graph.root.backward()
    return graph.to_dot(max_values)


def draw(tensor, path, model=None, names=None, *, backward=False, max_values=6):
    """Lay the graph out with Graphviz and write it to ``path``: .svg, .png or .pdf.

    Arguments and errors otherwise as ``to_dot``; in an SVG the formulas of an operation show when
    the pointer rests on it. Returns the path.

    Raises:
        ValueError: another suffix.
        MinivaeError: Graphviz or its Python package is not installed; the message says how to.
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
            "to_dot gives the text for any other viewer of DOT"
        ) from error
    source = graphviz.Source(to_dot(tensor, model, names, backward=backward, max_values=max_values))
    try:
        picture = source.pipe(format=suffix)
    except graphviz.ExecutableNotFound as error:
        raise MinivaeError(
            "draw: needs Graphviz's program `dot` on the PATH: apt install graphviz, "
            "brew install graphviz or https://graphviz.org/download/"
        ) from error
    path.write_bytes(picture)
    return path


def capture(tensor, model=None, names=None):
    """Hold on to the graph behind ``tensor``, so that it can be drawn after ``backward`` frees it.

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

    def __init__(self, root, model=None, names=None):
        self.root = root
        self.inputs, self.outputs = {}, {}
        found, stack = {}, [root]  # a dict keeps the order of discovery
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
        self.names = {}  # tensor -> name; the first name of a shared parameter counts
        self.owner = {}  # parameter or function -> path of the module it belongs to
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

    def to_dot(self, max_values=6):
        """DOT text; see the function ``to_dot``."""
        node = {op: f"op{i}" for i, op in enumerate(self.ops)}
        node |= {leaf: f"leaf{i}" for i, leaf in enumerate(self.leaves)}
        clusters = {"children": {}, "lines": []}  # a tree of modules
        for item, name in node.items():
            place = clusters
            for part in self.owner.get(item, ()):
                place = place["children"].setdefault(part, {"children": {}, "lines": []})
            label, colour, tip = self._label(item, max_values)
            place["lines"].append(
                f'{name} [label=<{label}>, fillcolor="{colour}", tooltip="{_quoted(tip)}"];'
            )
        lines = [
            "digraph {",
            '  graph [fontname="Helvetica", fontsize=11, nodesep=0.25, ranksep=0.35];',
            '  node [shape=box, style="rounded,filled", color="#666666", fontname="Helvetica",'
            " fontsize=10, margin=0.06];",
            '  edge [fontname="Helvetica", fontsize=9, fontcolor="#666666", color="#666666"];',
            *_nested(clusters),
        ]
        for op in self.ops:
            argument = _argument_names(op, len(self.inputs[op]))
            for tensor, role in zip(self.inputs[op], argument, strict=True):
                if tensor is not None:
                    maker = tensor.creator
                    tail = node[tensor] if maker is None else f"{node[maker]}:out{tensor.index}:s"
                    lines.append(f'  {tail} -> {node[op]} [label="{_quoted(role)}"];')
        return "\n".join([*lines, "}", ""])

    def _label(self, item, max_values):
        """(HTML-like label, colour, tooltip) of a function or a leaf."""
        if item not in self.inputs:
            name = self.names.get(item, "")
            colour = LEARNED if item.requires_grad else GIVEN
            path = ".".join([*self.owner.get(item, ()), name])
            return _table(name, [_lines(item, "", max_values)]), colour, path
        several = len(item.output_like) > 1
        cells = []
        for index, (shape, dtype) in enumerate(item.output_like):
            tensor = self.outputs[item].get(index)
            name = self.names.get(tensor, f"output {index}" if several else "")
            unused = [f"<i>{name}</i>", f"{shape} {dtype}", "unused"]
            cells.append(unused if tensor is None else _lines(tensor, name, max_values))
        return _table(type(item).__name__, cells), COMPUTED, inspect.getdoc(type(item)) or ""


def _lines(tensor, name, max_values):
    """Name, shape and dtype, value, and the gradient where there is one."""
    lines = [f"<i>{html.escape(name)}</i>"] if name else []
    lines += [f"{tensor.shape} {tensor.dtype}", _value(tensor.data, max_values)]
    if tensor.grad is not None:
        lines.append(f'<font color="{GRADIENT}">grad {_value(tensor.grad, max_values)}</font>')
    return lines


def _value(array, max_values):
    """A small array written out; mean and standard deviation of a larger one."""
    array = to_numpy(array)
    if array.size == 0:
        return "no elements"
    if array.size <= max_values:
        text = np.array2string(array, precision=4, separator=", ", suppress_small=False)
        return text.replace("\n", "<br/>")
    wrong = array.size - np.count_nonzero(np.isfinite(array))
    if wrong:
        return f"<b>{wrong} of {array.size} not finite</b>"
    return f"mean {array.mean(dtype=np.float64):.3g}, std {array.std(dtype=np.float64):.3g}"


def _table(title, cells):
    """An HTML-like label: the title, and below it the outputs side by side, which edges leave."""
    head = f'<tr><td colspan="{len(cells)}"><b>{html.escape(title)}</b></td></tr>' if title else ""
    body = "".join(f'<td port="out{i}">{"<br/>".join(lines)}</td>' for i, lines in enumerate(cells))
    return f'<table border="0" cellspacing="0" cellpadding="3">{head}<tr>{body}</tr></table>'


def _nested(cluster, path=()):
    """The lines of a module and, indented, those of its parts."""
    indent = "  " * (len(path) + 1)
    lines = [indent + line for line in cluster["lines"]]
    for name, child in cluster["children"].items():
        inner = (*path, name)
        lines += [
            f'{indent}subgraph "cluster_{_quoted(".".join(inner))}" {{',
            f'{indent}  label="{_quoted(name)}"; style="rounded"; color="#999999"; labeljust="l";',
            *_nested(child, inner),
            indent + "}",
        ]
    return lines


def _argument_names(op, count):
    """The names ``forward`` gives to its arrays: x, w, b. None are needed for a single one."""
    if count == 1:
        return [""]
    parameters = list(inspect.signature(op.forward).parameters.values())
    if parameters and parameters[0].kind is inspect.Parameter.VAR_POSITIONAL:
        return [str(i) for i in range(count)]
    return [p.name for p in parameters[:count]]


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


def _quoted(text):
    """Text inside a DOT string of double quotes."""
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
