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
APART = ("help", "config", "out", "resume")  # options that a file never holds


def read(parser: argparse.ArgumentParser, path: str) -> dict[str, Any]:
    """The options in the file ``path``, converted and checked by ``parser``'s rules.

    Keys are the options' names, with dashes or underscores.

    Raises:
        DataError: the file cannot be read, a key is no option, or a value is not valid. The message
            names the key.
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
    """A value from a file, converted to the option's type; ArgumentTypeError if not valid."""
    if action.nargs == 0:  # a flag
        if not isinstance(value, bool):
            raise argparse.ArgumentTypeError(f"expected true or false, got {value!r}")
        return value
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise argparse.ArgumentTypeError(f"expected a number or a string, got {value!r}")
    if action.choices is not None and value not in action.choices:
        choices = ", ".join(map(str, action.choices))
        raise argparse.ArgumentTypeError(f"expected one of {choices}, got {value!r}")
    if not callable(action.type):
        if not isinstance(value, str):
            raise argparse.ArgumentTypeError(f"expected a string, got {value!r}")
        return value
    return action.type(str(value))


def as_toml(parser: argparse.ArgumentParser, args: argparse.Namespace, command: str) -> str:
    """The options as the text of a TOML file for ``--config``; unset options are left out."""
    lines = [f"# The options of this run, for: {command} --config {CONFIG}"]
    for action in parser._actions:
        value = getattr(args, action.dest, None)
        if action.dest in APART or value is None:
            continue
        try:
            text = json.dumps(value, ensure_ascii=False)  # JSON and TOML agree on these types
            text.encode()
        except UnicodeEncodeError:
            lines.append(f"# {action.dest}: a name that is not UTF-8, which TOML cannot hold")
            continue
        lines.append(f"{action.dest} = {text}")
    return "\n".join(lines) + "\n"
