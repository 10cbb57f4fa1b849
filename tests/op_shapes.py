"""Hypothesis strategies: input shapes and keyword arguments of each operation in op_specs."""

import numpy as np
from hypothesis import strategies as st

from strategies import (
    any_shape,
    broadcastable,
    sizes,
)

REDUCTIONS = ("none", "rows", "sum", "mean")


@st.composite
def log_mean_exp_shapes(draw):
    """A shape and one of its axes."""
    shape = draw(any_shape(least=1).filter(len))
    return (shape,), {"axis": draw(st.integers(-len(shape), len(shape) - 1))}


@st.composite
def matmul_shapes(draw):
    """Matrices and stacks of matrices, the stacks broadcast."""
    n, k, m = draw(st.tuples(*[st.integers(0, 4)] * 3))
    a, b = draw(st.one_of(st.just(((), ())), broadcastable(2, "PQ", least=1)))
    return ((*a, n, k), (*b, k, m)), {}


@st.composite
def reshape_shapes(draw):
    """A shape and another with as many elements, perhaps with a -1 in it."""
    s = draw(sizes("ABC", least=1))
    a, b, c = s.values()
    return ((a, b, c),), {
        "shape": draw(st.sampled_from([(a * b, c), (c, -1), (-1,), (b, 1, a, c)]))
    }


@st.composite
def flatten_shapes(draw):
    """A shape, with start_dim and end_dim counted from either end or left at their defaults."""
    shape = draw(any_shape())
    n = max(1, len(shape))
    first = draw(st.integers(0, n - 1))
    last = draw(st.integers(first, n - 1))
    signs = draw(st.sampled_from([(0, 0), (n, 0), (0, n), (n, n)]))
    dims = {"start_dim": first - signs[0], "end_dim": last - signs[1]}
    return (shape,), draw(st.sampled_from([dims, {}, {"start_dim": dims["start_dim"]}]))


@st.composite
def transpose_shapes(draw):
    """A shape and a permutation of its axes, some counted from the end."""
    shape = draw(any_shape())
    axes = draw(st.permutations(range(len(shape))))
    axes = [a - len(shape) * draw(st.booleans()) for a in axes]
    return (shape,), {"axes": draw(st.sampled_from([None, tuple(axes)]))}


INDEX_KEYS = (
    2,
    -1,
    slice(None, None, -2),
    (slice(1, None), 0),
    (..., None, slice(0, 2)),
    [0, 2, 2, 0, -1],  # repeats: their gradients add up
    ([0, 1, 1], [2, 0, 0]),
    np.array([[0, 1], [1, 2]]),
    np.array([True, False, True]),
    np.zeros(3, bool),
)


@st.composite
def concatenate_shapes(draw):
    """One to three shapes that differ in the axis they are joined along."""
    shape = draw(any_shape(least_ndim=1))
    axis = draw(st.integers(-len(shape), len(shape) - 1))
    lengths = draw(st.lists(st.integers(0, 3), min_size=1, max_size=3))
    joined = [list(shape) for _ in lengths]
    for s, length in zip(joined, lengths, strict=True):
        s[axis] = length
    return tuple(map(tuple, joined)), {"axis": axis}


@st.composite
def linear_shapes(draw):
    """x (..., I), w (O, I), and b (O,) or none."""
    i, o = draw(st.tuples(*[st.integers(0, 4)] * 2))
    batch = draw(any_shape(most=3, most_ndim=2))
    return ((*batch, i), (o, i), draw(st.sampled_from([None, (o,)]))), {}


@st.composite
def linear_heads_shapes(draw):
    """x (N, I), two w (O, I), each with b (O,) or none."""
    n, i, *outputs = draw(st.tuples(*[st.integers(0, 4)] * 4))
    maps = [((o, i), draw(st.sampled_from([None, (o,)]))) for o in outputs]
    return ((n, i), *maps[0], *maps[1]), {}


@st.composite
def paired_shapes(draw):
    """Two equal shapes and a reduction that they allow."""
    shape = draw(any_shape())
    allowed = [r for r in REDUCTIONS if shape or r != "rows"]
    allowed = [r for r in allowed if r != "mean" or 0 not in shape]
    return (shape, shape), {"reduction": draw(st.sampled_from(allowed))}


@st.composite
def gaussian_shapes(draw):
    """Three shapes that broadcast, and a reduction."""
    return draw(broadcastable(3, least=1)), {"reduction": draw(st.sampled_from(REDUCTIONS[2:]))}


def pair(least, most):
    """An int, or a pair of ints."""
    return st.one_of(st.integers(least, most), st.tuples(*[st.integers(least, most)] * 2))


def as_pair(value):
    """(height, width)."""
    return (value, value) if isinstance(value, int) else value


@st.composite
def conv_shapes(draw):
    """x, w, b of a convolution; some sizes leave a remainder when divided by the stride."""
    s = draw(sizes("CO", most=3))
    N = draw(st.integers(0, 2))
    geometry = {
        "stride": draw(pair(1, 3)),
        "padding": draw(pair(0, 2)),
        "dilation": draw(pair(1, 2)),
    }
    kernel = draw(st.tuples(*[st.integers(1, 3)] * 2))
    size = [
        max(1, d * (k - 1) + 1 - 2 * p) + draw(st.integers(0, 3))
        for k, p, d in zip(
            kernel, as_pair(geometry["padding"]), as_pair(geometry["dilation"]), strict=True
        )
    ]
    b = draw(st.sampled_from([None, (s["O"],)]))
    return ((N, s["C"], *size), (s["O"], s["C"], *kernel), b), geometry


@st.composite
def conv_transpose_shapes(draw):
    """x, w, b of a transposed convolution with an output of at least one element."""
    s = draw(sizes("CO", most=3))
    N = draw(st.integers(0, 2))
    kernel, size, stride, dilation, padding, extra = ([] for _ in range(6))
    for _ in range(2):
        k, n, t, d = (draw(st.integers(1, most)) for most in (3, 3, 3, 2))
        e = draw(st.integers(0, max(t, d) - 1))
        bare = (n - 1) * t + d * (k - 1) + e + 1
        p = draw(st.integers(0, min(2, (bare - 1) // 2)))
        for values, value in zip(
            (kernel, size, stride, dilation, padding, extra), (k, n, t, d, p, e), strict=True
        ):
            values.append(value)
    geometry = {
        "stride": tuple(stride),
        "padding": tuple(padding),
        "output_padding": tuple(extra),
        "dilation": tuple(dilation),
    }
    b = draw(st.sampled_from([None, (s["O"],)]))
    return ((N, s["C"], *size), (s["C"], s["O"], *kernel), b), geometry


@st.composite
def batch_norm_shapes(draw):
    """x (N, C) or (N, C, H, W) with at least three values a channel, w and b."""
    s = draw(sizes("NCHW", most=3))
    N, C, H, W = s.values()
    shape = draw(st.sampled_from([(N + 2, C), (N + 2, C, H, W), (1, C, H + 2, W)]))
    return (shape, (C,), (C,)), {}
