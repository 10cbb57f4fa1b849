"""ImageClassifier: a small convolutional classifier that evaluates edited and sampled images."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import functional as F
from .. import nn
from ..backend import Array
from ..noise import init_stream
from ..ops.conv import conv_output_size
from ..tensor import Tensor, TensorLike, as_tensor, no_grad

GROUP = 512  # images per forward pass when many are classified


class ImageClassifier(nn.Module):
    """Three strided convolutions and a dense layer; one independent yes/no logit per label.

    Args:
        labels: names of the labels, A of them.
        image_size, channels: of the square images.
        seed: of the initial weights.

    Takes (N, C, S, S); logits are (N, A), in the order of ``labels``.
    """

    def __init__(
        self, labels: Sequence[str], image_size: int, channels: int = 3, seed: int = 0
    ) -> None:
        rng = init_stream(seed)
        self.labels, self.image_size, self.channels = tuple(labels), image_size, channels
        side = image_size
        for _ in range(3):
            side = conv_output_size(side, 3, stride=2, padding=1)
        self.conv1 = nn.Conv2d(channels, 16, 3, stride=2, padding=1, rng=rng)
        self.conv2 = nn.Conv2d(16, 32, 3, stride=2, padding=1, rng=rng)
        self.conv3 = nn.Conv2d(32, 64, 3, stride=2, padding=1, rng=rng)
        self.linear1 = nn.Linear(64 * side * side, 64, rng=rng)
        self.linear2 = nn.Linear(64, len(self.labels), rng=rng)

    def config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {
            "labels": list(self.labels), "image_size": self.image_size, "channels": self.channels
        }  # fmt: skip

    def features(self, x: TensorLike) -> Tensor:
        """The last hidden layer, (N, 64)."""
        x = as_tensor(x)
        for conv in (self.conv1, self.conv2, self.conv3):
            x = conv(x, activation="relu")
        return self.linear1(F.flatten(x, 1), activation="relu")

    def forward(self, x: TensorLike) -> Tensor:
        """Images -> logits (N, A)."""
        return self.linear2(self.features(x))

    def predict(self, x: Tensor | Array) -> Array:
        """The index of the likeliest label of each image: NumPy int64 (N,), no graph."""
        with no_grad():
            groups = [self.forward(x[i : i + GROUP]).numpy() for i in range(0, len(x), GROUP)]
        return np.concatenate(groups).argmax(axis=1)

    def loss(self, x: TensorLike, labels: TensorLike) -> Tensor:
        """Cross-entropy in nats, summed over labels, mean over images; labels (N, A) of 0 and 1."""
        return F.mean(F.bce_with_logits(self.forward(x), as_tensor(labels), reduction="rows"))
