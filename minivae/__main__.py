"""The command-line program ``minivae``, also run as ``python -m minivae``."""

import sys
from collections.abc import Callable

from .cli import encode, evaluate, explore, export, fetch, info, reconstruct, sample, train
from .cli.options import Parser

COMMANDS: dict[str, tuple[Callable[[list[str]], int], str]] = {
    "train": (train.main, "train a model"),
    "evaluate": (evaluate.main, "measure a trained model: likelihood bounds, codes, probes"),
    "explore": (explore.main, "show a run as a page in the browser"),
    "sample": (sample.main, "draw new pictures"),
    "reconstruct": (reconstruct.main, "decode images of a run beside the originals"),
    "encode": (encode.main, "write the codes of a run's images"),
    "export": (export.main, "convert a trained model for other programs"),
    "fetch": (fetch.main, fetch.about()),
    "info": (info.main, "show versions, kernels and devices"),
}


def main(argv: list[str] | None = None) -> int:
    """Run a command; returns its exit code."""
    argv = sys.argv[1:] if argv is None else argv
    if argv[:1] and argv[0] in COMMANDS:
        run, _ = COMMANDS[argv[0]]  # which has its own parser
        return run(argv[1:])
    parser = Parser(prog="minivae", description="Variational autoencoders from first principles.")
    parser.add_argument("--version", action="version", version=f"minivae {info.version()}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, (_, help) in COMMANDS.items():
        commands.add_parser(name, help=help, add_help=False)
    parser.parse_args(argv)
    return 2


if __name__ == "__main__":
    sys.exit(main())
