"""Linear-probe and nearest-neighbour accuracy of labels predicted from codes, in [0, 1].

Codes are float64 (N, D), such as posterior means; labels are whole numbers (N,).
"""

import math

import numpy as np
from numpy.typing import ArrayLike

from .. import functional as F
from .. import optim
from ..backend import Array
from ..nn import Parameter
from ..tensor import Tensor

STEPS, LR, L2 = 300, 0.05, 1e-4
QUERIES = 128  # test codes that are compared with all training codes at a time


def linear_probe(
    train_codes: Array, train_labels: ArrayLike, test_codes: Array, test_labels: ArrayLike
) -> float:
    """Accuracy on the test codes of multinomial logistic regression on the training codes.

    Alain & Bengio 2016 (arXiv:1610.01644), section 3. The codes are standardised by the training
    codes' mean and standard deviation. The weights start at 0 and are fitted by 300 steps of Adam,
    each on all codes, to the cross-entropy plus 1e-4 times the squared weights. The loss is convex
    and nothing is random.

    Args:
        train_codes, test_codes: (N, D), (M, D).
        train_labels, test_labels: whole numbers from 0, (N,), (M,).

    Raises:
        ValueError: codes and labels do not fit, are not finite, or are no such numbers.
    """
    weight, bias = fit_softmax(*_standardised(train_codes, train_codes, train_labels))
    codes, labels = _standardised(test_codes, train_codes, test_labels)
    return float(((codes @ weight + bias).argmax(axis=1) == labels).mean())


def fit_softmax(codes: Array, labels: Array) -> tuple[Array, Array]:
    """(weight (D, C), bias (C,)) of logistic regression on standardised codes (N, D) and labels
    (N,), as ``linear_probe`` fits them.
    """
    (n, d), c = codes.shape, int(labels.max()) + 1
    weight, bias = Parameter(np.zeros((d, c))), Parameter(np.zeros(c))
    adam = optim.Adam([weight, bias], lr=LR)
    x, chosen = Tensor(codes), np.eye(c)[labels]
    for step in range(STEPS):
        adam.lr = LR * (1 - step / STEPS)  # decays to 0, so that the weights converge
        logits = x @ weight + bias
        # -ln softmax of the right class: ln sum_c exp(logit_c) - logit_y
        log_sum = F.log_mean_exp(logits, axis=1) + math.log(c)
        loss = (F.sum(log_sum) - F.sum(logits * chosen)) * (1 / n) + L2 * F.sum(weight * weight)
        adam.zero_grad()
        loss.backward()
        adam.step()
    return weight.data, bias.data


def nearest_neighbour_accuracy(
    train_codes: ArrayLike,
    train_labels: ArrayLike,
    test_codes: ArrayLike,
    test_labels: ArrayLike,
    k: int = 5,
) -> float:
    """Accuracy on the test codes of the most common label among the k nearest training codes.

    Cover & Hart 1967, "Nearest neighbor pattern classification". Distances are Euclidean; of
    equally common labels the smallest is chosen.

    Args:
        train_codes, test_codes: (N, D), (M, D).
        train_labels, test_labels: whole numbers from 0, (N,), (M,).
        k: number of neighbours that vote.

    Raises:
        ValueError: as ``linear_probe``, or there are fewer than k training codes.
    """
    train, labels = _checked(train_codes, train_labels)
    test, expected = _checked(test_codes, test_labels)
    if not 1 <= k <= len(train):
        raise ValueError(f"k: expected 1 to {len(train)}, the number of training codes, got {k}")
    squares, one_hot = (train * train).sum(axis=1), np.eye(int(labels.max()) + 1)[labels]
    right = 0
    for first in range(0, len(test), QUERIES):
        queries = test[first : first + QUERIES]
        distances = squares - 2 * queries @ train.T  # without the constant |query|^2
        nearest = np.argpartition(distances, k - 1, axis=1)[:, :k]
        votes = one_hot[nearest].sum(axis=1)
        right += int((votes.argmax(axis=1) == expected[first : first + QUERIES]).sum())
    return right / len(test)


def _standardised(codes: Array, by: Array, labels: ArrayLike) -> tuple[Array, Array]:
    codes, labels = _checked(codes, labels)
    deviation = by.std(axis=0)
    return (codes - by.mean(axis=0)) / np.where(deviation > 0, deviation, 1), labels


def _checked(codes: ArrayLike, labels: ArrayLike) -> tuple[Array, Array]:
    codes, labels = np.asarray(codes, np.float64), np.asarray(labels)
    if codes.ndim != 2 or labels.shape != codes.shape[:1] or len(codes) == 0:
        raise ValueError(
            f"codes, labels: expected (N, D) and (N,), got {codes.shape} and {labels.shape}"
        )
    if not np.isfinite(codes).all():
        raise ValueError("codes: expected finite numbers, got NaN or infinity")
    classes = labels.astype(np.int64)
    if (classes != labels).any() or classes.min() < 0:
        raise ValueError(f"labels: expected whole numbers from 0, got {np.unique(labels)[:5]}")
    return codes, classes
