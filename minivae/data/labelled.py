"""Batches of images with their labels, for conditional models."""

import numpy as np

from ..arguments import one_hot
from .batches import Batches


class LabelledBatches(Batches):
    """Batches in which each row is an image's pixels followed by its one-hot label.

    Args:
        batches: the images' batches, such as ``PixelBatches``, which also give the order.
        labels: one whole number in [0, ``classes``) per image.
        classes: number of columns for the label.

    Raises:
        ValueError: the number of labels differs from that of images, or a label is out of range.
    """

    def __init__(self, batches: Batches, labels: np.ndarray, classes: int = 10):
        super().__init__(batches.count, batches.batch_size, batches.seed)
        if len(labels) != batches.count:
            raise ValueError(f"labels: expected {batches.count}, one per image, got {len(labels)}")
        self.batches, self.labels = batches, one_hot(labels, classes)

    def batch(self, rows: np.ndarray, epoch: int, number: int, first: int = 0) -> np.ndarray:
        """The images ``rows`` as float32 (B, pixels + classes); arguments as ``Batches.batch``."""
        x = self.batches.batch(rows, epoch, number, first)
        return np.concatenate([x.reshape(len(x), -1), self.labels[rows]], axis=1)
