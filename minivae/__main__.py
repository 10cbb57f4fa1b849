"""``python -m minivae``: ``info``, ``evaluate``, ``explore``, ``export`` and ``fetch``."""

import sys

from .cli import evaluate, explore, export, fetch
from .cli.info import info
from .cli.options import Parser, reported


def main(argv=None):
    """Run a subcommand; returns its exit code."""
    argv = sys.argv[1:] if argv is None else argv
    with_own_parser = {
        "evaluate": evaluate, "explore": explore, "export": export, "fetch": fetch
    }  # fmt: skip
    if argv and argv[0] in with_own_parser:
        return with_own_parser[argv[0]].main(argv[1:])
    parser = Parser(prog="python -m minivae", description="minivae's own tools")
    commands = parser.add_subparsers(
        dest="command", metavar="info|evaluate|explore|export|fetch", required=True
    )
    commands.add_parser("info", help="versions, which kernels are built, which devices answered")
    commands.add_parser("evaluate", help="what the model of a checkpoint is worth", add_help=False)
    commands.add_parser("explore", help="a run as one page in the browser", add_help=False)
    commands.add_parser("export", help="a trained model for other programs", add_help=False)
    commands.add_parser("fetch", help="download a trained model", add_help=False)
    parser.parse_args(argv)
    return reported(lambda _: print(info()))()


if __name__ == "__main__":
    sys.exit(main())
