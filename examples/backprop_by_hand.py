"""Backpropagation by hand through a network of nine weights, beside the engine's answer.

The network has two inputs, two hidden units and one output:

    a = W1 x + b1      h = tanh a      y = w2 h + b2      L = 1/2 (y - t)^2

Every derivative is written out with the chain rule, from the loss backwards, and compared with the
engine's gradient; the engine's backward pass is printed step by step.
"""

import numpy as np
from _study import options, panels, run_example, save, save_graph

import minivae as mv
from minivae import functional as F

X, T = np.array([[1.0, -2.0]]), np.array([[0.5]])  # one example, its target
WEIGHTS = {
    "W1": np.array([[0.1, -0.3], [0.4, 0.2]]), "b1": np.array([0.05, -0.1]),
    "w2": np.array([[0.7, -0.6]]), "b2": np.array([0.2]),
}  # fmt: skip


def by_hand(W1, b1, w2, b2):
    """The loss and its nine derivatives, one line for each rule; rows are examples."""
    a = X @ W1.T + b1
    h = np.tanh(a)
    y = h @ w2.T + b2
    L = 0.5 * ((y - T) ** 2).sum()

    dy = y - T  # L = 1/2 (y - t)^2
    dw2 = dy.T @ h  # y = w2 h + b2: dy/dw2 is the input ...
    db2 = dy.sum(axis=0)
    dh = dy @ w2  # ... and dy/dh the weight
    da = dh * (1 - h**2)  # h = tanh a,  dh/da = 1 - tanh^2 a
    dW1 = da.T @ X
    db1 = da.sum(axis=0)
    gradients = {"W1": dW1, "b1": db1, "w2": dw2, "b2": db2}
    return {"a": a, "h": h, "y": y, "L": L}, {"dy": dy, "dh": dh, "da": da}, gradients


def network(W1, b1, w2, b2):
    """The same forward pass with the engine's operations."""
    a = F.linear(X, W1, b1)
    h = F.tanh(a)
    y = F.linear(h, w2, b2)
    return {"a": a, "h": h, "y": y, "L": 0.5 * ((y - T) ** 2).sum()}


def watch(graph):
    """Make every operation of a captured graph print the gradients that it receives and gives."""
    steps = []
    for op in graph.ops:

        def told(*dys, op=op, backward=op.backward):
            dxs = backward(*dys)
            given = dxs if isinstance(dxs, tuple) else (dxs,)
            steps.append(type(op).__name__)
            output = graph.names.get(graph.outputs[op][0], "(output)")
            print(f"  {len(steps)}. {steps[-1]:<7}receives dL/d{output:<11}", *map(show, dys))
            for tensor, needed, dx in zip(graph.inputs[op], op.needs, given, strict=True):
                if needed:
                    print(f"{'':15}gives dL/d{graph.names.get(tensor, '(input)'):<11}", show(dx))
            return dxs

        op.backward = told  # on this operation alone, not on its class
    return steps


def main(argv=None):
    """Print both derivations and the trace; draw the slopes and the graph."""
    args = options(__doc__, "backprop_by_hand", argv)
    values, middle, by_rule = by_hand(**WEIGHTS)
    print("Forward:   " + "   ".join(f"{name} = {show(v)}" for name, v in values.items()))
    print("Backward:  " + "   ".join(f"{name} = {show(v)}" for name, v in middle.items()))

    tensors = {name: mv.Tensor(w, requires_grad=True) for name, w in WEIGHTS.items()}
    parts = network(**tensors)
    graph = mv.graph.capture(parts["L"], names=tensors | parts | {"x": X, "t": T})
    print("\nThe engine's backward pass, last operation first:")
    steps = watch(graph)
    parts["L"].backward()

    differences = {}
    print(f"\n{'dL/d':<6}{'by hand':<46}{'engine':<46}difference")
    for name, hand in by_rule.items():
        engine = tensors[name].grad
        differences[name] = abs(hand - engine).max()
        print(f"{name:<6}{show(hand):<46}{show(engine):<46}{differences[name]:.1e}")
    save_graph(args, graph)
    numbers = {"loss": values["L"], "differences": differences, "steps": steps}
    save(args, numbers, slopes=draw_slopes(by_rule, values["L"]))


def draw_slopes(gradients, loss):
    """The loss as each weight moves alone, and the tangent whose slope is its derivative."""
    (figure, axes), moves = panels(3, 3, height=2.4), np.linspace(-1, 1, 61)
    places = [(n, i) for n, w in WEIGHTS.items() for i in np.ndindex(w.shape)]
    for ax, (name, i) in zip(axes.flat, places, strict=True):
        moved = [{k: w.copy() for k, w in WEIGHTS.items()} for _ in moves]
        for weights, move in zip(moved, moves, strict=True):
            weights[name][i] += move
        x, slope = WEIGHTS[name][i] + moves, gradients[name][i]
        ax.plot(x, [by_hand(**w)[0]["L"] for w in moved], label="L")
        ax.plot(x, loss + slope * moves, "--", label=f"slope {slope:.3f}")
        ax.plot(WEIGHTS[name][i], loss, "ko", ms=4)
        ax.set_xlabel(f"{name}[{', '.join(map(str, i))}]")
        ax.legend(fontsize="small")
    figure.suptitle("A gradient is nine slopes: the loss as one weight moves, and its tangent")
    return figure


def show(array):
    """An array on one line."""
    return np.array2string(np.asarray(array), precision=4, separator=", ").replace("\n", "")


if __name__ == "__main__":
    run_example(main)
