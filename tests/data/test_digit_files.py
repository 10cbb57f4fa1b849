"""Published digit sets: file names, layouts and label types that ``read_digits`` accepts."""

import gzip

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_idx import encode

from minivae import DataError
from minivae.data import mnist
from minivae.data.digit_files import MAX_CLASSES, STEMS, read_digits
from minivae.data.idx import MAX_BYTES


def small_set(train=7, test=3, classes=10, dtype=np.uint8, seed=0):
    rng = np.random.default_rng(seed)
    arrays = []
    for count in (train, test):
        arrays.append(rng.integers(0, 256, (count, 28, 28), np.uint8))
        arrays.append(rng.integers(0, classes, count).astype(dtype))
    return arrays


def write(folder, arrays, names=STEMS):
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in zip(names, arrays, strict=True):
        body = encode(array)
        (folder / name).write_bytes(gzip.compress(body, 1) if name.endswith(".gz") else body)
    return folder


def assert_same(digits, arrays):
    for found, expected in zip(digits, arrays, strict=True):
        np.testing.assert_array_equal(found, expected)


NAMINGS = {
    "the authors'": STEMS,
    "gzipped": [f"{stem}.gz" for stem in STEMS],
    "extracted by some tools": [stem.replace("-idx", ".idx") for stem in STEMS],
    "EMNIST": [f"emnist-byclass-{stem.replace('t10k', 'test')}.gz" for stem in STEMS],
    "QMNIST": [
        f"qmnist-{stem.replace('t10k', 'test').replace('idx1-ubyte', 'idx2-int')}.gz"
        for stem in STEMS
    ],
}


@pytest.mark.parametrize("names", NAMINGS.values(), ids=NAMINGS)
@pytest.mark.parametrize("place", [".", "mnist", "MNIST/raw", "raw"])
def test_names_and_places(tmp_path, names, place):
    arrays = small_set()
    write(tmp_path / place, arrays, names)
    assert_same(read_digits(tmp_path), arrays)
    assert mnist.load(tmp_path).name == "idx"


def test_torchvision_leaves_both_the_archive_and_its_content(tmp_path):
    arrays = small_set()
    write(tmp_path / "MNIST" / "raw", arrays)
    write(tmp_path / "MNIST" / "raw", arrays, NAMINGS["gzipped"])
    for source in (tmp_path, tmp_path / "MNIST", tmp_path / "MNIST" / "raw"):
        assert_same(read_digits(source), arrays)


def keras(path, arrays, names=("x_train", "y_train", "x_test", "y_test"), save=np.savez):
    path.parent.mkdir(parents=True, exist_ok=True)
    save(path, **dict(zip(names, arrays, strict=True)))
    return path


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_the_file_of_keras(tmp_path, save):
    arrays = small_set()
    path = keras(tmp_path / "datasets" / "mnist.npz", arrays, save=save)
    for source in (path, path.parent):
        assert_same(read_digits(source), arrays)
    keras(tmp_path / "mnist" / "mnist.npz", arrays, save=save)
    assert_same(read_digits(tmp_path), arrays)
    with pytest.raises(DataError, match=r"no array y_test; expected .* got x_train, y_train"):
        read_digits(keras(tmp_path / "other.npz", arrays[:3], ("x_train", "y_train", "x_test")))
    (tmp_path / "bad.npz").write_bytes(b"PK\3\4")
    with pytest.raises(DataError, match=r"bad\.npz: not a whole \.npz file"):
        read_digits(tmp_path / "bad.npz")


def test_the_same_pixels_have_the_same_name_in_every_form(tmp_path, monkeypatch):
    """A set with MNIST's bytes is named "mnist", whatever kind of file they come in."""
    arrays = small_set()
    monkeypatch.setattr(mnist, "FILES", {
        stem: mnist._md5(array) for stem, array in zip(STEMS, arrays, strict=True)
    })  # fmt: skip
    assert mnist.load(write(tmp_path / "idx", arrays)).name == "mnist"
    wide = [a.astype(np.int32) if a.ndim == 1 else a for a in arrays]
    assert mnist.load(write(tmp_path / "wide", wide)).name == "mnist"
    assert mnist.load(keras(tmp_path / "mnist.npz", arrays)).name == "mnist"
    arrays[2][0, 0, 0] ^= 1
    assert mnist.load(keras(tmp_path / "mnist.npz", arrays)).name == "idx"


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int16, np.int32])
@pytest.mark.parametrize("classes", [1, 10, 47, 62, 100])
def test_labels_of_any_whole_type(tmp_path, dtype, classes):
    arrays = small_set(classes=classes, dtype=dtype)
    digits = read_digits(write(tmp_path, arrays))
    assert_same(digits, arrays)
    assert digits.train_labels.dtype == digits.test_labels.dtype == np.uint8


def test_many_classes(tmp_path):
    arrays = small_set(classes=10, dtype=np.int32)
    arrays[1][3] = MAX_CLASSES - 1
    assert_same(read_digits(write(tmp_path, arrays)), arrays)
    arrays[1][3] = MAX_CLASSES
    with pytest.raises(DataError, match=rf"expected labels 0 \.\. 255, got \d+ \.\. {MAX_CLASSES}"):
        read_digits(write(tmp_path, arrays))


def test_the_first_of_the_columns_of_qmnist_is_the_digit(tmp_path):
    arrays = small_set(dtype=np.int32)
    tables = [a.copy() for a in arrays]
    for i in (1, 3):
        rest = np.arange(7 * len(arrays[i]), dtype=np.int32).reshape(-1, 7)
        tables[i] = np.concatenate([arrays[i][:, None], rest], axis=1)
    assert_same(read_digits(write(tmp_path, tables, NAMINGS["QMNIST"])), arrays)


def with_labels(labels):
    arrays = small_set()
    arrays[1] = labels
    return arrays


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (with_labels(np.zeros(7, np.float32)), "whole numbers as labels, got float32"),
        (with_labels(np.full(7, -1, np.int32)), r"expected labels 0 \.\. 255, got -1 \.\. -1"),
        (with_labels(np.zeros((7, 2), np.int32)), r"expected 7 labels, .* got \(7, 2\)"),
        (with_labels(np.zeros((7, 8), np.uint8)), r"expected 7 labels, .* got \(7, 8\)"),
        ([np.zeros((7, 28, 28), np.int32), *small_set()[1:]], "images of uint8, got int32"),
    ],
)
def test_what_is_no_set_of_digits(tmp_path, arrays, message):
    with pytest.raises(DataError, match=message):
        read_digits(write(tmp_path, arrays))


def test_several_sets_in_one_folder(tmp_path):
    for name in ("emnist-letters", "emnist-byclass"):
        write(tmp_path, small_set(), [f"{name}-{stem}" for stem in STEMS])
    with pytest.raises(DataError, match=r"several sets \(emnist-byclass, emnist-letters\)"):
        read_digits(tmp_path)
    arrays = small_set(seed=1)
    assert_same(read_digits(write(tmp_path, arrays)), arrays)  # the one without a prefix
    (tmp_path / STEMS[2]).unlink()
    with pytest.raises(DataError, match=f"incomplete: missing {STEMS[2]}"):
        read_digits(tmp_path)


def test_the_largest_published_set_is_within_the_limit():
    """EMNIST ByClass has 697,932 training images."""
    assert 697_932 * 28 * 28 <= MAX_BYTES


@given(st.binary(max_size=100))
def test_any_bytes_are_a_set_or_a_data_error(tmp_path_factory, body):
    path = tmp_path_factory.getbasetemp() / "any.npz"
    path.write_bytes(body)
    with pytest.raises(DataError):
        read_digits(path)
