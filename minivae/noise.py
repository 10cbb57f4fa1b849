"""Noise as an argument: a draw is named by (seed, offset) and can be made again anywhere.

Why: docs/noise.md.
"""

from typing import Any, NoReturn

import numpy as np
from numpy.typing import DTypeLike

from . import kernels
from .backend import Array, to_device
from .kernels.philox import NoiseKey

Shape = int | tuple[int, ...]


class Noise(NoiseKey):
    """One draw of the Philox4x32-10 stream, as large as it is asked to be.

    Element i (row-major) of any array drawn is a pure function of (seed, offset, i); see
    ``kernels.philox`` for the formula. A tuple: ``seed, offset, first = noise``.

    Args:
        seed, offset: of the draw.
        first: the row of the draw that is row 0 of the arrays drawn, so that the parts of a batch
            draw what the batch does; ``noise.rows(first)`` is the same draw from another row on.

    Raises:
        TypeError: an argument is not an integer, or what is drawn not of a float dtype.
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
        """Uniform numbers in (0, 1], an array of ``shape`` and float ``dtype`` on ``device``."""
        return self._draw("uniform", shape, dtype, device)

    def _draw(self, kernel: str, shape: Shape, dtype: DTypeLike, device: str) -> Array:
        like = np.empty(0, dtype)  # stands for what will be drawn, in the choice of a variant
        if like.dtype.kind != "f":
            raise TypeError(f"dtype: expected a floating-point dtype, got {like.dtype}")
        like = to_device(like, device)
        # A variant without a generator leaves the draw to the reference, on the host.
        drawn: Array = to_device(kernels.get(kernel, like)(self, shape, dtype), device)
        return drawn


class CountedNoise(Noise):
    """A draw whose offset lies in an array and is read when a kernel runs: the noise of a step that
    is recorded. The cuda kernels draw it, and of the cpu kernels those of ``reparameterize_kl``;
    RuntimeError for all others.

    Args:
        seed: as of ``Noise``.
        counter: a uint64 array of one element where the kernel runs, the offset.
    """

    counter: Array

    def __new__(cls, seed: int, counter: Array) -> "CountedNoise":
        noise = super().__new__(cls, seed, 0)
        noise.counter = counter
        return noise

    def rows(self, first: int) -> "CountedNoise":
        """RuntimeError but for row 0: a recorded step takes a whole batch."""
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
    """Draws with consecutive offsets: the state of a run's randomness is two integers.

    Raises:
        TypeError: seed or offset is not an integer. ValueError: not in [0, 2**64).

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


# One seed serves a whole run. Each purpose counts its draws from an offset of its own, so that
# no two of them ever share a number.
TRAINING, INITIALISATION, EVALUATION, BINARISATION, SAMPLING, SHUFFLE, DRAWING = (
    k << 60 for k in range(7)
)


def init_stream(seed: int) -> NoiseStream:
    """The stream that a model's initial weights come from."""
    return NoiseStream(seed, INITIALISATION)
