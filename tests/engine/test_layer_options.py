"""Options of layers: invalid values are refused, and NumPy integers are accepted as sizes."""

import numpy as np
import pytest

import minivae as mv
from minivae import functional as F
from minivae import nn


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda: nn.Linear(-3, 8), ValueError, "in_features: expected at least 0, got -3"),
        (lambda: nn.Linear(3, 2.5), TypeError, r"out_features: expected a whole number, got 2\.5"),
        (lambda: nn.Linear(3, True, rng=0), TypeError, "out_features: expected a whole number"),
        (lambda: nn.Linear(3, 2, rng=0), TypeError, "rng: expected a NoiseStream, got 0"),
        (lambda: nn.Linear(3, 2, mv.NoiseStream(0)), TypeError, "bias: expected True or False"),
        (lambda: nn.Conv2d(3, 8, (3,)), ValueError, r"kernel_size: .*got \(3,\)"),
        (lambda: nn.Conv2d(3, 8, 0), ValueError, "kernel_size: expected"),
        (lambda: nn.Conv2d("3", 8, 3), TypeError, "in_channels: expected a whole number"),
        (lambda: nn.Conv2d(3, 8, 3, stride=0), ValueError, "stride: expected"),
        (lambda: nn.Conv2d(3, 8, 3, 1, 1, 1, 3), ValueError, "groups: expected 1"),
        (lambda: nn.ConvTranspose2d(3, 8, 3, groups=2), ValueError, "groups: expected 1"),
        (lambda: nn.ConvTranspose2d(3, 8, 3, 1, 1, 1, 2), TypeError, "positional"),
        (lambda: F.conv2d(np.ones(1), np.ones(1), groups=2), ValueError, "groups: expected 1"),
        (lambda: F.conv_transpose2d(1, 2, None, 1, 0, 0, 2), TypeError, "positional"),
        (lambda: nn.BatchNorm2d(2, eps=-1), ValueError, "eps: expected a number finite and >= 0"),
        (lambda: nn.BatchNorm2d(2, momentum=float("nan")), ValueError, "momentum: expected"),
        (lambda: nn.LeakyReLU(float("nan")), ValueError, "negative_slope: expected"),
        (lambda: nn.Unflatten((32, 31)), TypeError, "unflattened_size"),
        (lambda: nn.Unflatten(1, 32), TypeError, "unflattened_size: expected a tuple of sizes"),
        (lambda: nn.Unflatten(3, (1, 2))(np.ones((1, 2))), ValueError, "dim: .* got 3"),
        (lambda: nn.Flatten(2)(np.ones((1, 2))), ValueError, "start_dim: .* got 2"),
        (lambda: F.flatten(np.ones((1, 2)), 1, 0), ValueError, "start_dim: expected at most"),
    ],
)  # fmt: skip
def test_options_that_cannot_be_meant(make, error, says):
    with pytest.raises(error, match=says):
        make()


def test_numpys_integers_are_sizes():
    three = np.int64(3)
    assert nn.Linear(three, np.uint8(2)).weight.shape == (2, 3)
    layer = nn.Conv2d(three, three, (three, 2), np.int32(1), groups=np.int64(1))
    assert layer.weight.shape == (3, 3, 3, 2)
    assert nn.BatchNorm2d(num_features=three, eps=np.float32(1e-3)).weight.shape == (3,)
    assert nn.Flatten(np.int64(1))(np.ones((2, 3, 4))).shape == (2, 12)
    assert nn.Unflatten(np.int64(1), np.array([3, 4]))(np.ones((2, 12))).shape == (2, 3, 4)


def test_a_convolutions_geometry_may_be_changed():
    """As PyTorch's, by its attributes: a stride of 1 in a trained layer, and the like."""
    x = np.random.default_rng(0).normal(size=(1, 2, 9, 9)).astype(np.float32)
    for kind in (nn.Conv2d, nn.ConvTranspose2d):
        for name, value in (("stride", 2), ("padding", (1, 0)), ("dilation", 2)):
            layer, made = (kind(2, 2, 3, rng=mv.NoiseStream(0), **k) for k in ({}, {name: value}))
            assert layer(x).shape != made(x).shape
            setattr(layer, name, value)
            assert layer(x).data.tobytes() == made(x).data.tobytes()
    layer.output_padding = 1
    assert layer(x).shape == (1, 2, 14, 14)


def test_batch_norm_may_weigh_all_batches_alike():
    layer, rng = nn.BatchNorm2d(2, momentum=None), np.random.default_rng(0)
    batches = rng.normal(size=(5, 6, 2)).astype(np.float32)
    for x in batches:
        layer(x)
    np.testing.assert_allclose(layer.running_mean, batches.mean(axis=(0, 1)), atol=1e-6)
    variances = batches.var(axis=1, ddof=1).mean(axis=0)
    np.testing.assert_allclose(layer.running_var, variances, rtol=1e-5)
