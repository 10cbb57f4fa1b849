"""``minivae train``: train on digits, on faces, or on the pictures of a folder."""

from collections.abc import Callable

from . import train_faces, train_mnist
from .options import Parser


def main(argv: list[str] | None = None) -> int:
    """Train on a kind of data set; returns the exit code."""
    argv = argv or []
    if argv[:1] and argv[0] in KINDS:
        return KINDS[argv[0]](argv[1:])
    parser = Parser(prog="minivae train", description="Train a variational autoencoder.")
    kinds = parser.add_subparsers(dest="kind", metavar="|".join(KINDS), required=True)
    kinds.add_parser("mnist", help="digits, or a set in MNIST's format", add_help=False)
    kinds.add_parser("faces", help="faces with attributes, or drawn ones", add_help=False)
    kinds.add_parser("images", help="any folder of pictures", add_help=False)
    parser.parse_args(argv)
    return 2


def _images(argv: list[str]) -> int:
    return train_faces.main(argv, prog="minivae train images", images=True)


KINDS: dict[str, Callable[[list[str]], int]] = {
    "mnist": train_mnist.main, "faces": train_faces.main, "images": _images
}  # fmt: skip
