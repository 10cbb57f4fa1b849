"""Draw the graph of a small MLPVAE's loss: operations, values and, in red, their gradients.

Needs Graphviz: ``pip install "minivae[graph]"`` and the ``dot`` program.
"""

import argparse
import sys

import minivae as mv
from minivae import models
from minivae.viz import graph


def main(argv=None):
    """Write the drawing: .svg, .png or .pdf."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", default="mlp_vae_graph.svg", help="where to draw")
    args = parser.parse_args(argv)
    model = models.MLPVAE(latent_dim=2, hidden=8)
    x = mv.Noise(seed=0, offset=1).uniform((4, 784))
    loss = model.elbo(x, mv.Noise(seed=0, offset=0)).loss
    print(graph.draw(loss, args.out, model, {"x": x}, backward=True))


if __name__ == "__main__":
    sys.exit(main())
