"""``python -m minivae info``."""

import argparse
import sys

from .info import info


def main(argv=None):
    """Run a subcommand; there is one."""
    parser = argparse.ArgumentParser(prog="python -m minivae", description="minivae's own tools")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("info", help="versions, which kernels are built, which devices answered")
    parser.parse_args(argv)
    print(info())


if __name__ == "__main__":
    sys.exit(main())
