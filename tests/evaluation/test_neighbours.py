"""``nearest_images`` against all distances computed here."""

import numpy as np
import pytest

from minivae.evaluation import nearest_images


@pytest.mark.parametrize("count", [0, 1, 127, 128, 300])
def test_against_all_distances(count):
    rng = np.random.default_rng(count)
    pictures, images = rng.random((count, 3, 4, 4), np.float32), rng.random((50, 3, 4, 4))
    index, distance = nearest_images(pictures, images)
    every = np.sqrt(((pictures[:, None].astype(float) - images) ** 2).mean(axis=(2, 3, 4)))
    np.testing.assert_array_equal(index, every.argmin(axis=1))
    np.testing.assert_allclose(distance, every.min(axis=1), rtol=1e-12)


def test_a_copy_is_found_at_distance_0():
    images = np.random.default_rng(0).random((20, 9))
    index, distance = nearest_images(images[::-1], images)
    np.testing.assert_array_equal(index, np.arange(20)[::-1])
    assert (distance == 0).all()


@pytest.mark.parametrize("images", [np.zeros((3, 5)), np.zeros((0, 4))])
def test_what_does_not_fit_is_refused(images):
    with pytest.raises(ValueError, match="expected one shape"):
        nearest_images(np.zeros((2, 4)), images)
