"""The elementary functions of csrc/math on every instruction set: ulp bounds and special values.

The oracle for float32 is NumPy's function in float64, for float64 NumPy's in long double.
"""

import functools

import numpy as np
import pytest

from kernel_variants import NAMES, variant

CPU_NAMES = [name for name in NAMES if name.startswith("cpu")]
# The bounds that csrc/math/elementary.h states, in units in the last place.
BOUNDS = {
    "exp": 1.0, "expm1": 2.25, "log": 1.0, "log1p": 1.5,
    "exp_of_negative": 1.0, "log1p_of_fraction": 1.5, "exp_half": 1.0, "expm1_by_half": 4.0,
}  # fmt: skip
# And those that csrc/math/fast_float.h states for float32.
FAST_BOUNDS = {"fast_exp_half": 1.25, "fast_expm1_by_half": 3.25}
# What the special-purpose functions compute (EXACT), and the arguments they take (DOMAIN).
EXACT = {
    "exp_of_negative": np.exp,
    "log1p_of_fraction": np.log1p,
    "exp_half": lambda x: np.exp(x / 2),
    "expm1_by_half": np.expm1,
    "fast_exp_half": lambda x: np.exp(x / 2),
    "fast_expm1_by_half": np.expm1,
}
DOMAIN = {"exp_of_negative": (-np.inf, 0), "log1p_of_fraction": (0, 1)}
WIDE = {np.float32: np.float64, np.float64: np.longdouble}
BITS = {np.float32: np.uint32, np.float64: np.uint64}

pytestmark = pytest.mark.skipif(
    np.finfo(np.longdouble).nmant < 63, reason="long double is no wider than double here"
)


@pytest.fixture(params=CPU_NAMES)
def elementary(request):
    with variant(request.param):
        from minivae._cpu import elementary

        yield elementary


def arguments(dtype):
    """Numbers of every exponent, and more of them where the functions are difficult."""
    rng = np.random.default_rng(1)
    limits = np.iinfo(BITS[dtype])
    any_bits = rng.integers(limits.min, limits.max, 300_000, BITS[dtype], endpoint=True).view(dtype)
    largest = np.log(np.finfo(dtype).max)
    smallest = np.log(np.finfo(dtype).smallest_subnormal)
    subnormal = rng.integers(0, 1 << np.finfo(dtype).nmant, 20_000, BITS[dtype]).view(dtype)
    return np.concatenate(
        [
            any_bits,
            rng.uniform(smallest - 3, largest + 3, 200_000).astype(dtype),  # where exp is finite
            rng.uniform(smallest - 3, smallest + 40, 50_000).astype(dtype),  # where it is subnormal
            rng.uniform(-1, 1, 200_000).astype(dtype),
            (1 + rng.uniform(-0.3, 0.5, 100_000)).astype(dtype),
            (1 + rng.normal(0, 1e-4, 100_000)).astype(dtype),
            rng.normal(0, 1e-4, 100_000).astype(dtype),
            subnormal,
            -subnormal,
            2 ** np.arange(-20, 20, dtype=dtype),
        ]
    )


def in_domain(name, x):
    """The numbers, or NaN, that a function takes."""
    low, high = DOMAIN.get(name, (-np.inf, np.inf))
    return x[~((x < low) | (x > high))]


def exact_function(name):
    """NumPy's function, for wider numbers."""
    return EXACT.get(name) or getattr(np, name)


def error_in_ulp(got, exact, dtype):
    """Largest distance in units in the last place of the rounded answer, where that is finite."""
    right = exact.astype(dtype)
    finite = np.isfinite(right)
    # Results that are not finite must be equal: the same infinity, or NaN.
    np.testing.assert_array_equal(got[~finite], right[~finite])
    ulp = np.spacing(np.abs(right[finite])).astype(exact.dtype)
    error = np.abs(got[finite] - exact[finite]) / ulp
    assert np.isfinite(error).all()
    return float(error.max())


@functools.lru_cache(maxsize=1)
def exact_values(name, dtype):
    """Arguments in a function's domain, and its values in wider numbers: most of a test's time."""
    x = in_domain(name, arguments(dtype))
    with np.errstate(all="ignore"):
        return x, exact_function(name)(x.astype(WIDE[dtype]))


@pytest.mark.parametrize("variant_name", CPU_NAMES)  # the first changes with every test
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", BOUNDS)
def test_within_its_bound_everywhere(name, dtype, variant_name):
    x, exact = exact_values(name, dtype)
    with variant(variant_name), np.errstate(all="ignore"):
        from minivae._cpu import elementary

        assert error_in_ulp(getattr(elementary, name)(x), exact, dtype) < BOUNDS[name]


@pytest.mark.parametrize("name", FAST_BOUNDS)
def test_fast_functions_are_within_their_bounds(elementary, name):
    """fast_exp_half may also return 0 where its result is below 2^-125.5."""
    x = arguments(np.float32)
    got = getattr(elementary, name)(x)
    if name == "fast_exp_half":
        flushed = -251 * np.log(2)  # to one or two units in the last place
        assert (got[x < flushed - 1e-4] == 0).all()
        x, got = x[~(x < flushed + 1e-4)], got[~(x < flushed + 1e-4)]
    with np.errstate(all="ignore"):
        exact = exact_function(name)(x.astype(np.float64))
        assert error_in_ulp(got, exact, np.float32) < FAST_BOUNDS[name]


def test_no_divergence_is_negative(elementary):
    """e^x - 1 is nowhere less than x: every 61st float of magnitude 2^-30 to 4."""
    first, last = np.array([2.0**-30, 4], np.float32).view(np.uint32)
    x = np.arange(first, last + 1, 61, np.uint32).view(np.float32)
    for numbers in (x, -x):
        assert (elementary.fast_expm1_by_half(numbers) >= numbers).all()
        assert (elementary.expm1_by_half(numbers) >= numbers).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", [*BOUNDS, *FAST_BOUNDS])
def test_special_values(elementary, name, dtype):
    info = np.finfo(dtype)
    x = np.array(
        [0.0, -0.0, np.inf, -np.inf, np.nan, 1, -1, info.max, info.min, info.tiny, -info.tiny,
         info.smallest_subnormal, -info.smallest_subnormal, info.eps, -2], dtype,
    )  # fmt: skip
    x = in_domain(name, x)
    got = getattr(elementary, name)(x)
    with np.errstate(all="ignore"):
        right = exact_function(name)(x.astype(WIDE[dtype])).astype(dtype)
        finite, ulp = np.isfinite(right), 2 if name in FAST_BOUNDS else 1
    np.testing.assert_array_max_ulp(got[finite], right[finite], ulp)
    np.testing.assert_array_equal(np.isnan(got), np.isnan(right))
    np.testing.assert_array_equal(got[np.isinf(right)], right[np.isinf(right)])
    known = ~np.isnan(right)  # a NaN's sign says nothing
    if name.endswith("expm1_by_half"):
        known &= got != 0  # nor does that of its zero
    np.testing.assert_array_equal(np.signbit(got[known]), np.signbit(right[known]))


@pytest.mark.parametrize("name", [*BOUNDS, *FAST_BOUNDS])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_same_bytes_on_every_instruction_set_and_length(name, dtype):
    """Vectorised loops, their scalar tails and all instruction sets give the same bits."""
    x = in_domain(name, arguments(dtype)[::37])[:3001].copy()
    x = x[~np.isnan(x)]  # the bits of a NaN result are not specified
    results = []
    for variant_name in CPU_NAMES:
        with variant(variant_name):
            from minivae._cpu import elementary

            function = getattr(elementary, name)
            results.append(function(x))
            parts = np.split(x, [1, 4, 11, 500])
            results.append(np.concatenate([function(part) for part in parts]))
    for result in results[1:]:
        np.testing.assert_array_equal(np.isnan(result), np.isnan(results[0]))
        number = ~np.isnan(result)
        np.testing.assert_array_equal(
            result[number].view(BITS[dtype]), results[0][number].view(BITS[dtype])
        )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_functions_of_one_purpose_agree_with_the_general_ones(elementary, dtype):
    x = arguments(dtype)
    negative = x[x <= 0]
    assert elementary.exp_of_negative(negative).tobytes() == elementary.exp(negative).tobytes()
    x = x[~np.isnan(x)]
    assert elementary.exp_half(x).tobytes() == elementary.exp(dtype(0.5) * x).tobytes()


def test_a_wrong_function_is_caught():
    x = arguments(np.float32)
    with np.errstate(all="ignore"):
        exact = np.exp(x.astype(np.float64))
        assert error_in_ulp(np.exp(x * np.float32(1 + 1e-6)), exact, np.float32) > 2
        with pytest.raises(AssertionError):
            error_in_ulp(np.where(np.isnan(x), 0, np.exp(x)), exact, np.float32)
