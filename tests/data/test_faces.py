"""Face sets: sources and their order, splits, and real sets if they are installed."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from minivae import DataError
from minivae.data.faces import FaceDataset, draw_faces, load_faces
from minivae.data.synthetic.faces import YES_NO, render
from picture_files import noise


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
    with pytest.raises(ValueError, match=r"by: expected .* \(identity, even\), got 'subject'"):
        face_set(5).split(by="subject")
    with pytest.raises(DataError, match=r"cannot split 5 image\(s\) in 1 group"):
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
def data_folder(tmp_path):
    faces = tmp_path / "data/faces"
    faces.mkdir(parents=True)
    images = np.stack([noise(64, 64, seed=i) for i in range(5)])
    np.savez(faces / "celeba64.npz", images=images, smile=np.ones(5, bool))
    np.savez(faces / "olivetti.npz", images=images[::-1, ..., 0])
    for folder, name in (("glasses", "0.jpg"), ("no_glasses", "1.jpg")):
        path = faces / "glasses256" / folder / name
        path.parent.mkdir(parents=True)
        Image.fromarray(noise(32, 32)).save(path)
    table = "path,glasses,dark_lenses,source\nglasses/0.jpg,1,1,x\nno_glasses/1.jpg,0,0,y\n"
    (faces / "glasses256.csv").write_text(table)
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


@pytest.mark.parametrize("kind", ["folder", "npz"])
def test_celeba_s_names_are_known(tmp_path, kind):
    images = np.stack([noise(16, 16, seed=i) for i in range(2)])
    rows = {"MALE": [1, 0], "Eyeglasses": [0, 1], "Smiling": [1, 1], "glasses": [1, 0]}
    if kind == "npz":
        source = tmp_path / "set.npz"
        columns = {name: np.array(values) for name, values in rows.items()}
        np.savez(source, images=images, **columns)
    else:
        source = tmp_path / "set"
        source.mkdir()
        lines = ["2", " ".join(rows)]
        for i, image in enumerate(images):
            Image.fromarray(image).save(source / f"{i}.png")
            lines.append(" ".join([f"{i}.png", *(str(2 * v[i] - 1) for v in rows.values())]))
        (source / "list_attr_celeba.txt").write_text("\n".join(lines))
    faces = load_faces(source, 16, cache_dir=tmp_path / "cache", progress=False)
    found = {name: values.tolist() for name, values in faces.labels.items()}
    assert found == {"male": [1, 0], "glasses": [1, 0], "smile": [1, 1]}  # its own glasses stand
    assert faces.attributes["Eyeglasses"].tolist() == [False, True]


@pytest.mark.parametrize("kind", ["folder", "npz"])
@pytest.mark.parametrize("white", [1, 255])
def test_pixels_of_0_and_1_are_told(tmp_path, capsys, kind, white):
    """They are 1 of 255: the pictures that a mask's author sees are black here."""
    images = white * (noise(16, 16) > 127)[None].repeat(2, axis=0).astype(np.uint8)
    source = tmp_path / ("set.npz" if kind == "npz" else "set")
    if kind == "npz":
        np.savez(source, images=images)
    else:
        source.mkdir()
        for i, image in enumerate(images):
            Image.fromarray(image).save(source / f"{i}.png")
    load_faces(source, 16, cache_dir=tmp_path / "cache", progress=False)
    told = f"minivae: {source}: no pixel is above 1 of 255" in capsys.readouterr().err
    assert told == (white == 1)


@pytest.mark.parametrize("size", [0, -8])
def test_faces_without_pixels_are_refused(data_folder, size):
    with pytest.raises(ValueError, match="size: expected at least 1"):
        load_faces(data_folder, size)


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
    with pytest.raises(DataError, match="no readable JPEG, PNG or PNM"):
        load_faces(tmp_path, cache_dir=tmp_path / "cache", progress=False)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (b"caf\xc3\xa9", "caf\xe9"),
        (b"caf\xe9", "caf\N{REPLACEMENT CHARACTER}"),  # not UTF-8
        (b"two\nlines", "two\N{REPLACEMENT CHARACTER}lines"),
        (b"\x1b[31mred", "\N{REPLACEMENT CHARACTER}[31mred"),
    ],
)
def test_a_set_s_name_can_be_shown_anywhere(tmp_path, name, shown):
    root = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
    root.mkdir()
    Image.fromarray(noise(8, 8)).save(root / "a.png")
    assert load_faces(root, 8, cache_dir=tmp_path / "cache", progress=False).name == shown
    file = root.with_name(root.name + ".npz")
    np.savez(file, images=noise(8, 8)[None])
    assert load_faces(file, 8).name == shown


def test_skipped_files_are_told(tmp_path, capsys):
    root = tmp_path / "folder"
    root.mkdir()
    Image.fromarray(noise(8, 8)).save(root / "a.png")
    (root / "b.png").write_bytes(b"")
    faces = load_faces(root, 8, cache_dir=tmp_path / "cache", progress=False)
    assert len(faces) == 1 and faces.report.skipped == {"b.png": "the file is empty"}
    told = capsys.readouterr().err
    assert "1 images read, 1 skipped (1 the file is empty)\n  'b.png': the file is empty\n" in told
    for name in "cdefgh":
        (root / f"{name}.png").write_bytes(b"")
    load_faces(root, 8, cache_dir=tmp_path / "cache", progress=False)
    assert "  'f.png': the file is empty\n  and 2 more\n" in capsys.readouterr().err


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


@pytest.mark.slow
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


@pytest.mark.slow
def test_real_class_folders(real, tmp_path):
    _needs(real / "glasses256")
    faces = load_faces(real.parent, 256, cache_dir=tmp_path, progress=False)
    assert faces.name == "glasses256" and faces.images.shape == (1000, 3, 256, 256)
    counts = {name: int(values.sum()) for name, values in faces.attributes.items()}
    assert counts == {"glasses": 94, "no_glasses": 906, "dark_lenses": 21}
    assert faces.report.skipped == {}
