"""``viz.latent``: arithmetic, interpolation and grids of codes, and refused arguments."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from minivae.viz import latent

numbers = st.floats(-10, 10)
sizes = st.integers(1, 8)


@st.composite
def pairs(draw, min_size=1):
    """Two codes of one size and dtype."""
    shape = draw(st.integers(min_size, 8))
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    width = st.floats(-10, 10, width=32)
    return tuple(draw(arrays(dtype, shape, elements=width)) for _ in range(2))


@st.composite
def labelled(draw):
    """Codes (N, D) and a mask that has both values."""
    n = draw(st.integers(2, 12))
    codes = draw(arrays(np.float64, (n, draw(sizes)), elements=numbers))
    mask = draw(arrays(bool, n).filter(lambda m: m.any() and not m.all()))
    return codes, mask


@given(labelled())
def test_group_means_against_a_plain_loop(case):
    codes, mask = case
    with_it = [code for code, has in zip(codes, mask, strict=True) if has]
    without = [code for code, has in zip(codes, mask, strict=True) if not has]
    mean_with = sum(with_it) / len(with_it)
    mean_without = sum(without) / len(without)
    np.testing.assert_allclose(latent.mean_code(codes, mask), mean_with, atol=1e-12)
    vector = latent.attribute_vector(codes, mask)
    np.testing.assert_allclose(vector, mean_with - mean_without, atol=1e-12)
    # Moving every code without the attribute by the vector moves their mean onto the others'.
    moved = np.where(mask[:, None], codes, codes + vector)
    np.testing.assert_allclose(moved[~mask].mean(0), codes[mask].mean(0), atol=1e-12)


@given(pairs())
def test_arithmetic_undoes_itself(pair):
    a, b = pair
    np.testing.assert_array_equal(latent.arithmetic(a, b, b), a - b + b)
    np.testing.assert_array_equal(latent.arithmetic(a, a, b), b)
    assert latent.arithmetic(a, b, b).dtype == a.dtype


def test_arithmetic_by_hand():
    a, b, c = np.array([[1.0, 2.0], [3.0, 4.0]])[:, :1], np.full((2, 1), 0.5), np.ones((2, 1))
    np.testing.assert_array_equal(latent.arithmetic(a, b, c), [[1.5], [3.5]])


@given(pairs(), st.integers(2, 9))
def test_lerp_is_straight_with_exact_ends(pair, steps):
    a, b = pair
    line = latent.lerp(a, b, steps)
    assert line.shape == (steps, len(a)) and line.dtype == a.dtype
    np.testing.assert_array_equal(line[0], a)
    np.testing.assert_array_equal(line[-1], b)
    strides = np.diff(line.astype(np.float64), axis=0)
    expected = (b.astype(np.float64) - a) / (steps - 1)
    np.testing.assert_allclose(strides, np.tile(expected, (steps - 1, 1)), atol=1e-5)


def _angle(u, v):
    return math.acos(np.clip(u @ v / np.linalg.norm(u) / np.linalg.norm(v), -1, 1))


@given(pairs(min_size=2), st.integers(2, 9), st.floats(0.1, 10))
def test_slerp_stays_on_the_sphere_at_a_steady_pace(pair, steps, radius):
    a, b = (v.astype(np.float64) for v in pair)
    if not (np.linalg.norm(a) > 1e-3 and np.linalg.norm(b) > 1e-3):
        return
    if not 0.01 < _angle(a, b) < math.pi - 0.01:
        return
    a, b = radius * a / np.linalg.norm(a), radius * b / np.linalg.norm(b)
    arc = latent.slerp(a, b, steps)
    np.testing.assert_array_equal(arc[0], a)
    np.testing.assert_array_equal(arc[-1], b)
    np.testing.assert_allclose(np.linalg.norm(arc, axis=1), radius, rtol=1e-10)
    paces = [_angle(u, v) for u, v in pairwise(arc)]
    np.testing.assert_allclose(paces, _angle(a, b) / (steps - 1), atol=1e-6)
    # In the plane of a and b.
    plane = np.linalg.svd(np.stack([a, b]))[2][:2]
    np.testing.assert_allclose(arc @ plane.T @ plane, arc, atol=1e-8 * radius)


def test_slerp_quarter_circle():
    arc = latent.slerp(np.float32([2, 0]), np.float32([0, 2]), 3)
    assert arc.dtype == np.float32
    np.testing.assert_allclose(arc[1], [math.sqrt(2), math.sqrt(2)], rtol=1e-6)


@pytest.mark.parametrize(
    ("a", "b", "word"),
    [
        ([0.0, 0.0], [1.0, 0.0], "a: expected a finite length above 0, got 0"),
        ([1.0, 0.0], [0.0, 0.0], "b: expected a finite length above 0, got 0"),
        ([1.0, 2.0], [2.0, 4.0], "parallel"),
        ([1.0, 2.0], [1.0, 2.0], "parallel"),
        ([1.0, 2.0], [-3.0, -6.0], "opposite"),
        ([1.0], [2.0], "parallel"),
    ],
)
def test_slerp_refuses_where_the_circle_is_undefined(a, b, word):
    with pytest.raises(ValueError, match=word):
        latent.slerp(np.array(a), np.array(b), 5)


@given(pairs(min_size=2), st.integers(0, 1), st.lists(numbers, min_size=1, max_size=6))
def test_traverse_touches_one_latent(pair, dim, values):
    code = pair[0]
    before = code.copy()
    strip = latent.traverse(code, dim, values)
    np.testing.assert_array_equal(strip[:, dim], np.array(values).astype(code.dtype))
    others = np.delete(strip, dim, axis=1)
    np.testing.assert_array_equal(others, np.tile(np.delete(code, dim), (len(values), 1)))
    np.testing.assert_array_equal(code, before)


def test_morph_takes_either_path():
    a, b = np.array([1.0, 0.0]), np.array([0.0, 1.0])
    np.testing.assert_array_equal(latent.morph(a, b, 5), latent.lerp(a, b, 5))
    np.testing.assert_array_equal(latent.morph(a, b, 5, path="spherical"), latent.slerp(a, b, 5))
    with pytest.raises(ValueError, match="path: expected one of linear, spherical, got 'x'"):
        latent.morph(a, b, 5, path="x")


@given(st.integers(2, 9), st.floats(0.001, 0.4), st.floats(0.6, 0.999))
def test_manifold_grid_has_equal_probabilities(n, lo, hi):
    grid = latent.manifold_grid(n, lo, hi)
    assert grid.shape == (n * n, 2) and grid.dtype == np.float32
    probability = np.vectorize(lambda z: 0.5 * math.erfc(-z / math.sqrt(2)))(grid.astype(float))
    picture = probability.reshape(n, n, 2)
    steps = np.linspace(lo, hi, n)
    # Columns grow to the right in the first latent, rows upwards in the second.
    np.testing.assert_allclose(picture[..., 0], np.tile(steps, (n, 1)), atol=1e-5)
    np.testing.assert_allclose(picture[..., 1], np.tile(steps[::-1, None], (1, n)), atol=1e-5)


def test_manifold_grid_defaults():
    grid = latent.manifold_grid()
    assert grid.shape == (400, 2)
    np.testing.assert_allclose(grid[0], [-2.3263, 2.3263], atol=1e-4)  # top left: z of 1 % and 99 %


CODES = np.arange(6.0).reshape(3, 2)
A, B = np.array([1.0, 0.0]), np.array([0.0, 1.0])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: latent.mean_code(CODES, np.zeros(3, bool)), "mask: expected at least one"),
        (lambda: latent.attribute_vector(CODES, np.ones(3, bool)), "mask: expected at least one"),
        (lambda: latent.mean_code(CODES, np.ones(3)), r"mask: expected bool \(3,\), got float64"),
        (lambda: latent.mean_code(CODES, np.ones(2, bool)), r"mask: expected bool \(3,\)"),
        (lambda: latent.mean_code(CODES[0], np.ones(2, bool)), r"codes: expected codes \(N, D\)"),
        (
            lambda: latent.mean_code(np.full((3, 2), np.nan), np.ones(3, bool)),
            "codes: expected finite",
        ),
        (lambda: latent.mean_code([["a"]], np.ones(1, bool)), "codes: expected real numbers"),
        (lambda: latent.arithmetic(A, B, CODES), r"c: expected \(2,\) as a, got \(3, 2\)"),
        (lambda: latent.arithmetic(A, np.ones(3), B), r"b: expected \(2,\) as a, got \(3,\)"),
        (lambda: latent.arithmetic(A, B, np.full(2, np.inf)), "c: expected finite"),
        (lambda: latent.lerp(A, B, 1), "steps: expected at least 2, got 1"),
        (lambda: latent.slerp(A, B, 1), "steps: expected at least 2, got 1"),
        (lambda: latent.lerp(A, np.ones(3), 4), r"b: expected \(2,\) as a, got \(3,\)"),
        (lambda: latent.slerp(A, B * np.nan, 4), "b: expected finite"),
        (lambda: latent.lerp(CODES, CODES, 4), r"a: expected one code \(D,\)"),
        (lambda: latent.traverse(A, 2, [0.0]), "dim: expected 0 .. 1, got 2"),
        (lambda: latent.traverse(A, -1, [0.0]), "dim: expected 0 .. 1, got -1"),
        (lambda: latent.traverse(A, 0, []), "values: expected a list"),
        (lambda: latent.traverse(A, 0, [np.nan]), "values: expected finite"),
        (lambda: latent.manifold_grid(1), "n: expected at least 2"),
        (lambda: latent.manifold_grid(3, 0.0, 0.9), "lo, hi: expected"),
        (lambda: latent.manifold_grid(3, 0.9, 0.1), "lo, hi: expected"),
        (lambda: latent.manifold_grid(3, np.nan, 0.9), "lo, hi: expected"),
    ],
)
def test_wrong_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@given(labelled(), st.integers(1, 3))
def test_exemplars_are_the_members_best_aligned_with_their_group(case, count):
    codes, mask = case
    if mask.sum() < count:
        with pytest.raises(ValueError, match="count"):
            latent.exemplars(codes, mask, count)
        return
    chosen = latent.exemplars(codes, mask, count)
    assert len(set(chosen)) == count and mask[chosen].all()
    middle = codes.sum(axis=0) / len(codes)
    towards = codes[mask].sum(axis=0) / mask.sum() - middle

    def alignment(i):
        away = codes[i] - middle
        return float(away @ towards) / (math.sqrt(float(away @ away)) or 1)

    worst = min(map(alignment, chosen))
    others = [alignment(i) for i in np.flatnonzero(mask) if i not in chosen]
    assert all(other <= worst + 1e-9 for other in others)
    assert all(a >= b - 1e-9 for a, b in pairwise(map(alignment, chosen)))
