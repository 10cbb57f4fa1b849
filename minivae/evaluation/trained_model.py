"""TrainedModel: a trained model with its images, and how they are fed to it."""

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
    binarize: str  # one of BINARIZE
    trained_binarize: str | None  # in training; None if the checkpoint does not say
    own: bool | None = None  # whether data are the run's images; None if that is not known

    def batches(self, part: LabelledImages, train: bool = False) -> Iterator[np.ndarray]:
        """Batches of ``part`` as the model takes them: binarised, dequantised or with labels.

        ``train`` says that ``part`` is of the training images, which static binarisation draws from
        another stream than the test images.
        """
        size = at_a_time(part.images.shape[1:])
        batches: Batches
        if self.model.likelihood.startswith("gaussian"):
            batches = DequantisedBatches(part.images, size)
        else:
            # train=False: images are drawn once, whether static or dynamic, and keep their order.
            images, binarize = part.images, self.binarize
            if train and binarize == "static":
                images, binarize = binarize_once(images, STATIC_TRAIN), "none"
            batches = PixelBatches(images, size, binarize=binarize, train=False)
        if self.model.classes is not None:
            (labels,) = part.labels.values()
            batches = LabelledBatches(batches, labels, self.model.classes)
        return batches.epoch(0)

    def meaning(self) -> tuple[str, bool]:
        """(description of the model's ``rec``, whether it is a likelihood)."""
        if self.model.likelihood == "squared-error":
            return "squared error of pixels: not a likelihood", False
        if self.model.likelihood.startswith("gaussian"):
            return "Gaussian density of dequantised pixels", True
        if self.binarize == "none":
            return "Bernoulli cross-entropy of grey pixels: not a likelihood", False
        return "Bernoulli probability of pixels that are 0 or 1, drawn once", True
