"""The command-line program ``minivae``, also run as ``python -m minivae``."""

import sys
from collections.abc import Callable

from .cli import encode, evaluate, explore, export, fetch, info, reconstruct, sample, train
from .cli.options import Parser

COMMANDS: dict[str, tuple[Callable[[list[str]], int], str]] = {
    "train": (train.main, "train a model on digits, on faces or on pictures of your own"),
    "evaluate": (evaluate.main, "measure a trained model: likelihood bounds, codes, probes"),
    "explore": (explore.main, "a run as one page in the browser"),
    "sample": (sample.main, "new pictures from a trained model"),
    "reconstruct": (reconstruct.main, "images of a run beside what the model makes of them"),
    "encode": (encode.main, "the codes of a run's images, with their labels"),
    "export": (export.main, "a trained model for other programs"),
    "fetch": (fetch.main, fetch.about()),
    "info": (info.main, "versions, which kernels are built, which devices answered"),
}


def main(argv: list[str] | None = None) -> int:
    """Run a command; returns its exit code."""
    argv = sys.argv[1:] if argv is None else argv
    if argv[:1] and argv[0] in COMMANDS:
        run, _ = COMMANDS[argv[0]]  # which has its own parser
        return run(argv[1:])
    parser = Parser(prog="minivae", description="Variational autoencoders from first principles.")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, (_, help) in COMMANDS.items():
        commands.add_parser(name, help=help, add_help=False)
    parser.parse_args(argv)
    return 2


if __name__ == "__main__":
    sys.exit(main())
