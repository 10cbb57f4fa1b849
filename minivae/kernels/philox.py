"""Random numbers in NumPy: Philox4x32-10 and the Box-Muller transform, the reference generator.

Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3" (the generator and its constants).
Element i of an array drawn with (seed, offset) depends on seed, offset and i alone. In an array
(rows, ...) that begins at row ``first`` of a larger one, i counts elements of the larger one:

    counter = (b low, b high, offset low, offset high), b = i // 4;   key = (seed low, seed high)
    w       = word i % 4 of Philox(counter, key);                     u = w 2^-32 + 2^-33
    n0, n1  = sqrt(-2 ln u0) (cos 2 pi u1, sin 2 pi u1);              n2, n3 from u2, u3

u lies in (0, 1) and has 33 bits, which float64 holds exactly. In every other dtype a number is the
float64 number rounded once. Rounding u to float32 before the transform would be cheaper and worse:
u above 1 - 2^-25 would become 1, and normal numbers near 0 would lose their digits in ln u. So a
uniform float32 number can be 1, but ln is only taken of float64.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias, TypeVar

import numpy as np
from numpy.typing import DTypeLike

from ..arguments import whole
from ..backend import Array

MASK = 0xFFFFFFFF
MULTIPLIERS = 0xD2511F53, 0xCD9E8D57
WEYL = 0x9E3779B9, 0xBB67AE85
ROUNDS = 10
CHUNK = 1 << 14  # blocks computed at a time, so that temporaries fit into the cache


Key = TypeVar("Key", bound="NoiseKey")


class _Name(NamedTuple):
    seed: int
    offset: int
    first: int


class NoiseKey(_Name):
    """One draw of the stream, identified by integers; kernels accept it in place of an array.

    Args:
        seed, offset: the draw.
        first: the row of the draw that becomes row 0 of an array.

    Raises:
        TypeError: an argument is no whole number. ValueError: it is not in [0, 2**64).
    """

    __slots__ = ()

    def __new__(cls: type[Key], seed: int, offset: int, first: int = 0) -> Key:
        words = {"seed": seed, "offset": offset, "first": first}
        return super().__new__(cls, *(_word(name, word) for name, word in words.items()))

    def rows(self: Key, first: int) -> Key:
        """The same draw for arrays whose row 0 is row ``first`` of the draw."""
        return self if first == self.first else type(self)(self.seed, self.offset, first)

    def cut(self: Key, pieces: int) -> Key:
        """The same draw for arrays in which each row is split into ``pieces`` rows."""
        return self.rows(self.first * pieces)

    def element(self, shape: Any) -> int:
        """The index in the draw of element 0 of an array of this shape."""
        return self.first and self.first * math.prod(np.atleast_1d(shape)[1:].tolist())

    def address(self, shape: Any) -> tuple[Any, ...]:
        """(seed, offset, index of element 0) for an array of this shape."""
        return self.seed, self.offset, self.element(shape)

    def argument(self, shape: Any) -> tuple[Any, ...]:
        """The address for kernels that can also read a counter; see ``CountedNoise``."""
        return self.address(shape)


Eps: TypeAlias = NoiseKey | Array  # standard normal numbers, or the draw that gives them
Shape: TypeAlias = int | tuple[int, ...]


def _word(name: str, value: Any) -> int:
    word = whole(name, value)
    if not 0 <= word < 2**64:
        raise ValueError(f"{name}: expected 0 <= {name} < 2**64, got {word}")
    return word


def resolved(noise: Any, draw: Callable[["NoiseKey"], Any]) -> Any:
    """``draw(noise)`` for a ``NoiseKey``; an array unchanged.

    Raises:
        TypeError: ``noise`` is neither.
    """
    if isinstance(noise, NoiseKey):
        return draw(noise)
    if not hasattr(noise, "dtype"):
        raise TypeError(f"noise: expected a NoiseKey or an array, got {type(noise).__name__}")
    return noise


def philox4x32(counter: Sequence[Any], key: Sequence[int]) -> tuple[Any, Any, Any, Any]:
    """Ten rounds of Philox on four counter words and two key words (uint64 arrays below 2**32).

    >>> [f"{word:08x}" for word in philox4x32((0, 0, 0, 0), (0, 0))]
    ['6627e8d5', 'e169c58d', 'bc57ac4c', '9b00dbd8']
    """
    x0, x1, x2, x3 = (np.asarray(word, np.uint64) for word in counter)
    k0, k1 = key
    for _ in range(ROUNDS):
        p0, p1 = np.uint64(MULTIPLIERS[0]) * x0, np.uint64(MULTIPLIERS[1]) * x2
        high0, high1 = p0 >> np.uint64(32), p1 >> np.uint64(32)
        x0, x1 = high1 ^ x1 ^ np.uint64(k0), p1 & np.uint64(MASK)
        x2, x3 = high0 ^ x3 ^ np.uint64(k1), p0 & np.uint64(MASK)
        k0, k1 = (k0 + WEYL[0]) & MASK, (k1 + WEYL[1]) & MASK
    return x0, x1, x2, x3


def _words(seed: int, offset: int, first: int, count: int) -> Array:
    """The words of blocks first .. first + count - 1, shape (count, 4)."""
    b = np.arange(first, first + count, dtype=np.uint64)
    low = np.uint64(MASK)
    counter = b & low, b >> np.uint64(32), offset & MASK, offset >> 32
    x = philox4x32(np.broadcast_arrays(*counter), (seed & MASK, seed >> 32))
    return np.stack(x, axis=1)


def _fill(
    noise: NoiseKey, shape: Shape, dtype: DTypeLike, of_words: Callable[[Array], Array]
) -> Array:
    """An array of the stream; ``of_words`` maps words (blocks, 4) to as many numbers."""
    seed, offset, element = noise.address(shape)
    out = np.empty(shape, dtype)
    flat, (block, skipped) = out.reshape(-1), divmod(element, 4)
    for start in range(0, flat.size, 4 * CHUNK):
        part = flat[start : start + 4 * CHUNK]
        words = _words(seed, offset, block + start // 4, -(-(skipped + part.size) // 4))
        part[:] = of_words(words).reshape(-1)[skipped : skipped + part.size]
    return out


def words(noise: NoiseKey, shape: Any) -> Array:
    """The words w of the stream, uint32, before any transform."""
    return _fill(noise, shape, np.uint32, lambda w: w)


def _uniform(w: Array) -> Array:
    return w * 2.0**-32 + 2.0**-33


def _normal(w: Array) -> Array:
    u = _uniform(w)
    radius = np.sqrt(-2 * np.log(u[:, 0::2]))
    angle = math.tau * u[:, 1::2]
    return np.stack((radius * np.cos(angle), radius * np.sin(angle)), axis=-1)


def uniform(noise: NoiseKey, shape: Shape, dtype: DTypeLike) -> Array:
    """Uniform numbers in (0, 1); rounded to float32, (0, 1]."""
    return _fill(noise, shape, dtype, _uniform)


def normal(noise: NoiseKey, shape: Shape, dtype: DTypeLike) -> Array:
    """Standard normal numbers, rounded to dtype."""
    return _fill(noise, shape, dtype, _normal)
