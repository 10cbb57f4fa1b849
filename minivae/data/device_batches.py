"""A data set that stays in GPU memory, and batches of it that are only named, not yet made."""

import numpy as np

from .. import kernels
from ..backend import device_module, to_device
from .batches import PixelBatches


class Selection:
    """The images of one batch by number: number ``number`` of the epoch's order ``batches.order``.

    ``pixels()`` makes the batch; a captured training step makes it in its graph.

    Attributes:
        batches: the ``ResidentBatches``.
        number: which batch of the epoch, counted from 0.
        shape: of the batch, (B, C, H, W).
        noise: a ``Noise`` that binarises it, or None.
    """

    __slots__ = ("batches", "noise", "number", "shape")

    def __init__(self, batches, number, rows, noise):
        self.batches, self.number, self.noise = batches, number, noise
        self.shape = (rows, *batches.images.shape[1:])

    def __len__(self):
        return self.shape[0]

    def pixels(self):
        """The float32 (B, C, H, W) batch on the GPU; the epoch's order must not have changed."""
        images = self.batches.images
        first = self.number * self.batches.index.batch_size
        index = self.batches.order[first : first + len(self)]
        return kernels.get("gather_pixels", images)(images, index, np.float32, self.noise)


class ResidentBatches(PixelBatches):
    """``PixelBatches`` with its images in GPU memory, where an epoch yields ``Selection``s.

    Takes the batches it is to follow: the same images in the same order, with the same noise. One
    epoch at a time: beginning another replaces ``order``.

    Raises:
        RuntimeError: no GPU answers; the message says why.
    """

    def __init__(self, batches: PixelBatches):
        self.__dict__.update(vars(batches))
        self.images = to_device(batches.images, "cuda")
        self.order = device_module().zeros(batches.count, np.int64)

    @property
    def batch_shape(self):
        """Of every batch but a shorter last one."""
        return (min(self.index.batch_size, self.count), *self.images.shape[1:])

    def epoch(self, epoch, start=0):
        """The ``Selection``s of one epoch, from batch number ``start`` on."""
        self.order[...] = to_device(self.index.order(epoch), "cuda")
        size = self.index.batch_size
        for number in range(start, len(self)):
            rows = min(size, self.count - number * size)
            yield Selection(self, number, rows, self.noise(epoch, number))
