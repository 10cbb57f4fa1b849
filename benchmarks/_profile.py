"""Profile a training step: time of every operation's forward and backward, of Adam and the rest.

Each method is replaced by one that measures its time, so the engine has no code for profiling. The
row "all else" is the engine's bookkeeping, batch selection and the time of the clock.
"""

import functools
import time
from collections import defaultdict
from unittest import mock

from _pages import markdown_table
from _step_contenders import minivae_step


def subclasses(cls):
    """All classes derived from ``cls``."""
    for child in cls.__subclasses__():
        yield child
        yield from subclasses(child)


class Clock:
    """Seconds and calls by row name; the time of a nested call belongs to the outer call's row."""

    def __init__(self):
        self.seconds, self.calls = defaultdict(float), defaultdict(int)
        self.inside = False

    def timed(self, name, function):
        """``function``, with its time added to the row ``name(arguments)``."""

        @functools.wraps(function)
        def wrapper(*args, **kwargs):
            if self.inside:
                return function(*args, **kwargs)
            self.inside, row = True, name(*args)
            start = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                self.seconds[row] += time.perf_counter() - start
                self.calls[row] += 1
                self.inside = False

        return wrapper


def shapes(arrays):
    """The shapes of the operands that are arrays, as text."""
    return " ".join("x".join(map(str, a.shape)) for a in arrays if getattr(a, "ndim", 0))


def profile(work, steps=None):
    """A Markdown table of milliseconds per step for each operation on each set of shapes."""
    from minivae.optim import Optimizer
    from minivae.tensor import Function

    steps = steps or work.steps
    step = minivae_step(work, replayed=False)
    for i in range(3):
        step(i)
    clock = Clock()
    patches = []

    def forward_row(op, *arrays):
        op.row = f"{type(op).__name__} {shapes(arrays)}"  # forward's arguments tell the shapes
        return op.row, "forward"

    for cls in subclasses(Function):
        if "forward" in vars(cls):
            new = clock.timed(forward_row, cls.forward)
            patches.append(mock.patch.object(cls, "forward", new))
        if "backward" in vars(cls):
            new = clock.timed(lambda op, *_: (op.row, "backward"), cls.backward)
            patches.append(mock.patch.object(cls, "backward", new))
    for cls in subclasses(Optimizer):
        patches.append(
            mock.patch.object(
                cls, "step", clock.timed(lambda o: (type(o).__name__, "backward"), cls.step)
            )
        )
    for patch in patches:
        patch.start()
    start = time.perf_counter()
    for i in range(steps):
        step(100 + i)
    total = time.perf_counter() - start
    for patch in patches:
        patch.stop()
    rows = {row for row, _ in clock.seconds}
    cost = {row: clock.seconds[row, "forward"] + clock.seconds[row, "backward"] for row in rows}
    lines = []
    for row in sorted(rows, key=cost.get, reverse=True):
        ms = [1e3 * clock.seconds[row, way] / steps for way in ("forward", "backward")]
        calls = max(clock.calls[row, way] for way in ("forward", "backward")) / steps
        lines.append([row, f"{calls:.0f}", *(f"{t:.3f}" for t in ms), f"{cost[row] / total:.1%}"])
    rest = total - sum(cost.values())
    lines.append(["all else", "", f"{1e3 * rest / steps:.3f}", "", f"{rest / total:.1%}"])
    header = ["operation", "calls", "forward, ms", "backward or update, ms", "share"]
    images = "x".join(map(str, work.image_shape))
    title = f"{work.model}, batch {work.batch} of {images}: {1e3 * total / steps:.2f} ms per step"
    return f"{title}\n\n{markdown_table(header, lines)}"
