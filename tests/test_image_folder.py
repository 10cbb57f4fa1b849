"""The image folder: every kind of file handled or named, attributes, and the cache."""

import io
import os
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from minivae import DataError
from minivae.data import image_folder
from minivae.data.image_file import decode_image
from minivae.data.image_folder import read_folder

RED, WHITE = [255, 0, 0], [255, 255, 255]


def encoded(image, format="PNG", **options):
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def noise(height, width, channels=3, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), np.uint8)


def smooth(size=32, shift=0):
    """A picture that JPEG keeps well: a ramp in each channel."""
    y, x = np.mgrid[:size, :size]
    return np.stack([x * 7 + shift, y * 7, (x + y) * 3], axis=2).astype(np.uint8)


def pixel(data, size=4):
    """The colour in the middle of the decoded picture."""
    return decode_image(data, size)[:, size // 2, size // 2].tolist()


def png_chunks(*chunks):
    """A PNG of our own making, for what Pillow does not write."""

    def chunk(kind, body):
        return (
            len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")
        )

    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(kind, body) for kind, body in chunks)


def png_header(width, height, depth, colour):
    size = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    return b"IHDR", size + bytes([depth, colour, 0, 0, 0])


# ---------------------------------------------------------------- one file
def test_a_picture_of_the_right_size_comes_out_as_it_went_in():
    pixels = noise(16, 16)
    decoded = decode_image(encoded(Image.fromarray(pixels)), 16)
    assert decoded.dtype == np.uint8 and decoded.flags.c_contiguous
    np.testing.assert_array_equal(decoded, pixels.transpose(2, 0, 1))


@pytest.mark.parametrize("mode", ["L", "P", "1", "LA", "RGBA", "RGB"])
def test_modes_of_png(mode):
    image = Image.new("RGB", (8, 8), "white").convert(mode)
    assert pixel(encoded(image)) == WHITE


def test_grey_becomes_three_equal_channels():
    grey = noise(8, 8, 1)[..., 0]
    decoded = decode_image(encoded(Image.fromarray(grey)), 8)
    np.testing.assert_array_equal(decoded, np.stack([grey] * 3))


def test_sixteen_bit_grey_is_scaled_not_clipped():
    values = np.array([[0, 128, 257], [32768, 65407, 65535], [255, 256, 40000]], np.uint16)
    decoded = decode_image(encoded(Image.fromarray(values)), 3)
    np.testing.assert_array_equal(decoded[0], np.rint(values / 257).astype(np.uint8))
    np.testing.assert_array_equal(decoded[0], decoded[2])


def test_sixteen_bit_grey_with_a_transparent_value():
    raw = b"\x00" + (1000).to_bytes(2, "big") + (51400).to_bytes(2, "big")
    raw += b"\x00" + (51400).to_bytes(2, "big") + (1000).to_bytes(2, "big")
    data = png_chunks(
        png_header(2, 2, 16, 0),
        (b"tRNS", (1000).to_bytes(2, "big")),
        (b"IDAT", zlib.compress(raw)),
        (b"IEND", b""),
    )
    np.testing.assert_array_equal(decode_image(data, 2)[0], [[255, 200], [200, 255]])


def test_sixteen_bit_colour_keeps_its_scale():
    raw = b"\x00" + b"".join(v.to_bytes(2, "big") for v in (65535, 32896, 0))
    data = png_chunks(png_header(1, 1, 16, 2), (b"IDAT", zlib.compress(raw)), (b"IEND", b""))
    assert pixel(data, 1) == [255, 128, 0]


def test_transparent_parts_are_laid_on_white():
    pixels = np.zeros((2, 2, 4), np.uint8)
    pixels[0, 0] = [255, 0, 0, 255]
    pixels[0, 1] = [255, 0, 0, 0]
    pixels[1, 0] = [0, 0, 0, 128]
    decoded = decode_image(encoded(Image.fromarray(pixels)), 2)
    assert decoded[:, 0, 0].tolist() == RED
    assert decoded[:, 0, 1].tolist() == WHITE
    np.testing.assert_allclose(decoded[:, 1, 0], 127, atol=1)


@pytest.mark.parametrize("transparency", [1, bytes([255, 0, 255])])
def test_palettes_with_a_transparent_entry(transparency):
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    image.putdata([0, 1])
    tall = image.resize((2, 2), Image.Resampling.NEAREST)
    decoded = decode_image(encoded(tall, transparency=transparency), 2)
    assert decoded[:, 0, 0].tolist() == RED
    assert decoded[:, 0, 1].tolist() == WHITE


def test_cmyk_jpeg():
    red = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    np.testing.assert_allclose(pixel(encoded(red, "JPEG", quality=100)), RED, atol=3)


# Orientation -> where the stored top left corner is seen: (row, column), -1 is the last (Exif 2.3).
CORNERS = {
    1: (0, 0),
    2: (0, -1),
    3: (-1, -1),
    4: (-1, 0),
    5: (0, 0),
    6: (0, -1),
    7: (-1, -1),
    8: (-1, 0),
}


@pytest.mark.parametrize("format", ["JPEG", "PNG"])
@pytest.mark.parametrize("orientation", CORNERS)
def test_exif_rotation_is_applied(orientation, format):
    stored = np.zeros((64, 64, 3), np.uint8)
    stored[:16, :16] = WHITE  # top left
    stored[:16, 16:48, 0] = 255  # red along the stored top
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(
        Image.fromarray(stored), format, exif=exif, **{"quality": 95} if format == "JPEG" else {}
    )
    seen = decode_image(data, 4).astype(int)
    row, column = CORNERS[orientation]
    np.testing.assert_allclose(seen[:, row, column], WHITE, atol=40)
    # The stored top edge is seen along a row for 1 .. 4, along a column for 5 .. 8.
    edge = seen[:, row, :] if orientation < 5 else seen[:, :, column]
    assert (edge[0, 1:3] > 150).all() and (edge[1, 1:3] < 90).all()


def test_unreadable_exif_leaves_the_picture_as_stored():
    data = encoded(Image.fromarray(smooth()), "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xffrubbish")
    np.testing.assert_allclose(decode_image(data, 32).transpose(1, 2, 0), smooth(), atol=30)


@pytest.mark.parametrize(("height", "width"), [(20, 40), (40, 20), (21, 33)])
def test_the_middle_is_cut_out(height, width):
    pixels = np.zeros((height, width, 3), np.uint8)
    top, left = (height - 20) // 2, (width - 20) // 2
    pixels[top : top + 20, left : left + 20] = [0, 200, 0]
    middle = decode_image(encoded(Image.fromarray(pixels)), 10)[:, 2:-2, 2:-2]
    np.testing.assert_allclose(middle[1], 200, atol=8)


def test_resizing_is_antialiased():
    stripes = np.zeros((64, 64), np.uint8)
    stripes[:, ::2] = 255  # one pixel wide: every other sample would be all black or all white
    decoded = decode_image(encoded(Image.fromarray(stripes)), 16)
    np.testing.assert_allclose(decoded[:, 4:-4, 4:-4], 127.5, atol=3)


def test_small_and_thin_pictures_are_enlarged():
    assert pixel(encoded(Image.new("RGB", (1, 1), "red")), 8) == RED
    assert pixel(encoded(Image.new("RGB", (1, 500), "red")), 8) == RED


def test_too_many_pixels_are_refused_before_they_are_decoded():
    bomb = png_chunks(png_header(60000, 60000, 8, 2), (b"IDAT", zlib.compress(b"")), (b"IEND", b""))
    with pytest.raises(DataError, match=r"60000 x 60000 pixels|too many pixels"):
        decode_image(bomb, 8)
    with pytest.raises(DataError, match="12000 x 9000 pixels, the limit is 67108864"):
        decode_image(png_chunks(png_header(12000, 9000, 8, 2), (b"IDAT", b"")), 8)
    with pytest.raises(DataError, match="4 x 4 pixels, the limit is 15"):
        decode_image(encoded(Image.new("RGB", (4, 4))), 4, max_pixels=15)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the file is empty"),
        (b"GIF89a......", "neither JPEG nor PNG"),
        (encoded(Image.new("RGB", (4, 4)), "BMP"), "neither JPEG nor PNG"),
        (b"\x89PNG\r\n\x1a\n", "damaged"),
        (b"\xff\xd8\xff\xe0" + b"\0" * 50, "damaged"),
        (png_chunks(png_header(0, 4, 8, 2), (b"IEND", b"")), "damaged"),
        (png_chunks(png_header(4, 4, 8, 2), (b"IDAT", b"x"), (b"IEND", b"")), "damaged"),
    ],
)
def test_what_is_not_an_image(data, message):
    with pytest.raises(DataError, match=message):
        decode_image(data, 8)


JPEG = encoded(Image.fromarray(smooth()), "JPEG", exif=Image.Exif())
PNG = encoded(Image.fromarray(noise(12, 12)))
PROGRESSIVE = encoded(Image.fromarray(smooth()), "JPEG", progressive=True)
PALETTE = encoded(Image.fromarray(smooth()).convert("P"), transparency=3)


@given(st.sampled_from([JPEG, PNG, PROGRESSIVE, PALETTE]), st.data())
def test_a_file_cut_at_any_byte_is_whole_or_a_data_error(file, data):
    length = data.draw(st.integers(0, len(file) - 1))
    whole = decode_image(file, 8)
    try:
        cut = decode_image(file[:length], 8)
    except DataError:
        return
    # Only the end marker may be missing: the pixels are all there.
    assert length > 0.9 * len(file)
    np.testing.assert_array_equal(cut, whole)


@given(st.sampled_from([JPEG, PNG, PROGRESSIVE, PALETTE]), st.data())
def test_a_file_with_a_wrong_byte_is_an_image_or_a_data_error(file, data):
    place = data.draw(st.integers(0, len(file) - 1))
    damaged = bytearray(file)
    damaged[place] = data.draw(st.integers(0, 255))
    try:
        assert decode_image(bytes(damaged), 8).shape == (3, 8, 8)
    except DataError:
        pass


# ---------------------------------------------------------------- the folder
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
