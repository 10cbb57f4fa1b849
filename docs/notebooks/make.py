"""Make the notebooks from the source files beside this one, the pages of docs/ and the examples.

    python docs/notebooks/make.py            write NAME.ipynb from each NAME.py
    python docs/notebooks/make.py --run      also run each (needs nbclient) and print the seconds

A source is cut into cells by lines that begin with ``# %%``:

    # %%                              code
    # %% [markdown]                   text, every line a comment
    # %% [page] elbo.md HEADING       text, the section of a page under this heading
    # %% [example] NAME.py X by_hand  code, these definitions of an example

Notebooks are committed without outputs: the reader predicts, then runs.
"""

import argparse
import ast
import json
import re
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
PAGES, EXAMPLES = HERE.parent, HERE.parents[1] / "examples"
SOURCES = sorted(path for path in HERE.glob("*.py") if path.name != "make.py")
CELL = re.compile(r"^# %%(.*)\n", re.MULTILINE)


def section(page, heading):
    """The text under a heading of a page, as a notebook shows it."""
    text = (PAGES / page).read_text(encoding="utf-8")
    found = re.search(rf"^(#+) {re.escape(heading)}\n.*?(?=^#{{1,2}} |\Z)", text, re.M | re.S)
    if found is None:
        raise ValueError(f"{page}: no heading {heading!r}")
    text = re.sub(r"<!--=.*?-->|<!--/-->", "", found[0])
    text = re.sub(r"```math\n(.*?)```", r"$$\n\1$$", text, flags=re.DOTALL)
    text = re.sub(r"\]\((?!https?:|#)", "](../", text)  # links and figures, from one folder down
    return text.strip()


def definitions(example, names):
    """The source of the top-level definitions of ``names`` in an example, in the file's order."""
    source = (EXAMPLES / example).read_text(encoding="utf-8")
    parts, missing = [], set(names)
    for node in ast.parse(source).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            own = {node.name}
        elif isinstance(node, ast.Assign):
            own = {n.id for n in ast.walk(node.targets[0]) if isinstance(n, ast.Name)}
        else:
            continue
        if own & set(names):
            missing -= own
            parts.append((isinstance(node, ast.Assign), ast.get_source_segment(source, node)))
    if missing:
        raise ValueError(f"{example}: does not define {', '.join(sorted(missing))}")
    text = ""
    for i, (plain, part) in enumerate(parts):
        text += ("\n" if plain and i and parts[i - 1][0] else "\n\n\n" if i else "") + part
    return f"# from examples/{example}\n{text}"


def cells(source):
    """(kind, text) of each cell of a source file."""
    _, *parts = CELL.split(source)
    for head, body in zip(parts[::2], parts[1::2], strict=True):
        kind, *rest = head.split(maxsplit=1) or [""]
        if kind == "[markdown]":
            lines = body.strip().splitlines()
            yield "markdown", "\n".join(line.removeprefix("#").removeprefix(" ") for line in lines)
        elif kind == "[page]":
            yield "markdown", section(*rest[0].split(maxsplit=1))
        elif kind == "[example]":
            example, *names = rest[0].split()
            yield "code", definitions(example, names)
        elif not kind:
            yield "code", body.strip()
        else:
            raise ValueError(f"unknown kind of cell {kind}")


def notebook(path):
    """The notebook of a source file, as JSON text."""
    made = []
    for i, (kind, text) in enumerate(cells(path.read_text(encoding="utf-8"))):
        cell = {"cell_type": kind, "id": f"{path.stem}-{i}", "metadata": {}}
        if kind == "code":
            cell |= {"execution_count": None, "outputs": []}
        made.append(cell | {"source": text.splitlines(keepends=True)})
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    whole = {"cells": made, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(whole, indent=1, ensure_ascii=False) + "\n"


def run(path, limit=180):
    """Seconds a notebook takes; an error in a cell, or more than ``limit`` seconds, raises."""
    import nbformat
    from nbclient import NotebookClient

    start = time.perf_counter()
    NotebookClient(nbformat.read(path, 4), timeout=limit, kernel_name="python3").execute()
    seconds = time.perf_counter() - start
    if seconds > limit:
        raise SystemExit(f"{path.name}: {seconds:.0f} s, expected at most {limit}")
    return seconds


def main(argv=None):
    """Write the notebooks; with --run also run each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", action="store_true", help="run each notebook too")
    args = parser.parse_args(argv)
    for path in SOURCES:
        made = path.with_suffix(".ipynb")
        made.write_text(notebook(path), encoding="utf-8")
        print(f"{made.name}: {run(made):.0f} s" if args.run else made.name, flush=True)


if __name__ == "__main__":
    sys.exit(main())
