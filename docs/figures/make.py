"""Compute the numbers of the pages in docs/, draw their figures and write the numbers into them.

    python docs/figures/make.py                 all topics
    python docs/figures/make.py elbo mixture    only these topics
    python docs/figures/make.py --fill          only write numbers.json into the pages
    python docs/figures/make.py elbo --set W=4 --out runs/figures
                                                try another number; no page is changed

A page marks a number as  <!--=topic.name:FORMAT-->text<!--/-->  with a Python format; this script
replaces the text. Topics are the modules beside this file; each has ``measure() -> dict`` and
``FIGURES``, a dict from file name to (width, height, function of a matplotlib figure).
"""

import argparse
import ast
import importlib
import json
import re
import sys
import types
from pathlib import Path

HERE = Path(__file__).resolve().parent
PAGES = HERE.parent
NUMBERS = HERE / "numbers.json"
TOPICS = (
    "adjoints",
    "autoencoders",
    "batch_norm",
    "blur",
    "depth",
    "differences",
    "elbo",
    "estimators",
    "gaussian_kl",
    "mixture",
    "portraits",
    "stream",
    "traffic",
)
MARKER = re.compile(r"<!--=([\w.]+):([^>]*?)-->(.*?)<!--/-->")


def measure(topic):
    """The numbers of one topic, each named ``topic.name``."""
    return {f"{topic}.{name}": value for name, value in _module(topic).measure().items()}


def fill(text, numbers):
    """``text`` with every marked number replaced; KeyError for a number that is not measured."""

    def replaced(match):
        key, spec, _ = match.groups()
        return f"<!--={key}:{spec}-->{format(numbers[key], spec)}<!--/-->"

    return MARKER.sub(replaced, text)


def draw(module, folder):
    """Write the figures of a topic's module as SVG, the same bytes every time."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    plt.rcParams.update({
        "svg.hashsalt": "minivae",
        "svg.fonttype": "none",
        "font.size": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "legend.frameon": False,
    })  # fmt: skip
    for name, (width, height, function) in module.FIGURES.items():
        figure = plt.figure(figsize=(width, height), layout="constrained", facecolor="white")
        function(figure)
        figure.savefig(folder / name, metadata={"Date": None})
        plt.close(figure)


def changed(topic, settings):
    """The topic's module with other numbers: ``settings`` is a dict from name to Python source.

    Raises:
        ValueError: the module sets no number of that name at its top level.
    """
    tree = ast.parse((HERE / f"{topic}.py").read_text(encoding="utf-8"))
    numbers = {}  # name -> (the assignment, None), or (values of a tuple, index)
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            numbers[node.targets[0].id] = node, None
        elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Tuple):
            for i, name in enumerate(node.targets[0].elts):
                numbers[name.id] = node.value.elts, i
    for name, text in settings.items():
        if name not in numbers:
            raise ValueError(f"--set: expected one of {', '.join(numbers)}, got {name}")
        holder, place = numbers[name]
        value = ast.parse(text, mode="eval").body
        if place is None:
            holder.value = value
        else:
            holder[place] = value
    module = types.ModuleType(topic)
    _on_path()
    exec(compile(ast.fix_missing_locations(tree), f"{topic}.py", "exec"), vars(module))
    return module


def try_out(topic, settings, folder):
    """Draw a topic with other numbers into ``folder`` and print what they change on the pages."""
    module = changed(topic, settings)
    folder.mkdir(parents=True, exist_ok=True)
    draw(module, folder)
    quoted = json.loads(NUMBERS.read_text())
    for name, value in module.measure().items():
        if (key := f"{topic}.{name}") in quoted:
            print(f"{key:<32}{quoted[key]:>14.6g}{value:>14.6g}")
    print(f"(on the pages, and now); figures in {folder}; no page was changed")


def main(argv=None):
    """Measure, draw, fill."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("topics", nargs="*", help="topics to redo; all by default")
    parser.add_argument(
        "--fill", action="store_true", help="only write numbers.json into the pages"
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="put one topic's figures here, change no page"
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE",
        help="with --out: another value for a number at the top of the topic's file",
    )  # fmt: skip
    args = parser.parse_args(argv)
    if unknown := set(args.topics) - set(TOPICS):
        parser.error(f"unknown topics {sorted(unknown)}; there are {', '.join(TOPICS)}")
    if args.set and not args.out:
        parser.error("--set: expected --out DIR too, because the pages state the file's numbers")
    if args.out:
        if len(args.topics) != 1 or any("=" not in setting for setting in args.set):
            parser.error("--out: expected one topic, and NAME=VALUE for each --set")
        try:
            return try_out(
                args.topics[0], dict(setting.split("=", 1) for setting in args.set), args.out
            )
        except (ValueError, SyntaxError) as error:
            parser.error(str(error))
    numbers = json.loads(NUMBERS.read_text()) if NUMBERS.exists() else {}
    for topic in () if args.fill else args.topics or TOPICS:
        numbers |= measure(topic)
        draw(_module(topic), HERE)
        print(topic, "done", flush=True)
    quoted = set()
    for page in sorted([*PAGES.glob("*.md"), *PAGES.glob("zh/*.md")]):
        text = page.read_text(encoding="utf-8")
        quoted |= {key for key, _, _ in MARKER.findall(text)}
        if (filled := fill(text, numbers)) != text:
            page.write_text(filled, encoding="utf-8")
    numbers = {key: numbers[key] for key in sorted(quoted)}
    NUMBERS.write_text(json.dumps(numbers, indent=1) + "\n")


def _module(topic):
    _on_path()
    return importlib.import_module(topic)


def _on_path():
    """Topics import one another by their short names."""
    if str(HERE) not in sys.path:
        sys.path.insert(0, str(HERE))


if __name__ == "__main__":
    main()
