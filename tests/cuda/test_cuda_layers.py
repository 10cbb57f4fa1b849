"""Bias, ReLU, channel sums and batch normalisation, executed as CUDA blocks and warps."""

import cuda_machine
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import conv_oracles
from strategies import seeds

DTYPES = [np.float32, np.float64]
# (N, C, L): matrices, images, rows of whole vectors or not, several blocks a channel, nothing.
SHAPES = [
    (128, 40, 1), (1, 1, 1), (5, 33, 1), (2, 3, 16), (3, 5, 49), (2, 2, 4), (700, 3, 1),
    (9, 1, 1000), (3, 2, 4096), (0, 3, 4), (2, 0, 4), (2, 3, 0), (4, 2, 9),
]  # fmt: skip
shapes = st.tuples(st.integers(0, 40), st.integers(0, 40), st.sampled_from([1, 2, 3, 4, 8, 12, 25]))


@pytest.fixture(params=cuda_machine.NAMES, scope="module")
def gpu(request):
    return cuda_machine.machine(request.param)


def close(got, want, dtype, scale=1.0):
    rtol, atol = (3e-6, 3e-6) if dtype == np.float32 else (1e-12, 1e-12)
    np.testing.assert_allclose(got, want, rtol=rtol, atol=atol * scale)


def scratch(gpu, shape, sums):
    need = gpu.module.channel_scratch(*shape, sums)
    return cuda_machine.Out(np.full(need, np.nan)) if need else None


def whole_numbers(seed, *shape, dtype=np.float32):
    return np.random.default_rng(seed).integers(-9, 10, shape).astype(dtype)


def reals(seed, *shape, dtype=np.float32):
    return np.random.default_rng(seed).normal(1, 2, shape).astype(dtype)


@given(shape=shapes, shift=st.integers(0, 3), seed=seeds)
def test_relu_and_its_gradient(gpu, shape, shift, seed):
    for dtype in DTYPES:
        x, dy = reals(seed, *shape, dtype=dtype), reals(seed + 1, *shape, dtype=dtype)
        y = gpu.run("relu", x, gpu.out(shape, dtype), shift=shift)
        np.testing.assert_array_equal(y, np.where(x > 0, x, 0))
        dx = gpu.run("relu_backward", y, dy, gpu.out(shape, dtype), shift=shift)
        np.testing.assert_array_equal(dx, np.where(x > 0, dy, 0))


def test_relu_keeps_nan_and_zeroes_the_kink(gpu):
    x = np.array([np.nan, -np.inf, np.inf, 0.0, -0.0, -1e-45, 1e-45], np.float32)
    y = gpu.run("relu", x, gpu.out(x.shape, np.float32))
    np.testing.assert_array_equal(y, [np.nan, 0, np.inf, 0, 0, 0, x[-1]])
    dx = gpu.run("relu_backward", y, np.ones_like(x), gpu.out(x.shape, np.float32))
    np.testing.assert_array_equal(dx, [1, 0, 1, 0, 0, 0, 1])  # the gradient passes a NaN


@pytest.mark.parametrize("rectify", [False, True])
@given(shape=shapes, shift=st.integers(0, 3), seed=seeds)
def test_bias_with_and_without_relu(gpu, rectify, shape, shift, seed):
    for dtype in DTYPES:
        x, b = whole_numbers(seed, *shape, dtype=dtype), whole_numbers(7, shape[1], dtype=dtype)
        y = gpu.run("bias_activation", x, b, rectify, gpu.out(shape, dtype), shift=shift)
        want = x + b[None, :, None]
        np.testing.assert_array_equal(y, want.clip(0) if rectify else want)


def check_sums(gpu, shape, shift, seed):
    for dtype in DTYPES:
        y, dy = (
            whole_numbers(seed, *shape, dtype=dtype),
            whole_numbers(seed + 1, *shape, dtype=dtype),
        )
        none = gpu.out((0,), np.float64)
        room, (db, dx) = (
            scratch(gpu, shape, 1) or none,
            (gpu.out(n, dtype) for n in (shape[1], shape)),
        )
        sums, _ = gpu.run("channel_sum", dy, db, room, shift=shift)
        np.testing.assert_array_equal(sums, dy.sum(axis=(0, 2)))
        dx, db, _ = gpu.run("bias_relu_backward", y, dy, dx, db, room, shift=shift)
        np.testing.assert_array_equal(dx, dy * (y > 0))
        np.testing.assert_array_equal(db, (dy * (y > 0)).sum(axis=(0, 2)))


@pytest.mark.parametrize("shape", SHAPES)
def test_channel_sums_of_every_kind_of_shape(gpu, shape):
    if shape[1] == 0:
        pytest.skip("no channel, no sums: test_bias_with_and_without_relu has it")
    check_sums(gpu, shape, 0, 0)


@given(shape=shapes.filter(lambda s: s[1] > 0), shift=st.integers(0, 3), seed=seeds)
def test_channel_sums_of_any_shape_and_alignment(gpu, shape, shift, seed):
    check_sums(gpu, shape, shift, seed)


def run_batch_norm(gpu, x, w, b, mean, var, eps=1e-5, shift=0):
    dtype, channels = x.dtype, x.shape[1:2]
    own = [gpu.out(channels, dtype), gpu.out(channels, dtype), scratch(gpu, x.shape, 2)]
    arguments = [x, w, b, mean, var, eps, gpu.out(x.shape, dtype)]
    results = gpu.run(
        "batch_norm_forward", *arguments, *(own if mean is None else [None] * 3), shift=shift
    )
    return results[:3] if mean is None else (results, mean, var)


def run_batch_norm_backward(gpu, x, w, mean, var, dy, training, eps=1e-5, shift=0):
    dtype, channels = x.dtype, x.shape[1:2]
    return gpu.run(
        "batch_norm_backward", x, w, mean, var, eps, dy, training, gpu.out(x.shape, dtype),
        gpu.out(channels, dtype), gpu.out(channels, dtype), scratch(gpu, x.shape, 2), shift=shift,
    )[:3]  # fmt: skip


def check_batch_norm(gpu, shape, shift, seed, training, dtype):
    C = shape[1]
    x, dy = reals(seed, *shape, dtype=dtype), reals(seed + 1, *shape, dtype=dtype)
    w, b = reals(3, C, dtype=dtype), reals(4, C, dtype=dtype)
    mean, var = (
        (None, None) if training else (reals(5, C, dtype=dtype), abs(reals(6, C, dtype=dtype)))
    )
    y, own_mean, own_var = run_batch_norm(gpu, x, w, b, mean, var, shift=shift)
    want = conv_oracles.batch_norm_forward(x, w, b, mean, var, 1e-5)
    for got, expected in zip((y, own_mean, own_var), want, strict=True):
        close(got, expected, dtype, scale=20)
    got = run_batch_norm_backward(gpu, x, w, own_mean, own_var, dy, training, shift=shift)
    want = conv_oracles.batch_norm_backward(x, w, own_mean, own_var, 1e-5, dy, training)
    for gradient, expected in zip(got, want, strict=True):
        close(gradient, expected, dtype, scale=20 * max(1, abs(expected).max(initial=0)))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(128, 3, 1), (2, 3, 16), (3, 5, 49), (9, 1, 100), (2, 1, 900)])
def test_batch_norm_of_every_kind_of_shape(gpu, shape, dtype, training):
    check_batch_norm(gpu, shape, 0, 0, training, dtype)


@given(
    shape=st.tuples(st.integers(1, 9), st.integers(1, 5), st.sampled_from([2, 3, 4, 8, 25])),
    shift=st.integers(0, 3),
    seed=seeds,
    training=st.booleans(),
)
def test_batch_norm_of_any_shape_and_alignment(gpu, shape, shift, seed, training):
    for dtype in DTYPES:
        check_batch_norm(gpu, shape, shift, seed, training, dtype)


def test_statistics_of_several_blocks(gpu):
    x = reals(0, 3, 2, 12000)
    _, mean, var = run_batch_norm(gpu, x, np.ones(2, "f4"), np.zeros(2, "f4"), None, None)
    assert gpu.module.channel_scratch(*x.shape, 2) > 4, "the channels are not cut"
    close(mean, x.mean(axis=(0, 2), dtype=float), np.float32)
    close(var, x.var(axis=(0, 2), dtype=float), np.float32)


@pytest.mark.parametrize("dtype", DTYPES)
def test_variance_keeps_its_digits_far_from_zero(gpu, dtype):
    """The mean takes half of the dtype's digits, so E x^2 - (E x)^2 would be rounding error."""
    centre, rtol = (1e4, 1e-6) if dtype == np.float32 else (1e8, 1e-12)
    x = (centre + reals(0, 50, 2, 1, dtype=dtype)).astype(dtype)
    x[0] = centre + 300  # the pivot itself is far from the mean
    ones = np.ones(2, dtype)
    _, mean, var = run_batch_norm(gpu, x, ones, ones, None, None)
    np.testing.assert_allclose(mean, x.mean(axis=(0, 2), dtype=np.longdouble), rtol=1e-7)
    np.testing.assert_allclose(var, x.astype(np.longdouble).var(axis=(0, 2)), rtol=rtol)


def test_constant_channel_has_no_variance(gpu):
    x = np.full((7, 2, 4), 0.1, np.float32)
    y, _, var = run_batch_norm(gpu, x, np.ones(2, "f4"), np.full(2, 3, "f4"), None, None)
    assert var.tolist() == [0, 0]
    np.testing.assert_allclose(y, 3, rtol=1e-6)


@given(C=st.integers(0, 400), seed=seeds)
def test_running_statistics_follow(gpu, C, seed):
    mean, var, old_mean, old_var = (reals(seed + i, C, dtype=np.float64) for i in range(4))
    new_mean, new_var = gpu.run(
        "update_running", mean, var, 8, 0.1, cuda_machine.Out(old_mean), cuda_machine.Out(old_var)
    )
    np.testing.assert_allclose(new_mean, 0.9 * old_mean + 0.1 * mean, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(new_var, 0.9 * old_var + 0.1 * var * 8 / 7, rtol=1e-12, atol=1e-12)


def test_bad_arguments_are_named(gpu):
    x = np.zeros((2, 3, 4), np.float32)
    with pytest.raises(ValueError, match="x: expected 3 dimensions"):
        gpu.run("channel_sum", x[0], gpu.out((3,), np.float32), None)
    with pytest.raises(ValueError, match=r"sums: expected shape \(3,\), got \(4,\)"):
        gpu.run("channel_sum", x, gpu.out((4,), np.float32), None)
    with pytest.raises(ValueError, match="expected mean and var, or None for both, got NoneType"):
        run_batch_norm(gpu, x, x[0, :, 0].copy(), x[0, :, 0].copy(), None, np.ones(3, "f4"))
    with pytest.raises(TypeError, match="b: expected float32"):
        gpu.run("bias_activation", x, np.zeros(3), True, gpu.out(x.shape, np.float32))
    with pytest.raises(ValueError, match="count: expected at least 2, got 1"):
        one = np.ones(1)
        gpu.run("update_running", one, one, 1, 0.1, cuda_machine.Out(one), cuda_machine.Out(one))
