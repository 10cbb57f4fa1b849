"""Image sets in .npz files: layouts, attributes, and errors for invalid files."""

import io
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minivae import DataError
from minivae.data.image_npz import read_npz


def pictures(n=5, size=8, channels=3, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, size, size, channels), np.uint8)


@pytest.fixture
def save(tmp_path):
    def save(name="faces.npz", **arrays):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, **arrays)
        return path

    return save


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    return tmp_path_factory.mktemp("npz") / "faces.npz"


def test_the_three_layouts_are_one(save):
    images = pictures()
    expected = images.transpose(0, 3, 1, 2)
    for stored in (images, expected, np.asfortranarray(images)):
        read, attributes, groups = read_npz(save(images=stored))
        np.testing.assert_array_equal(read, expected)
        assert attributes == groups == {}
    grey = images[..., 0]
    read, _, _ = read_npz(save(images=grey))
    np.testing.assert_array_equal(read, np.stack([grey] * 3, axis=1))


def test_arrays_become_attributes_and_groups(save):
    smile = np.array([True, False, True, False, True])
    table = np.array([[1, 0], [0, 0], [1, 1], [0, 1], [0, 1]], bool)
    _, attributes, groups = read_npz(
        save(
            images=pictures(),
            smile=smile,
            attributes=table,
            attribute_names=np.array(["Hat", "Male"]),
            identity=np.array([3, 3, 1, 1, 2]),
            version=np.array(7),
            mean=np.zeros(3),
        )
    )
    assert set(attributes) == {"smile", "Hat", "Male"} and set(groups) == {"identity"}
    np.testing.assert_array_equal(attributes["Hat"], table[:, 0])
    np.testing.assert_array_equal(attributes["smile"], smile)


YES = np.array([True, False, True, False, True])


@pytest.mark.parametrize("dtype", [bool, np.int8, np.uint8, np.int64, np.float32, ">i4"])
@pytest.mark.parametrize("no", [0, -1])
@pytest.mark.parametrize("form", ["array", "column", "table"])
def test_yes_and_no_in_numbers_are_attributes(save, capsys, dtype, no, form):
    if no and np.dtype(dtype).kind in "bu":
        pytest.skip("no -1 in this type")
    values = np.where(YES, 1, no).astype(dtype)
    arrays = {
        "array": {"smile": values},
        "column": {"smile": values[:, None]},
        "table": {"attributes": values[:, None], "attribute_names": np.array(["smile"])},
    }[form]
    if form == "column" and dtype is bool:
        arrays = {"smile": values}
    _, attributes, groups = read_npz(save(images=pictures(), **arrays))
    assert attributes["smile"].dtype == bool and groups == {}
    np.testing.assert_array_equal(attributes["smile"], YES)
    assert capsys.readouterr().err == ""


@given(st.lists(st.integers(-2, 3), min_size=5, max_size=5))
def test_numbers_are_yes_and_no_or_a_group(scratch, values):
    np.savez(scratch, images=pictures(), a=np.array(values))
    _, attributes, groups = read_npz(scratch)
    if set(values) <= {0, 1} or set(values) <= {-1, 1}:
        assert attributes["a"].tolist() == [v == 1 for v in values] and not groups
    else:
        assert groups["a"].tolist() == values and not attributes


@pytest.mark.parametrize("name", ["identity", "subject"])
def test_two_people_are_no_attribute(save, name):
    _, attributes, groups = read_npz(save(images=pictures(), **{name: np.array([0, 1, 1, 0, 1])}))
    assert not attributes and groups[name].tolist() == [0, 1, 1, 0, 1]


def test_what_is_of_no_use_is_said(save, capsys):
    read_npz(save(images=pictures(), smile=np.ones(4, np.int8), mean=np.zeros(3)))
    assert "not used, for they are not one value per image: smile (4,), mean (3,)" in (
        capsys.readouterr().err
    )


def test_numbers_that_contradict_a_column(save):
    path = save(
        images=pictures(), attributes=YES[:, None], attribute_names=["a"], a=(~YES).astype(int)
    )
    with pytest.raises(DataError, match="a: contradicts the column"):
        read_npz(path)
    table = np.array([[0], [1], [2], [0], [1]])
    with pytest.raises(DataError, match="expected bool, or 0 and 1"):
        read_npz(save(images=pictures(), attributes=table, attribute_names=["a"]))


def test_other_sizes_are_scaled_and_cut(save):
    images = np.zeros((2, 10, 20, 3), np.uint8)
    images[:, :, 5:15] = [0, 200, 0]
    read, _, _ = read_npz(save(images=images), size=5)
    assert read.shape == (2, 3, 5, 5)
    np.testing.assert_allclose(read[:, 1, :, 1:4], 200, atol=5)
    with pytest.raises(DataError, match="images are 10 x 20: pass size"):
        read_npz(save(images=images))


def test_labels_beside_the_file_are_added(save):
    path = save("set.npz", images=pictures(), subject=np.arange(5))
    save("set_labels.npz", smile=np.ones(5, bool), subject=np.arange(5))
    _, attributes, groups = read_npz(path)
    assert set(attributes) == {"smile"} and set(groups) == {"subject"}
    save("set_labels.npz", subject=np.arange(5)[::-1])
    with pytest.raises(DataError, match=r"'subject' contradicts set\.npz"):
        read_npz(path)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"faces": pictures()}, "no array images; there are faces"),
        ({"images": pictures().astype(float)}, "images: expected uint8 .* got float64"),
        ({"images": pictures()[0, 0]}, r"images: expected .* got uint8 \(8, 3\)"),
        ({"images": pictures(channels=4)}, r"images: expected .* \(5, 8, 8, 4\)"),
        ({"images": pictures(n=0)}, r"images: expected .* \(0, 8, 8, 3\)"),
        ({"images": pictures(), "smile": np.ones(4, bool)}, r"smile: expected bool \(5,\)"),
        (
            {"images": pictures(), "attributes": np.ones((5, 2), bool)},
            "attribute_names: expected 2",
        ),
        ({"images": pictures(), "attributes": np.ones((4, 2), bool)}, r"attributes: expected bool"),
        (
            {
                "images": pictures(),
                "attributes": np.ones((5, 2), bool),
                "attribute_names": ["a", "a"],
            },
            "attribute_names: a name comes twice",
        ),
        (
            {
                "images": pictures(),
                "attributes": np.ones((5, 1), bool),
                "attribute_names": ["a"],
                "a": np.zeros(5, bool),
            },
            "a: contradicts the column",
        ),
        (
            {"images": pictures(), "who": np.array([{}] * 5, object)},
            "arrays of object are not read",
        ),
    ],
)
def test_bad_arrays_are_named(save, arrays, message):
    with pytest.raises(DataError, match=message):
        read_npz(save(**arrays))


def _npz_bytes():
    file = io.BytesIO()
    np.savez_compressed(file, images=pictures(n=3, size=4), smile=np.ones(3, bool))
    return file.getvalue()


NPZ = _npz_bytes()


@given(st.integers(0, len(NPZ) - 1))
def test_a_cut_file_is_a_data_error(scratch, length):
    scratch.write_bytes(NPZ[:length])
    with pytest.raises(DataError):
        read_npz(scratch)


@given(st.integers(0, len(NPZ) - 1), st.integers(0, 255))
def test_a_wrong_byte_is_harmless_or_a_data_error(scratch, place, value):
    scratch.write_bytes(NPZ[:place] + bytes([value]) + NPZ[place + 1 :])
    try:
        images, _, _ = read_npz(scratch)
    except DataError:
        return
    np.testing.assert_array_equal(images, pictures(n=3, size=4).transpose(0, 3, 1, 2))


def _npy(header):
    text = repr(header).ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


@pytest.mark.parametrize(
    "header",
    [
        {"descr": "|u1", "fortran_order": False, "shape": (10**12, 64, 64)},
        {"descr": "|u1", "fortran_order": False, "shape": (-1, 4, 4)},
        {"descr": "|u1", "fortran_order": False, "shape": (2**40, 0, 2**40)},
        {"descr": "|O", "fortran_order": False, "shape": (1,)},
        {"descr": "|V0", "fortran_order": False, "shape": (3,)},
        {"descr": "__import__('os')", "fortran_order": False, "shape": (1,)},
        ["not", "a", "dict"],
    ],
)
def test_absurd_headers_are_data_errors(scratch, header):
    with zipfile.ZipFile(scratch, "w") as archive:
        archive.writestr("images.npy", _npy(header) + b"abc")
    with pytest.raises(DataError):
        read_npz(scratch)


def test_a_zip_bomb_is_not_unpacked(scratch, monkeypatch):
    monkeypatch.setattr("minivae.data.npz.MAX_BYTES", 10_000)
    np.savez_compressed(scratch, images=np.zeros((1, 100, 100, 3), np.uint8))
    with pytest.raises(DataError, match="30128 bytes unpacked, the limit is 10000"):
        read_npz(scratch)


@pytest.mark.parametrize(
    ("shape", "size", "need"),
    [
        ((5, 10, 10), None, 5 * 300),
        ((5, 10, 10), 10, 5 * 300),
        ((5, 10, 10, 3), None, 5 * 300),
        ((5, 3, 10, 10), 10, 5 * 300),
        ((5, 10, 10), 20, 5 * (300 + 1200)),
        ((5, 3, 4, 5), 10, 5 * (60 + 300)),
        ((5, 4, 5, 3), 10, 5 * (60 + 300)),
    ],
)
def test_the_limit_is_on_what_the_images_take_in_the_end(save, monkeypatch, shape, size, need):
    path = save(images=np.zeros(shape, np.uint8))
    monkeypatch.setattr("minivae.data.image_npz.MAX_BYTES", need)
    assert read_npz(path, size).images.nbytes <= need
    monkeypatch.setattr("minivae.data.image_npz.MAX_BYTES", need - 1)
    with pytest.raises(DataError, match=f"{need} bytes in colour .* the limit is {need - 1}"):
        read_npz(path, size)


def test_what_is_no_npz(tmp_path):
    for name, data in (("a.npz", b""), ("b.npz", b"text"), ("c.npz", None)):
        if data is not None:
            (tmp_path / name).write_bytes(data)
        with pytest.raises(DataError, match=name):
            read_npz(tmp_path / name)
