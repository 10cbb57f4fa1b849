"""Sphinx's settings for the site that make.py builds."""

import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

project = "minivae"
copyright = "the authors of minivae"
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx.ext.mathjax",
]
myst_enable_extensions = ["dollarmath"]
myst_fence_as_directive = ["math"]
myst_heading_anchors = 6  # GitHub's
myst_dmath_double_inline = True
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the signature's own, as written
autodoc_preserve_defaults = True
html_theme = "furo"
html_title = "minivae"
html_show_sphinx = False
pygments_style = "friendly"

CODE = re.compile(r"(``.*?``|^\s*>>> .*$)", re.MULTILINE | re.DOTALL)


def as_written(app, what, name, obj, options, lines):
    """Double backticks and sections are the only markup of a docstring: the rest is text."""
    parts = CODE.split("\n".join(lines))
    parts[::2] = [re.sub(r"([*|_`\\])", r"\\\1", part) for part in parts[::2]]
    lines[:] = "".join(parts).split("\n")


def setup(app):
    """Before napoleon, which reads the sections and writes markup of its own."""
    app.connect("autodoc-process-docstring", as_written, priority=100)
