"""Train a variational autoencoder on MNIST; write pictures of reconstructions and new digits.

The same program as ``minivae train mnist``. Where to read on: the options, the model and the data
in minivae/cli/train_mnist.py, the loop in minivae/training/trainer.py, one step of it in
minivae/training/step.py, and the loss in minivae/models/vae.py.
"""

import sys

from minivae.cli import train_mnist


def main(argv=None):
    """Train; returns the exit code."""
    return train_mnist.main(argv, prog="mnist_vae.py")


if __name__ == "__main__":
    sys.exit(main())
