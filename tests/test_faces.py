"""Face sets: .npz files, sources and their order, splits; real sets where they are at hand."""

import io
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from minivae import DataError
from minivae.data.faces import FaceDataset, draw_faces, load_faces
from minivae.data.image_npz import read_npz
from minivae.data.synthetic_faces import YES_NO, render


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


# ---------------------------------------------------------------- npz
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
        ({"faces": pictures()}, "no array `images`; there are faces"),
        ({"images": pictures().astype(float)}, "images: expected uint8 .* came float64"),
        ({"images": pictures()[0, 0]}, r"images: expected .* came uint8 \(8, 3\)"),
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


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    return tmp_path_factory.mktemp("npz") / "faces.npz"


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
    monkeypatch.setattr("minivae.data.image_npz.MAX_BYTES", 10_000)
    np.savez_compressed(scratch, images=np.zeros((1, 100, 100, 3), np.uint8))
    with pytest.raises(DataError, match="30128 bytes unpacked, the limit is 10000"):
        read_npz(scratch)


def test_what_is_no_npz(tmp_path):
    for name, data in (("a.npz", b""), ("b.npz", b"text"), ("c.npz", None)):
        if data is not None:
            (tmp_path / name).write_bytes(data)
        with pytest.raises(DataError, match=name):
            read_npz(tmp_path / name)


# ---------------------------------------------------------------- the set
def face_set(n, people=None):
    images = np.zeros((n, 3, 2, 2), np.uint8)
    images[:, 0, 0, 0] = np.arange(n)
    identity = np.arange(n) if people is None else np.arange(n) % people
    return FaceDataset("test", images, {"even": np.arange(n) % 2 == 0}, {"identity": identity})


@given(st.integers(2, 60), st.floats(0.01, 0.99), st.integers(0, 1000))
def test_a_split_is_disjoint_and_complete(n, held_out, seed):
    faces = face_set(n)
    train, held = faces.split(held_out, seed=seed)
    rows = [part.groups["identity"] for part in (train, held)]
    np.testing.assert_array_equal(np.sort(np.concatenate(rows)), np.arange(n))
    assert len(train) >= 1 and abs(len(held) - held_out * n) <= 1
    for part, row in zip((train, held), rows, strict=True):
        assert (np.diff(row) > 0).all()  # in the order of the set
        np.testing.assert_array_equal(part.images[:, 0, 0, 0], row)
        np.testing.assert_array_equal(part.attributes["even"], row % 2 == 0)


@given(st.integers(2, 60), st.integers(2, 12), st.floats(0.05, 0.95), st.integers(0, 1000))
def test_a_split_by_identity_keeps_people_whole(n, people, held_out, seed):
    faces = face_set(n, min(people, n))
    train, held = faces.split(held_out, by="identity", seed=seed)
    assert len(train) + len(held) == n and len(train) and len(held)
    assert not set(train.groups["identity"]) & set(held.groups["identity"])
    largest = np.bincount(faces.groups["identity"]).max()
    assert abs(len(held) - held_out * n) <= largest


def test_splits_repeat_and_seeds_matter():
    faces = face_set(50)
    held = [faces.split(0.2, seed=seed)[1].groups["identity"].tolist() for seed in (0, 0, 1)]
    assert held[0] == held[1] != held[2]


def test_wrong_splits():
    with pytest.raises(ValueError, match=r"held_out: expected a share in \(0, 1\), got 1"):
        face_set(5).split(1)
    with pytest.raises(ValueError, match="held_out"):
        face_set(5).split(float("nan"))
    with pytest.raises(ValueError, match="by: no group 'subject'; there are identity, even"):
        face_set(5).split(by="subject")
    with pytest.raises(DataError, match=r"cannot split 5 faces in 1 group"):
        face_set(5, people=1).split(by="identity")


def test_arrays_are_read_only_and_checked():
    faces = face_set(3)
    with pytest.raises(ValueError, match="read-only"):
        faces.images[0] = 1
    with pytest.raises(ValueError, match="read-only"):
        faces.attributes["even"][0] = False
    images = np.zeros((3, 3, 2, 2), np.uint8)
    images[0] = 1  # the caller's own array stays writable
    for arrays, message in (
        ({"images": images[0]}, "images: expected uint8"),
        ({"images": images, "attributes": {"a": np.zeros(3)}}, "'a': expected bool, got float64"),
        ({"images": images, "groups": {"g": np.zeros(2)}}, r"'g': expected \(3,\), got \(2,\)"),
    ):
        with pytest.raises(ValueError, match=message):
            FaceDataset("x", **arrays)


# ---------------------------------------------------------------- sources
@pytest.fixture
def data_folder(tmp_path, save):
    save("data/faces/celeba64.npz", images=pictures(size=64), smile=np.ones(5, bool))
    save("data/faces/olivetti.npz", images=pictures(size=64, seed=1)[..., 0])
    for folder, name in (("glasses", "0.jpg"), ("no_glasses", "1.jpg")):
        path = tmp_path / "data/faces/glasses256" / folder / name
        path.parent.mkdir(parents=True)
        Image.fromarray(pictures(1, 32)[0]).save(path)
    table = "path,glasses,dark_lenses,source\nglasses/0.jpg,1,1,x\nno_glasses/1.jpg,0,0,y\n"
    (tmp_path / "data/faces/glasses256.csv").write_text(table)
    return tmp_path / "data"


def test_the_size_decides_which_set_serves(data_folder, tmp_path, monkeypatch, capsys):
    options = {"cache_dir": tmp_path / "cache", "progress": False}
    monkeypatch.setenv("MINIVAE_DATA", str(data_folder))
    assert load_faces(size=64).name == "celeba64"
    large = load_faces(size=128, **options)
    assert large.name == "glasses256" and large.images.shape == (2, 3, 128, 128)
    assert {name: values.tolist() for name, values in large.attributes.items()} == {
        "glasses": [True, False],
        "no_glasses": [False, True],
        "dark_lenses": [True, False],
    }
    (data_folder / "faces/celeba64.npz").unlink()
    assert load_faces(size=32).name == "olivetti"
    monkeypatch.delenv("MINIVAE_DATA")
    assert load_faces(data_folder, size=32).name == "olivetti"  # named by argument
    assert load_faces(data_folder / "faces/glasses256", 16, **options).size == 16
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("place", [None, "", "empty"])
def test_synthetic_faces_stand_in_and_say_so(tmp_path, monkeypatch, capsys, place):
    if place is None:
        monkeypatch.delenv("MINIVAE_DATA", raising=False)
    else:
        monkeypatch.setenv("MINIVAE_DATA", str(tmp_path / place) if place else "")
    faces = load_faces(size=16, synthetic_count=7, seed=4, progress=False)
    assert faces.name == "synthetic-faces" and faces.images.shape == (7, 3, 16, 16)
    message = capsys.readouterr().err
    assert message.count("\n") == 1 and "7 synthetic faces" in message and "MINIVAE_DATA" in message


def test_the_recipe_of_synthetic_faces_draws_them_again():
    faces = draw_faces(120, 16, seed=2, progress=False)
    assert set(faces.attributes) == set(YES_NO)
    _, held = faces.split(0.2)
    np.testing.assert_array_equal(render(held.recipe, 16), held.images)
    bare = held.recipe | {"glasses": np.zeros(len(held), bool)}
    same = (render(bare, 16) == held.images).all(axis=(1, 2, 3))
    np.testing.assert_array_equal(same, ~held.attributes["glasses"])


def test_named_sources_must_be_there(tmp_path):
    with pytest.raises(DataError, match="no such file or folder"):
        load_faces(tmp_path / "none")
    with pytest.raises(DataError, match="no readable JPEG or PNG"):
        load_faces(tmp_path, cache_dir=tmp_path / "cache", progress=False)


def test_skipped_files_are_told(tmp_path, capsys):
    root = tmp_path / "folder"
    root.mkdir()
    Image.fromarray(pictures(1)[0]).save(root / "a.png")
    (root / "b.png").write_bytes(b"")
    faces = load_faces(root, 8, cache_dir=tmp_path / "cache", progress=False)
    assert len(faces) == 1 and faces.report.skipped == {"b.png": "the file is empty"}
    assert "1 images read, 1 skipped (1 the file is empty)" in capsys.readouterr().err


# ---------------------------------------------------------------- real sets
@pytest.fixture
def real():
    folder = Path(os.environ.get("MINIVAE_DATA", "")) / "faces"
    if not os.environ.get("MINIVAE_DATA") or not folder.is_dir():
        pytest.skip("needs MINIVAE_DATA with faces/")
    return folder


def _needs(path):
    if not path.exists():
        pytest.skip(f"needs {path.name} in MINIVAE_DATA/faces")
    return path


def test_real_celeba(real):
    faces = load_faces(_needs(real / "celeba64.npz"))
    assert faces.images.shape == (7200, 3, 64, 64)
    counts = {name: int(faces.attributes[name].sum()) for name in ("glasses", "male", "smile")}
    assert counts == {"glasses": 1805, "male": 3901, "smile": 3400}
    assert len(faces.attributes) == 44
    # Skin is redder than blue: channels are not swapped.
    means = faces.images[::50].mean(axis=(0, 2, 3))
    assert means[0] > means[1] > means[2]
    train, held = faces.split(by="identity")
    assert not set(train.groups["identity"]) & set(held.groups["identity"])


def test_real_olivetti(real):
    faces = load_faces(_needs(real / "olivetti.npz"))
    counts = {name: int(values.sum()) for name, values in faces.attributes.items()}
    assert counts == {"glasses": 119, "female": 40, "smile": 128, "male": 360}
    assert set(faces.groups) == {"subject"} and faces.images.shape == (400, 3, 64, 64)


def test_real_class_folders(real, tmp_path):
    _needs(real / "glasses256")
    faces = load_faces(real.parent, 256, cache_dir=tmp_path, progress=False)
    assert faces.name == "glasses256" and faces.images.shape == (1000, 3, 256, 256)
    counts = {name: int(values.sum()) for name, values in faces.attributes.items()}
    assert counts == {"glasses": 94, "no_glasses": 906, "dark_lenses": 21}
    assert faces.report.skipped == {}
