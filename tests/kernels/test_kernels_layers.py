"""Batch norm, relu and sums: one suite for every variant; what the layers' kernels refuse."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import conv_oracles as oracles
from kernel_variants import NAMES, variant
from layer_numbers import DTYPES, LAYER_NAMES, LAYER_USABLE, assert_exact, dtypes, normal
from minivae import kernels as registry
from strategies import LAYOUTS, layouts, seeds


@pytest.fixture(params=LAYER_NAMES)
def kernels(request):
    with variant(request.param) as module:
        yield module


def gradient_terms(x, w, mean, var, eps, dy, training):
    """For each element of dx, dw and db, the sum of the magnitudes of its terms."""
    steepness = 1 / np.sqrt(var + eps)
    normalised, dy = np.abs(x - mean[:, None]) * steepness[:, None], np.abs(dy)
    dw, db = (dy * normalised).sum(axis=(0, 2)), dy.sum(axis=(0, 2))
    shared = (db[:, None] + normalised * dw[:, None]) / x[:, 0].size if training else 0
    return np.abs(w * steepness)[:, None] * (dy + shared), dw, db


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
            np.testing.assert_allclose(v, exact[2], rtol=16 * unit)
            arguments = x, w, m, v, eps, dy, training
            got = kernels.batch_norm_backward(*arguments)
            expected = oracles.batch_norm_backward(*arguments)
            for a, e, terms in zip(got, expected, gradient_terms(*arguments), strict=True):
                assert a.dtype == dtype and a.shape == e.shape
                # The oracle's sums of thousands of terms in float64 round too.
                assert (np.abs(a - e) <= (16 * unit + 64 * np.finfo(float).eps) * terms).all()


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


def test_running_statistics_need_two_values(kernels):
    """One value has no unbiased variance, and the statistics stay as they were."""
    batch, running = np.ones(2, np.float32), np.zeros(2, np.float32)
    with pytest.raises(ValueError, match="count: expected at least 2, got 1"):
        kernels.update_running(batch, batch, 1, 0.1, running, running)
    assert not running.any()


def test_channel_sum_is_rounded_once(kernels):
    x = normal(1, (40, 3, 70)) + np.float32(3)
    exact = np.array([np.sum(x[:, c].ravel().astype(np.longdouble)) for c in range(3)])
    np.testing.assert_array_equal(kernels.channel_sum(x), exact.astype(np.float32))
    np.testing.assert_array_equal(kernels.channel_sum(x[:, :, :0]), np.zeros(3))


@pytest.mark.skipif("cpu" not in registry.available(), reason="cpu kernels are not built")
def test_images_without_pixels_take_no_time():
    """2^40 images of no pixels return at once; a loop over the images would take an hour."""
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
    assert np.isnan(y[np.signbit(y)]).all()
    # dy passes a NaN: a gradient of 0 there would hide it.
    np.testing.assert_array_equal(dx, np.where(y <= 0, 0, dy))


@given(
    st.tuples(st.integers(0, 5), st.integers(0, 50), st.sampled_from([0, 1, 2, 7, 30])),
    st.tuples(layouts, layouts),
    dtypes,
    seeds,
)
def test_gradients_of_relu_and_the_bias_before_it(shape, places, dtype, seed):
    """dx and db have the bits of the two separate computations; where y is NaN, dx is dy."""
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
    ("matmul", (A, B.astype(float)), TypeError, "b: expected float32"),
    ("matmul", (A[0], B), ValueError, "a: expected 2 dimensions"),
    ("matmul", ([[1.0]], B), TypeError, "a: expected a NumPy array"),
    ("matmul", (A, B, B[0, :4]), ValueError, "bias: expected shape (5,)"),
    ("conv2d", (X, W[:, :2], None, ONE, NIL, ONE), ValueError, "w: expected shape (4, 3, 3, 3)"),
    ("conv2d", (X[0], W, None, ONE, NIL, ONE), ValueError, "x: expected 4 dimensions"),
    ("conv2d", (X, W, W[0, 0, 0], ONE, NIL, ONE), ValueError, "b: expected shape (4,)"),
    ("conv2d", (X, W, None, ONE, NIL, (5, 1)), ValueError, "got 0 from input 8, kernel 3"),
    ("conv2d", (X, W, None, (1, 0), NIL, ONE), ValueError, "width: expected"),
    # Sizes whose products with one another leave 64 bits.
    (
        "conv2d",
        (X, W, None, ONE, NIL, (2**62, 1)),
        ValueError,
        "height: expected sizes in [0, 2147483647], got",
    ),
    ("conv2d", (X, W, None, ONE, (0, 2**62), ONE), ValueError, "width: expected"),
    ("conv2d", (X, W, None, (2**31, 1), NIL, ONE), ValueError, "height: expected"),
    ("conv2d", (X, W, None, (2**63, 1), NIL, ONE), TypeError, "incompatible"),
    ("conv2d_grad_input", (D, W, None, (2**62, 9), ONE, NIL, ONE), ValueError, "height: expected"),
    ("conv2d_grad_input", (D, W, None, (-8, 9), ONE, (9, 0), ONE), ValueError, "height: expected"),
    ("conv2d_grad_weight", (X, D, (2**62, 3), ONE, NIL, ONE), ValueError, "height: expected"),
    ("conv2d_grad_input", (D, W, None, (8, 9), ONE, NIL, ONE), ValueError, "from input 8"),
    ("conv2d_grad_weight", (X, D[:1, :, :6], (3, 3), ONE, NIL, ONE), ValueError, "dy: expected"),
    ("batch_norm_forward", (X, X, X, None, None, 0.1), ValueError, "x: expected 3 dimensions"),
    ("batch_norm_forward", (A[None], A[0], A[0], A[0], None, 0.1), ValueError, "w: expected"),
    ("relu_backward", (X, X[:1]), ValueError, "dy: expected shape"),
    ("bias_relu_backward", (X[0], X[0][:1]), ValueError, "dy: expected shape (3, 8, 9)"),
    ("bias_relu_backward", (X, X), ValueError, "y: expected 3 dimensions"),
    ("relu", (np.zeros(3, np.int32),), TypeError, "x: expected float32 or float64"),
]


@pytest.mark.parametrize("name, arguments, error, message", REFUSED)
def test_refused(name, arguments, error, message):
    with variant("cpu-plain") as kernels, pytest.raises(error) as caught:
        getattr(kernels, name)(*arguments)
    assert message in str(caught.value)
