"""Write a captured graph in DOT, Graphviz's language (https://graphviz.org/doc/info/lang.html)."""

import html
from collections.abc import Sequence
from typing import Any

from .computation import Graph, Lines

COLOURS = {"parameter": "#fff2cc", "input": "#eeeeee", "operation": "#dae8fc"}
GRADIENT = "#b85450"


def to_dot(graph: Graph, max_values: int) -> str:
    """The DOT text; see ``minivae.viz.graph.to_dot``.

    Args:
        graph: a ``Graph``.
        max_values: the largest number of elements to print.
    """
    node: dict[Any, str] = {op: f"op{i}" for i, op in enumerate(graph.ops)}
    node |= {leaf: f"leaf{i}" for i, leaf in enumerate(graph.leaves)}
    clusters: dict[str, Any] = {"children": {}, "lines": []}  # a tree of modules
    for item, name in node.items():
        place = clusters
        for part in graph.owner.get(item, ()):
            place = place["children"].setdefault(part, {"children": {}, "lines": []})
        label = graph.label(item, max_values)
        table = _table(label.title, [_cell(lines) for lines in label.outputs])
        place["lines"].append(
            f'{name} [label=<{table}>, fillcolor="{COLOURS[label.kind]}", '
            f'tooltip="{_quoted(label.about)}"];'
        )
    lines = [
        "digraph {",
        '  graph [fontname="Helvetica", fontsize=11, nodesep=0.25, ranksep=0.35];',
        '  node [shape=box, style="rounded,filled", color="#666666", fontname="Helvetica",'
        " fontsize=10, margin=0.06];",
        '  edge [fontname="Helvetica", fontsize=9, fontcolor="#666666", color="#666666"];',
        *_nested(clusters),
    ]
    for tensor, op, role in graph.edges():
        maker = tensor.creator
        tail = node[tensor] if maker is None else f"{node[maker]}:out{tensor.index}:s"
        lines.append(f'  {tail} -> {node[op]} [label="{_quoted(role)}"];')
    return "\n".join([*lines, "}", ""])


def _cell(lines: Lines) -> str:
    """The lines of one output, each (style, text), as HTML-like text."""
    wrapped = {
        "name": "<i>{}</i>",
        "gradient": f'<font color="{GRADIENT}">{{}}</font>',
        "wrong": "<b>{}</b>",
    }
    return "<br/>".join(wrapped.get(style, "{}").format(html.escape(t)) for style, t in lines)


def _table(title: str, cells: Sequence[str]) -> str:
    """An HTML-like label: the title, and below it the outputs side by side, one port for each."""
    head = f'<tr><td colspan="{len(cells)}"><b>{html.escape(title)}</b></td></tr>' if title else ""
    body = "".join(f'<td port="out{i}">{cell}</td>' for i, cell in enumerate(cells))
    return f'<table border="0" cellspacing="0" cellpadding="3">{head}<tr>{body}</tr></table>'


def _nested(cluster: dict[str, Any], path: tuple[str, ...] = ()) -> list[str]:
    """The lines of a module and, indented, those of its submodules."""
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


def _quoted(text: str) -> str:
    """Text escaped for a DOT string in double quotes."""
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
