"""The image folder: which files are taken, bad ones named, attributes, and the cache."""

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
    assert isinstance(images, np.memmap) and images.dtype == np.uint8
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
        "moving.gif": "neither JPEG nor PNG",
        "text.jpg": "neither JPEG nor PNG",
    }
    assert len(images) == len(report.names) == 7
    assert "7 images read, 4 skipped (2 neither JPEG nor PNG, " in report.summary
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
    assert list((tmp_path / "cache").iterdir()) == []


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
    expected = "expected a folder" if make in ("file", "missing") else "no readable JPEG or PNG"
    with pytest.raises(DataError, match=expected):
        read_folder(root, 8, cache_dir=tmp_path / "cache", progress=False)


def test_wrong_size(tmp_path):
    with pytest.raises(ValueError, match=r"size must be 1 \.\. 4096, got 0"):
        read_folder(tmp_path, 0)


# ---------------------------------------------------------------- attributes
def test_a_table_in_the_folder_gives_attributes(folder):
    root, options = folder
    table = root / "list_attr_celeba.txt"
    table.write_text("4\nSmile\n1.jpg 1\n2.png -1\n3.jpeg 1\n0.png -1\n")
    _, attributes, _ = read_folder(root, 8, **options)
    assert attributes["Smile"].tolist() == [False, False, True, True]
    assert set(attributes) == {"a", "b", "Smile"}
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


# ---------------------------------------------------------------- the cache
@pytest.fixture
def decodes(monkeypatch):
    """Counts the files that are decoded."""
    count = []

    def counted(*arguments):
        count.append(1)
        return decode_image(*arguments)

    monkeypatch.setattr(image_folder, "decode_image", counted)
    return count


def test_a_second_call_decodes_nothing(folder, decodes):
    root, options = folder
    first = read_folder(root, 8, **options)
    assert len(decodes) == 4
    second = read_folder(root, 8, **options)
    assert len(decodes) == 4
    np.testing.assert_array_equal(first[0], second[0])
    assert first[2] == second[2]


def test_the_cache_is_a_plain_npy_file(folder, tmp_path):
    root, options = folder
    (root / "zz.png").write_bytes(b"")  # one fewer row than files
    images, _, _ = read_folder(root, 8, **options)
    files = sorted(path.suffix for path in (tmp_path / "cache").iterdir())
    assert files == [".json", ".npy"]
    (path,) = (tmp_path / "cache").glob("*.npy")
    stored = np.load(path)
    assert stored.shape == (4, 3, 8, 8)
    np.testing.assert_array_equal(stored, images)


@pytest.mark.parametrize("change", ["bytes", "name", "new", "gone", "size", "limit"])
def test_what_changes_the_cache(folder, decodes, change):
    root, options = folder
    read_folder(root, 8, **options)
    before, size = len(decodes), 8
    if change == "bytes":
        # Same name, length and time: only the content tells.
        data = (root / "0.png").read_bytes()
        times = os.stat(root / "0.png")
        (root / "0.png").write_bytes(data[:-20] + bytes([data[-20] ^ 1]) + data[-19:])
        os.utime(root / "0.png", ns=(times.st_atime_ns, times.st_mtime_ns))
    elif change == "name":
        (root / "0.png").rename(root / "9.png")
    elif change == "new":
        (root / "9.png").write_bytes(PNG)
    elif change == "gone":
        (root / "0.png").unlink()
    elif change == "size":
        size = 9
    else:
        options["max_pixels"] = 5000
    read_folder(root, size, **options)
    assert len(decodes) > before


def test_a_moved_folder_of_the_same_name_keeps_its_cache(folder, decodes, tmp_path):
    root, options = folder
    read_folder(root, 8, **options)
    (tmp_path / "there").mkdir()
    root.rename(tmp_path / "there" / "faces")
    read_folder(tmp_path / "there" / "faces", 8, **options)
    assert len(decodes) == 4


@pytest.mark.parametrize("suffix", [".npy", ".json"])
@pytest.mark.parametrize(
    "damage", ["gone", "empty", "cut", "longer", "flipped", "rubbish", "folder"]
)
def test_a_damaged_cache_is_made_anew(folder, tmp_path, suffix, damage):
    root, options = folder
    good = np.array(read_folder(root, 8, **options)[0])
    (path,) = (tmp_path / "cache").glob(f"*{suffix}")
    data = path.read_bytes()
    if damage in ("gone", "folder"):
        path.unlink()
    else:
        middle = len(data) // 2
        flipped = data[:middle] + bytes([data[middle] ^ 8]) + data[middle + 1 :]
        path.write_bytes(
            {"empty": b"", "cut": data[:-1], "longer": data + b"x" * 192, "flipped": flipped}.get(
                damage, b"\x93NUMPY rubbish"
            )
        )
    if damage == "folder":
        path.mkdir()
        with pytest.raises(DataError, match="the image cache cannot be written"):
            read_folder(root, 8, **options)
        return
    images, _, report = read_folder(root, 8, **options)
    np.testing.assert_array_equal(images, good)
    assert report.names == ("0.png", "a/2.png", "a/deep/3.jpeg", "b/1.jpg")


def test_a_cache_that_cannot_be_written(folder, tmp_path):
    root, options = folder
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match="the image cache cannot be written"):
        read_folder(root, 8, **options | {"cache_dir": tmp_path / "file"})


def test_the_default_cache_is_the_users(folder, tmp_path, monkeypatch):
    root, _ = folder
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    read_folder(root, 8)
    assert len(list((tmp_path / "user" / "minivae" / "images").glob("faces-8-*.npy"))) == 1


def test_what_a_killed_process_left_in_the_cache_is_removed(folder, tmp_path):
    root, options = folder
    (tmp_path / "cache").mkdir()
    left = tmp_path / "cache" / ".other-8-0123.npy.0123456789abcdef.part"
    left.write_bytes(b"half an array")
    read_folder(root, 8, **options)
    assert not left.exists()
