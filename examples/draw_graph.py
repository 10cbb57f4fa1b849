"""Draw the graph of a small MLPVAE's loss: operations, values and, in red, their gradients.

With Graphviz (``pip install "minivae[graph]"`` and the ``dot`` program) modules are drawn around
their operations; without it minivae lays the graph out itself.
"""

from _study import draw_graph, options, run_example

import minivae as mv
from minivae import models


def main(argv=None):
    """Write the drawing, graph.svg."""
    args = options(__doc__, "draw_graph", argv)
    model = models.MLPVAE(latent_dim=2, hidden=8)
    x = mv.Noise(seed=args.seed, offset=1).uniform((4, 784))
    loss = model.elbo(x, mv.Noise(seed=args.seed, offset=0)).loss
    draw_graph(loss, args.out / "graph.svg", model, {"x": x}, backward=True)
    print(f"drawn in {args.out / 'graph.svg'}")


if __name__ == "__main__":
    run_example(main)
