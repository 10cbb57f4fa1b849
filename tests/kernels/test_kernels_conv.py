"""Convolutions: one suite for every variant, against the loops of conv_oracles."""

import functools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import conv_oracles as oracles
from kernel_variants import OnDevice, variant
from layer_numbers import DTYPES, LAYER_NAMES, LAYER_USABLE, assert_exact, dtypes, normal, whole
from minivae import kernels as registry
from strategies import LAYOUTS, seeds


@pytest.fixture(params=LAYER_NAMES)
def kernels(request):
    with variant(request.param) as module:
        yield module


@pytest.fixture
def many_threads():
    before = registry.threads()
    yield registry.set_threads
    registry.set_threads(before)


@st.composite
def geometries(draw):
    """(sizes, kernel, output, stride, padding, dilation): pairs, with at least one output each."""

    def axis():
        kernel, stride = draw(st.integers(1, 4)), draw(st.integers(1, 4))
        padding, dilation = draw(st.integers(0, 3)), draw(st.integers(1, 3))
        least = max(1, dilation * (kernel - 1) + 1 - 2 * padding)
        size = draw(st.integers(least, least + 9))
        out = oracles.output_size(size, kernel, stride, padding, dilation)
        return size, kernel, out, stride, padding, dilation

    return tuple(zip(axis(), axis(), strict=True))


@given(geometries(), st.tuples(*[st.integers(0, 3)] + [st.integers(1, 9)] * 2), dtypes, seeds)
def test_convolutions(geometry, channels, dtype, seed):
    """Convolution and its two gradients are exact, and adjoint: <dy, y> = <dx, x> = <dw, w>."""
    (size, kernel, out, *rest), (N, C, filters) = geometry, channels
    x, w = whole(seed, (N, C, *size), dtype), whole(seed + 1, (filters, C, *kernel), dtype)
    dy = whole(seed + 2, (N, filters, *out), dtype)
    b, c = whole(seed + 3, filters, dtype), whole(seed + 4, C, dtype)
    expected = oracles.conv2d(x, w, out, *rest)
    for name in LAYER_USABLE:
        with variant(name) as kernels:
            y = kernels.conv2d(x, w, None, *rest)
            assert_exact(y, expected, dtype)
            biased = y + b[:, None, None]
            assert_exact(kernels.conv2d(x, w, b, *rest), biased, dtype)
            positive = np.maximum(biased, 0)
            assert_exact(kernels.conv2d(x, w, b, *rest, rectify=True), positive, dtype)
            dx = kernels.conv2d_grad_input(dy, w, None, size, *rest)
            assert_exact(dx, oracles.conv2d_grad_input(dy, w, size, *rest), dtype)
            got = kernels.conv2d_grad_input(dy, w, c, size, *rest)
            biased = dx + c[:, None, None]
            assert_exact(got, biased, dtype)
            got = kernels.conv2d_grad_input(dy, w, c, size, *rest, rectify=True)
            assert_exact(got, np.maximum(biased, 0), dtype)
            dw = kernels.conv2d_grad_weight(x, dy, kernel, *rest)
            assert_exact(dw, oracles.conv2d_grad_weight(x, dy, kernel, *rest), dtype)
            assert (y * dy).sum() == (dx * x).sum() == (dw * w).sum()


# More channels and pixels than a tile, block or piece holds: N, C, filters, size, kernel, geometry.
LAYERS = [
    (3, 5, 13, (20, 40), (3, 3), ((1, 1), (1, 1), (1, 1))),
    (40, 3, 30, (9, 7), (3, 2), ((2, 2), (1, 0), (1, 1))),
    (2, 26, 2, (33, 30), (2, 3), ((2, 1), (1, 1), (1, 2))),
    (2, 1, 1, (61, 50), (3, 3), ((2, 2), (1, 1), (1, 1))),
    (1, 40, 17, (64, 67), (5, 4), ((3, 2), (2, 2), (1, 1))),
    (19, 2, 9, (3, 3), (1, 1), ((1, 3), (0, 1), (1, 1))),
]


@functools.cache
def exact_layer(layer):
    """((x, w, dy), (y, dx, dw)) of a layer: inputs of whole numbers, and the oracles' results."""
    N, C, filters, size, kernel, rest = layer
    out = tuple(oracles.output_size(*axis) for axis in zip(size, kernel, *rest, strict=True))
    shapes = (N, C, *size), (filters, C, *kernel), (N, filters, *out)
    x, w, dy = (whole(k, shape) for k, shape in enumerate(shapes))
    y = oracles.conv2d(x, w, out, *rest)
    dx = oracles.conv2d_grad_input(dy, w, size, *rest)
    return (x, w, dy), (y, dx, oracles.conv2d_grad_weight(x, dy, kernel, *rest))


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_larger_convolutions(kernels, layer, dtype):
    *_, size, kernel, rest = layer
    given, (y, dx, dw) = exact_layer(layer)
    x, w, dy = (a.astype(dtype) for a in given)
    assert_exact(kernels.conv2d(x, w, None, *rest), y, dtype)
    assert_exact(kernels.conv2d_grad_input(dy, w, None, size, *rest), dx, dtype)
    assert_exact(kernels.conv2d_grad_weight(x, dy, kernel, *rest), dw, dtype)


def test_outputs_that_do_not_use_all_of_the_input(kernels):
    """A transposed convolution may have output rows that no output of the convolution reads."""
    rest, size = ((1, 1), (0, 0), (3, 3)), (9, 10)
    w, dy, x = whole(1, (3, 2, 2, 2)), whole(2, (2, 3, 4, 5)), whole(3, (2, 2, *size))
    dx = kernels.conv2d_grad_input(dy, w, None, size, *rest)
    assert_exact(dx, oracles.conv2d_grad_input(dy, w, size, *rest), np.float32)
    dw = kernels.conv2d_grad_weight(x, dy, (2, 2), *rest)
    assert_exact(dw, oracles.conv2d_grad_weight(x, dy, (2, 2), *rest), np.float32)


def test_a_stride_past_the_image_needs_no_work_space(kernels):
    """The largest stride gives the results of a smaller one that also has a single output."""
    x, w, far = whole(1, (2, 3, 5, 4)), whole(2, (4, 3, 2, 3)), (2**31 - 1, 2**31 - 1)
    dy = whole(3, (2, 4, 1, 1))
    near = kernels.conv2d(x, w, None, (7, 6), (1, 1), (1, 1))
    assert_exact(kernels.conv2d(x, w, None, far, (1, 1), (1, 1)), near, np.float32)
    for name, args in (
        ("conv2d_grad_input", (dy, w, None, (5, 4))),
        ("conv2d_grad_weight", (x, dy, (2, 3))),
    ):
        near, got = (getattr(kernels, name)(*args, s, (1, 1), (1, 1)) for s in ((7, 6), far))
        assert_exact(got, near, np.float32)


def test_images_that_are_not_contiguous(kernels):
    rest = (2, 2), (1, 1), (1, 1)
    x, w, dy = whole(1, (2, 3, 8, 9)), whole(2, (4, 3, 3, 3)), whole(3, (2, 4, 4, 5))
    for layout in LAYOUTS.values():
        y = kernels.conv2d(layout(x), layout(w), None, *rest)
        np.testing.assert_array_equal(y, oracles.conv2d(x, w, (4, 5), *rest))
        dx = kernels.conv2d_grad_input(layout(dy), layout(w), None, (8, 9), *rest)
        np.testing.assert_array_equal(dx, oracles.conv2d_grad_input(dy, w, (8, 9), *rest))
        dw = kernels.conv2d_grad_weight(layout(x), layout(dy), (3, 3), *rest)
        np.testing.assert_array_equal(dw, oracles.conv2d_grad_weight(x, dy, (3, 3), *rest))


@functools.cache
def rounded_convolutions():
    """(kernel, arguments, result in float64, sum of the magnitudes of each element's terms)."""
    rest = (2, 2), (1, 1), (1, 1)
    x, w, dy = normal(1, (16, 12, 28, 28)), normal(2, (20, 12, 3, 3)), normal(3, (16, 20, 14, 14))
    found = []
    for name, a, b, out, more in (
        ("conv2d", x, w, (14, 14), [None]),
        ("conv2d_grad_input", dy, w, (28, 28), [None, (28, 28)]),
        ("conv2d_grad_weight", x, dy, (3, 3), [(3, 3)]),
    ):
        oracle = functools.partial(getattr(oracles, name), dtype=np.float64)
        exact, terms = oracle(a, b, out, *rest), oracle(abs(a), abs(b), out, *rest)
        found.append((name, (a, b, *more, *rest), exact, terms))
    return found


def test_convolutions_round_little(kernels):
    """In float32 each element is within 4 epsilon times the magnitudes that it sums."""
    for name, arguments, exact, terms in rounded_convolutions():
        error = np.abs(getattr(kernels, name)(*arguments) - exact)
        assert (error <= 4 * np.finfo(np.float32).eps * terms).all()


@pytest.mark.filterwarnings("ignore:invalid value")
@pytest.mark.parametrize("special", [np.nan, np.inf])
def test_convolution_keeps_what_is_not_finite(kernels, special):
    """NaN or infinity reaches the elements that depend on it and no others."""
    rest = (2, 2), (1, 1), (1, 1)
    x, w = np.ones((3, 2, 7, 9), np.float32), np.ones((5, 2, 3, 3), np.float32)
    x[1, 1, 3, 4] = special
    seen = np.zeros((3, 5, 4, 5), bool)
    seen[1, :, 1:3, 2] = True
    y = kernels.conv2d(x, w, None, *rest)
    np.testing.assert_array_equal(y[seen], special)
    assert np.isfinite(y[~seen]).all()
    dy = np.ones((3, 5, 4, 5), np.float32)
    dy[1, 2, 3, 4] = special
    seen = np.zeros(x.shape, bool)
    seen[1, :, 5:, 7:] = True
    dx = kernels.conv2d_grad_input(dy, w, None, (7, 9), *rest)
    np.testing.assert_array_equal(dx[seen], special)
    assert np.isfinite(dx[~seen]).all()
    dw = kernels.conv2d_grad_weight(np.ones_like(x), dy, (3, 3), *rest)
    assert not np.isfinite(dw[2, :, :2, :2]).any() and np.isfinite(dw[[0, 1, 3, 4]]).all()


@pytest.mark.filterwarnings("ignore:invalid value")
@pytest.mark.parametrize("layer", LAYERS)
def test_nothing_of_an_earlier_call_shows(kernels, many_threads, layer):
    """Kernels reuse work space; NaN that an earlier call left there must not reach a result."""
    if isinstance(kernels, OnDevice):
        pytest.skip("work space is asked for anew, and the stand-in's is NaN in every test")
    many_threads(1)
    N, C, filters, size, kernel, rest = layer
    out = tuple(oracles.output_size(*axis) for axis in zip(size, kernel, *rest, strict=True))
    shapes = [(N, C, *size), (filters, C, *kernel), (N, filters, *out)]
    x, w, dy = (np.ones(shape, np.float32) for shape in shapes)
    plain = (1, 1), (0, 0), (1, 1)  # no padding, so that NaN covers all of the work space
    nans = np.full((4, 60, 50, 50), np.nan, np.float32)
    filter_nans = np.full((60, 60, 1, 1), np.nan, np.float32)
    for call in (
        lambda: kernels.conv2d(x, w, None, *rest),
        lambda: kernels.conv2d_grad_input(dy, w, None, size, *rest),
        lambda: kernels.conv2d_grad_weight(x, dy, kernel, *rest),
        lambda: kernels.matmul(x[0, 0], x[0, 0].T),
    ):
        kernels.conv2d(nans, filter_nans, None, *plain)
        kernels.conv2d_grad_input(nans, filter_nans, None, (50, 50), *plain)
        kernels.conv2d_grad_weight(nans, nans, (1, 1), *plain)
        kernels.matmul(nans[0].reshape(60, -1), nans[0].reshape(60, -1).T)
        assert np.isfinite(call()).all()
