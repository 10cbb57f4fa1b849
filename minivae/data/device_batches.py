"""GPU-resident data set with lazily gathered batches."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from .. import kernels
from ..backend import device_module, to_device
from ..noise import SHUFFLE, Noise
from .batches import PixelBatches


class Selection:
    """One batch of ``ResidentBatches``, identified by its number and gathered when needed.

    ``pixels()`` gathers it; a captured training step gathers it in its graph.

    Attributes:
        batches: the ``ResidentBatches``.
        number: which batch of the epoch, counted from 0.
        shape: of the batch, (B, C, H, W).
        noise: a ``Noise`` that binarises it, or None.
    """

    __slots__ = ("batches", "noise", "number", "shape")

    def __init__(self, batches: "ResidentBatches", number: int, rows: int, noise: Noise | None):
        self.batches, self.number, self.noise = batches, number, noise
        self.shape = (rows, *batches.images.shape[1:])

    def __len__(self) -> int:
        return self.shape[0]

    def pixels(self) -> Any:
        """The batch on the GPU, float32 (B, C, H, W); valid until another epoch begins."""
        images, first = self.batches.images, self.number * self.batches.batch_size
        rows = self.batches.device_order[first : first + len(self)]
        return kernels.get("gather_pixels", images)(images, rows, np.float32, self.noise)


class ResidentBatches(PixelBatches):
    """``PixelBatches`` with the images in GPU memory; an epoch yields ``Selection``s.

    One epoch at a time: beginning another replaces ``device_order``, the order in GPU memory.

    Args:
        batches: the ``PixelBatches`` whose images, order and noise are used.

    Raises:
        RuntimeError: no GPU answers; the message says why.
    """

    def __init__(self, batches: PixelBatches):
        self.__dict__.update(vars(batches))
        self.images = to_device(batches.images, "cuda")
        self.device_order = device_module().zeros(batches.count, np.int64)

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """The shape (B, C, H, W) of every batch except a smaller last one."""
        return (min(self.batch_size, self.count), *self.images.shape[1:])

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Selection]:
        """The ``Selection``s of one epoch, from batch number ``start`` on."""
        self.device_order[...] = self._order_there(epoch)
        for number in range(start, len(self)):
            rows = min(self.batch_size, self.count - number * self.batch_size)
            yield Selection(self, number, rows, self.noise(epoch, number))

    def _order_there(self, epoch: int) -> Any:
        """``order`` in GPU memory, computed on the GPU if the CUDA kernels are available."""
        if self.seed is None or kernels.default("cuda") != "cuda":
            return to_device(self.order(epoch), "cuda")
        from ..kernels import cuda  # here, because importing it requires a GPU

        return cuda.permutation(self.seed, SHUFFLE + epoch, self.count)
