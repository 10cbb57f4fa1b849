"""Decode one image file: modes, depth, transparency, rotation and size, or refuse it."""

import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from minivae import DataError
from minivae.data.image_file import decode_image
from picture_files import JPEG, PNG, encoded, noise, smooth

RED, WHITE = [255, 0, 0], [255, 255, 255]


def pixel(data, size=4):
    """The colour in the middle of the decoded picture."""
    return decode_image(data, size)[:, size // 2, size // 2].tolist()


def png_chunks(*chunks):
    """The bytes of a PNG built from chunks, for kinds that Pillow does not write."""

    def chunk(kind, body):
        return (
            len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")
        )

    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(kind, body) for kind, body in chunks)


def png_header(width, height, depth, colour):
    size = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    return b"IHDR", size + bytes([depth, colour, 0, 0, 0])


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


GREY = noise(3, 5, 1)[..., 0]
COLOUR = noise(3, 5)
TEXT = b"\n".join(b" ".join(b"%d" % v for v in row) for row in GREY)
WIDE = GREY.astype(np.uint16) * 257


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"P5\n5 3\n255\n" + GREY.tobytes(), GREY),
        (b"P5 5 3 255 " + GREY.tobytes(), GREY),
        (b"P5\n# a comment\n5 3\n255\n" + GREY.tobytes(), GREY),
        (b"P5\r\n5 3\r\n255\n" + GREY.tobytes(), GREY),
        (b"P5\n5 3\n65535\n" + WIDE.astype(">u2").tobytes(), GREY),
        (b"P5\n5 3\n51\n" + (GREY // 5).tobytes(), GREY // 5 * 5),
        (b"P2\n5 3\n255\n" + TEXT + b"\n", GREY),
        (b"P6\n5 3\n255\n" + COLOUR.tobytes(), COLOUR),
        (b"P4\n5 3\n" + np.packbits(GREY < 128, axis=1).tobytes(), (GREY >= 128) * 255),
    ],
    ids=["P5", "spaces", "comment", "crlf", "16 bits", "maxval 51", "P2", "P6", "P4"],
)
def test_pnm(data, expected):
    """PNM files, the format of many older face data sets, are decoded."""
    rgb = expected if expected.ndim == 3 else np.stack([expected] * 3, axis=2)
    square = rgb[:, 1:4].transpose(2, 0, 1)  # the middle
    np.testing.assert_array_equal(decode_image(data, 3), square)


@pytest.mark.parametrize(
    "data",
    [
        b"P5\n5 3\n255\n" + GREY.tobytes()[:-1],
        b"P5\n5 3\n",
        b"P5\n0 3\n255\n",
        b"P5\n-5 3\n255\n",
        b"P5\n5 3\n70000\n" + bytes(30),
        b"P2\n5 3\n255\n1 2 x",
    ],
)
def test_damaged_pnm(data):
    with pytest.raises(DataError, match="damaged"):
        decode_image(data, 3)


def test_a_picture_too_large_for_memory_is_a_data_error_and_not_called_damaged(monkeypatch):
    def no_memory(*_):
        raise MemoryError

    monkeypatch.setattr("minivae.data.image_file.square", no_memory)
    with pytest.raises(DataError, match="needs more memory than there is"):
        decode_image(PNG, 8)


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
        (b"P7\n", "not a JPEG, PNG or PNM"),
        (b"P5x", "not a JPEG, PNG or PNM"),
        (b"GIF89a......", "not a JPEG, PNG or PNM"),
        (encoded(Image.new("RGB", (4, 4)), "BMP"), "not a JPEG, PNG or PNM"),
        (b"\x89PNG\r\n\x1a\n", "damaged"),
        (b"\xff\xd8\xff\xe0" + b"\0" * 50, "damaged"),
        (png_chunks(png_header(0, 4, 8, 2), (b"IEND", b"")), "damaged"),
        (png_chunks(png_header(4, 4, 8, 2), (b"IDAT", b"x"), (b"IEND", b"")), "damaged"),
    ],
)
def test_what_is_not_an_image(data, message):
    with pytest.raises(DataError, match=message):
        decode_image(data, 8)


PROGRESSIVE = encoded(Image.fromarray(smooth()), "JPEG", progressive=True)
PGM = b"P5\n5 3\n255\n" + GREY.tobytes()
PALETTE = encoded(Image.fromarray(smooth()).convert("P"), transparency=3)


@given(st.sampled_from([JPEG, PNG, PROGRESSIVE, PALETTE, PGM]), st.data())
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


@given(st.sampled_from([JPEG, PNG, PROGRESSIVE, PALETTE, PGM]), st.data())
def test_a_file_with_a_wrong_byte_is_an_image_or_a_data_error(file, data):
    place = data.draw(st.integers(0, len(file) - 1))
    damaged = bytearray(file)
    damaged[place] = data.draw(st.integers(0, 255))
    try:
        assert decode_image(bytes(damaged), 8).shape == (3, 8, 8)
    except DataError:
        pass
