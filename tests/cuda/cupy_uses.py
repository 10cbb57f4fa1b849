"""CuPy's names that the package uses, and the arguments of each call, read from its source.

CuPy's module is called ``xp``, ``cupy`` or ``_cupy`` everywhere, or is what ``array_module`` or
``device_module`` gives; NumPy's functions called through those names count too, because they are
CuPy's where arrays are. Methods of arrays cannot be told from those of other things by reading, so
they are listed.
"""

import ast
from pathlib import Path
from typing import NamedTuple

PACKAGE = Path(__file__).parents[2] / "minivae"
ROOTS = {"xp", "cupy", "_cupy"}
MAKERS = {"array_module", "device_module"}
# Not CuPy's: ``self.xp`` of the step on the CPU is NumPy.
LEFT_OUT = {"cpu_tape.py"}
ARRAY_METHODS = [  # and attributes
    "__cuda_array_interface__", "T", "all", "any", "argmax", "argmin", "astype", "copy", "data",
    "dtype", "fill", "flags", "get", "item", "itemsize", "max", "mean", "min", "nbytes", "ndim",
    "ravel", "reshape", "set", "shape", "size", "strides", "sum", "swapaxes", "transpose", "view",
]  # fmt: skip
STREAM_METHODS = ["begin_capture", "end_capture", "record", "synchronize", "wait_event", "ptr"]


class Use(NamedTuple):
    """A dotted name in CuPy's module; for a call also the number of arguments and keywords."""

    name: str
    arguments: int | None = None
    keywords: tuple[str, ...] = ()


def uses():
    """All uses, with the places of each: a dict from ``Use`` to a list of texts."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.name in LEFT_OUT:
            continue
        tree = ast.parse(path.read_text())
        calls = {id(node.func): node for node in ast.walk(tree) if isinstance(node, ast.Call)}
        inner = set()  # parts of a longer name
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and id(node) not in inner and (name := dotted(node)):
                part = node
                while isinstance(part.value, ast.Attribute):
                    part = part.value
                    inner.add(id(part))
                use = Use(name)
                if call := calls.get(id(node)):
                    keywords = tuple(sorted(k.arg for k in call.keywords if k.arg))
                    starred = any(isinstance(a, ast.Starred) for a in call.args)
                    use = Use(name, None if starred else len(call.args), keywords)
                place = f"{path.relative_to(PACKAGE.parent)}:{node.lineno}"
                found.setdefault(use, []).append(place)
    return found


def dotted(node):
    """The name below CuPy's module that an attribute is, or None."""
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    parts.reverse()
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in MAKERS:
        return ".".join(parts)
    if isinstance(node, ast.Name) and node.id in ROOTS:
        return ".".join(parts)
    if parts and parts[0] in ROOTS and isinstance(node, ast.Name):  # self.xp, op.xp
        return ".".join(parts[1:]) or None
    return None
