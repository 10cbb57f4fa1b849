"""Batches of images with their labels beside them, for models that are told the class."""

import numpy as np

from .batches import Batches


class LabelledBatches(Batches):
    """Batches of which each image is a row of its pixels and its label, one-hot.

    Args:
        batches: the images' batches, such as ``PixelBatches``; theirs is the order too.
        labels: one whole number per image.
        classes: how many columns the labels take; all labels are below it.

    Raises:
        ValueError: another number of labels, or one that is not below ``classes``.
    """

    def __init__(self, batches: Batches, labels: np.ndarray, classes: int = 10):
        super().__init__(batches.count, batches.batch_size, batches.seed)
        if len(labels) != batches.count:
            raise ValueError(f"labels: expected {batches.count}, one per image, got {len(labels)}")
        self.batches, self.labels = batches, one_hot(labels, classes)

    def batch(self, rows: np.ndarray, epoch: int, number: int) -> np.ndarray:
        """The images ``rows`` of ``epoch`` as float32 (B, pixels + classes)."""
        x = self.batches.batch(rows, epoch, number)
        return np.concatenate([x.reshape(len(x), -1), self.labels[rows]], axis=1)


def one_hot(labels: np.ndarray, classes: int, dtype: type = np.float32) -> np.ndarray:
    """Whole numbers (N,) -> (N, classes), a 1 in each label's column.

    Raises:
        ValueError: other numbers, or one that is not below ``classes``.

    >>> one_hot([1, 0], classes=3)
    array([[0., 1., 0.],
           [1., 0., 0.]], dtype=float32)
    """
    labels = np.asarray(labels)
    if labels.dtype.kind not in "iu" or labels.ndim != 1:
        raise ValueError(f"labels: expected whole numbers (N,), got {labels.dtype} {labels.shape}")
    if len(labels) and not (labels.min() >= 0 and labels.max() < classes):
        raise ValueError(f"labels: expected 0..{classes - 1}, got {labels.min()}..{labels.max()}")
    return np.eye(classes, dtype=dtype)[labels]
