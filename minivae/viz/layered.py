"""Layered layout of a directed acyclic graph, edges running downwards.

The method of Sugiyama, Tagawa & Toda 1981 (IEEE Trans. SMC 11): assign layers by longest path, add
a dummy node in every layer that a long edge crosses, order each layer by the mean position of the
nodes' neighbours, and choose coordinates that align neighbours vertically.
"""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

SWEEPS = 12
Point: TypeAlias = tuple[float, float]
Edge: TypeAlias = tuple[Any, Any]  # two nodes, which are any hashable objects
Neighbours: TypeAlias = dict[Any, list[Any]]


def layered(
    sizes: Mapping[Any, Point], edges: Sequence[Edge], gap: Point = (24, 44)
) -> tuple[dict[Any, Point], list[list[Point]]]:
    """Centres of nodes, and the points through which each edge runs.

    Args:
        sizes: dict from node to (width, height), in which each node comes after its inputs.
        edges: (tail, head) pairs of nodes.
        gap: (space between neighbours in a layer, space between layers).

    Returns:
        A dict from node to (x, y), and a list with the points of each edge, tail first; all
        coordinates at least 0, y downwards.
    """
    layer = _layers(sizes, edges)
    rows: list[list[Any]] = [[] for _ in range(max(layer.values(), default=-1) + 1)]
    for node in sizes:
        rows[layer[node]].append(node)
    widths = {node: width for node, (width, _) in sizes.items()}
    chains: list[list[Any]] = []
    above: Neighbours = {n: [] for n in sizes}
    below: Neighbours = {n: [] for n in sizes}
    for number, (tail, head) in enumerate(edges):
        chain = [tail]
        for level in range(layer[tail] + 1, layer[head]):
            dummy = ("through", number, level)
            widths[dummy], above[dummy], below[dummy] = 2, [], []
            rows[level].append(dummy)
            chain.append(dummy)
        chain.append(head)
        chains.append(chain)
        for upper, lower in itertools.pairwise(chain):
            below[upper].append(lower)
            above[lower].append(upper)
    _order(rows, above, below)
    x = _columns(rows, widths, above, below, gap[0])
    y: dict[Any, float] = {}
    top = 0.0
    for row in rows:
        height = max((sizes[n][1] for n in row if n in sizes), default=0)
        y |= dict.fromkeys(row, top + height / 2)
        top += height + gap[1]
    left = min((x[n] - widths[n] / 2 for n in x), default=0)
    places = {n: (x[n] - left, y[n]) for n in x}
    routes = [[places[n] for n in chain] for chain in chains]
    return {n: places[n] for n in sizes}, routes


def _layers(nodes: Iterable[Any], edges: Sequence[Edge]) -> dict[Any, int]:
    """Layer of each node: below all its inputs; without inputs, one above its first user."""
    inputs: Neighbours = {n: [] for n in nodes}
    users: Neighbours = {n: [] for n in nodes}
    for tail, head in edges:
        inputs[head].append(tail)
        users[tail].append(head)
    layer: dict[Any, int] = {}
    for node in nodes:
        layer[node] = max((layer[i] + 1 for i in inputs[node]), default=0)
    for node in nodes:
        if not inputs[node] and users[node]:
            layer[node] = min(layer[u] for u in users[node]) - 1
    return layer


def _order(rows: list[list[Any]], above: Neighbours, below: Neighbours) -> None:
    """Sort each row by the mean position of the neighbours in the adjacent row, in sweeps down and
    up.
    """
    place = {node: i for row in rows for i, node in enumerate(row)}
    for sweep in range(SWEEPS):
        neighbours = above if sweep % 2 == 0 else below
        for row in rows if sweep % 2 == 0 else rows[::-1]:
            row.sort(key=lambda n: _mean([place[m] for m in neighbours[n]], place[n]))
            place.update((node, i) for i, node in enumerate(row))


def _columns(
    rows: list[list[Any]], widths: dict[Any, float], above: Neighbours, below: Neighbours,
    gap: float,
) -> dict[Any, float]:  # fmt: skip
    """x of each node: as near to the mean of its neighbours as the other nodes of its row allow."""
    x: dict[Any, float] = {}
    for row in rows:
        _spread(row, dict.fromkeys(row, 0.0), widths, gap, x)
    for sweep in range(SWEEPS):
        neighbours = above if sweep % 2 else below
        for row in rows if sweep % 2 else rows[::-1]:
            wanted = {n: _mean([x[m] for m in neighbours[n]], x[n]) for n in row}
            _spread(row, wanted, widths, gap, x)
    return x


def _spread(
    row: list[Any], wanted: dict[Any, float], widths: dict[Any, float], gap: float,
    x: dict[Any, float],
) -> None:  # fmt: skip
    """Write the row's coordinates to ``x``, in order and without overlap: the mean of the solution
    that pushes overlapping nodes to the right and of the one that pushes them to the left.
    """
    right: dict[Any, float] = {}
    left: dict[Any, float] = {}
    edge = float("-inf")
    for node in row:
        right[node] = max(wanted[node], edge + widths[node] / 2)
        edge = right[node] + widths[node] / 2 + gap
    edge = float("inf")
    for node in reversed(row):
        left[node] = min(wanted[node], edge - widths[node] / 2)
        edge = left[node] - widths[node] / 2 - gap
    x.update((node, (left[node] + right[node]) / 2) for node in row)


def _mean(values: Sequence[float], default: float) -> float:
    return sum(values) / len(values) if values else default
