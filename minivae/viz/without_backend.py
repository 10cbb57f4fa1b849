"""Import matplotlib without pyplot, so that a wrong choice of backend does no harm.

Jupyter names its own in MPLBACKEND, which its children inherit. Where that package is missing, such
as in another environment, matplotlib refuses to be imported at all.
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
    with contextlib.suppress(ValueError):  # a right choice is for pyplot, should anybody use it
        matplotlib.rcParams["backend"] = backend

from matplotlib import colormaps, style  # noqa: E402
from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: E402
from matplotlib.colors import to_rgb  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402
from matplotlib.ticker import MaxNLocator  # noqa: E402

__all__ = ["Figure", "FigureCanvasAgg", "MaxNLocator", "colormaps", "style", "to_rgb"]
