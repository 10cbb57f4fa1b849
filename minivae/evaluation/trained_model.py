"""A trained model and the images that it is measured on."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from ..data import (
    Batches,
    Dataset,
    DequantisedBatches,
    LabelledBatches,
    LabelledImages,
    PixelBatches,
)
from ..data.batches import STATIC_TRAIN, binarize_once
from ..models import VAE
from .grouping import at_a_time

BINARIZE = ("none", "static", "dynamic")


class TrainedModel(NamedTuple):
    """A model and the images that it was trained and tested on."""

    model: VAE
    data: Dataset
    binarize: str
    trained_binarize: str | None  # None where the checkpoint does not say
    own: bool | None = None  # the run's very images; None where the checkpoint does not say

    def batches(self, part: LabelledImages, train: bool = False) -> Iterator[np.ndarray]:
        """The batches of a part as the model takes them.

        Args:
            part: the first images of one of the data's two parts, or all of them.
            train: it is the training part, whose static pixels are other draws.
        """
        size = at_a_time(part.images.shape[1:])
        batches: Batches
        if self.model.likelihood.startswith("gaussian"):
            batches = DequantisedBatches(part.images, size)
        else:
            # Static and dynamic draw a test set alike, once; dynamic has no such training set.
            images, binarize = part.images, self.binarize
            if train and binarize == "static":
                images, binarize = binarize_once(images, STATIC_TRAIN), "none"
            batches = PixelBatches(images, size, binarize=binarize, train=False)
        if self.model.classes is not None:
            (labels,) = part.labels.values()
            batches = LabelledBatches(batches, labels, self.model.classes)
        return batches.epoch(0)

    def meaning(self) -> tuple[str, bool]:
        """What the model's ``rec`` is, in words, and whether it is a likelihood."""
        if self.model.likelihood == "squared-error":
            return "squared error of pixels: not a likelihood", False
        if self.model.likelihood.startswith("gaussian"):
            return "Gaussian density of dequantised pixels", True
        if self.binarize == "none":
            return "Bernoulli cross-entropy of grey pixels: not a likelihood", False
        return "Bernoulli probability of pixels that are 0 or 1, drawn once", True
