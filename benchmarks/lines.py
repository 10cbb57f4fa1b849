"""Count the lines of each part of the project.

    python benchmarks/lines.py            print the table
    python benchmarks/lines.py --write    put it into CONTRIBUTING.md, as for a release

A part is a folder or a module directly under minivae/ or csrc/, or another folder of sources. Blank
lines and comments count, because readers read them too. Generated files and files that git ignores
do not.
"""

import argparse
import subprocess
from collections import Counter

from _pages import ROOT, markdown_table, replace_between_markers

SOURCES = {".py", ".h", ".cpp", ".inl", ".cu", ".cuh", ".js", ".css", ".html"}
PRODUCT = ("minivae", "csrc")  # what is counted part by part
OTHERS = ("examples", "tests", "benchmarks", "docs")


def count():
    """{part: (files, lines)}, a part as its path from the root of the repository."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", *PRODUCT, *OTHERS],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    files, lines = Counter(), Counter()
    for name in filter(None, listed.stdout.split("\0")):
        path = ROOT / name
        if path.suffix in SOURCES and path.is_file():
            top, part, *_ = name.split("/")
            part = f"{top}/{part}" if top in PRODUCT else top
            files[part] += 1
            lines[part] += len(path.read_bytes().splitlines())
    return {part: (files[part], lines[part]) for part in files}


def table(counts):
    """The Markdown table: the largest parts of the product first, then the rest."""
    product = {part: n for part, n in counts.items() if part.split("/")[0] in PRODUCT}
    rows = [[f"`{part}`", *counts[part]] for part in sorted(product, key=lambda p: -product[p][1])]
    both = [sum(column) for column in zip(*product.values(), strict=True)]
    rows.append(["together", *both])
    rows += [[f"`{part}`", *counts[part]] for part in OTHERS if part in counts]
    return markdown_table(["part", "files", "lines"], rows)


def main(argv=None):
    """Print the table, or write it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="put it into CONTRIBUTING.md")
    text = table(count())
    if parser.parse_args(argv).write:
        replace_between_markers(ROOT / "CONTRIBUTING.md", "lines", text)
    else:
        print(text)


if __name__ == "__main__":
    main()
