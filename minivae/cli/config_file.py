"""Read and write a command's options as a TOML file, so that a run can be repeated."""

import argparse
import difflib
import json
import sys
from pathlib import Path
from typing import Any

from ..errors import DataError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

CONFIG = "config.toml"
APART = ("help", "config", "out", "resume")  # what another run is to be asked anew


def read(parser: argparse.ArgumentParser, path: str) -> dict[str, Any]:
    """The options in a file, converted and checked as if they stood in the command line.

    Keys are the options' names, with dashes or underscores.

    Raises:
        DataError: the file cannot be read, or it has a key that is no option, or a value that is
            none of the option's. The message names the key.
    """
    try:
        body = tomllib.loads(Path(path).read_bytes().decode("utf-8-sig"))
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:  # not UTF-8, or not TOML
        raise DataError(f"{path}: not a TOML file: {error}") from error
    actions = {action.dest: action for action in parser._actions if action.dest not in APART}
    found = {}
    for key, value in body.items():
        name = key.replace("-", "_")
        if name not in actions:
            meant = difflib.get_close_matches(name, actions, n=1)
            hint = f"; did you mean {meant[0]}?" if meant else ""
            raise DataError(f"{path}: {key}: no option of {parser.prog}{hint}")
        if name in found:
            raise DataError(f"{path}: {key}: given twice, with dashes and with underscores")
        try:
            found[name] = _value(actions[name], value)
        except argparse.ArgumentTypeError as error:
            raise DataError(f"{path}: {key}: {error}") from error
    return found


def _value(action: argparse.Action, value: Any) -> Any:
    """A value of a file as the option has it; ArgumentTypeError when it is none."""
    if action.nargs == 0:  # a flag
        if not isinstance(value, bool):
            raise argparse.ArgumentTypeError(f"expected true or false, got {value!r}")
        return value
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise argparse.ArgumentTypeError(f"expected a number or a text, got {value!r}")
    if action.choices is not None and value not in action.choices:
        choices = ", ".join(map(str, action.choices))
        raise argparse.ArgumentTypeError(f"expected one of {choices}, got {value!r}")
    if not callable(action.type):
        if not isinstance(value, str):
            raise argparse.ArgumentTypeError(f"expected a text, got {value!r}")
        return value
    return action.type(str(value))


def as_toml(parser: argparse.ArgumentParser, args: argparse.Namespace, command: str) -> str:
    """The options as a file that ``--config`` takes; those that were not given are left out."""
    lines = [f"# The options of this run, for: {command} --config {CONFIG}"]
    for action in parser._actions:
        value = getattr(args, action.dest, None)
        if action.dest in APART or value is None:
            continue
        try:
            text = json.dumps(value, ensure_ascii=False)  # of these types TOML's own
            text.encode()
        except UnicodeEncodeError:
            lines.append(f"# {action.dest}: a name that is not UTF-8, which TOML cannot hold")
            continue
        lines.append(f"{action.dest} = {text}")
    return "\n".join(lines) + "\n"
