"""Mini-batches of images, whose order and noise are pure functions of (seed, epoch).

So a resumed run gets the batches that an uninterrupted one would have got. The random numbers are
draws of ``noise.Noise`` at offsets that nothing else uses.
"""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from .. import kernels
from ..arguments import whole
from ..noise import BINARISATION, SHUFFLE, Noise

# First offsets within BINARISATION, far enough apart that the draws never overlap.
DYNAMIC, STATIC_TRAIN, STATIC_TEST, DEQUANTISED = (BINARISATION + (k << 56) for k in range(4))
STATIC_SEED = 0  # static binarisation belongs to the data set: it is the same for every run
STATIC_ROWS = 4096  # images binarised with one draw


def permutation(count: int, seed: int, epoch: int) -> np.ndarray:
    """A random order of range(count), int64 (count,), a function of ``seed`` and ``epoch``.

    It is the order that sorts ``count`` uniform numbers.

    >>> permutation(5, seed=0, epoch=0)
    array([2, 1, 0, 3, 4])
    """
    words = Noise(seed, SHUFFLE + epoch).uniform((count,), np.float64)
    return np.argsort(words, kind="stable")  # stable: equal words keep one order on every machine


class Batches:
    """Base class of mini-batches, which together visit ``count`` images once per epoch.

    A subclass defines ``batch``, which makes a batch from the indices of its images; here a batch
    is the indices themselves.

    Args:
        count: the number of images.
        batch_size: images per batch; the last batch of an epoch may be smaller.
        seed: of the random order; None keeps the order of the images.

    Raises:
        ValueError: a negative count, or a batch_size below 1.

    >>> list(Batches(5, 2).epoch(0))
    [array([0, 1]), array([2, 3]), array([4])]
    """

    def __init__(self, count: int, batch_size: int, seed: int | None = None):
        self.count, self.batch_size = whole("count", count, 0), whole("batch_size", batch_size, 1)
        self.seed = seed

    def __len__(self) -> int:
        """The number of batches in an epoch."""
        return -(-self.count // self.batch_size)

    def order(self, epoch: int) -> np.ndarray:
        """All of range(count) in the order in which the epoch visits it, int64 (count,)."""
        if self.seed is None:
            return np.arange(self.count, dtype=np.int64)
        return permutation(self.count, self.seed, epoch)

    def rows(self, epoch: int, start: int = 0) -> Iterator[tuple[int, np.ndarray]]:
        """(batch number, image indices int64 (B,)) of each batch from number ``start`` on."""
        order = self.order(epoch)
        for number in range(start, len(self)):
            first = number * self.batch_size
            yield number, order[first : first + self.batch_size]

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Any]:
        """The batches of one epoch, from number ``start`` on; the same at every call."""
        for number, rows in self.rows(epoch, start):
            yield self.batch(rows, epoch, number)

    def batch(self, rows: np.ndarray, epoch: int, number: int, first: int = 0) -> Any:
        """The images at the indices ``rows``, int64 (B,).

        They are the rows from ``first`` on of batch ``number`` of the epoch.
        """
        return rows


class BatchPart(NamedTuple):
    """Consecutive rows of a batch."""

    x: Any  # an array (B, ...), as ``Batches.batch`` returns it
    first: int  # the index in the batch of row 0 of x


class CutBatch(NamedTuple):
    """The parts of a batch that one process works on; ``len`` gives the size of the whole batch."""

    size: int
    parts: tuple[BatchPart, ...]

    def __len__(self) -> int:
        return self.size


class CutBatches:
    """Batches cut into parts; an epoch yields ``CutBatch``es with this process's parts.

    Parts are consecutive rows, and their sizes differ by at most one row.

    Args:
        batches: the ``Batches`` to cut.
        parts: into how many parts.
        mine: the numbers of the parts to make.

    >>> batches = CutBatches(Batches(5, 3), 2, range(2))
    >>> [[part.x.tolist() for part in batch.parts] for batch in batches.epoch(0)]
    [[[0], [1, 2]], [[3], [4]]]
    """

    def __init__(self, batches: Batches, parts: int, mine: Iterable[int]):
        self.batches, self.parts, self.mine = batches, parts, tuple(mine)
        self.count, self.batch_size = batches.count, batches.batch_size

    def __len__(self) -> int:
        return len(self.batches)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[CutBatch]:
        """The batches of one epoch, from number ``start`` on."""
        for number, rows in self.batches.rows(epoch, start):
            cuts = [len(rows) * k // self.parts for k in range(self.parts + 1)]
            part = self.batches.batch
            yield CutBatch(len(rows), tuple(
                BatchPart(part(rows[cuts[k] : cuts[k + 1]], epoch, number, cuts[k]), cuts[k])
                for k in self.mine
            ))  # fmt: skip


class PixelBatches(Batches):
    """Batches of images as float32 (B, C, H, W) in [0, 1].

    Static: Salakhutdinov and Murray, "On the Quantitative Analysis of Deep Belief Networks" (2008);
    dynamic: Burda, Grosse and Salakhutdinov, "Importance Weighted Autoencoders" (2016).

    Args:
        images: uint8 (N, H, W) or (N, C, H, W).
        batch_size: as in ``Batches``.
        seed: of the order and of ``dynamic``.
        binarize: how grey pixels become 0 and 1:
            "none": they stay grey, pixel / 255;
            "static": each pixel is 1 with probability pixel / 255, drawn once for the data set;
            "dynamic": the same, drawn again at every visit from (seed, epoch, batch); test
            images are drawn once, as in static, so that test losses of different epochs and runs
            can be compared.
        train: shuffle the images; test batches keep the order.

    Raises:
        ValueError: images of another dtype or number of axes, or another ``binarize``.
    """

    def __init__(
        self,
        images: np.ndarray,
        batch_size: int,
        *,
        seed: int = 0,
        binarize: str = "none",
        train: bool = True,
    ):
        if binarize not in ("none", "static", "dynamic"):
            raise ValueError(f"binarize: expected none, static or dynamic, got {binarize!r}")
        images = _with_channels(images)
        super().__init__(len(images), batch_size, seed if train else None)
        self.dynamic = binarize == "dynamic" and train
        if binarize != "none" and not self.dynamic:
            images = binarize_once(images, STATIC_TRAIN if train else STATIC_TEST)
        self.images = images

    def noise(self, epoch: int, number: int) -> Noise | None:
        """The draw that binarises a batch when it is visited; None without dynamic binarisation."""
        if self.seed is None or not self.dynamic:
            return None
        return Noise(self.seed, DYNAMIC + epoch * len(self) + number)

    def batch(self, rows: np.ndarray, epoch: int, number: int, first: int = 0) -> np.ndarray:
        """The images at ``rows`` as float32 (B, C, H, W); arguments as in ``Batches.batch``."""
        gather, noise = kernels.get("gather_pixels", self.images), self.noise(epoch, number)
        return gather(self.images, rows, np.float32, noise and noise.rows(first))


def _with_channels(images: np.ndarray) -> np.ndarray:
    """Images as contiguous uint8 (N, C, H, W)."""
    if images.dtype != np.uint8 or images.ndim not in (3, 4):
        raise ValueError(
            f"images: expected uint8 (N, H, W) or (N, C, H, W), got {images.dtype} {images.shape}"
        )
    return np.ascontiguousarray(images[:, None] if images.ndim == 3 else images)


def binarize_once(images: np.ndarray, offset: int) -> np.ndarray:
    """Draw each pixel once, 255 with probability pixel / 255, else 0; uint8 like ``images``."""
    drawn = np.empty_like(images)
    gather = kernels.get("gather_pixels", images)
    for block, first in enumerate(range(0, len(images), STATIC_ROWS)):
        rows = np.arange(first, min(first + STATIC_ROWS, len(images)), dtype=np.int64)
        drawn[rows] = 255 * gather(images, rows, np.float32, Noise(STATIC_SEED, offset + block))
    return drawn


class DequantisedBatches(Batches):
    """Batches of dequantised images, in the order of the images.

    Pixels are (p + u) / 256 in (0, 1], float32, with u of ``Noise.uniform``, drawn once for each
    image. A log density of such pixels, less ln 256 per pixel, is in expectation a lower bound on
    the log probability of the grey values: Theis, van den Oord and Bethge 2016 (arXiv:1511.01844),
    section 3.1.

    Args:
        images, batch_size: as in ``PixelBatches``.
        seed: of u.

    Raises:
        ValueError: as ``PixelBatches``.
    """

    def __init__(self, images: np.ndarray, batch_size: int, *, seed: int = 0):
        self.images, self.noise_seed = _with_channels(images), seed
        super().__init__(len(images), batch_size)

    def batch(self, rows: np.ndarray, epoch: int, number: int, first: int = 0) -> np.ndarray:
        """The images at ``rows`` as float32 (B, C, H, W), the same in every epoch; arguments as in
        ``Batches.batch``.
        """
        shape = self.images.shape[1:]
        u = [Noise(self.noise_seed, DEQUANTISED + int(row)).uniform(shape) for row in rows]
        return (self.images[rows] + np.stack(u)) / np.float32(256)
