"""A labelled image set, whole in memory."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images uint8 (N, 28, 28) and labels uint8 (N,), a training and a test part; all read-only.

    `name` says what the images are: "mnist" (its very bytes), "idx" (others in the same format) or
    "synthetic-digits". Raises ValueError for another dtype or shape.
    """

    name: str
    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray

    def __post_init__(self):
        for part in ("train", "test"):
            images, labels = getattr(self, f"{part}_images"), getattr(self, f"{part}_labels")
            if images.dtype != np.uint8 or images.ndim != 3:
                raise ValueError(
                    f"{part}_images: expected uint8 (N, H, W), came {images.dtype} {images.shape}"
                )
            if labels.dtype != np.uint8 or labels.shape != images.shape[:1]:
                raise ValueError(
                    f"{part}_labels: expected uint8 ({len(images)},), "
                    f"came {labels.dtype} {labels.shape}"
                )
            for field in (f"{part}_images", f"{part}_labels"):
                view = getattr(self, field).view()
                view.flags.writeable = False
                object.__setattr__(self, field, view)
