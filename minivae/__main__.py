"""``python -m minivae info`` and ``python -m minivae evaluate CHECKPOINT``."""

import sys

from .cli import evaluate
from .cli.info import info
from .cli.options import Parser, reported


def main(argv=None):
    """Run a subcommand; returns its exit code."""
    argv = sys.argv[1:] if argv is None else argv
    if argv[:1] == ["evaluate"]:  # its own parser tells its options
        return evaluate.main(argv[1:])
    parser = Parser(prog="python -m minivae", description="minivae's own tools")
    commands = parser.add_subparsers(dest="command", metavar="info|evaluate", required=True)
    commands.add_parser("info", help="versions, which kernels are built, which devices answered")
    commands.add_parser("evaluate", help="what the model of a checkpoint is worth", add_help=False)
    parser.parse_args(argv)
    return reported(lambda _: print(info()))()


if __name__ == "__main__":
    sys.exit(main())
