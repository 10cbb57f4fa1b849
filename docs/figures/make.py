"""Measure every number and draw every figure of these pages, and write the numbers into them.

    python docs/figures/make.py                 all of it
    python docs/figures/make.py elbo mixture    only these topics
    python docs/figures/make.py --fill          only write numbers.json into the pages

A page marks a number as  <!--=topic.name:FORMAT-->text<!--/-->  with a Python format; this script
replaces the text. Topics are the modules beside this file; each has ``measure() -> dict`` and
``FIGURES``, a dict from file name to (width, height, function of a matplotlib figure).
"""

import argparse
import importlib
import json
import re
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
PAGES = HERE.parent
NUMBERS = HERE / "numbers.json"
TOPICS = (
    "adjoints",
    "autoencoders",
    "batch_norm",
    "blur",
    "differences",
    "elbo",
    "estimators",
    "gaussian_kl",
    "mixture",
    "stream",
    "traffic",
)
MARKER = re.compile(r"<!--=([\w.]+):([^>]*?)-->(.*?)<!--/-->")


def measure(topic):
    """The numbers of one topic, each named ``topic.name``."""
    return {f"{topic}.{name}": value for name, value in _module(topic).measure().items()}


def fill(text, numbers):
    """``text`` with every marked number replaced; KeyError for one that nobody measured."""

    def replaced(match):
        key, spec, _ = match.groups()
        return f"<!--={key}:{spec}-->{format(numbers[key], spec)}<!--/-->"

    return MARKER.sub(replaced, text)


def draw(topic):
    """Write the figures of one topic as SVG, the same bytes every time."""
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
    for name, (width, height, function) in _module(topic).FIGURES.items():
        figure = plt.figure(figsize=(width, height), layout="constrained", facecolor="white")
        function(figure)
        figure.savefig(HERE / name, metadata={"Date": None})
        plt.close(figure)


def main(argv=None):
    """Measure, draw, fill."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("topics", nargs="*", help="topics to redo; all by default")
    parser.add_argument(
        "--fill", action="store_true", help="only write numbers.json into the pages"
    )
    args = parser.parse_args(argv)
    if unknown := set(args.topics) - set(TOPICS):
        parser.error(f"unknown topics {sorted(unknown)}; there are {', '.join(TOPICS)}")
    numbers = json.loads(NUMBERS.read_text()) if NUMBERS.exists() else {}
    for topic in () if args.fill else args.topics or TOPICS:
        numbers |= measure(topic)
        draw(topic)
        print(topic, "done", flush=True)
    quoted = set()
    for page in sorted(PAGES.glob("*.md")):
        text = page.read_text(encoding="utf-8")
        quoted |= {key for key, _, _ in MARKER.findall(text)}
        if (filled := fill(text, numbers)) != text:
            page.write_text(filled, encoding="utf-8")
    numbers = {key: numbers[key] for key in sorted(quoted)}
    NUMBERS.write_text(json.dumps(numbers, indent=1) + "\n")


def _module(topic):
    if str(HERE) not in sys.path:
        sys.path.insert(0, str(HERE))
    return importlib.import_module(topic)


if __name__ == "__main__":
    main()
