"""Fréchet distance between sets of pictures in the features of a small classifier (not the FID)."""

from collections.abc import Iterable

import numpy as np

from ..backend import Array
from ..models.classifier import ImageClassifier
from ..tensor import Tensor, no_grad
from .grouping import at_a_time, regroup


def classifier_frechet_distance(
    classifier: ImageClassifier, batches: Iterable[Array], others: Iterable[Array]
) -> float:
    """The Fréchet distance between two sets of pictures in the space of ``classifier.features``.

    It is not the FID: Heusel et al. 2017 (arXiv:1706.08500), eq. 6, apply the same formula to the
    features of an Inception network trained on ImageNet. Here the features are those of a small
    network trained on the data set itself, so two distances can be compared only for the same
    classifier and the same number of pictures. The distance has no unit; its bias decreases with
    the number of pictures.

    Args:
        classifier: a ``models.ImageClassifier``.
        batches, others: arrays of pictures (B, C, H, W), of any batch size.

    Raises:
        ValueError: a set has fewer than two pictures.
    """
    return frechet_distance(features(classifier, batches), features(classifier, others))


def features(classifier: ImageClassifier, batches: Iterable[Array]) -> Array:
    """The classifier's last hidden layer for each picture, float64 (N, F)."""
    with no_grad():
        groups = [classifier.features(Tensor(x)).numpy() for x in regroup(batches, at_a_time)]
    return np.concatenate(groups).astype(np.float64)


def frechet_distance(a: Array, b: Array) -> float:
    """|m - n|^2 + tr( C + D - 2 (C D)^(1/2) ) for sets with means m, n and covariances C, D.

    The squared Wasserstein-2 distance of the Gaussians with these moments: Dowson & Landau 1982,
    "The Fréchet distance between multivariate normal distributions". The trace of (C D)^(1/2) is
    computed as that of the symmetric matrix (R D R)^(1/2) with R = C^(1/2).

    Args:
        a, b: (N, F) and (M, F), float64.

    Raises:
        ValueError: fewer than two rows, or different F.
    """
    for name, x in (("a", a), ("b", b)):
        if x.ndim != 2 or len(x) < 2 or x.shape[1] != a.shape[1]:
            raise ValueError(f"{name}: expected (N, {a.shape[-1]}), N at least 2, got {x.shape}")
    difference = a.mean(axis=0) - b.mean(axis=0)
    c, d = (np.atleast_2d(np.cov(x, rowvar=False)) for x in (a, b))
    values, vectors = np.linalg.eigh(c)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    shared = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ d @ root), 0)).sum()
    return float(difference @ difference + np.trace(c) + np.trace(d) - 2 * shared)
