"""Import matplotlib without pyplot and without the backend that MPLBACKEND names.

Jupyter sets MPLBACKEND to its own backend, and child processes inherit it. In an environment
without that package, ``import matplotlib`` would fail.
"""

import contextlib
import os

backend = os.environ.pop("MPLBACKEND", None)
try:
    import matplotlib
finally:
    if backend is not None:
        os.environ["MPLBACKEND"] = backend
if backend is not None:
    with contextlib.suppress(ValueError):  # keep a valid choice for users of pyplot
        matplotlib.rcParams["backend"] = backend

from matplotlib import colormaps, style  # noqa: E402
from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: E402
from matplotlib.colors import to_rgb  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402
from matplotlib.ticker import MaxNLocator  # noqa: E402

__all__ = ["Figure", "FigureCanvasAgg", "MaxNLocator", "colormaps", "style", "to_rgb"]
