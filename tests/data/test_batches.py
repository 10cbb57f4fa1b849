"""Batches: every image once per epoch; order and binarised pixels depend on (seed, epoch)."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minivae.data import (
    Batches,
    DequantisedBatches,
    LabelledBatches,
    PixelBatches,
    permutation,
)
from minivae.data.batches import STATIC_ROWS

counts = st.integers(0, 40)
sizes = st.integers(1, 12)
seeds = st.integers(0, 2**64 - 1)
epochs = st.integers(0, 1000)


@given(count=counts, size=sizes, seed=st.none() | seeds, epoch=epochs)
def test_epoch_visits_everything_once(count, size, seed, epoch):
    batches = Batches(count, size, seed)
    visited = list(batches.epoch(epoch))
    assert len(visited) == len(batches)
    assert all(index.dtype == np.int64 for index in visited)
    assert [len(index) for index in visited[:-1]] == [size] * max(len(batches) - 1, 0)
    order = np.concatenate(visited) if visited else np.arange(0)
    if seed is None:
        assert order.tolist() == list(range(count))
    assert sorted(order.tolist()) == list(range(count))


@given(count=counts, size=sizes, seed=seeds, epoch=epochs, data=st.data())
def test_resume_continues_where_it_stopped(count, size, seed, epoch, data):
    batches = Batches(count, size, seed)
    start = data.draw(st.integers(0, len(batches)))
    whole = [index.tolist() for index in batches.epoch(epoch)]
    again = [index.tolist() for index in Batches(count, size, seed).epoch(epoch, start)]
    assert again == whole[start:]


def test_order_differs_between_epochs_and_seeds():
    orders = {tuple(permutation(50, seed, epoch)) for seed in range(4) for epoch in range(4)}
    assert len(orders) == 16


def test_every_element_comes_to_every_place():
    """Mean position of each of 20 elements over 2000 orders: 9.5, standard error 0.13."""
    orders = np.stack([permutation(20, 3, epoch) for epoch in range(2000)])
    assert np.abs(orders.mean(axis=0) - 9.5).max() < 5 * 0.13
    assert all(len(np.unique(column)) == 20 for column in orders.T)


def test_order_is_fixed_for_all_time():
    """A checkpoint resumed on another machine or version goes on in the same order."""
    assert permutation(8, 5, 2).tolist() == [5, 1, 2, 6, 3, 4, 7, 0]


@pytest.mark.parametrize(("count", "size", "name"), [(-1, 1, "count"), (3, 0, "batch_size")])
def test_wrong_sizes(count, size, name):
    with pytest.raises(ValueError, match=f"{name}: expected"):
        Batches(count, size)


def images(count=12, seed=0):
    drawn = np.random.default_rng(seed).integers(0, 256, (count, 5, 4), np.uint8)
    drawn.flags.writeable = False
    return drawn


@pytest.mark.parametrize("train", [True, False])
def test_grey(train):
    pixels = images(13)
    batches = PixelBatches(pixels, 5, seed=1, train=train)
    index = Batches(13, 5, 1 if train else None)
    assert len(batches) == 3
    for x, rows in zip(batches.epoch(4), index.epoch(4), strict=True):
        assert x.dtype == np.float32
        assert x.shape == (len(rows), 1, 5, 4)
        np.testing.assert_allclose(x[:, 0], pixels[rows] / 255, rtol=1e-7)


KINDS = {
    "numbers": lambda pixels, seed: Batches(len(pixels), 5, seed),
    "grey": lambda pixels, seed: PixelBatches(pixels, 5, seed=seed),
    "static": lambda pixels, seed: PixelBatches(pixels, 5, seed=seed, binarize="static"),
    "dynamic": lambda pixels, seed: PixelBatches(pixels, 5, seed=seed, binarize="dynamic"),
    "test": lambda pixels, seed: PixelBatches(pixels, 5, train=False),
    "dequantised": lambda pixels, seed: DequantisedBatches(pixels, 5, seed=seed),
    "labelled": lambda pixels, seed: LabelledBatches(
        PixelBatches(pixels, 5, seed=seed, binarize="dynamic"), np.arange(len(pixels)) % 10
    ),
}


def test_every_kind_of_batches_is_tried_below():
    kinds = {type(make(images(), 0)) for make in KINDS.values()}
    assert kinds == {Batches, *Batches.__subclasses__()}


@pytest.mark.parametrize("kind", KINDS)
@given(count=counts, seed=seeds, epoch=epochs, data=st.data())
def test_every_kind_of_batches_keeps_the_contract(kind, count, seed, epoch, data):
    """Every kind has the right number and sizes of batches, repeats, and can start at any batch."""
    batches, again = (KINDS[kind](images(count), seed) for _ in range(2))
    start = data.draw(st.integers(0, len(batches)))
    drawn, rest = list(batches.epoch(epoch)), list(again.epoch(epoch, start))
    assert batches.count == count and len(batches) == -(-count // 5) == len(drawn)
    assert [len(x) for x in drawn] == [min(5, count - first) for first in range(0, count, 5)]
    assert sorted(batches.order(epoch).tolist()) == list(range(count))
    for x, y in zip(drawn[start:], rest, strict=True):
        assert x.dtype == y.dtype and x.tobytes() == y.tobytes()
    for number, x in enumerate(drawn):
        rows = batches.order(epoch)[5 * number : 5 * number + 5]
        np.testing.assert_array_equal(batches.batch(rows, epoch, number), x)


def whole(batches, epoch, start=0):
    return np.concatenate(list(batches.epoch(epoch, start)))


def in_order(batches, epoch):
    """The epoch's images in the set's own order."""
    x = whole(batches, epoch)
    return x[np.argsort(batches.order(epoch))]


@pytest.mark.parametrize("binarize", ["static", "dynamic"])
@pytest.mark.parametrize("train", [True, False])
def test_binarised_pixels_have_the_grey_as_mean(binarize, train):
    """4000 copies of one image, so that each pixel's mean has a standard error below 0.008."""
    grey = images(1)
    grey = np.concatenate((grey, [[[0, 255, 0, 255]] * 5]), axis=1).astype(np.uint8)
    batches = PixelBatches(np.repeat(grey, 4000, axis=0), 512, binarize=binarize, train=train)
    x = whole(batches, 0)
    assert set(np.unique(x)) == {0.0, 1.0}
    mean = x.mean(axis=0)[0]
    assert np.abs(mean - grey[0] / 255).max() < 5 * 0.008
    np.testing.assert_array_equal(mean[-5:] * 255, grey[0, -5:])  # 0 and 255 are certain


def test_static_draws_once():
    train = [PixelBatches(images(), 5, seed=s, binarize="static") for s in (1, 2)]
    np.testing.assert_array_equal(in_order(train[0], 0), in_order(train[0], 1))
    np.testing.assert_array_equal(in_order(train[0], 0), in_order(train[1], 0))
    test = PixelBatches(images(), 5, binarize="static", train=False)
    assert (in_order(train[0], 0) != in_order(test, 0)).any()


def test_static_blocks_differ():
    """The same image in two blocks of rows is drawn twice."""
    x = whole(PixelBatches(np.repeat(images(1), 2 * STATIC_ROWS, 0), 9999, train=False), 0)
    assert len(np.unique(x, axis=0)) == 1
    repeated = np.repeat(images(1), STATIC_ROWS + 1, 0)
    x = whole(PixelBatches(repeated, 9999, binarize="static", train=False), 0)
    assert (x[0] != x[STATIC_ROWS]).any()


def test_dynamic_draws_anew_and_can_be_repeated():
    batches = PixelBatches(images(), 5, seed=1, binarize="dynamic")
    first = in_order(batches, 0)
    assert (first != in_order(batches, 1)).any()
    assert (first != in_order(PixelBatches(images(), 5, seed=2, binarize="dynamic"), 0)).any()
    again = PixelBatches(images(), 5, seed=1, binarize="dynamic")
    np.testing.assert_array_equal(whole(again, 7), whole(batches, 7))
    np.testing.assert_array_equal(whole(again, 7, start=2), whole(batches, 7)[10:])


def test_dynamic_noise_differs_between_batches_and_epochs():
    """Ten copies of one image, so that only the noise can differ."""
    batches = PixelBatches(np.repeat(images(1), 10, 0), 5, binarize="dynamic")
    draws = [x for epoch in range(3) for x in batches.epoch(epoch)]
    assert len(np.unique(draws, axis=0)) == len(draws) == 6


def test_test_images_are_drawn_once_in_every_mode():
    static = PixelBatches(images(), 5, seed=1, binarize="static", train=False)
    dynamic = PixelBatches(images(), 5, seed=2, binarize="dynamic", train=False)
    for epoch in (0, 3):
        np.testing.assert_array_equal(whole(dynamic, epoch), whole(static, 0))


@pytest.mark.parametrize(
    ("pixels", "options", "match"),
    [
        (images(), {"binarize": "yes"}, "binarize: expected none, static or dynamic, got 'yes'"),
        (images().astype(float), {}, "images: expected uint8"),
        (images().reshape(12, 20), {}, "images: expected uint8"),
    ],
)
def test_wrong_arguments(pixels, options, match):
    with pytest.raises(ValueError, match=match):
        PixelBatches(pixels, 5, **options)


@pytest.mark.parametrize("binarize", ["none", "static", "dynamic"])
def test_images_of_any_layout_give_the_same_batches(binarize):
    images = np.random.default_rng(0).integers(0, 256, (5, 3, 6, 4), dtype=np.uint8)
    twice = np.repeat(images, 2, axis=0)
    last = np.ascontiguousarray(np.moveaxis(images, 1, -1))
    for same in (images, twice[::2], np.asfortranarray(images), np.moveaxis(last, -1, 1)):
        found = np.concatenate(list(PixelBatches(same, 2, binarize=binarize).epoch(1)))
        expected = np.concatenate(list(PixelBatches(images, 2, binarize=binarize).epoch(1)))
        assert np.array_equal(found, expected)
