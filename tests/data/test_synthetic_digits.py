"""Synthetic digits: a function of (seed, number), in MNIST's format, in ten separable classes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minivae.data.synthetic import digits as synthetic_digits
from minivae.data.synthetic.digits import BLOCK, TEST_START, draw


@pytest.fixture(scope="module")
def digits():
    return draw(3000, seed=0)


@given(start=st.integers(0, 2 * BLOCK), count=st.integers(0, 30), seed=st.integers(0, 2**64 - 1))
def test_image_depends_on_its_number_alone(start, count, seed):
    images, labels = draw(count, seed, start)
    assert images.shape == (count, 28, 28) and images.dtype == np.uint8
    assert labels.shape == (count,) and labels.dtype == np.uint8
    for i in {0, count // 2, count - 1} & set(range(count)):
        image, label = draw(1, seed, start + i)
        np.testing.assert_array_equal(image[0], images[i])
        assert label[0] == labels[i]


def test_blocks_join():
    images, labels = draw(20, start=BLOCK - 10)
    np.testing.assert_array_equal(images[10:], draw(10, start=BLOCK)[0])
    np.testing.assert_array_equal(labels[:10], draw(BLOCK)[1][-10:])


def test_no_two_images_alike(digits):
    images = np.concatenate((digits[0], draw(500, seed=1)[0], draw(500, start=TEST_START)[0]))
    assert len(np.unique(images.reshape(len(images), -1), axis=0)) == len(images)


def test_statistics_are_mnist_s(digits):
    """MNIST: mean 0.1307, deviation 0.3081, 19 % of the pixels inked."""
    x = digits[0] / 255
    assert 0.12 < x.mean() < 0.15
    assert 0.29 < x.std() < 0.33
    assert 0.17 < (x > 0).mean() < 0.23
    ink = x.sum(axis=(1, 2))
    assert ink.min() > 20
    grid = np.arange(28) - 13.5
    for centre in (x.sum(axis=1) @ grid / ink, x.sum(axis=2) @ grid / ink):
        assert np.abs(centre).max() < 1
    assert digits[0].max() == 255
    for edge in (x[:, 0], x[:, -1], x[:, :, 0], x[:, :, -1]):
        assert (edge.max(axis=1) > 0).mean() < 0.01  # nothing is cut off


def test_classes_are_balanced(digits):
    share = np.bincount(digits[1], minlength=10) / len(digits[1])
    assert share.shape == (10,)
    assert np.abs(share - 0.1).max() < 5 * np.sqrt(0.09 / len(digits[1]))


def test_classes_can_be_told_and_vary(digits):
    """The nearest of 3000 other digits has the same class; each class still varies."""
    known, classes = digits[0].reshape(-1, 784) / 255.0, digits[1]
    images, labels = draw(500, start=TEST_START)
    asked = images.reshape(-1, 784) / 255.0
    nearest = ((known**2).sum(axis=1) - 2 * asked @ known.T).argmin(axis=1)
    right = classes[nearest] == labels
    assert right.mean() > 0.95
    for c in range(10):
        assert right[labels == c].mean() > 0.85
        # Within a class the images differ as much as MNIST's do, whose least is 22 (the ones).
        assert known[classes == c].var(axis=0).sum() > 15


@pytest.mark.slow
def test_every_variant_is_drawn(digits, monkeypatch):
    """Replacing one entry of the table changes a share of its class's images, and no others."""
    before = digits[0][:BLOCK]
    for c, variants in enumerate(synthetic_digits.DIGITS):
        for v in range(len(variants)):
            table = [list(variants) for variants in synthetic_digits.DIGITS]
            table[c][v] = "L 0,0 100,100"
            monkeypatch.setattr(synthetic_digits, "DIGITS", table)
            images, labels = draw(BLOCK)
            monkeypatch.undo()
            changed = (images != before).any(axis=(1, 2))
            assert 0.2 < changed[labels == c].mean() < 0.7
            assert not changed[labels != c].any()


def test_load():
    dataset = synthetic_digits.load(40, 30)
    assert dataset.name == "synthetic-digits"
    np.testing.assert_array_equal(dataset.train.images, draw(40)[0])
    np.testing.assert_array_equal(dataset.test.labels["digit"], draw(30, start=TEST_START)[1])


@pytest.mark.parametrize(("count", "start"), [(-1, 0), (1, -1)])
def test_wrong_numbers(count, start):
    with pytest.raises(ValueError, match="expected at least 0"):
        draw(count, start=start)
