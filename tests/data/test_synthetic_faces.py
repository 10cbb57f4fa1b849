"""Synthetic faces: a function of the seed, effects of each attribute, one face at all sizes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minivae.data.synthetic.face_measures import REGIONS
from minivae.data.synthetic.face_shapes import pixels
from minivae.data.synthetic.faces import CONTINUOUS, YES_NO, render, sample_attributes


def switched(faces, name, value):
    return faces | {name: np.full_like(faces[name], value)}


def region(attribute, size):
    """The part of a picture that switching an attribute can affect, as slices (rows, columns)."""
    left, top, right, bottom = REGIONS[attribute]
    return pixels(top, bottom, size), pixels(left, right, size)


def test_a_face_does_not_depend_on_how_many_are_drawn():
    few, many = sample_attributes(5, seed=3), sample_attributes(40, seed=3)
    assert set(few) == {*CONTINUOUS, *YES_NO}
    for name in few:
        np.testing.assert_array_equal(few[name], many[name][:5])
    np.testing.assert_array_equal(render(few, 32), render(many, 32)[:5])
    one = {name: values[3:4] for name, values in few.items()}
    np.testing.assert_array_equal(render(one, 32)[0], render(few, 32)[3])


def test_seeds_differ_and_repeat():
    a, b = sample_attributes(8, seed=0), sample_attributes(8, seed=1)
    assert all(np.any(a[name] != b[name]) for name in CONTINUOUS)
    np.testing.assert_array_equal(render(a, 24), render(sample_attributes(8, seed=0), 24))


def test_attributes_have_their_types_ranges_and_shares():
    faces = sample_attributes(4000)
    for name in CONTINUOUS:
        assert faces[name].dtype == np.float32
        assert faces[name].min() >= 0 and faces[name].max() <= 1
    for name, share in YES_NO.items():
        assert faces[name].dtype == bool
        assert abs(faces[name].mean() - share) < 4 * np.sqrt(share * (1 - share) / 4000)
    # Yes/no attributes are independent, or an attribute vector would carry another attribute along.
    table = np.corrcoef([faces[name] for name in YES_NO])
    assert np.abs(table - np.eye(len(YES_NO))).max() < 0.07


@pytest.mark.parametrize("size", [8, 17, 64, 256])
def test_shape_and_type_at_every_size(size):
    images = render(sample_attributes(3), size)
    assert images.shape == (3, 3, size, size) and images.dtype == np.uint8
    assert images.std() > 20


def test_no_faces():
    assert render(sample_attributes(0), 16).shape == (0, 3, 16, 16)


@pytest.mark.parametrize("size", [64, 100, 256])
@pytest.mark.parametrize("name", ["glasses", "smile", "hat"])
def test_a_switch_changes_its_region_and_nothing_else(name, size):
    faces = sample_attributes(12, seed=5)
    off, on = (render(switched(faces, name, value), size).astype(int) for value in (False, True))
    changed = np.abs(on - off).max(axis=1)  # (N, S, S)
    rows, columns = region(name, size)
    inside = np.zeros((size, size), bool)
    inside[rows, columns] = True
    assert not changed[:, ~inside].any()
    assert (changed[:, inside] > 30).mean(axis=1).min() > 0.01  # plain to see on every face
    assert inside.mean() < 0.5


def test_the_region_of_glasses_is_around_the_eyes():
    rows, columns = region("glasses", 64)
    assert (rows.start, rows.stop, columns.start, columns.stop) == (25, 39, 9, 55)


def test_male_leaves_the_eyes_alone_and_changes_the_jaw():
    faces = sample_attributes(16, seed=2) | {"hat": np.zeros(16, bool)}
    man, woman = (render(switched(faces, "male", value), 64).astype(int) for value in (True, False))
    changed = np.abs(man - woman).max(axis=1)
    assert (changed > 20).mean(axis=(1, 2)).min() > 0.05
    assert changed[:, :3].max() == 0  # the wall above the head


@pytest.mark.parametrize("name", CONTINUOUS)
def test_every_continuous_attribute_shows(name):
    faces = sample_attributes(6, seed=9)
    # Where an attribute has an effect at all: beard on men, frames on glasses.
    faces = faces | {
        "male": np.full(6, name == "beard"),
        "glasses": np.full(6, name == "frames"),
        "hat": np.zeros(6, bool),
    }
    opposite = 0.5 if name in ("background", "clothes") else 1  # on the colour circle
    low, high = (render(switched(faces, name, value), 64).astype(int) for value in (0, opposite))
    assert np.abs(low - high).max(axis=(1, 2, 3)).min() > 15


@pytest.mark.parametrize(("name", "other"), [("beard", "male"), ("frames", "glasses")])
def test_attributes_without_effect(name, other):
    faces = switched(sample_attributes(6), other, False)
    low, high = (render(switched(faces, name, value), 48) for value in (0, 1))
    np.testing.assert_array_equal(low, high)


def test_turning_moves_the_features_the_way_it_says():
    faces = sample_attributes(20) | {name: np.zeros(20, bool) for name in YES_NO}
    faces = faces | {"light": np.full(20, 0.5, np.float32), "parting": np.full(20, 0.5, np.float32)}

    def eyes_at(yaw):
        images = render(switched(faces, "yaw", yaw), 64).astype(float)
        # The eyes are what a strip at eye height has of change from column to column.
        strip = np.abs(np.diff(images[:, :, 29:34, 16:48], axis=3)).sum(axis=(1, 2))
        return (strip * np.arange(strip.shape[1])).sum(1) / strip.sum(1)

    assert (eyes_at(0.0) < eyes_at(0.5)).all() and (eyes_at(0.5) < eyes_at(1.0)).all()


def test_small_pictures_are_the_large_ones_scaled_down():
    faces = sample_attributes(30, seed=1)
    large = render(faces, 256).reshape(30, 3, 64, 4, 64, 4).mean(axis=(3, 5))
    error = np.abs(large - render(faces, 64))
    assert error.mean() < 1.5
    assert np.quantile(error, 0.99) < 20


def test_large_pictures_are_sharp():
    faces = switched(sample_attributes(10) | {"skin": np.zeros(10, np.float32)}, "glasses", True)
    rows, columns = region("glasses", 256)
    frames = render(switched(faces, "frames", 0), 256)[:, :, rows, columns].astype(int)
    assert np.abs(np.diff(frames, axis=2)).max(axis=(1, 2, 3)).min() > 80  # from pixel to pixel


def test_inputs_are_left_as_they_are():
    faces = sample_attributes(4)
    for values in faces.values():
        values.flags.writeable = False
    render(faces, 16)


@given(st.integers(0, 2**63), st.integers(0, 3))
def test_any_seed_draws(seed, n):
    assert render(sample_attributes(n, seed), 8).shape == (n, 3, 8, 8)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"glasses": np.zeros(3)}, "'glasses': expected bool, got float64"),
        ({"smile": np.zeros(2, bool)}, r"'smile': expected shape \(3,\), got \(2,\)"),
        ({"skin": np.array([0.1, np.nan, 0.2])}, r"'skin': expected values in \[0, 1\], got nan"),
        ({"yaw": np.array([0.1, 1.2, 0.2])}, r"'yaw': expected values in \[0, 1\], got 0.1..1.2"),
        ({"moustache": np.zeros(3)}, r"^attributes: expected some of .*, got 'moustache'"),
    ],
)
def test_wrong_attributes_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        render(sample_attributes(3) | change, 16)


def test_other_wrong_arguments():
    faces = sample_attributes(2)
    del faces["nose"]
    with pytest.raises(ValueError, match=r"^attributes: expected 'nose'"):
        render(faces, 16)
    for size in (7, 257):
        with pytest.raises(ValueError, match=f"size: expected 8 to 256, got {size}"):
            render(sample_attributes(1), size)
    with pytest.raises(ValueError, match="at least 0"):
        sample_attributes(-1)
    with pytest.raises(ValueError, match="at least 0"):
        sample_attributes(1, seed=-1)
