"""Adam, batches made on the GPU and counters, executed as CUDA blocks and warps."""

import cuda_machine
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import kernel_oracles
from minivae.data.batches import permutation
from minivae.kernels import philox
from minivae.kernels.philox import NoiseKey
from minivae.noise import SHUFFLE
from strategies import seeds

DTYPES = [np.float32, np.float64]


@pytest.fixture(params=cuda_machine.NAMES, scope="module")
def gpu(request):
    return cuda_machine.machine(request.param)


# Adam


def run_adam(gpu, param, grad, m, v, step, lr, beta1, beta2, eps, decay, counter=None, shift=0):
    """Adam of one parameter; (param, m, v) after it."""
    out = cuda_machine.Out
    counter = None if counter is None else np.array([counter], np.uint64)
    return gpu.run(
        "adam", [out(param)], [grad], [out(m)], [out(v)], step, lr, beta1, beta2, eps, decay,
        counter, shift=shift,
    )  # fmt: skip


def draw_state(seed, count, dtype):
    rng = np.random.default_rng(seed)
    param, grad, m = rng.normal(size=(3, count)).astype(dtype)
    return param, grad, m, rng.uniform(0, 2, count).astype(dtype)


@given(
    count=st.integers(0, 1100),
    shift=st.integers(0, 3),
    step=st.integers(1, 10**6),
    decay=st.sampled_from([0.0, 0.1]),
    seed=seeds,
)
def test_adam(gpu, count, shift, step, decay, seed):
    for dtype, rtol in zip(DTYPES, (3e-6, 1e-13), strict=True):
        state = draw_state(seed, count, dtype)
        settings = (step, 1e-2, 0.9, 0.999, 1e-8, decay)
        got = run_adam(gpu, *state, *settings, shift=shift)
        for new, want in zip(got, kernel_oracles.adam(*state, *settings), strict=True):
            np.testing.assert_allclose(new, want, rtol=rtol, atol=rtol)


def test_adam_of_many_parameters_is_adam_of_each(gpu):
    """More parameters than one launch takes, some empty or not aligned, are updated as alone."""
    sizes = [0, 1, 5, 0, 1030, *range(1, 130), 0, 2048, 0]
    out = cuda_machine.Out
    settings = (3, 1e-2, 0.9, 0.999, 1e-8, 0.1)
    for dtype in DTYPES:
        states = [draw_state(k, size, dtype) for k, size in enumerate(sizes)]
        params, grads, ms, vs = (list(arrays) for arrays in zip(*states, strict=True))
        got = gpu.run(
            "adam", [out(p) for p in params], grads, [out(m) for m in ms], [out(v) for v in vs],
            *settings, None,
        )  # fmt: skip
        each = [run_adam(gpu, *state, *settings) for state in states]
        for a, b in zip(got, [state[k] for k in range(3) for state in each], strict=True):
            gpu.assert_same(a, b)


def test_step_and_learning_rate_may_lie_on_the_device(gpu):
    state = draw_state(0, 77, np.float64)
    plain = run_adam(gpu, *state, 12, 1e-2, 0.9, 0.999, 1e-8, 0.0)
    device = run_adam(gpu, *state, 2, np.array([1e-2]), 0.9, 0.999, 1e-8, 0.0, counter=10)
    for a, b in zip(plain, device, strict=True):
        np.testing.assert_array_equal(a, b)
    other = run_adam(gpu, *state, 2, np.array([1e-2]), 0.9, 0.999, 1e-8, 0.0, counter=11)
    assert not np.array_equal(other[0], plain[0])


@given(count=st.integers(0, 600), shift=st.integers(0, 3))
def test_zeros_and_the_end_of_a_step(gpu, count, shift):
    for dtype in DTYPES:
        zeros = gpu.run("zero", gpu.out((count,), dtype), shift=shift)
        assert not zeros.any()
    out, counters = cuda_machine.Out, np.arange(count, dtype=np.uint64)
    counters[-1:] = 2**64 - 1
    terms = [np.array([value], np.float32) for value in (3, 1, 2)]
    after, latest = gpu.run("finish", out(counters), terms, gpu.out((3,), np.float32))
    np.testing.assert_array_equal(after, counters + np.uint64(1))
    np.testing.assert_array_equal(latest, [3, 1, 2])


# batches


def expected_pixels(images, index, noise, dtype):
    """The pixels expected, in exact integers: 1 where (2 w + 1) 2^-33 < p / 255."""
    rows = images[index]
    if noise is None:
        return (rows.astype(np.float64) / 255).astype(dtype)
    words = philox.words(noise, rows.size)
    drawn = [
        (2 * int(w) + 1) * 255 < int(p) * 2**33 for w, p in zip(words, rows.ravel(), strict=True)
    ]
    return np.array(drawn, dtype).reshape(rows.shape)


@given(
    rows=st.integers(0, 7),
    pixels=st.integers(0, 30),
    shift=st.integers(0, 3),
    draw=st.booleans(),
    seed=seeds,
)
def test_gather_pixels(gpu, rows, pixels, shift, draw, seed):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (5, pixels), np.uint8)
    index = rng.integers(0, 5, rows)
    noise = NoiseKey(seed, seed + 2**40) if draw else None
    for dtype in DTYPES:
        out = gpu.run(
            "gather_pixels", images, index, noise, None, gpu.out((rows, pixels), dtype), shift=shift
        )
        want = expected_pixels(images, index, noise, dtype)
        np.testing.assert_allclose(out, want, rtol=1e-7 if dtype == np.float32 else 1e-15)


def test_batch_number_and_offset_may_lie_on_the_device(gpu):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (9, 2, 5, 3), np.uint8)
    order = rng.permutation(9)
    counter = np.array([2], np.uint64)
    out, noise = gpu.out((3, 2, 5, 3), np.float32), (1, 5, 0, counter)
    out = gpu.run("gather_pixels", images, order, noise, counter, out)
    np.testing.assert_array_equal(
        out, expected_pixels(images, order[6:], NoiseKey(1, 7), np.float32)
    )


def test_a_bad_index_gives_nan_and_reads_nothing(gpu):
    images = np.full((4, 6), 255, np.uint8)
    index = np.array([3, 4, -1, 0, 2**62])
    out = gpu.run("gather_pixels", images, index, None, None, gpu.out((5, 6), np.float32))
    assert np.isnan(out).all(axis=1).tolist() == [False, True, True, False, True]
    assert (out[[0, 3]] == 1).all()
    past = gpu.run(
        "gather_pixels", images, index, None, np.array([1], np.uint64), gpu.out((3, 6), np.float32)
    )
    assert np.isnan(past).all(axis=1).tolist() == [False, True, True]


@pytest.mark.parametrize("count", [0, 1, 2, 1000, 4096, 4097, 10000])
@pytest.mark.parametrize("epoch", [0, 3])
def test_permutation_is_the_one_of_the_host(gpu, count, epoch):
    noise = (12345 + 2**40, SHUFFLE + epoch, 0)
    need = gpu.module.permutation_scratch(count)
    order, _ = gpu.run(
        "permutation", noise, gpu.out((count,), np.int64), gpu.out((need,), np.uint64)
    )
    np.testing.assert_array_equal(order, permutation(count, noise[0], epoch))


def test_bad_arguments_are_named(gpu):
    x = np.zeros(4, np.float32)
    out = cuda_machine.Out
    with pytest.raises(ValueError, match=r"grad: expected shape \(4,\)"):
        run_adam(gpu, x, x[:3], x, x, 1, 0.1, 0.9, 0.99, 1e-8, 0.0)
    with pytest.raises(TypeError, match="lr: expected a number"):
        run_adam(gpu, x, x, x, x, 1, "fast", 0.9, 0.99, 1e-8, 0.0)
    images, index = np.zeros((4, 6), np.uint8), np.zeros(2, np.int64)
    with pytest.raises(ValueError, match=r"index: expected shape \(3,\), got \(2,\)"):
        gpu.run("gather_pixels", images, index, None, None, gpu.out((3, 6), np.float32))
    with pytest.raises(ValueError, match="out: expected the shape of images"):
        gpu.run("gather_pixels", images, index, None, None, gpu.out((2, 7), np.float32))
    term = np.zeros(1, np.float32)
    with pytest.raises(TypeError, match="counters: expected uint64"):
        gpu.run("finish", out(index), [term] * 3, gpu.out((3,), np.float32))
    with pytest.raises(ValueError, match="terms: expected three arrays, got 2"):
        gpu.run("finish", out(index.view(np.uint64)), [term] * 2, gpu.out((3,), np.float32))
