"""Hypothesis strategies: shapes named by axis letters, memory layouts, domains without kinks."""

from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

seeds = st.integers(0, 2**32 - 1)


@dataclass(frozen=True)
class Domain:
    """Where the elements of an input may lie: in [low, high] and at least ``gap`` from ``avoid``.

    ``distinct`` keeps the elements at least ``gap`` from each other as well.
    """

    low: float = -2.0
    high: float = 2.0
    avoid: tuple[float, ...] = ()
    gap: float = 0.05
    distinct: bool = False

    def draw(self, rng, shape):
        """A float64 array of random elements."""
        if self.distinct:
            size = int(np.prod(shape))
            return (2 * self.gap * (rng.permutation(size) - size // 2)).reshape(shape)
        x = np.asarray(rng.uniform(self.low, self.high, shape))
        for point in self.avoid:
            side = np.where(x >= point, 1.0, -1.0)
            x = np.where(abs(x - point) < self.gap, point + side * self.gap, x)
        return x


REAL = Domain()
AWAY_FROM_ZERO = Domain(avoid=(0.0,), gap=0.2)
POSITIVE = Domain(low=0.2, high=3.0)
PROBABILITY = Domain(low=0.0, high=1.0)
DISTINCT = Domain(distinct=True)


def _every_second(a):
    """A view of every second element of an array whose other elements are NaN."""
    if a.ndim == 0:
        return np.full(3, a)[1:2].reshape(())
    wide = np.full((*a.shape[:-1], 2 * a.shape[-1]), np.nan, a.dtype)
    wide[..., ::2] = a
    return wide[..., ::2]


def _inside(a):
    """A view into the middle of a larger array of NaN: padded rows, and an odd offset."""
    wide = np.full([n + 3 for n in a.shape], np.nan, a.dtype)
    window = wide[(*(slice(1, n + 1) for n in a.shape), ...)]
    window[...] = a
    return window


def _read_only(a):
    a = a.copy()
    a.flags.writeable = False
    return a


# Each maps an array to one with the same values and another memory layout.
LAYOUTS = {
    "contiguous": np.array,
    "transposed": lambda a: np.array(a.T, order="C").T,
    "strided": _every_second,
    "reversed": lambda a: a.copy() if a.ndim == 0 else np.flip(np.flip(a).copy()),
    "inside": _inside,
    "read-only": _read_only,
}
layouts = st.sampled_from(sorted(LAYOUTS))


@st.composite
def sizes(draw, axes, least=1, most=4):
    """A size for each letter of ``axes``, such as {"N": 3, "D": 1}."""
    return {letter: draw(st.integers(least, most)) for letter in axes}


def shape(axes, least=1, most=4):
    """Shapes with the named axes: ``shape("NCHW")``."""
    return sizes(axes, least, most).map(lambda s: tuple(s.values()))


def any_shape(least=0, most=4, least_ndim=0, most_ndim=3):
    """Shapes of any number of axes."""
    return st.lists(st.integers(least, most), min_size=least_ndim, max_size=most_ndim).map(tuple)


@st.composite
def broadcastable(draw, count, axes="NCD", least=0):
    """``count`` shapes that broadcast together: each lacks leading axes or has some of size 1."""
    full = tuple(draw(sizes(axes, least, 3)).values())
    shapes = []
    for _ in range(count):
        kept = full[draw(st.integers(0, len(full))) :]
        shapes.append(tuple(draw(st.sampled_from([n, 1])) for n in kept))
    return tuple(shapes)
