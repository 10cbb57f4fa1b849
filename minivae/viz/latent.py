"""Arithmetic on latent codes: attribute vectors, interpolation, traversals, grids.

Codes are posterior means, arrays (N, D); a single code is (D,). Codes that are not finite, or whose
shapes do not match, raise a ValueError that names the argument, in every function; other errors
are listed under Raises.
"""

from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from ..arguments import whole
from ..backend import Array


def mean_code(codes: ArrayLike, mask: ArrayLike) -> Array:
    """Mean code of a group: codes (N, D), mask bool (N,) with at least one True -> (D,).

    Raises:
        ValueError: ``mask`` is of another kind, or without a True.
    """
    codes, mask = _codes("codes", codes), np.asarray(mask)
    if mask.dtype != bool or mask.shape != (len(codes),):
        raise ValueError(f"mask: expected bool ({len(codes)},), got {mask.dtype} {mask.shape}")
    if not mask.any():
        raise ValueError(f"mask: expected at least one True for {len(codes)} codes, got none")
    return codes[mask].mean(axis=0)


def exemplars(codes: Array, mask: Array, count: int) -> Array:
    """The ``count`` most typical codes of a group, best first.

    Typical are codes with a large cosine between code - m and group mean - m, where m is the mean
    of all codes.

    A mean of hundreds of codes is closer to the origin than any of them and decodes to a blurred
    picture; A. Radford, L. Metz, S. Chintala, "Unsupervised representation learning with deep
    convolutional GANs", 2016, section 6.3.2, average three codes for their arithmetic.

    Args:
        codes: (N, D). mask: bool (N,) with at least ``count`` True.

    Returns:
        int64 (count,), row indices into ``codes``.

    Raises:
        ValueError: ``count`` is below 1 or above the size of the group.
    """
    towards = mean_code(codes, mask) - codes.mean(axis=0)
    members = np.flatnonzero(mask)
    if not 1 <= count <= len(members):
        raise ValueError(f"count: expected 1 to {len(members)}, the group's size, got {count}")
    away = codes[members] - codes.mean(axis=0)
    lengths = np.linalg.norm(away, axis=1)
    cosines = away @ towards / np.where(lengths > 0, lengths, 1)
    return members[np.argsort(-cosines, kind="stable")[:count]]


def attribute_vector(codes: Array, mask: Array) -> Array:
    """Mean code with an attribute minus mean code without: codes (N, D), mask bool (N,) -> (D,).

    Adding it to a code adds the attribute: the "visual attribute vector" of A. Larsen, S. Sønderby,
    H. Larochelle, O. Winther, "Autoencoding beyond pixels", 2016.

    Raises:
        ValueError: one of the two groups is empty.
    """
    return mean_code(codes, mask) - mean_code(codes, ~np.asarray(mask))


def arithmetic(a: ArrayLike, b: ArrayLike, c: ArrayLike) -> Array:
    """a - b + c of one shape: man with glasses - woman with glasses + woman without."""
    a, b, c = (_finite(name, value) for name, value in (("a", a), ("b", b), ("c", c)))
    _same_shape("b", b, "a", a)
    _same_shape("c", c, "a", a)
    return a - b + c


def lerp(a: ArrayLike, b: ArrayLike, steps: int) -> Array:
    """Straight line from a to b, both ends exact: (D,), (D,) -> (steps, D), steps >= 2.

    Raises:
        TypeError, ValueError: ``steps`` is no whole number of at least 2.
    """
    a, b = _pair(a, b)
    t = _fractions(steps, a.dtype)
    return (1 - t) * a + t * b


def slerp(a: ArrayLike, b: ArrayLike, steps: int) -> Array:
    """Great circle from a to b, both ends exact: (D,), (D,) -> (steps, D), steps >= 2.

    K. Shoemake, "Animating rotation with quaternion curves", 1985: with theta the angle between a
    and b, sin((1-t) theta)/sin(theta) a + sin(t theta)/sin(theta) b. If a and b have the same
    length, all codes have it, and so the same density under a Gaussian prior.

    Raises:
        TypeError, ValueError: ``steps`` is no whole number of at least 2.
        ValueError: a zero vector, or parallel or opposite vectors: the circle is undefined.
    """
    a, b = _pair(a, b)
    u, v = a.astype(np.float64), b.astype(np.float64)
    length_a, length_b = np.linalg.norm(u), np.linalg.norm(v)
    for name, length in (("a", length_a), ("b", length_b)):
        if length == 0 or not np.isfinite(length):
            raise ValueError(f"{name}: expected a finite length above 0, got {length}")
    u, v = u / length_a, v / length_b
    # atan2 of |u - v| and |u + v| is accurate at every angle, unlike arccos of the dot product.
    sine, cosine = np.linalg.norm(u - v), np.linalg.norm(u + v)
    theta = 2 * np.arctan2(sine, cosine)
    if min(sine, cosine) < 1e-7:
        kind = "parallel" if sine < cosine else "opposite"
        raise ValueError(f"a, b: expected one great circle through both, got {kind} vectors")
    t = _fractions(steps, np.float64)
    from_a, from_b = np.sin((1 - t) * theta) / np.sin(theta), np.sin(t * theta) / np.sin(theta)
    arc = (from_a * length_a * u + from_b * length_b * v).astype(a.dtype)
    arc[0], arc[-1] = a, b
    return arc


def morph(a: ArrayLike, b: ArrayLike, steps: int, path: str = "linear") -> Array:
    """Codes from face a to face b, both included: (D,), (D,) -> (steps, D), steps >= 2.

    Raises:
        ValueError: ``path`` is not "linear" or "spherical"; as ``lerp`` and ``slerp``.
        TypeError: ``steps`` is no whole number.
    """
    paths = {"linear": lerp, "spherical": slerp}
    if path not in paths:
        raise ValueError(f"path: expected one of {', '.join(paths)}, got {path!r}")
    return paths[path](a, b, steps)


def traverse(code: ArrayLike, dim: int, values: ArrayLike) -> Array:
    """The code with latent ``dim`` set to each value in turn: (D,), values (K,) -> (K, D).

    Raises:
        ValueError: ``dim`` is not in [0, D), or there are no values.
    """
    code, values = _code("code", code), _finite("values", values)
    if values.ndim != 1 or len(values) == 0:
        raise ValueError(f"values: expected a list of numbers, got shape {values.shape}")
    if not 0 <= dim < len(code):
        raise ValueError(f"dim: expected 0 .. {len(code) - 1}, got {dim}")
    strip = np.repeat(code[None], len(values), axis=0)
    strip[:, dim] = values
    return strip


def manifold_grid(n: int = 20, lo: float = 0.01, hi: float = 0.99) -> Array:
    """Codes (n*n, 2) that cover the prior of two latents evenly: float32, n >= 2.

    Coordinates are quantiles of the standard normal at n equally spaced probabilities lo .. hi (D.
    P. Kingma, M. Welling, "Auto-Encoding Variational Bayes", 2014, appendix A). Code r*n + c is for
    row r from the top and column c from the left of a grid of pictures: the first latent increases
    to the right, the second one upwards.

    Raises:
        TypeError, ValueError: ``n`` is no whole number of at least 2.
        ValueError: not 0 < lo < hi < 1.
    """
    whole("n", n, 2)
    if not 0 < lo < hi < 1:
        raise ValueError(f"lo, hi: expected 0 < lo < hi < 1, got {lo}, {hi}")
    quantiles = np.array([NormalDist().inv_cdf(p) for p in np.linspace(lo, hi, n)])
    second, first = np.meshgrid(quantiles[::-1], quantiles, indexing="ij")
    return np.stack([first.ravel(), second.ravel()], axis=1).astype(np.float32)


# ---------------------------------------------------------------- checks
def _finite(name: str, values: ArrayLike) -> Array:
    """``values`` as a float array (float32 stays float32); ValueError unless finite and real."""
    values = np.asarray(values)
    if values.dtype not in (np.float32, np.float64):
        if values.dtype.kind not in "iuf":
            raise ValueError(f"{name}: expected real numbers, got {values.dtype}")
        values = values.astype(np.float64)
    if not np.isfinite(values).all():
        raise ValueError(f"{name}: expected finite values, got NaN or infinity")
    return values


def _codes(name: str, codes: ArrayLike) -> Array:
    codes = _finite(name, codes)
    if codes.ndim != 2 or codes.shape[1] == 0:
        raise ValueError(f"{name}: expected codes (N, D), got {codes.shape}")
    return codes


def _code(name: str, code: ArrayLike) -> Array:
    code = _finite(name, code)
    if code.ndim != 1 or code.size == 0:
        raise ValueError(f"{name}: expected one code (D,), got {code.shape}")
    return code


def _same_shape(name: str, value: Array, other_name: str, other: Array) -> None:
    if value.shape != other.shape:
        raise ValueError(f"{name}: expected {other.shape} as {other_name}, got {value.shape}")


def _pair(a: ArrayLike, b: ArrayLike) -> tuple[Array, Array]:
    a, b = _code("a", a), _code("b", b)
    _same_shape("b", b, "a", a)
    dtype = np.result_type(a, b)
    return a.astype(dtype), b.astype(dtype)


def _fractions(steps: int, dtype: DTypeLike) -> Array:
    """``steps`` equally spaced numbers from 0 to 1, as a column."""
    whole("steps", steps, 2)
    return np.linspace(0, 1, steps, dtype=dtype)[:, None]
