"""Images with their labels beside them, for models that are told the class."""

from collections.abc import Iterator

import numpy as np

from .batches import PixelBatches


class LabelledBatches:
    """``batches`` with each image as a row of its pixels and its label, one-hot.

    ``labels`` are whole numbers, one for each image of `batches`. Raises ValueError for another
    number of them, or one that is not below `classes`.
    """

    def __init__(self, batches: PixelBatches, labels: np.ndarray, classes: int = 10):
        if len(labels) != batches.count:
            raise ValueError(f"labels: expected {batches.count}, one an image, came {len(labels)}")
        self.batches, self.labels = batches, one_hot(labels, classes)

    def __len__(self) -> int:
        return len(self.batches)

    @property
    def count(self) -> int:
        """The number of images in an epoch."""
        return self.batches.count

    def epoch(self, epoch: int, start: int = 0) -> Iterator[np.ndarray]:
        """The float32 (B, pixels + classes) rows of one epoch, from batch number `start` on."""
        images, index = self.batches.epoch(epoch, start), self.batches.index.epoch(epoch, start)
        for x, rows in zip(images, index, strict=True):
            yield np.concatenate([x.reshape(len(x), -1), self.labels[rows]], axis=1)


def one_hot(labels: np.ndarray, classes: int, dtype: type = np.float32) -> np.ndarray:
    """Whole numbers (N,) -> (N, classes), a 1 in each label's column; ValueError for others.

    >>> one_hot([1, 0], classes=3)
    array([[0., 1., 0.],
           [1., 0., 0.]], dtype=float32)
    """
    labels = np.asarray(labels)
    if labels.dtype.kind not in "iu" or labels.ndim != 1:
        raise ValueError(f"labels: expected whole numbers (N,), came {labels.dtype} {labels.shape}")
    if len(labels) and not (labels.min() >= 0 and labels.max() < classes):
        raise ValueError(f"labels: expected 0..{classes - 1}, came {labels.min()}..{labels.max()}")
    return np.eye(classes, dtype=dtype)[labels]
