"""The fused elementwise kernels: one suite for every variant, against kernel_oracles."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import kernel_oracles as oracles
from kernel_variants import NAMES, USABLE, variant
from minivae.kernels import philox
from minivae.kernels.philox import NoiseKey

DTYPES = [np.float32, np.float64]
# (rows, columns): empty ones, single ones, odd ones, and some on both sides of a tile of 512.
SHAPES = [
    *((0, 0), (0, 3), (4, 0), (1, 1), (5, 1), (1, 7)),
    *((7, 20), (33, 31), (3, 511), (2, 513), (1, 1100)),
]
NOISE = NoiseKey(0x0123_4567_89AB_CDEF, 2**40 + 3)


@pytest.fixture(params=NAMES)
def kernels(request):
    with variant(request.param) as module:
        yield module


def require(module, kernel):
    """Skip where a variant leaves a kernel to the reference."""
    if not hasattr(module, kernel):
        pytest.skip(f"{module.__name__} has no {kernel}")


def numbers(seed, shape, dtype, scale=1.0):
    """Normal numbers in a read-only array whose memory begins at an odd element."""
    values = np.random.default_rng(seed).normal(0, scale, shape).astype(dtype)
    space = np.empty(values.size + 1, dtype)
    out = space[1:].reshape(shape)
    out[...] = values
    out.flags.writeable = False
    return out


def assert_accurate(results, oracle, *arguments, roundings=None):
    """Right dtype and shape, and each element within some roundings of the oracle's.

    A rounding is epsilon times the element, and what the element changes by when an argument is
    rounded so: where terms cancel, the terms count and not their small difference.
    """
    step = 1e-6
    xs = [x.astype(np.float64) for x in arguments]
    exact = oracle(*xs)
    moved = [oracle(*xs[:k], x * (1 + step), *xs[k + 1 :]) for k, x in enumerate(xs)]
    for i, (got, want) in enumerate(zip(results, exact, strict=True)):
        assert got.dtype == arguments[0].dtype and got.shape == want.shape
        assert got.flags.c_contiguous
        size = np.abs(want) + sum(np.abs(m[i] - want) for m in moved) / step
        allowed = roundings or (16 if got.ndim == 1 else 4)  # sums over a row have more
        error = np.abs(got - want)
        assert (error <= allowed * np.finfo(got.dtype).eps * size).all()  # false for NaN as well


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_reparam_kl(kernels, shape, dtype):
    mu, logvar, eps, dz = (numbers(k, shape, dtype, 1.5) for k in range(4))
    dkl = numbers(9, shape[:1], dtype)
    for args, name in (
        ((mu, logvar, eps), "reparam_kl_forward"),
        ((mu, logvar, eps, dz, dkl), "reparam_kl_backward"),
    ):
        assert_accurate(getattr(kernels, name)(*args), getattr(oracles, name), *args)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_reparam_kl_makes_its_own_noise(kernels, shape, dtype):
    """A noise key gives the same bytes as the noise array drawn from it, in forward and backward.

    On a GPU the results agree up to rounding: two instantiations of a kernel may round differently.
    """
    mu, logvar, dz = (numbers(k, shape, dtype) for k in range(3))
    dkl = numbers(9, shape[:1], dtype)
    eps = kernels.normal(NOISE, shape, dtype)
    drawn = kernels.reparam_kl_forward(mu, logvar, NOISE)
    drawn += kernels.reparam_kl_backward(mu, logvar, NOISE, dz, dkl)
    given = kernels.reparam_kl_forward(mu, logvar, eps)
    given += kernels.reparam_kl_backward(mu, logvar, eps, dz, dkl)
    tolerance = 16 * np.finfo(dtype).eps if getattr(kernels, "contracts", False) else 0
    for a, b in zip(drawn, given, strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_bce_with_logits(kernels, shape, dtype):
    logits = numbers(0, shape, dtype, 6)
    target = np.random.default_rng(1).uniform(0, 1, shape).astype(dtype)
    target[np.random.default_rng(2).uniform(size=shape) < 0.4] = 1
    target.flags.writeable = False
    got = kernels.bce_with_logits(logits, target, True)
    assert_accurate(got, oracles.bce_with_logits, logits, target)
    loss, nothing = kernels.bce_with_logits(logits, target, with_grad=False)
    assert nothing is None
    np.testing.assert_array_equal(loss, got[0])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [shape for shape in SHAPES if shape[1]])
def test_log_mean_exp(kernels, shape, dtype):
    require(kernels, "log_mean_exp")
    x = numbers(0, shape, dtype, 6)
    got = kernels.log_mean_exp(x, True)
    assert_accurate(got, oracles.log_mean_exp, x, roundings=16)
    y, nothing = kernels.log_mean_exp(x, with_grad=False)
    assert nothing is None
    np.testing.assert_array_equal(y, got[0])


@pytest.mark.parametrize("dtype", DTYPES)
def test_log_mean_exp_takes_weights_of_any_size(kernels, dtype):
    """Log weights of large magnitude do not overflow; -inf is a weight of 0, also if all are."""
    require(kernels, "log_mean_exp")
    inf, ln2 = np.inf, math.log(2)
    x = np.array([[1e4, 1e4], [-1e4, -inf], [-inf, -inf], [0, inf], [np.nan, 0]], dtype)
    y, _ = kernels.log_mean_exp(x, False)
    np.testing.assert_allclose(y, [1e4, -1e4 - ln2, -inf, inf, np.nan])
    _, softmax = kernels.log_mean_exp(x[:2], True)
    np.testing.assert_array_equal(softmax, [[0.5, 0.5], [1, 0]])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_squared_error_with_logits(kernels, shape, dtype):
    logits = numbers(0, shape, dtype, 6)
    target = np.random.default_rng(1).uniform(0, 1, shape).astype(dtype)
    target.flags.writeable = False
    got = kernels.squared_error_with_logits(logits, target, True)
    assert_accurate(got, oracles.squared_error_with_logits, logits, target)
    loss, nothing = kernels.squared_error_with_logits(logits, target, with_grad=False)
    assert nothing is None
    np.testing.assert_array_equal(loss, got[0])


@pytest.mark.parametrize("dtype", DTYPES)
def test_squared_error_with_extreme_logits(kernels, dtype):
    logits = np.array([[0], [1e4], [-1e4], [40], [-40]], dtype)
    loss, gradient = kernels.squared_error_with_logits(logits, np.zeros_like(logits), True)
    small = math.exp(-40)
    rtol = 8 * np.finfo(dtype).eps
    np.testing.assert_allclose(loss, [0.25, 1, 0, 1, small**2], rtol=rtol)
    np.testing.assert_allclose(gradient[:, 0], [0.25, 0, 0, 2 * small, 2 * small**2], rtol=rtol)


@pytest.mark.parametrize("dtype", DTYPES)
def test_bce_with_extreme_logits(kernels, dtype):
    """No overflow, no lost digits, and the softplus alone where the target is 0."""
    logits = np.array([[0], [1e4], [-1e4], [60], [-60], [3e38], [-3e38]], dtype)
    loss, gradient = kernels.bce_with_logits(logits, np.zeros_like(logits), True)
    small, rtol = math.exp(-60), 8 * np.finfo(dtype).eps
    np.testing.assert_allclose(loss, [math.log(2), 1e4, 0, 60, small, dtype(3e38), 0], rtol=rtol)
    np.testing.assert_allclose(gradient[:, 0], [0.5, 1, 0, 1, small, 1, 0], rtol=rtol)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [0, 1, 2, 7, 16, 17, 1025])
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_adam(kernels, size, weight_decay, dtype):
    param, grad, m, v = (numbers(k, size, dtype) for k in range(4))
    begun = param, grad, m, v**2
    got, rest = [param.copy(), grad, m.copy(), v**2], (3e-3, 0.9, 0.99, 1e-8, weight_decay)

    def three_steps(param, grad, m, v):
        for step in (1, 2, 50):
            param, m, v = oracles.adam(param, grad, m, v, step, *rest)
        return param, m, v

    for step in (1, 2, 50):
        assert kernels.adam(*([a] for a in got), step, *rest) is None
    assert_accurate((got[0], *got[2:]), three_steps, *begun, roundings=4)


def test_adam_follows_pytorch(kernels):
    torch = pytest.importorskip("torch")
    param = torch.nn.Parameter(torch.tensor(numbers(0, 50, np.float64).copy()))
    optimiser = torch.optim.Adam([param], lr=0.01, betas=(0.8, 0.95), eps=1e-6, weight_decay=0.1)
    mine, m, v = param.detach().numpy().copy(), np.zeros(50), np.zeros(50)
    for step in range(1, 21):
        grad = numbers(step, 50, np.float64)
        param.grad = torch.tensor(grad.copy())
        optimiser.step()
        kernels.adam([mine], [grad], [m], [v], step, 0.01, 0.8, 0.95, 1e-6, 0.1)
    np.testing.assert_allclose(mine, param.detach().numpy(), rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (1,), (28, 28), (3, 5, 7), (0,), (600,)])
@pytest.mark.parametrize("rows", [[], [2], [0, 2, 2, 1, 0, 2, 1]])
def test_gather_pixels(kernels, rows, shape, dtype):
    images = np.random.default_rng(0).integers(0, 256, (3, *shape), dtype=np.uint8)
    images[1] = 255
    images.flags.writeable = False
    index = np.array(rows, np.int64)
    got = kernels.gather_pixels(images, index, dtype)
    assert got.dtype == dtype and got.shape == (len(rows), *shape)
    np.testing.assert_array_equal(got, images[index].astype(dtype) / dtype(255))

    drawn = kernels.gather_pixels(images, index, dtype, NOISE)
    assert drawn.dtype == dtype and drawn.shape == got.shape
    words = philox.words(NOISE, got.shape)
    for u, p, value in zip(words.flat, images[index].flat, drawn.flat, strict=True):
        assert value == (Fraction(2 * int(u) + 1, 2**33) < Fraction(int(p), 255))


def test_drawn_pixels_have_the_pixels_means(kernels):
    images = np.arange(256, dtype=np.uint8)[:, None].repeat(4000, axis=1)
    drawn = kernels.gather_pixels(images, np.arange(256), np.float32, NoiseKey(1, 2)).mean(axis=1)
    p = np.arange(256) / 255
    assert drawn[0] == 0 and drawn[255] == 1
    error = np.abs(drawn - p)[1:-1] / np.sqrt(p * (1 - p) / 4000)[1:-1]
    assert error.max() < 4.5 and 0.8 < np.sqrt((error**2).mean()) < 1.2


@pytest.mark.parametrize("bad", [[3], [-1], [0, 1, 2**40]])
def test_gather_pixels_refuses_rows_that_are_not_there(kernels, bad):
    if kernels.__name__.endswith(".cuda"):  # to raise an error it would have to wait for the GPU
        rows = kernels.gather_pixels(np.zeros((3, 2), np.uint8), np.array(bad), np.float32)
        inside = [0 <= index < 3 for index in bad]
        np.testing.assert_array_equal(rows, np.where(inside, 0, np.nan)[:, None].repeat(2, 1))
        return
    with pytest.raises(IndexError, match=r"index.*\[0, 3\)"):
        kernels.gather_pixels(np.zeros((3, 2), np.uint8), np.array(bad), np.float32)


# ---- properties


@given(
    logvar=hnp.arrays(np.float32, (3, 5), elements=st.floats(-60, 60, width=32)),
    scale=st.sampled_from([1, 1e-3, 1e-6]),
)
def test_kl_is_never_negative(logvar, scale):
    logvar = logvar * np.float32(scale)
    for dtype in DTYPES:
        mu, logvar = np.zeros((3, 5), dtype), logvar.astype(dtype)
        for name in USABLE:
            with variant(name) as kernels:
                _, kl = kernels.reparam_kl_forward(mu, logvar, NOISE)
                assert (kl >= 0).all()


def test_kl_keeps_its_digits_near_the_prior(kernels):
    """With logvar of scale 1e-3, exp(logvar) - logvar - 1 in float32 would be wrong by a sixth."""
    logvar = numbers(0, (2000, 1), np.float32, 1e-3)
    mu = np.zeros_like(logvar)
    _, kl = kernels.reparam_kl_forward(mu, logvar, mu)
    v = logvar[:, 0].astype(np.float64)
    exact = v**2 / 4 + v**3 / 12 + v**4 / 48
    error = np.abs(kl - exact) / exact
    assert np.median(error) < 2e-4 and (kl >= 0).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_shows_in_its_row_alone(kernels, value, dtype):
    def with_one(shape):
        a = np.zeros(shape, dtype)
        a[1, 5] = value
        return a

    shape = (3, 20)
    zero, row = np.zeros(shape, dtype), np.zeros(3, dtype)
    with np.errstate(invalid="ignore"):  # infinity less infinity, in array code
        for args in ((with_one(shape), zero, zero), (zero, with_one(shape), zero + 1)):
            z, kl = kernels.reparam_kl_forward(*args)
            assert not np.isfinite(kl[1]) and np.isfinite(kl[[0, 2]]).all()
            assert not np.isfinite(z[1, 5]) and np.isfinite(z).sum() == z.size - 1
        one = zero + 1
        dmu, dlogvar = kernels.reparam_kl_backward(zero, with_one(shape), one, one, row + 1)
        assert np.isfinite(dmu).all() and not np.isfinite(dlogvar[1, 5])
        dmu, dlogvar = kernels.reparam_kl_backward(zero, zero, one, with_one(shape), row)
        assert not np.isfinite(dmu[1, 5]) and not np.isfinite(dlogvar[1, 5])
        for logits, target in ((with_one(shape), zero), (zero, with_one(shape))):
            loss, gradient = kernels.bce_with_logits(logits, target, True)
            assert not np.isfinite(loss[1]) and np.isfinite(loss[[0, 2]]).all()
            if np.isnan(value):
                assert np.isnan(gradient[1, 5]) and np.isnan(gradient).sum() == 1
        param, m, v = np.zeros(60, dtype), np.zeros(60, dtype), np.zeros(60, dtype)
        grad = with_one(shape).ravel()
        kernels.adam([param], [grad], [m], [v], 1, 1e-3, 0.9, 0.999, 1e-8, 0.0)
    assert np.isnan(param[25]) and np.isfinite(param).sum() == 59
