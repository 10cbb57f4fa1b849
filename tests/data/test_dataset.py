"""Data sets: arrays are checked and read-only, and a hash of the pixels identifies the set."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minivae import DataError
from minivae.data import Dataset, Part
from minivae.data.dataset import difference, whole_number


def part(count, seed=0, shape=(5, 4)):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (count, *shape), dtype=np.uint8)
    return Part(images, {"digit": rng.integers(0, 10, count)})


def a_set(train=7, test=3, seed=0, name="digits"):
    return Dataset(name, part(train, seed), part(test, seed + 1000), {"set": "digits"})


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (np.zeros((2, 784), np.uint8), {}, "images: expected uint8"),
        (np.zeros((2, 28, 28), np.float32), {}, "images: expected uint8"),
        (np.zeros((2, 28, 28), np.uint8), {"digit": np.zeros(3, int)}, r"'digit'.* \(2,\), got"),
        (np.zeros((2, 28, 28), np.uint8), {"digit": np.zeros(2)}, "'digit': expected whole"),
    ],
)
def test_parts_check_their_arrays(images, labels, message):
    with pytest.raises(ValueError, match=message):
        Part(images, labels)


def test_parts_are_read_only_and_leave_the_callers_array_as_it_is():
    images = np.zeros((2, 28, 28), np.uint8)
    made = Part(images, {"digit": np.zeros(2, int)})
    for array in (made.images, made.labels["digit"], made.take(slice(1)).images):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0
    images[0] = 1


@given(st.integers(1, 9), st.integers(1, 9), st.none() | st.integers(1, 12))
def test_the_hash_is_of_all_pixels(train, test, limit):
    whole = a_set(train, test)
    found = whole.limited(limit)
    pixels = whole.train.images[:limit].tobytes() + whole.test.images[:limit].tobytes()
    assert found.pixels == hashlib.sha256(pixels).hexdigest()
    assert found.labels == ("digit",)
    np.testing.assert_array_equal(found.train.labels["digit"], whole.train.labels["digit"][:limit])
    record = found.record()
    assert record["split"]["train"] == len(found.train.images)
    assert record["split"].get("limit") == limit


def test_a_negative_limit_cuts_nothing_off_the_end():
    with pytest.raises(ValueError, match="count: expected at least 0, got -3"):
        a_set().limited(-3)


def changed_pixel(found):
    images = found.test.images.copy()
    images[-1, 0, 0] ^= 1
    return replace(found, test=Part(images, found.test.labels))


def reordered(found):
    return replace(found, train=found.train.take(slice(None, None, -1)))


def moved(found):
    """The last training image moved to the front of the test part: the same bytes in sequence."""
    images = np.concatenate([found.train.images, found.test.images])
    n = len(found.train.images) - 1
    return replace(found, train=Part(images[:n]), test=Part(images[n:]))


@pytest.mark.parametrize("change", [changed_pixel, reordered, moved])
def test_other_pixels_or_another_split_are_noticed(change):
    was, now = a_set(), change(a_set())
    assert "trained on digits, but the data are digits: expected" in (
        difference(was.record(), now.record())
    )
    assert difference(was.record(), a_set().record()) is None


def test_a_name_decides_nothing():
    assert difference(a_set(name="a").record(), a_set(name="b").record()) is None
    assert difference(a_set(name="a").record(), a_set(name="a", seed=1).record())


@pytest.mark.parametrize(
    ("old", "message"),
    [
        ({}, None),
        ({"data": "digits"}, None),
        ({"data": "others"}, "trained on others, but the data are digits"),
        ({"data": "digits", "faces": 7}, None),
        ({"data": "digits", "faces": 8}, "expected 8 images in the train part, got 7"),
        ({"data": "others", "pixels": a_set().pixels}, None),
        ({"data": "digits", "pixels": "0" * 64}, "expected pixels of SHA-256 0000000000000000..."),
        ({"data": "digits", "pixels": None}, "expected pixels of SHA-256 None..."),
    ],
)
def test_what_version_0_1_recorded(old, message):
    found = difference(old, a_set().record())
    assert found is None if message is None else message in found


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=4,
)


@given(json_values, json_values)
def test_a_whole_number_or_a_data_error(outer, inner):
    for record in ({"n": outer}, {"split": inner}, {"n": outer, "split": {"n": inner}}):
        try:
            value = whole_number(record, "n", 5, most=100)
        except DataError as error:
            assert "n: expected a whole number from 0 to 100" in str(error)
        else:
            assert type(value) is int and 0 <= value <= 100
