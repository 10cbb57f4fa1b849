"""Reproducible random numbers: a draw is identified by (seed, offset) and can be repeated.

Reasons: docs/noise.md.
"""

from typing import Any, NoReturn

import numpy as np
from numpy.typing import DTypeLike

from . import kernels
from .backend import Array, to_device
from .kernels.philox import NoiseKey

Shape = int | tuple[int, ...]


class Noise(NoiseKey):
    """One draw of the Philox4x32-10 stream, from which arrays of any shape are made.

    Element i (row-major) of an array is a pure function of (seed, offset, i); see
    ``kernels.philox`` for the formula. It unpacks as a tuple: ``seed, offset, first = noise``.

    Args:
        seed, offset: the draw.
        first: the row of the draw that becomes row 0 of an array, so that a part of a batch gets
            the numbers that its rows have in the whole batch. ``noise.rows(first)`` is the same
            draw with another ``first``.

    Raises:
        TypeError: an argument is no whole number, or ``dtype`` is not a float dtype.
        ValueError: an argument is not in [0, 2**64).

    >>> Noise(seed=0, offset=0).normal((2, 2)).round(3)
    array([[ 0.991, -0.925],
           [-0.618, -0.482]], dtype=float32)
    >>> Noise(seed=0, offset=0, first=1).normal((1, 2)).round(3)
    array([[-0.618, -0.482]], dtype=float32)
    """

    __slots__ = ()

    def normal(self, shape: Shape, dtype: DTypeLike = np.float32, device: str = "cpu") -> Array:
        """Standard normal numbers, an array of ``shape`` and float ``dtype`` on ``device``."""
        return self._draw("normal", shape, dtype, device)

    def uniform(self, shape: Shape, dtype: DTypeLike = np.float32, device: str = "cpu") -> Array:
        """Uniform numbers in (0, 1); rounded to float32, (0, 1].

        An array of ``shape`` and float ``dtype`` on ``device``.
        """
        return self._draw("uniform", shape, dtype, device)

    def _draw(self, kernel: str, shape: Shape, dtype: DTypeLike, device: str) -> Array:
        like = np.empty(0, dtype)  # its dtype and device choose the kernel variant
        if like.dtype.kind != "f":
            raise TypeError(f"dtype: expected a floating-point dtype, got {like.dtype}")
        like = to_device(like, device)
        # A variant without a generator uses the reference, which draws on the host.
        drawn: Array = to_device(kernels.get(kernel, like)(self, shape, dtype), device)
        return drawn


class CountedNoise(Noise):
    """A draw whose offset is read from an array when a kernel runs: the noise of a recorded step.

    Only the cuda kernels and the cpu kernels of ``reparameterize_kl`` accept it.

    Args:
        seed: as in ``Noise``.
        counter: uint64 array of one element, the offset, on the device where the kernel runs.

    Raises:
        RuntimeError: another kernel, which needs the offset as a number, uses it.
    """

    counter: Array

    def __new__(cls, seed: int, counter: Array) -> "CountedNoise":
        noise = super().__new__(cls, seed, 0)
        noise.counter = counter
        return noise

    def rows(self, first: int) -> "CountedNoise":
        """The draw itself. RuntimeError unless ``first`` is 0: a recorded step has no parts."""
        if first:
            raise RuntimeError(f"first: expected 0 in a recorded step, got {first}")
        return self

    def argument(self, shape: Any) -> tuple[Any, ...]:
        """See ``NoiseKey.argument``: (seed, 0, 0, counter)."""
        return self[0], 0, 0, self.counter

    def __iter__(self) -> NoReturn:
        raise RuntimeError("the offset of a recorded step's noise is not known on the host")

    seed = offset = property(__iter__)


class NoiseStream:
    """Draws with consecutive offsets. Its whole state is two integers, ``seed`` and ``offset``.

    Raises:
        TypeError: seed or offset is no whole number. ValueError: not in [0, 2**64).

    >>> stream = NoiseStream(seed=7)
    >>> stream.draw(), stream.draw()
    (Noise(seed=7, offset=0, first=0), Noise(seed=7, offset=1, first=0))
    """

    def __init__(self, seed: int, offset: int = 0) -> None:
        self.seed, self.offset, _ = Noise(seed, offset)

    def __repr__(self) -> str:
        return f"NoiseStream(seed={self.seed}, offset={self.offset})"

    def draw(self) -> Noise:
        """The next ``Noise``; after offset 2**64 - 1 comes 0."""
        noise = Noise(self.seed, self.offset)
        self.offset = (self.offset + 1) % 2**64
        return noise


# One seed serves a whole run. Each purpose counts its draws from its own first offset, 2**60
# apart, so that no two purposes use the same draw.
TRAINING, INITIALISATION, EVALUATION, BINARISATION, SAMPLING, SHUFFLE, DRAWING = (
    k << 60 for k in range(7)
)


def init_stream(seed: int) -> NoiseStream:
    """The stream that a model's initial weights come from."""
    return NoiseStream(seed, INITIALISATION)
