"""The explorer: an HTML page that runs a trained model in the browser, from a file or served live.

``export`` writes the page, ``server`` serves it; ``model.js`` computes the model in the page, and
``page.js`` has the three views.
"""

from .export import (
    DIGITS,
    FACES,
    MOST_PARAMETERS,
    Contents,
    contents,
    explorer_page,
    page,
    require_explorable,
)
from .server import LiveRun, RunServer

__all__ = [
    "DIGITS",
    "FACES",
    "MOST_PARAMETERS",
    "Contents",
    "LiveRun",
    "RunServer",
    "contents",
    "explorer_page",
    "page",
    "require_explorable",
]
