"""The losses over rows, executed as CUDA blocks and warps, against loops over Python floats."""

import cuda_machine
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import kernel_oracles
from strategies import seeds

DTYPES = [np.float32, np.float64]
LOSSES = ["bce_with_logits", "squared_error_with_logits"]
# Short rows, rows of a block, of several pieces; whole quads or not.
COLUMNS = [0, 1, 3, 4, 20, 33, 256, 257, 784, 8191, 8192, 8193, 20001]


@pytest.fixture(params=cuda_machine.NAMES, scope="module")
def gpu(request):
    return cuda_machine.machine(request.param)


def tolerance(dtype):
    return {"rtol": 2e-6, "atol": 1e-6} if dtype == np.float32 else {"rtol": 1e-13, "atol": 1e-14}


def run_loss(gpu, name, logits, target, with_grad=True, shift=0, scale=1.0):
    N, M = logits.shape
    need = gpu.module.row_loss_scratch(N, M)
    scratch = gpu.out((need,), np.float64) if need else None
    dtype = logits.dtype
    grad = gpu.out((N, M), dtype) if with_grad else None
    loss = gpu.out((N,), dtype)
    results = gpu.run(name, logits, target, loss, grad, scale, scratch, shift=shift)
    results = results if isinstance(results, tuple) else (results,)
    return results[0], results[1] if with_grad else None


def draw(rng, N, M, dtype):
    logits = rng.normal(0, 4, (N, M)).astype(dtype)
    return logits, rng.uniform(0, 1, (N, M)).astype(dtype)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("M", COLUMNS)
def test_loss_and_gradient_of_every_kind_of_row(gpu, name, dtype, M):
    logits, target = draw(np.random.default_rng(M), 3, M, dtype)
    loss, gradient = run_loss(gpu, name, logits, target)
    want_loss, want_gradient = getattr(kernel_oracles, name)(logits, target)
    np.testing.assert_allclose(loss, want_loss, **tolerance(dtype))
    np.testing.assert_allclose(gradient, want_gradient, **tolerance(dtype))


@pytest.mark.parametrize("name", LOSSES)
@given(N=st.integers(0, 20), M=st.integers(0, 70), shift=st.integers(0, 3), seed=seeds)
def test_loss_of_any_shape_and_alignment(gpu, name, N, M, shift, seed):
    logits, target = draw(np.random.default_rng(seed), N, M, np.float32)
    loss, gradient = run_loss(gpu, name, logits, target, shift=shift)
    want_loss, want_gradient = getattr(kernel_oracles, name)(logits, target)
    np.testing.assert_allclose(loss, want_loss, **tolerance(np.float32))
    np.testing.assert_allclose(gradient, want_gradient, **tolerance(np.float32))


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("M", [20, 300, 9000])
def test_gradient_times_a_number(gpu, name, M):
    logits, target = draw(np.random.default_rng(0), 5, M, np.float32)
    loss, gradient = run_loss(gpu, name, logits, target)
    same_loss, scaled = run_loss(gpu, name, logits, target, scale=1 / 3)
    assert same_loss.tobytes() == loss.tobytes()
    assert scaled.tobytes() == (gradient * np.float32(1 / 3)).tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("R", "K"), [(1, 1), (128, 128), (5, 300), (1000, 33)])
def test_terms_of_the_loss(gpu, R, K, dtype):
    rng = np.random.default_rng(R)
    rec, kl = rng.normal(90, 9, R).astype(dtype), rng.normal(25, 4, K).astype(dtype)
    beta, out = np.array([0.7], dtype), gpu.out
    terms, share = gpu.run("negative_elbo", rec, kl, beta, out((3,), dtype), out((K,), dtype))
    means = rec.astype(np.float64).mean(), kl.astype(np.float64).mean()
    expected = [means[0] + float(beta[0]) * means[1], *means]
    np.testing.assert_allclose(terms, expected, rtol=4 * np.finfo(dtype).eps)
    np.testing.assert_allclose(share, np.full(K, float(beta[0]) / K), rtol=np.finfo(dtype).eps)


def test_terms_of_nothing_are_refused(gpu):
    none, some = np.zeros(0, np.float32), np.zeros(3, np.float32)
    beta, terms = np.ones(1, np.float32), gpu.out((3,), np.float32)
    for rec, kl in ((none, some), (some, none)):
        with pytest.raises(ValueError, match="negative_elbo: expected at least one element"):
            gpu.run("negative_elbo", rec, kl, beta, terms, gpu.out(kl.shape, np.float32))


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("M", [20, 300, 9000])
def test_loss_alone_has_the_same_bits(gpu, name, M):
    logits, target = draw(np.random.default_rng(0), 5, M, np.float32)
    with_gradient, _ = run_loss(gpu, name, logits, target)
    alone, none = run_loss(gpu, name, logits, target, with_grad=False)
    assert none is None
    assert alone.tobytes() == with_gradient.tobytes()


@pytest.mark.parametrize("M", [5, 300])
def test_extreme_logits(gpu, M):
    values = np.array([0.0, -0.0, 88, -88, 1e4, -1e4, 1e-30], np.float32)
    logits = np.resize(values, (2, M))
    target = np.resize(np.array([0, 1, 0.5, 1, 0], np.float32), (2, M))
    loss, gradient = run_loss(gpu, "bce_with_logits", logits, target)
    want_loss, want_gradient = kernel_oracles.bce_with_logits(logits, target)
    np.testing.assert_allclose(loss, want_loss, rtol=1e-6)
    np.testing.assert_allclose(gradient, want_gradient, rtol=1e-6, atol=1e-7)


def test_nan_stays_in_its_row(gpu):
    logits, target = draw(np.random.default_rng(0), 4, 300, np.float32)
    logits[2, 7] = np.nan
    loss, gradient = run_loss(gpu, "bce_with_logits", logits, target)
    assert np.isnan(loss).tolist() == [False, False, True, False]
    assert np.argwhere(np.isnan(gradient)).tolist() == [[2, 7]]


def run_log_mean_exp(gpu, x, weights=True, shift=0):
    out = gpu.out(x.shape, x.dtype) if weights else None
    return gpu.run("log_mean_exp", x, gpu.out(x.shape[:1], x.dtype), out, shift=shift)


def log_mean_exp_oracle(x):
    """In extended precision, where the exponentials of these tests neither overflow nor vanish."""
    e = np.exp(x.astype(np.longdouble))
    return np.log(e.mean(axis=1)).astype(float), (e / e.sum(axis=1, keepdims=True)).astype(float)


@given(
    N=st.integers(0, 9),
    K=st.integers(1, 70),
    scale=st.sampled_from([0.1, 10.0, 300.0]),
    shift=st.integers(0, 3),
    seed=seeds,
)
def test_log_mean_exp(gpu, N, K, scale, shift, seed):
    for dtype in DTYPES:
        x = (scale * np.random.default_rng(seed).normal(size=(N, K))).astype(dtype)
        y, weights = run_log_mean_exp(gpu, x, shift=shift)
        want, want_weights = log_mean_exp_oracle(x)
        np.testing.assert_allclose(y, want, **tolerance(dtype))
        np.testing.assert_allclose(weights, want_weights, **tolerance(dtype))
        assert run_log_mean_exp(gpu, x, weights=False, shift=shift).tobytes() == y.tobytes()


def test_log_mean_exp_at_infinity(gpu):
    inf, nan = np.inf, np.nan
    x = np.array([[-inf, 0], [-inf, -inf], [inf, 0], [nan, 0]], np.float64)
    y, weights = run_log_mean_exp(gpu, x)
    np.testing.assert_allclose(y, [np.log(0.5), -inf, inf, nan], rtol=1e-15)
    np.testing.assert_array_equal(weights[0], [0, 1])
    assert np.isnan(weights[[1, 3]]).all()


@pytest.mark.parametrize("name", LOSSES)
def test_bad_arguments_are_named(gpu, name):
    x = np.zeros((2, 3), np.float32)
    loss = gpu.out((2,), np.float32)
    with pytest.raises(ValueError, match=r"target: expected shape \(2, 3\), got \(2, 4\)"):
        gpu.run(name, x, np.zeros((2, 4), np.float32), loss, None, 1.0, None)
    with pytest.raises(TypeError, match="target: expected float32"):
        gpu.run(name, x, np.zeros((2, 3)), loss, None, 1.0, None)
    with pytest.raises(ValueError, match="logits: expected 2 dimensions"):
        gpu.run(name, np.zeros(3, np.float32), x, loss, None, 1.0, None)
    long = np.zeros((2, 10000), np.float32)
    with pytest.raises(ValueError, match="scratch: expected at least 4 elements, got None"):
        gpu.run(name, long, long, loss, None, 1.0, None)
