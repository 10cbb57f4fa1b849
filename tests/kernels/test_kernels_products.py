"""Matrix products: one suite for every variant, against exact sums of whole numbers."""

import functools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

import conv_oracles as oracles
from kernel_variants import variant
from layer_numbers import DTYPES, LAYER_NAMES, LAYER_USABLE, assert_exact, dtypes, normal, whole
from strategies import LAYOUTS, layouts, seeds


@pytest.fixture(autouse=True, scope="module")
def one_thread_of_numpys():
    """NumPy's products are not under test; at these sizes its threads only wait for one another."""
    with threadpool_limits(1, user_api="blas"):
        yield


@pytest.fixture(params=LAYER_NAMES)
def kernels(request):
    with variant(request.param) as module:
        yield module


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
    """The oracle's product for a size, cached: every variant and dtype is compared with it."""
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
    """A result this large is written with non-temporal stores where its rows are aligned."""
    a, b = whole(1, (2051, 3)), whole(2, (3, 4100))
    assert_exact(kernels.matmul(a, b), a @ b, np.float32)


@functools.cache
def plain_product(M, K, N):
    """a, b, their product in float64, and the root mean square error of plain float32 code."""
    a, b = normal(1, (M, K)), normal(2, (N, K)).T
    exact = a.astype(np.float64) @ b
    plain = np.zeros((M, N), np.float32)
    for k in range(K):
        plain += a[:, k : k + 1] * b[k]
    return a, b, exact, np.sqrt(((plain - exact) ** 2).mean())


@pytest.mark.parametrize("size", [(128, 784, 400), (16, 5000, 70), (300, 128, 200)])
def test_matmul_is_as_accurate_as_plain_code(kernels, size):
    a, b, exact, plain = plain_product(*size)
    assert np.sqrt(((kernels.matmul(a, b) - exact) ** 2).mean()) <= plain


@pytest.mark.filterwarnings("ignore:invalid value")  # NumPy warns of what is asked for here
@pytest.mark.parametrize("special", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("size", [(30, 20, 40), (5, 600, 40), (2, 9000, 2)])
def test_matmul_keeps_what_is_not_finite(kernels, size, special):
    """NaN or infinity in a row of a reaches that row of c alone, and 0 times infinity is NaN."""
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
