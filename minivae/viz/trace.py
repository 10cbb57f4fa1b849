"""An HTML page that steps through a computation: forward, then backward.

One file without server, network or Graphviz: the drawing of the graph, the steps as JSON and a
short script. ``minivae.viz.graph.trace`` writes it.
"""

import html
import inspect
import json
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from ..backend import Array, to_numpy
from ..tensor import Function, Tensor
from ..tensor.arrays import filled
from .computation import Graph
from .graph_text import argument_names, value_lines

Step: TypeAlias = dict[str, Any]  # one step, as the page's script shows it
PACKAGE = Path(__file__).parents[1]


def steps(graph: Graph, max_values: int) -> list[Step]:
    """The forward steps of all operations, then their backward steps in the engine's order.

    Args:
        graph: a ``Graph``; ``graph.root.backward()`` is run, which frees the graph.
        max_values: the largest number of elements to print.
    """
    made = [forward_step(graph, number, max_values) for number in range(len(graph.ops))]
    watched: list[Step] = []
    for number, op in enumerate(graph.ops):

        def told(
            *dys: Any, number: int = number, backward: Callable[..., Any] = op.backward
        ) -> Any:
            dxs = backward(*dys)
            watched.append(backward_step(graph, number, dys, dxs, max_values))
            return dxs

        op.backward = told  # on this object only, not on its class
    try:
        graph.root.backward()
    finally:
        for op in graph.ops:
            vars(op).pop("backward", None)
    return made + watched


def forward_step(graph: Graph, number: int, max_values: int) -> Step:
    """The inputs and outputs of operation ``number`` of a graph."""
    op = graph.ops[number]
    rows = []
    for role, tensor in _arguments(graph, op):
        if tensor is not None:
            own = _name(graph, tensor)
            rows.append(_row(f"{role} = {own}" if own else role, tensor.data, max_values))
    for index, tensor in sorted(graph.outputs[op].items()):
        name = graph.names.get(tensor)
        y = _output(op, index)
        rows.append(_row(f"{y} = {name}" if name else y, tensor.data, max_values, "output"))
    return _step(graph, number, "forward", rows)


def backward_step(
    graph: Graph, number: int, dys: tuple[Any, ...], dxs: Any, max_values: int, whole: bool = True
) -> Step:
    """The gradients ``dys`` and ``dxs`` of the outputs and inputs of operation ``number``.

    ``whole``: whether ``dys`` are the complete gradients, as they are in the engine's order.
    """
    op = graph.ops[number]
    rows = []
    for index, (dy, like) in enumerate(zip(dys, op.output_like, strict=True)):
        dy = filled(op.xp, dy, *like)  # a number means an array filled with it
        name = graph.names.get(graph.outputs[op].get(index))
        y = f"d{_output(op, index)}"
        told = f"{y} {'=' if whole else 'is a part of'} dL/d({name})"
        rows.append(_row(told if name else y, dy, max_values, "dy"))
    dxs = dxs if isinstance(dxs, tuple) else (dxs,)
    for (role, tensor), dx in zip(_arguments(graph, op), dxs, strict=True):
        if tensor is not None and tensor.requires_grad and dx is not None:
            dx = filled(op.xp, dx, tensor.shape, tensor.dtype)
            name = _name(graph, tensor)
            label = f"d{role}, added to dL/d({name})" if name else f"d{role}"
            rows.append(_row(label, dx, max_values, "dx"))
    return _step(graph, number, "backward", rows)


def _arguments(graph: Graph, op: Function) -> list[tuple[str, Any]]:
    """(argument name, tensor) of each input."""
    inputs = graph.inputs[op]
    return list(zip(argument_names(op.forward, len(inputs)), inputs, strict=True))


def _name(graph: Graph, tensor: Tensor) -> str:
    """The name of a tensor with the module it belongs to; "" for one without."""
    own = graph.names.get(tensor, "")
    return ".".join([*graph.owner.get(tensor, ()), own]) if own else ""


def _output(op: Function, index: int) -> str:
    """The name of an output: y, or y0, y1, ... if there are several."""
    return f"y{index}" if len(op.output_like) > 1 else "y"


def _row(name: str, array: Array, max_values: int, kind: str = "input") -> dict[str, str]:
    """The row of the page for one array: name, kind, shape and values."""
    array = to_numpy(array)
    return {
        "name": name, "kind": kind, "shape": str(np.shape(array)),
        "value": "\n".join(value_lines(array, max_values)),
    }  # fmt: skip


def _step(graph: Graph, number: int, phase: str, rows: list[dict[str, str]]) -> Step:
    """One step: the box of the operation, the arrays, and the source code."""
    op = graph.ops[number]
    cls = type(op)
    code, where = _source(getattr(cls, phase))
    return {
        "node": number, "phase": phase, "title": cls.__name__, "rows": rows,
        "module": ".".join(graph.owner.get(op, ())), "about": inspect.getdoc(cls) or "",
        "code": code, "where": where,
    }  # fmt: skip


def _source(function: Callable[..., Any]) -> tuple[str, str]:
    """(source text, "file:line") of a method; empty strings if the source is not available."""
    try:
        lines, first = inspect.getsourcelines(function)
    except (OSError, TypeError):
        return "", ""
    path = Path(function.__code__.co_filename)
    inside = PACKAGE in path.parents
    name = path.relative_to(PACKAGE.parent).as_posix() if inside else path.name
    return textwrap.dedent("".join(lines)).rstrip(), f"{name}:{first}"


def page(title: str, drawing: str, tracks: dict[str, list[Step]], note: str = "") -> str:
    """The page.

    Args:
        title: the heading.
        drawing: SVG whose boxes have ids node0, node1, ...
        tracks: dict from a name to the list of steps that ``steps`` returns; the reader chooses
            which one is shown.
        note: a paragraph of plain text below the heading.
    """
    data = json.dumps(tracks, ensure_ascii=False).replace("<", "\\u003c")
    return (
        TEMPLATE.replace("@TITLE", html.escape(title))
        .replace("@NOTE", html.escape(note))
        .replace("@DRAWING", drawing)
        .replace("@TRACKS", data)
    )


TEMPLATE = """<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>@TITLE</title>
<style>
body { margin: 0; font: 15px/1.45 system-ui, sans-serif; color: #222; }
header { padding: 10px 16px; border-bottom: 1px solid #ccc; }
h1 { font-size: 18px; margin: 0 0 4px; } p { margin: 4px 0; max-width: 75em; }
main { display: flex; height: calc(100vh - 110px); }
#drawing { flex: 3; overflow: auto; padding: 12px; } #panel { flex: 2; overflow: auto;
  padding: 12px 16px; border-left: 1px solid #ccc; min-width: 320px; }
button, select { font: inherit; padding: 2px 10px; }
.node.forward rect { stroke: #0072b2; stroke-width: 2.5; }
.node.backward rect { stroke: #d55e00; stroke-width: 2.5; }
.node.here rect { stroke-width: 5; } .node { cursor: pointer; }
table { border-collapse: collapse; margin: 8px 0; } td { padding: 2px 10px 2px 0;
  vertical-align: top; } td.value { white-space: pre; font-family: ui-monospace, monospace; }
tr.dy, tr.dx { color: #b34a00; } tr.output { font-weight: bold; }
pre { background: #f5f5f5; padding: 8px; white-space: pre-wrap; font-size: 13px; }
@media (max-width: 800px) { main { flex-direction: column; height: auto; } }
</style>
<header><h1>@TITLE</h1><p>@NOTE</p>
<select id="track" aria-label="which way through the graph"></select>
<button id="previous">&larr; previous</button> <button id="next">next &rarr;</button>
<span id="count" aria-live="polite"></span></header>
<main><div id="drawing">@DRAWING</div><div id="panel" aria-live="polite"></div></main>
<script>
"use strict";
const tracks = @TRACKS;
const $ = id => document.getElementById(id);
let track = Object.keys(tracks)[0], at = 0;
for (const name of Object.keys(tracks)) $("track").add(new Option(name));
$("track").hidden = Object.keys(tracks).length < 2;
function element(tag, text, kind) {
  const made = document.createElement(tag);
  made.textContent = text;
  if (kind) made.className = kind;
  return made;
}
function show() {
  const steps = tracks[track], step = steps[at];
  for (const box of document.querySelectorAll(".node")) box.classList.remove(
    "forward", "backward", "here");
  steps.slice(0, at + 1).forEach(s => {
    const box = $("node" + s.node).classList;
    box.remove("forward", "backward");
    box.add(s.phase);
  });
  $("node" + step.node).classList.add("here");
  $("node" + step.node).scrollIntoView({block: "nearest", inline: "nearest"});
  $("count").textContent = `step ${at + 1} of ${steps.length}, ${step.phase}`;
  const panel = $("panel");
  panel.replaceChildren(element("h2", `${step.title}: ${step.phase}`));
  if (step.module) panel.append(element("p", "in " + step.module));
  if (step.said) panel.append(element("p", step.said));
  const table = document.createElement("table");
  for (const row of step.rows) {
    const line = element("tr", "", row.kind);
    line.append(element("td", row.name), element("td", row.shape),
                element("td", row.value, "value"));
    table.append(line);
  }
  panel.append(table, element("p", "The operation, forward and backward:"),
               element("pre", step.about));
  if (step.code) panel.append(element("p", step.where), element("pre", step.code));
}
function go(to) {
  at = Math.max(0, Math.min(tracks[track].length - 1, to));
  show();
}
$("previous").onclick = () => go(at - 1);
$("next").onclick = () => go(at + 1);
$("track").onchange = () => { track = $("track").value; go(0); };
document.onkeydown = event => {
  if (event.target.tagName === "SELECT") return;
  if (event.key === "ArrowRight") go(at + 1);
  if (event.key === "ArrowLeft") go(at - 1);
};
document.querySelectorAll(".node").forEach(box => box.onclick = () => {
  const number = Number(box.id.slice(4));
  const found = tracks[track].findIndex((s, i) => s.node === number && i > at);
  const first = tracks[track].findIndex(s => s.node === number);
  if (found >= 0 || first >= 0) go(found >= 0 ? found : first);
});
show();
</script>
</html>
"""
