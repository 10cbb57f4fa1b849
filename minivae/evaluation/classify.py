"""Train the small classifier by which pictures are evaluated."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from .. import optim
from ..arguments import one_hot
from ..backend import Array
from ..data.batches import Batches, PixelBatches
from ..models.classifier import ImageClassifier
from ..progress_bar import ProgressBar


def fit_classifier(
    images: Array,
    targets: Array,
    labels: Sequence[str],
    epochs: int = 5,
    seed: int = 0,
    batch_size: int = 64,
    progress: bool = True,
) -> ImageClassifier:
    """Train an ``ImageClassifier`` with Adam, lr 1e-3.

    Args:
        images: uint8 (N, H, W) or (N, C, H, W), square.
        targets: float32 (N, A) of 0 and 1.
        labels: the A labels' names.
        epochs, seed, batch_size: of the training; the seed gives initial weights and order.
        progress: whether to show a bar on a terminal.
    """
    size, channels = images.shape[-1], 1 if images.ndim == 3 else images.shape[1]
    classifier = ImageClassifier(labels, size, channels, seed=seed)
    adam = optim.Adam(classifier.parameters(), lr=1e-3)
    batches = PixelBatches(images, batch_size, seed=seed)
    numbers = Batches(len(images), batch_size, seed)  # indices of the images in the same order
    show = None if progress else False
    with ProgressBar(total=epochs * len(batches), desc="classifier", leave=False, show=show) as bar:
        for epoch in range(epochs):
            for x, rows in zip(batches.epoch(epoch), numbers.epoch(epoch), strict=True):
                adam.zero_grad()
                loss = classifier.loss(x, targets[rows])
                loss.backward()
                adam.step()
                bar.update()
                bar.set_postfix(loss=f"{loss.item():.3f}", refresh=False)
    return classifier


def fit_digit_classifier(
    images: Array,
    labels: ArrayLike,
    epochs: int = 2,
    seed: int = 0,
    progress: bool = True,
    classes: int = 10,
) -> ImageClassifier:
    """Train a classifier of digits or other classes, whose ``predict`` gives the class.

    Args:
        images: uint8 (N, H, W).
        labels: whole numbers in [0, ``classes``), (N,).
        epochs, seed, progress: as in ``fit_classifier``.
        classes: number of classes.
    """
    names = [str(digit) for digit in range(classes)]
    targets = one_hot(np.asarray(labels), classes)
    return fit_classifier(images, targets, names, epochs, seed, progress=progress)
