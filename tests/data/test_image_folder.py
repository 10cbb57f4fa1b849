"""Image folders: which files are read, bad files named, attributes, links and pipes."""

import os

import numpy as np
import pytest
from PIL import Image

from minivae import DataError
from minivae.data import image_folder
from minivae.data.image_file import decode_image
from minivae.data.image_folder import read_folder
from picture_files import JPEG, PNG, smooth


@pytest.fixture
def folder(tmp_path):
    """b/, a/ and a file at the top; returns (folder, options for read_folder)."""
    root = tmp_path / "faces"
    for name, shift in (("b/1.jpg", 0), ("a/2.png", 20), ("a/deep/3.jpeg", 40), ("0.png", 60)):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(smooth(shift=shift)).save(path)
    return root, {"cache_dir": tmp_path / "cache", "progress": False}


def test_rows_are_sorted_and_classes_are_columns(folder):
    root, options = folder
    (root / "README.md").write_text("no image, and does not claim to be one")
    (root / ".hidden.png").write_bytes(b"")
    images, attributes, report = read_folder(root, 32, **options)
    assert images.dtype == np.uint8
    assert not images.flags.writeable
    assert report.names == ("0.png", "a/2.png", "a/deep/3.jpeg", "b/1.jpg")
    assert report.skipped == {}
    assert report.summary == f"{root}: 4 images read, 0 skipped"
    for row, name in enumerate(report.names):
        np.testing.assert_array_equal(images[row], decode_image((root / name).read_bytes(), 32))
    assert {name: values.tolist() for name, values in attributes.items()} == {
        "a": [False, True, True, False],
        "b": [False, False, False, True],
    }


def test_one_folder_is_no_class(folder):
    root, options = folder
    _, attributes, report = read_folder(root / "a", 8, **options)
    assert report.names == ("2.png", "deep/3.jpeg") and attributes == {}


def test_every_bad_file_is_named_with_its_reason(folder):
    root, options = folder
    (root / "empty.png").write_bytes(b"")
    (root / "short.jpg").write_bytes(JPEG[: len(JPEG) // 2])
    (root / "text.jpg").write_text("not a picture")
    (root / "moving.gif").write_bytes(b"GIF89a")
    (root / "really_png.jpg").write_bytes(PNG)
    (root / "no_suffix").write_bytes(JPEG)
    (root / "big.png").write_bytes(PNG)
    images, _, report = read_folder(root, 8, max_pixels=1100, **options)
    assert {"really_png.jpg", "no_suffix"} < set(report.names)
    reasons = dict(report.skipped)
    assert reasons.pop("short.jpg").startswith("damaged: ")
    assert reasons == {
        "empty.png": "the file is empty",
        "moving.gif": "not a JPEG, PNG or PNM file",
        "text.jpg": "not a JPEG, PNG or PNM file",
    }
    assert len(images) == len(report.names) == 7
    assert "7 images read, 4 skipped (2 not a JPEG, PNG or PNM file, " in report.summary
    again = read_folder(root, 8, max_pixels=1100, **options)[2]
    assert again == report  # from the cache
    for _ in range(2):
        with pytest.raises(DataError, match=r"empty\.png: the file is empty"):
            read_folder(root, 8, max_pixels=1100, strict=True, **options)


def test_strict_stops_at_the_first_bad_file_without_a_cache(folder, tmp_path):
    root, options = folder
    (root / "zz.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"zz\.png: the file is empty"):
        read_folder(root, 8, strict=True, **options)
    assert not (tmp_path / "cache").exists()


def test_the_folders_of_the_att_faces(tmp_path):
    """s1/1.pgm ... s40/10.pgm."""
    for person in ("s1", "s2", "s10"):
        (tmp_path / "faces" / person).mkdir(parents=True)
        for number in (1, 2):
            pixels = smooth(92, shift=number)[..., 0]
            head = b"P5\n%d %d\n255\n" % pixels.shape
            (tmp_path / "faces" / person / f"{number}.pgm").write_bytes(head + pixels.tobytes())
    (tmp_path / "faces" / "README").write_text("P5 is how each of these files begins")
    images, attributes, report = read_folder(
        tmp_path / "faces", 92, cache_dir=tmp_path / "cache", progress=False
    )
    assert len(images) == 6 and report.skipped == {} and set(attributes) == {"s1", "s2", "s10"}
    np.testing.assert_array_equal(images[1, 0], smooth(92, shift=2)[..., 0])


def test_listing_looks_at_each_file_once(folder, monkeypatch):
    """Listing takes linear time: no file is searched for in the list of the others."""
    root, options = folder

    class Listed(list):
        def __contains__(self, name):
            raise AssertionError(f"{name} is looked for among {len(self)} files")

    walk = os.walk
    monkeypatch.setattr(
        os, "walk", lambda *a, **k: ((p, d, Listed(f)) for p, d, f in walk(*a, **k))
    )
    checked = []
    monkeypatch.setattr(
        image_folder, "_not_a_candidate", lambda path: checked.append(path.name) or None
    )
    read_folder(root, 8, **options)
    assert sorted(checked) == ["0.png", "1.jpg", "2.png", "3.jpeg"]


def test_links(folder, tmp_path):
    root, options = folder
    (tmp_path / "outside.png").write_bytes(PNG)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "5.png").write_bytes(PNG)
    (root / "inside.png").symlink_to(root / "0.png")
    (root / "outside.png").symlink_to(tmp_path / "outside.png")
    (root / "up.png").symlink_to("../outside.png")
    (root / "dangling.png").symlink_to("nowhere.png")
    (root / "loop.png").symlink_to("loop.png")
    (root / "elsewhere").symlink_to(tmp_path / "elsewhere")
    (root / "a" / "again").symlink_to(root)
    _, _, report = read_folder(root, 8, **options)
    assert "inside.png" in report.names and len(report.names) == 5
    assert report.skipped == {
        "a/again": "link to a folder",
        "dangling.png": "broken link",
        "elsewhere": "link out of the folder",
        "loop.png": "broken link",
        "outside.png": "link out of the folder",
        "up.png": "link out of the folder",
    }


def test_pipes_and_files_without_permission(folder, monkeypatch):
    root, options = folder
    os.mkfifo(root / "pipe.png")
    os.mkfifo(root / "pipe")  # does not claim to be an image
    (root / "folder.png").mkdir()
    (root / "secret.png").write_bytes(PNG)
    plain_open = open

    def guarded(path, *arguments, **keywords):  # root may read everything, so permission is played
        if str(path).endswith("secret.png"):
            raise PermissionError(13, "Permission denied", str(path))
        return plain_open(path, *arguments, **keywords)

    monkeypatch.setattr("builtins.open", guarded)
    _, _, report = read_folder(root, 8, **options)
    assert report.skipped == {
        "pipe.png": "not a regular file",
        "secret.png": "unreadable: Permission denied",
    }


@pytest.mark.parametrize("make", ["empty", "only_bad", "file", "missing"])
def test_folders_without_images(tmp_path, make):
    root = tmp_path / "faces"
    if make == "file":
        root.write_bytes(PNG)
    elif make != "missing":
        root.mkdir()
    if make == "only_bad":
        (root / "x.png").write_bytes(b"")
    expected = (
        "expected a folder" if make in ("file", "missing") else "no readable JPEG, PNG or PNM"
    )
    with pytest.raises(DataError, match=expected):
        read_folder(root, 8, cache_dir=tmp_path / "cache", progress=False)


def test_wrong_size(tmp_path):
    with pytest.raises(ValueError, match="size: expected 1 to 4096, got 0"):
        read_folder(tmp_path, 0)


# ---------------------------------------------------------------- attributes
def test_a_table_in_the_folder_gives_attributes(folder):
    root, options = folder
    table = root / "list_attr_celeba.txt"
    table.write_text("4\nSmile\n1.jpg 1\n2.png -1\n3.jpeg 1\n0.png -1\n")
    _, attributes, _ = read_folder(root, 8, **options)
    assert attributes["Smile"].tolist() == [False, False, True, True]
    assert set(attributes) == {"a", "b", "Smile"}
    table.write_text("5\nSmile\n1.jpg 1\n2.png -1\n3.jpeg 1\n0.png -1\nelsewhere.jpg 1\n")
    assert read_folder(root, 8, **options)[1]["Smile"].tolist() == [False, False, True, True]
    table.write_text("3\nSmile\n1.jpg 1\n2.png -1\n3.jpeg 1\n")
    with pytest.raises(DataError, match=r"no row for image '0\.png'"):
        read_folder(root, 8, **options)


def test_a_table_elsewhere_and_a_choice_of_columns(folder, tmp_path):
    root, options = folder
    table = tmp_path / "labels.csv"
    table.write_text("path,b,source\nb/1.jpg,1,x\na/2.png,0,x\na/deep/3.jpeg,0,y\n0.png,0,z\n")
    _, attributes, _ = read_folder(root, 8, attributes=table, columns=["b"], **options)
    assert attributes["b"].tolist() == [False, False, False, True]
    table.write_text(table.read_text().replace("0.png,0", "0.png,1"))
    with pytest.raises(DataError, match="column 'b' contradicts the class folder 'b'"):
        read_folder(root, 8, attributes=table, columns=["b"], **options)
