"""A trained model in the browser: one page from a file, or served while it trains.

``export`` writes the page, ``server`` serves it; ``model.js`` is the model in the page, ``page.js``
the three views.
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
