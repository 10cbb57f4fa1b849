"""The noise stream: known answers, one stream for every variant, shape and dtype; statistics.

Every draw has a fixed seed, so a statistical test passes always or never; the bounds are such that
a correct generator would rarely exceed them.
"""

import inspect
import math
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minivae as mv
import oracles
from kernel_variants import NAMES, USABLE, variant
from minivae.kernels import philox
from minivae.noise import Noise, NoiseStream

WORD = 2**64 - 1
words64 = st.integers(0, WORD)

# Random123's kat_vectors for philox4x32-10: counter, key, answer.
KNOWN_ANSWERS = [
    (
        "00000000 00000000 00000000 00000000",
        "00000000 00000000",
        "6627e8d5 e169c58d bc57ac4c 9b00dbd8",
    ),
    (
        "ffffffff ffffffff ffffffff ffffffff",
        "ffffffff ffffffff",
        "408f276d 41c83b0e a20bc7c6 6d5451fd",
    ),
    (
        "243f6a88 85a308d3 13198a2e 03707344",
        "a4093822 299f31d0",
        "d16cfe09 94fdcceb 5001e420 24126ea1",
    ),
]


@pytest.fixture(params=NAMES)
def kernels(request):
    with variant(request.param) as module:
        yield module


def words(text):
    return [int(word, 16) for word in text.split()]


@pytest.mark.parametrize("counter, key, answer", KNOWN_ANSWERS)
def test_known_answers(counter, key, answer):
    assert oracles.philox(words(counter), words(key)) == words(answer)
    got = philox.philox4x32(words(counter), words(key))
    assert [int(w) for w in got] == words(answer)


@pytest.mark.parametrize("counter, key, answer", KNOWN_ANSWERS)
@pytest.mark.parametrize("name", [NAMES[-1], NAMES[-2]])
def test_known_answers_compiled(name, counter, key, answer):
    c, k = words(counter), words(key)
    block, offset, seed = c[0] | c[1] << 32, c[2] | c[3] << 32, k[0] | k[1] << 32
    with variant(name) as module:
        if name == "numba":
            got = module._block(np.uint64(seed), np.uint64(offset), np.uint64(block))
        else:
            elementary = pytest.importorskip("minivae._cpu").elementary
            got = elementary.noise_block(seed, offset, block)
    assert [int(w) for w in got] == words(answer)


@given(seed=words64, offset=words64, i=st.integers(0, 300_000))
def test_reference_follows_the_definition(seed, offset, i):
    """Any element matches the definition, also beyond one chunk of the array code (65,536)."""
    word, number = oracles.noise_element(seed, offset, i)
    noise = Noise(seed, offset)
    assert int(philox.words(noise, i + 1)[i]) == word
    assert philox.uniform(noise, i + 1, np.float64)[i] == (2 * word + 1) / 2**33
    x = philox.normal(noise, i + 1, np.float64)[i]
    assert math.isclose(x, number, rel_tol=1e-12, abs_tol=1e-14)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("seed, offset", [(0, 0), (1, 2**32), (WORD, WORD), (2**32, 5), (7, 2**63)])
def test_one_stream_for_every_variant(kernels, seed, offset, dtype):
    noise = Noise(seed, offset)
    for n in (0, 1, 2, 3, 4, 5, 511, 512, 513, 2047, 70_001):
        u, x = kernels.uniform(noise, n, dtype), kernels.normal(noise, n, dtype)
        assert u.dtype == x.dtype == dtype and u.shape == x.shape == (n,)
        # u holds its word's 33 bits in float64, and is rounded once to float32: equal u, equal w.
        np.testing.assert_array_equal(u, philox.uniform(noise, n, dtype))
        # The definition rounds the angle in double, by up to 4e-16, times a radius up to 6.8.
        rtol = 6 * np.finfo(dtype).eps
        np.testing.assert_allclose(x, philox.normal(noise, n, dtype), rtol=rtol, atol=1e-14)


@given(seed=words64, offset=words64, n=st.integers(0, 1500), cut=st.integers(0, 1500))
def test_an_element_depends_on_its_index_alone(seed, offset, n, cut):
    noise = Noise(seed, offset)
    for name in USABLE:
        with variant(name) as kernels:
            long = kernels.normal(noise, (n + cut,), np.float32)
            np.testing.assert_array_equal(kernels.normal(noise, n, np.float32), long[:n])
            tall = kernels.normal(noise, (n, 1, 3), np.float32)
            wide = kernels.normal(noise, (3, n), np.float32)
            np.testing.assert_array_equal(tall.ravel(), wide.ravel())


@given(first=st.integers(0, 700), rows=st.integers(0, 40), columns=st.integers(0, 37))
def test_rows_of_a_draw_are_those_of_the_whole_draw(first, rows, columns):
    whole, part = Noise(3, 2**33), Noise(3, 2**33, first)
    assert part == whole.rows(first) and part.rows(0) == whole
    shape = first + rows, columns
    rng = np.random.default_rng(columns)
    images = rng.integers(0, 256, (5, columns), np.uint8)
    index = rng.integers(0, 5, first + rows)
    mu, logvar, dz = rng.standard_normal((3, *shape))
    dkl = rng.standard_normal(first + rows)
    for name in USABLE:
        with variant(name) as kernels:
            draws = {
                kernels.uniform: lambda noise, at: (noise, shape_of(at), np.float32),
                kernels.normal: lambda noise, at: (noise, shape_of(at), np.float64),
                kernels.gather_pixels: lambda noise, at: (images, index[at], np.float32, noise),
                kernels.reparam_kl_forward: lambda noise, at: (mu[at], logvar[at], noise),
                kernels.reparam_kl_backward: (
                    lambda noise, at: (mu[at], logvar[at], noise, dz[at], dkl[at])
                ),
            }

            def shape_of(at):
                return (len(index[at]), columns)

            for kernel, arguments in draws.items():
                expected = kernel(*arguments(whole, slice(None)))
                got = kernel(*arguments(part, slice(first, None)))
                for a, b in zip(arrays(got), arrays(expected), strict=True):
                    # A row's KL is a sum of at most 37 positive terms. CUDA groups them by where
                    # the row begins in memory, so the last bits of two sums may differ.
                    grouped = name.startswith("cuda") and a.ndim == 1
                    rtol = 2 * columns * np.finfo(b.dtype).eps if grouped else 0
                    np.testing.assert_allclose(
                        a, b[first:], rtol, err_msg=f"{name} {kernel.__name__}"
                    )


def arrays(outputs):
    return outputs if isinstance(outputs, tuple) else (outputs,)


def test_rows_far_into_a_draw():
    """Element 2^40 + 1 and the four after it, of every variant."""
    first = (2**40 + 1) // 5
    expected = [oracles.noise_element(1, 2, 5 * first + i)[1] for i in range(5)]
    for name in USABLE:
        with variant(name) as kernels:
            got = kernels.normal(Noise(1, 2, first), (1, 5), np.float64)
            np.testing.assert_allclose(got[0], expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", ["composed", "reference"])
@pytest.mark.parametrize("shape", [(7, 3), (7, 2, 3), (7, 1, 2, 1)])
def test_rows_are_counted_along_the_first_axis(name, shape):
    rng = np.random.default_rng(0)
    mu, logvar = rng.standard_normal((2, *shape))
    with mv.kernels.use(name):
        whole = mv.functional.reparameterize_kl(mu, logvar, Noise(1, 2))
        part = mv.functional.reparameterize_kl(mu[3:], logvar[3:], Noise(1, 2, 3))
        flat = mu.reshape(7, -1)[4], logvar.reshape(7, -1)[4]
        vector = mv.functional.reparameterize_kl(*flat, Noise(1, 2, 4))
    for a, b in zip(whole, part, strict=True):
        np.testing.assert_array_equal(a.data[3:], b.data)
    np.testing.assert_array_equal(whole[0].data[4].ravel(), vector[0].data)


EDGES = [0, 1, 2, 2**23, 2**24 + 1, 2**29 - 1, 2**29, 2**30, 3 * 2**29 - 1, 3 * 2**29, 2**31 - 1,
         2**31, 2**33 // 3, 2**33 // 3 + 1, 5 * 2**29, 3 * 2**30,
         7 * 2**29, 2**32 - 2**29, 2**32 - 2, 2**32 - 1]  # fmt: skip


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("cpu")])
def test_box_muller_at_every_word(name):
    """Within 6 ulp of the exact number, also where u rounds to 1 or the sine is near 0."""
    rng = np.random.default_rng(0)
    w = rng.integers(0, 2**32, (200_000, 2), dtype=np.uint32)
    w = np.concatenate([w, np.array([(a, b) for a in EDGES for b in EDGES], np.uint32)])
    u = (2 * w.astype(np.longdouble) + 1) / 2**33
    # Exact reduction of the angle to an eighth of a turn, in integers; the logarithm from 1 - u.
    quarter = (w[:, 1].astype(np.int64) + 2**29) >> 30
    rest = ((2 * (w[:, 1].astype(np.int64) - (quarter << 30)) + 1).astype(np.longdouble)) / 2**33
    s, c = np.sin(2 * np.pi * rest), np.cos(2 * np.pi * rest)
    turn = [(c, s), (-s, c), (-c, -s), (s, -c)]
    cosine = np.choose(quarter % 4, [t[0] for t in turn])
    sine = np.choose(quarter % 4, [t[1] for t in turn])
    radius = np.sqrt(-2 * np.log1p(-(1 - u[:, 0])))
    exact = np.stack([radius * cosine, radius * sine], axis=1)
    with variant(name):
        elementary = pytest.importorskip("minivae._cpu").elementary
        # The last is what a GPU takes, whose root adds 2 ulp (csrc/math/fast_float.h).
        for function, dtype, tolerance in (
            (elementary.box_muller, np.float32, 6),
            (elementary.box_muller, np.float64, 6),
            (elementary.fast_box_muller, np.float32, 5),
        ):
            got = np.empty(w.shape, dtype)
            function(w, got)
            assert np.isfinite(got).all()
            error = np.abs(got - exact) / np.spacing(np.abs(exact.astype(dtype)))
            assert error.max() < tolerance


@pytest.mark.parametrize("make", [Noise, NoiseStream])
@pytest.mark.parametrize(
    "seed, offset, error, text",
    [
        (-1, 0, ValueError, "seed"),
        (0, 2**64, ValueError, "offset"),
        (1.0, 0, TypeError, "seed"),
        (True, 0, TypeError, "seed"),
        (0, "1", TypeError, "offset"),
        (None, 0, TypeError, "seed"),
    ],
)
def test_bad_seeds_and_offsets_are_named(make, seed, offset, error, text):
    with pytest.raises(error, match=text):
        make(seed, offset)


def test_noise_is_a_tuple_of_python_integers():
    noise = Noise(np.uint64(WORD), np.int32(3))
    seed, offset, first = noise
    assert (seed, offset, first) == noise == (WORD, 3, 0)
    assert type(seed) is type(offset) is type(first) is int
    assert hash(noise) == hash(Noise(WORD, 3))
    assert noise.normal(3).dtype == np.float32 and noise.uniform((2, 2), np.float64).shape == (2, 2)
    np.testing.assert_array_equal(noise.normal((2, 3)), noise.normal(6).reshape(2, 3))


def test_stream_counts_and_wraps():
    stream = NoiseStream(5, WORD)
    assert [stream.draw(), stream.draw(), stream.draw()] == [(5, WORD, 0), (5, 0, 0), (5, 1, 0)]
    assert (stream.seed, stream.offset) == (5, 2)
    assert isinstance(stream.draw(), Noise)
    assert repr(stream) == "NoiseStream(seed=5, offset=3)"
    assert inspect.signature(NoiseStream).parameters["offset"].default == 0


# ---- statistics, on numbers of the default kernel: the variants agree, as tested above


def normal_cdf(x):
    return np.array([0.5 * math.erfc(-v / math.sqrt(2)) for v in x.tolist()])


def ks_p_value(cdf_values):
    """Kolmogorov-Smirnov: P(a uniform sample is this far from uniform, or farther).

    The limit distribution with the correction for finite n of Stephens 1970.
    """
    f = np.sort(cdf_values)
    n = f.size
    steps = np.arange(n)
    distance = max(((steps + 1) / n - f).max(), (f - steps / n).max())
    t = distance * (math.sqrt(n) + 0.12 + 0.11 / math.sqrt(n))
    series = (2 * (-1) ** (k - 1) * math.exp(-2 * (k * t) ** 2) for k in range(1, 101))
    return min(1.0, max(0.0, math.fsum(series)))


def binomial_tails(k, n, p):
    """(P(X <= k), P(X >= k)) for X ~ Binomial(n, p)."""

    def log_mass(j):
        ways = math.lgamma(n + 1) - math.lgamma(j + 1) - math.lgamma(n - j + 1)
        return ways + j * math.log(p) + (n - j) * math.log1p(-p)

    below = math.fsum(math.exp(log_mass(j)) for j in range(k))
    here = math.exp(log_mass(k))
    return below + here, 1 - below


def test_the_statistics_can_fail():
    x = Noise(0, 0).normal(200_000, np.float64)
    assert ks_p_value(normal_cdf(1.02 * x)) < 1e-4 and ks_p_value(normal_cdf(x + 0.01)) < 1e-4
    assert math.isclose(sum(binomial_tails(0, 10, 0.3)), 1 + 0.7**10)
    assert Fraction(1, 2) < binomial_tails(3, 6, 0.5)[0] == pytest.approx(42 / 64)
    assert min(binomial_tails(20, 10**6, 1e-5)) < 0.01


@pytest.mark.parametrize("seed, offset", [(0, 0), (1, 0), (0, 1), (WORD, 2**32)])
def test_distribution(seed, offset):
    noise, n = Noise(seed, offset), 200_000
    assert ks_p_value(noise.uniform(n, np.float64)) > 1e-3
    for start in range(4):  # each lane by itself
        assert ks_p_value(normal_cdf(noise.normal(n, np.float64)[start::4])) > 1e-3


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_moments(dtype):
    n = 2**22
    x, power = Noise(2, 3).normal(n, dtype).astype(np.float64), 1
    for moment, variance in ((0, 1), (1, 2), (0, 15), (3, 96)):
        power = power * x
        assert abs(power.mean() - moment) < 4 * math.sqrt(variance / n), (moment, variance)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_tails(dtype):
    n = 2**22
    above, below = Counter(), Counter()
    for offset in range(4):
        x = Noise(11, offset).normal(n, dtype)
        assert np.abs(x).max() < 6.77  # sqrt(-2 ln 2^-33)
        for sigmas in (3, 4, 5):
            above[sigmas] += int((x > sigmas).sum())
            below[sigmas] += int((x < -sigmas).sum())
    for sigmas in (3, 4, 5):
        p = math.erfc(sigmas / math.sqrt(2)) / 2
        for count in (above[sigmas], below[sigmas]):
            assert min(binomial_tails(count, 4 * n, p)) > 1e-4, (sigmas, count, 4 * n * p)


def correlations(rows):
    """Off-diagonal correlations of the rows, in standard errors."""
    r = np.corrcoef(rows)
    return np.abs(r[~np.eye(len(rows), dtype=bool)]).max() * math.sqrt(rows.shape[1])


N = 2**16
NEIGHBOURS = np.arange(9)[:, None] + np.arange(N)
FAMILIES = {  # names to functions that make rows of N numbers which should be independent
    "lanes": lambda: Noise(1, 1).normal((N, 4), np.float64).T,
    "rows": lambda: Noise(2, 1).normal((8, N), np.float64),
    "offsets": lambda: np.stack([Noise(3, k).normal(N, np.float64) for k in range(8)]),
    "far offsets": lambda: np.stack([Noise(3, k << 32).normal(N, np.float64) for k in range(8)]),
    "seeds": lambda: np.stack([Noise(k, 4).normal(N, np.float64) for k in range(8)]),
    "far seeds": lambda: np.stack([Noise(k << 32, 4).normal(N, np.float64) for k in range(8)]),
    "neighbours": lambda: Noise(5, 5).normal(N + 8, np.float64)[NEIGHBOURS],
}


@pytest.mark.parametrize("family", FAMILIES)
def test_independence(family):
    """At most 36 pairs are compared; 5 standard errors happen in one of 48,000 such families."""
    rows = FAMILIES[family]()
    assert correlations(rows) < 5
    assert correlations(rows**2) < 5  # a pair shares its radius: squares would tell
    assert correlations(np.stack([rows[0], rows[1] + 0.1 * rows[0]])) > 5  # and it can fail


@pytest.mark.parametrize("dtype", [np.float16, np.longdouble, ">f4"])
def test_every_float_dtype_is_the_float64_number_rounded(dtype):
    noise = Noise(3, 4)
    for name in ("normal", "uniform"):
        drawn, exact = (getattr(noise, name)((5, 3), d) for d in (dtype, np.float64))
        assert drawn.dtype == dtype
        error = np.abs(drawn.astype(np.float64) - exact)
        assert (error <= np.finfo(np.dtype(dtype).newbyteorder("=")).eps * abs(exact) + 1e-15).all()


@pytest.mark.parametrize("dtype", [np.int32, np.uint8, bool, complex])
def test_noise_is_never_of_another_kind(dtype):
    for draw in (Noise(0, 0).normal, Noise(0, 0).uniform):
        with pytest.raises(TypeError, match="dtype: expected a floating-point dtype"):
            draw(3, dtype)
