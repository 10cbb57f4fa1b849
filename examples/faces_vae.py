"""Train a variational autoencoder on faces, then edit faces with arithmetic on their codes.

The same program as ``minivae train faces``. Where to read on: the options, the model and the data
in minivae/cli/train_faces.py, the pictures in minivae/cli/face_pictures.py, and arithmetic on codes
in minivae/viz/latent.py.
"""

import sys

from minivae.cli import train_faces


def main(argv=None):
    """Train; returns the exit code."""
    return train_faces.main(argv, prog="faces_vae.py")


if __name__ == "__main__":
    sys.exit(main())
