"""Why backward needs a topological order: three traversals of a small graph, step by step.

    b = a + a,  c = b + b            dc/da = 4

The engine visits each operation once, after all operations that use its result. Naive recursion
follows every path: its gradient is right, but n doublings in a row take 2^n - 1 visits. Recursion
that visits each operation once, with the part of the gradient that has arrived so far, is fast and
wrong.

Writes two pages that open without a server: ``trace.html`` shows the network of nine weights of
``backprop_by_hand.py`` forward and backward, and ``diamond.html`` the three traversals.
"""

import numpy as np
from _study import options, panels, run_example, save
from backprop_by_hand import WEIGHTS, T, X, network

import minivae as mv
from minivae.viz import svg, trace


def ladder(depth):
    """a, and each of ``depth`` doublings of it."""
    a = mv.Tensor(3.0, requires_grad=True)
    values = [a]
    for _ in range(depth):
        values.append(values[-1] + values[-1])
    return values


def recursive(graph, once):
    """Backward by recursion: (steps, gradient of the leaf). ``once`` visits no operation twice."""
    number = {op: i for i, op in enumerate(graph.ops)}
    found, visits, leaf = [], dict.fromkeys(graph.ops, 0), [0.0]

    def visit(op, dy):
        visits[op] += 1
        if once and visits[op] > 1:
            return
        dxs = op.backward(dy)
        step = trace.backward_step(graph, number[op], (dy,), dxs, 4, whole=False)
        found.append(step | {"said": f"visit {visits[op]} of this operation"})
        for tensor, dx in zip(graph.inputs[op], dxs, strict=True):
            if tensor.creator is None:
                leaf[0] += float(dx)
            else:
                visit(tensor.creator, dx)

    visit(graph.root.creator, np.ones(()))
    return found, leaf[0]


def diamond():
    """Drawing, steps and gradients of the three traversals of c = b + b, b = a + a."""
    a, b, c = ladder(2)
    graph = mv.graph.capture(c, names={"a": a, "b": b, "c": c})
    drawing = svg.to_svg(graph, 4)
    forward = [trace.forward_step(graph, i, 4) for i in range(len(graph.ops))]
    all_paths, right = recursive(graph, once=False)
    each_once, wrong = recursive(graph, once=True)
    engine = trace.steps(graph, 4)  # last: it frees the graph
    tracks = {
        "the engine: each operation once, after all that use it": engine,
        "naive recursion: every path": forward + all_paths,
        "recursion, each operation once: wrong": forward + each_once,
    }
    return drawing, tracks, {"engine": float(a.grad), "every path": right, "each once": wrong}


def visits(depth, once=False):
    """How many operations recursion visits for ``depth`` doublings; see ``recursive``."""
    graph = mv.graph.capture(ladder(depth)[-1])
    return len(recursive(graph, once)[0])


def main(argv=None):
    """Write both pages and the figure."""
    args = options(__doc__, "trace_backward", argv)
    tensors = {name: mv.Tensor(w, requires_grad=True) for name, w in WEIGHTS.items()}
    parts = network(**tensors)
    names = tensors | parts | {"x": X, "t": T}
    page = mv.graph.trace(parts["L"], args.out / "trace.html", names=names)
    drawing, tracks, gradients = diamond()
    note = f"dc/da = 4. Found: {', '.join(f'{name} {g:g}' for name, g in gradients.items())}."
    text = trace.page("Why a topological order: b = a + a, c = b + b", drawing, tracks, note)
    (args.out / "diamond.html").write_text(text, encoding="utf-8")
    depths = np.arange(1, args.choose(6, 12, 14))
    counted = [visits(n) for n in depths]
    print(f"dc/da: {gradients}")
    print(
        f"Visits of {depths[-1]} doublings: {depths[-1]} by the engine, {counted[-1]} by recursion"
    )
    figure, axes = panels(1, 1, width=6)
    axes.semilogy(depths, counted, "o-", label="naive recursion, every path")
    axes.semilogy(depths, depths, "s-", label="the engine")
    axes.set(xlabel="doublings in a row", ylabel="operations visited")
    axes.legend()
    save(args, {"gradients": gradients, "visits": counted}, visits=figure)
    print(f"Open {page} and {args.out / 'diamond.html'} in a browser.")


if __name__ == "__main__":
    run_example(main)
