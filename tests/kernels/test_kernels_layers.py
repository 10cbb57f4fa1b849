"""The kernels behind the layers: one suite for every variant, against the loops of conv_oracles.

Arrays of small whole numbers make every product and sum exact, so most comparisons are equalities.
"""

import functools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import conv_oracles as oracles
from kernel_variants import NAMES, USABLE, OnDevice, variant
from minivae import kernels as registry
from minivae.kernels import reference
from strategies import LAYOUTS, layouts, seeds

DTYPES = [np.float32, np.float64]
dtypes = st.sampled_from(DTYPES)
ELEMENTWISE = ("numba", "cupy", "cupy-emulated")  # variants that have none of these
LAYER_NAMES = [name for name in NAMES if name not in ELEMENTWISE]
LAYER_USABLE = [name for name in USABLE if name not in ELEMENTWISE]


@pytest.fixture(params=LAYER_NAMES)
def kernels(request):
    with variant(request.param) as module:
        yield module


@pytest.fixture
def many_threads():
    before = registry.threads()
    yield registry.set_threads
    registry.set_threads(before)


def whole(seed, shape, dtype=np.float32):
    """Whole numbers from -4 to 4 in a read-only array."""
    x = np.random.default_rng(seed).integers(-4, 5, shape).astype(dtype)
    x.flags.writeable = False
    return x


def normal(seed, shape, dtype=np.float32):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def assert_exact(got, expected, dtype):
    assert got.dtype == dtype and got.flags.c_contiguous
    np.testing.assert_array_equal(got, expected)


# Matrix products


@given(
    st.tuples(*[st.integers(0, 40)] * 3), st.tuples(layouts, layouts), st.booleans(), dtypes, seeds
)
def test_matmul(shape, places, with_bias, dtype, seed):
    M, K, N = shape
    a, b = whole(seed, (M, K), dtype), whole(seed + 1, (K, N), dtype)
    bias = whole(seed + 2, N, dtype) if with_bias else None
    expected = oracles.matmul(a, b) + (0 if bias is None else bias.astype(int))
    a, b = (LAYOUTS[place](x) for place, x in zip(places, (a, b), strict=True))
    for name in LAYER_USABLE:
        with variant(name) as kernels:
            assert_exact(kernels.matmul(a, b, bias), expected, dtype)
            assert_exact(kernels.matmul(a, b, bias, rectify=True), expected.clip(0), dtype)


# Sizes (M, K, N) on both sides of each decision in gemm.inl: blocks of K, M and N, skinny products,
# dot products, short results with long sums.
SIZES = [
    (130, 300, 50), (50, 130, 900), (25, 64, 33), (24, 513, 70), (3, 600, 130), (70, 600, 3),
    (1, 1, 1), (1, 700, 1), (5, 8300, 7), (2, 20000, 3), (64, 8200, 64), (40, 2, 40), (200, 1, 200),
]  # fmt: skip


@functools.cache
def exact_product(size):
    """What the oracle makes of the whole numbers of a size: the same for every kernel and dtype."""
    M, K, N = size
    return oracles.matmul(whole(1, (M, K)), whole(2, (K, N)))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_matmul_sizes(kernels, size, dtype):
    M, K, N = size
    a, b, bias = whole(1, (M, K), dtype), whole(2, (K, N), dtype), whole(3, N, dtype)
    expected = exact_product(size)
    for left in (a, np.asfortranarray(a)):
        for right in (b, np.asfortranarray(b)):
            assert_exact(kernels.matmul(left, right), expected, dtype)
            expected_sum = expected + bias.astype(int)
            assert_exact(kernels.matmul(left, right, bias), expected_sum, dtype)
            got = kernels.matmul(left, right, bias, rectify=True)
            assert_exact(got, expected_sum.clip(0), dtype)


def test_matmul_larger_than_the_caches(kernels):
    """Such a result is written past the caches, where its rows are aligned."""
    a, b = whole(1, (2051, 3)), whole(2, (3, 4100))
    assert_exact(kernels.matmul(a, b), a @ b, np.float32)


def test_matmul_is_as_accurate_as_plain_code(kernels):
    for M, K, N in [(128, 784, 400), (16, 5000, 70), (300, 128, 200)]:
        a, b = normal(1, (M, K)), normal(2, (N, K)).T
        exact = a.astype(np.float64) @ b
        plain = np.zeros((M, N), np.float32)
        for k in range(K):
            plain += a[:, k : k + 1] * b[k]
        error = np.abs(kernels.matmul(a, b) - exact)
        assert np.sqrt((error**2).mean()) <= np.sqrt(((plain - exact) ** 2).mean())


@pytest.mark.filterwarnings("ignore:invalid value")  # NumPy warns of what is asked for here
@pytest.mark.parametrize("special", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("size", [(30, 20, 40), (5, 600, 40), (2, 9000, 2)])
def test_matmul_keeps_what_is_not_finite(kernels, size, special):
    """It reaches its row and nothing else, and 0 times infinity is NaN."""
    M, K, N = size
    a, b = np.ones((M, K), np.float32), np.ones((K, N), np.float32)
    a[1, K - 1] = special
    b[K - 1, 0] = 0
    for left in (a, np.asfortranarray(a)):
        for right in (b, np.asfortranarray(b)):
            for rectify in (False, True):
                c = kernels.matmul(left, right, rectify=rectify)
                assert np.isnan(c[1, 0])
                expected = np.maximum(special, 0) if rectify else special
                np.testing.assert_array_equal(c[1, 1:], expected)
                assert np.isfinite(np.delete(c, 1, axis=0)).all()


# Convolutions


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
    """All three maps, and that they are adjoint: <y, conv(x)> = <dx, x> = <dw, w>."""
    (size, kernel, out, *rest), (N, C, filters) = geometry, channels
    x, w = whole(seed, (N, C, *size), dtype), whole(seed + 1, (filters, C, *kernel), dtype)
    dy = whole(seed + 2, (N, filters, *out), dtype)
    b, c = whole(seed + 3, filters, dtype), whole(seed + 4, C, dtype)
    expected = oracles.conv2d(x, w, out, *rest)
    for name in LAYER_USABLE:
        with variant(name) as kernels:
            y = kernels.conv2d(x, w, None, *rest)
            assert_exact(y, expected, dtype)
            assert_exact(kernels.conv2d(x, w, b, *rest), y + b[:, None, None], dtype)
            dx = kernels.conv2d_grad_input(dy, w, None, size, *rest)
            assert_exact(dx, oracles.conv2d_grad_input(dy, w, size, *rest), dtype)
            got = kernels.conv2d_grad_input(dy, w, c, size, *rest)
            assert_exact(got, dx + c[:, None, None], dtype)
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


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_larger_convolutions(kernels, layer, dtype):
    N, C, filters, size, kernel, rest = layer
    out = tuple(oracles.output_size(*axis) for axis in zip(size, kernel, *rest, strict=True))
    x, w, dy = (
        whole(k, shape, dtype)
        for k, shape in enumerate([(N, C, *size), (filters, C, *kernel), (N, filters, *out)])
    )
    assert_exact(kernels.conv2d(x, w, None, *rest), oracles.conv2d(x, w, out, *rest), dtype)
    dx = kernels.conv2d_grad_input(dy, w, None, size, *rest)
    assert_exact(dx, oracles.conv2d_grad_input(dy, w, size, *rest), dtype)
    dw = kernels.conv2d_grad_weight(x, dy, kernel, *rest)
    assert_exact(dw, oracles.conv2d_grad_weight(x, dy, kernel, *rest), dtype)


def test_outputs_that_do_not_use_all_of_the_input(kernels):
    """A transposed convolution may leave rows that no output of the convolution would need."""
    rest, size = ((1, 1), (0, 0), (3, 3)), (9, 10)
    w, dy, x = whole(1, (3, 2, 2, 2)), whole(2, (2, 3, 4, 5)), whole(3, (2, 2, *size))
    dx = kernels.conv2d_grad_input(dy, w, None, size, *rest)
    assert_exact(dx, oracles.conv2d_grad_input(dy, w, size, *rest), np.float32)
    dw = kernels.conv2d_grad_weight(x, dy, (2, 2), *rest)
    assert_exact(dw, oracles.conv2d_grad_weight(x, dy, (2, 2), *rest), np.float32)


def test_a_stride_past_the_image_needs_no_work_space(kernels):
    """One output, as with any smaller stride that gives one, and the three maps agree on it."""
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
def plain_convolutions():
    """(kernel, arguments, result in float64, error of plain code in float32) of each map."""
    rest = (2, 2), (1, 1), (1, 1)
    x, w, dy = normal(1, (16, 12, 28, 28)), normal(2, (20, 12, 3, 3)), normal(3, (16, 20, 14, 14))
    calls = [
        ("conv2d", (x, w, None), rest),
        ("conv2d_grad_input", (dy, w, None), ((28, 28), *rest)),
        ("conv2d_grad_weight", (x, dy), ((3, 3), *rest)),
    ]
    found = []
    for name, arrays, sizes in calls:
        doubles = [a if a is None else a.astype(np.float64) for a in arrays]
        exact = getattr(reference, name)(*doubles, *sizes)
        plain = getattr(reference, name)(*arrays, *sizes)
        found.append((name, (*arrays, *sizes), exact, np.abs(plain - exact).max()))
    return found


def test_convolutions_are_as_accurate_as_plain_code(kernels):
    """In float32, against float64; the reference in float32 shows what plain code achieves."""
    for name, arguments, exact, plain_error in plain_convolutions():
        error = np.abs(getattr(kernels, name)(*arguments) - exact).max()
        assert error <= 3 * plain_error


@pytest.mark.filterwarnings("ignore:invalid value")
@pytest.mark.parametrize("special", [np.nan, np.inf])
def test_convolution_keeps_what_is_not_finite(kernels, special):
    """An image element reaches the outputs that see it and no others."""
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
    """Work space is used again: what calls on NaN left there must not matter."""
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


# Batch normalisation, relu, sums


@given(
    st.tuples(st.integers(1, 5), st.integers(1, 4), st.sampled_from([1, 2, 7, 30, 521])),
    st.sampled_from([0.0, 100.0]),
    st.booleans(),
    dtypes,
    seeds,
)
def test_batch_norm(shape, offset, training, dtype, seed):
    x = normal(seed, shape, dtype) + dtype(offset)
    dy = normal(seed + 1, shape, dtype)
    w, b, mean = (normal(seed + k, shape[1], dtype) for k in (2, 3, 4))
    var, eps = mean**2 + dtype(0.5), 1e-5
    if training:
        mean = var = None
    exact = oracles.batch_norm_forward(x, w, b, mean, var, eps)
    unit = np.finfo(dtype).eps
    # Rounding x itself, and the mean it is compared with, moves y by w / deviation each.
    gain = float(np.max(np.abs(w) / np.sqrt(exact[2] + eps)))
    slack = 8 * unit * (abs(offset) + 10) * max(1, gain)
    for name in LAYER_USABLE:
        with variant(name) as kernels:
            y, m, v = kernels.batch_norm_forward(x, w, b, mean, var, eps)
            np.testing.assert_allclose(y, exact[0], rtol=0, atol=slack)
            np.testing.assert_allclose(m, exact[1], rtol=4 * unit, atol=4 * unit)
            np.testing.assert_allclose(v, exact[2], rtol=4 * unit, atol=4 * unit)
            if offset:  # then the mean's own rounding swamps the gradients in float32
                continue
            got = kernels.batch_norm_backward(x, w, m, v, eps, dy, training)
            expected = oracles.batch_norm_backward(x, w, m, v, eps, dy, training)
            steep = 1 / np.sqrt(np.min(v) + eps)
            for a, e, rise in zip(got, expected, (max(1, gain), 1, 1), strict=True):
                assert a.dtype == dtype and a.shape == e.shape
                bound = 40 * unit * rise * max(1, steep) * shape[0] * shape[2]
                np.testing.assert_allclose(a, e, rtol=0, atol=bound)


def test_batch_norm_of_a_channel_far_from_zero(kernels):
    """The variance of 4 values at 1e4 survives float32: it is taken about the mean."""
    x = np.array([1e4, 1e4 + 1, 1e4 + 2, 1e4 + 3], np.float32).reshape(2, 1, 2)
    one, zero = np.ones(1, np.float32), np.zeros(1, np.float32)
    _, mean, var = kernels.batch_norm_forward(x, one, zero, None, None, 0.0)
    assert mean == np.float32(1e4 + 1.5) and var == 1.25


def test_batch_norm_of_nothing(kernels):
    x, one, zero = np.empty((0, 3, 5), np.float32), np.ones(3, np.float32), np.zeros(3, np.float32)
    y, _, _ = kernels.batch_norm_forward(x, one, zero, zero, one, 1e-5)
    assert y.shape == x.shape
    dx, dw, db = kernels.batch_norm_backward(x, one, zero, one, 1e-5, x, False)
    assert dx.shape == x.shape and not dw.any() and not db.any()


def test_channel_sum_is_rounded_once(kernels):
    x = normal(1, (40, 3, 70)) + np.float32(3)
    exact = np.array([np.sum(x[:, c].ravel().astype(np.longdouble)) for c in range(3)])
    np.testing.assert_array_equal(kernels.channel_sum(x), exact.astype(np.float32))
    np.testing.assert_array_equal(kernels.channel_sum(x[:, :, :0]), np.zeros(3))


@pytest.mark.skipif("cpu" not in registry.available(), reason="cpu kernels are not built")
def test_nobody_waits_for_images_without_pixels():
    """A loop over 2^40 of them would take an hour."""
    x, one = np.empty((2**40, 3, 0), np.float32), np.ones(3, np.float32)
    with registry.use("cpu"):
        np.testing.assert_array_equal(registry.get("channel_sum", x)(x), np.zeros(3))
        y, mean, var = registry.get("batch_norm_forward", x)(x, one, one, one, one, 1e-5)
        assert y.shape == x.shape
        backward = registry.get("batch_norm_backward", x)
        dx, dw, db = backward(x, one, mean, var, 1e-5, x, True)
    assert dx.shape == x.shape and not dw.any() and not db.any()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", [name for name in NAMES if name != "numba"])
def test_relu(name, dtype):
    x = np.array([-np.inf, -2, -0.0, 0, 3, np.inf, np.nan] * 11, dtype).reshape(7, 11)
    dy = normal(1, x.shape, dtype)
    with variant(name) as kernels:
        y = kernels.relu(x)
        dx = kernels.relu_backward(y, dy)
        assert kernels.relu(x[:0]).shape == (0, 11)
    np.testing.assert_array_equal(y, np.where(np.isnan(x) | (x > 0), x, 0))
    assert not np.signbit(y).any() or np.isnan(y[np.signbit(y)]).all()
    # dy passes a NaN: a gradient of 0 there would hide it.
    np.testing.assert_array_equal(dx, np.where(y <= 0, 0, dy))


@given(
    st.tuples(st.integers(0, 5), st.integers(0, 50), st.sampled_from([0, 1, 2, 7, 30])),
    st.tuples(layouts, layouts),
    dtypes,
    seeds,
)
def test_gradients_of_relu_and_the_bias_before_it(shape, places, dtype, seed):
    """The same as two kernels give, to the bit; where y is NaN dy passes."""
    y, dy = np.maximum(normal(seed, shape, dtype), 0), normal(seed + 1, shape, dtype)
    y.flat[: y.size : 7] = np.nan
    expected = np.where(y <= 0, dtype(0), dy)
    y, dy = (LAYOUTS[place](a) for place, a in zip(places, (y, dy), strict=True))
    for name in LAYER_USABLE:
        with variant(name) as kernels:
            dx, db = kernels.bias_relu_backward(y, dy)
            assert_exact(dx, expected, dtype)
            assert_exact(db, kernels.channel_sum(expected), dtype)


# What the compiled kernels refuse


F = np.float32
X, W, D = np.zeros((2, 3, 8, 9), F), np.zeros((4, 3, 3, 3), F), np.zeros((2, 4, 7, 7), F)
A, B = np.zeros((2, 3), F), np.zeros((3, 5), F)
ONE, NIL = (1, 1), (0, 0)
REFUSED = [
    ("matmul", (A, A), ValueError, "a (2, 3) and b (2, 3)"),
    ("matmul", (A, B.astype(float)), TypeError, "b must be float32"),
    ("matmul", (A[0], B), ValueError, "a must have 2 dimensions"),
    ("matmul", ([[1.0]], B), TypeError, "a must be a NumPy array"),
    ("matmul", (A, B, B[0, :4]), ValueError, "bias must have shape (5,)"),
    ("conv2d", (X, W[:, :2], None, ONE, NIL, ONE), ValueError, "w must have shape (4, 3, 3, 3)"),
    ("conv2d", (X[0], W, None, ONE, NIL, ONE), ValueError, "x must have 4 dimensions"),
    ("conv2d", (X, W, W[0, 0, 0], ONE, NIL, ONE), ValueError, "b must have shape (4,)"),
    ("conv2d", (X, W, None, ONE, NIL, (5, 1)), ValueError, "height 8 with kernel 3"),
    ("conv2d", (X, W, None, (1, 0), NIL, ONE), ValueError, "for the width"),
    # Sizes whose products with one another leave 64 bits.
    ("conv2d", (X, W, None, ONE, NIL, (2**62, 1)), ValueError, "must be in [0, 2147483647]"),
    ("conv2d", (X, W, None, ONE, (0, 2**62), ONE), ValueError, "for the width"),
    ("conv2d", (X, W, None, (2**31, 1), NIL, ONE), ValueError, "for the height"),
    ("conv2d", (X, W, None, (2**63, 1), NIL, ONE), TypeError, "incompatible"),
    ("conv2d_grad_input", (D, W, None, (2**62, 9), ONE, NIL, ONE), ValueError, "for the height"),
    ("conv2d_grad_input", (D, W, None, (-8, 9), ONE, (9, 0), ONE), ValueError, "for the height"),
    ("conv2d_grad_weight", (X, D, (2**62, 3), ONE, NIL, ONE), ValueError, "for the height"),
    ("conv2d_grad_input", (D, W, None, (8, 9), ONE, NIL, ONE), ValueError, "height 8"),
    ("conv2d_grad_weight", (X, D[:1, :, :6], (3, 3), ONE, NIL, ONE), ValueError, "dy must have"),
    ("batch_norm_forward", (X, X, X, None, None, 0.1), ValueError, "x must have 3 dimensions"),
    ("batch_norm_forward", (A[None], A[0], A[0], A[0], None, 0.1), ValueError, "w must have"),
    ("relu_backward", (X, X[:1]), ValueError, "dy must have shape"),
    ("bias_relu_backward", (X[0], X[0][:1]), ValueError, "dy must have shape (3, 8, 9)"),
    ("bias_relu_backward", (X, X), ValueError, "y must have 3 dimensions"),
    ("relu", (np.zeros(3, np.int32),), TypeError, "x must be float32 or float64"),
]


@pytest.mark.parametrize("name, arguments, error, message", REFUSED)
def test_refused(name, arguments, error, message):
    with variant("cpu-plain") as kernels, pytest.raises(error) as caught:
        getattr(kernels, name)(*arguments)
    assert message in str(caught.value)
