"""IDX files: written arrays read back, and incomplete or invalid files are refused by name."""

import gzip
import io
import os
import struct
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from minivae import DataError
from minivae.data.idx import MAX_BYTES, idx_header, read_idx

uint8_arrays = arrays(np.uint8, array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=5))


CODES = {  # numpy's name -> (code in the file, struct's letter)
    "uint8": (0x08, "B"), "int8": (0x09, "b"), "int16": (0x0B, "h"),
    "int32": (0x0C, "i"), "float32": (0x0D, "f"), "float64": (0x0E, "d"),
}  # fmt: skip


def encode(array):
    """The format as its definition says, by struct alone."""
    code, letter = CODES[array.dtype.name]
    head = struct.pack(f">BBBB{array.ndim}I", 0, 0, code, array.ndim, *array.shape)
    return head + struct.pack(f">{array.size}{letter}", *array.ravel().tolist())


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("idx") / "images-idx3-ubyte"


def refused(path, body, match):
    path.write_bytes(body)
    with pytest.raises(DataError, match=match) as caught:
        read_idx(path)
    assert str(caught.value).startswith(str(path))


@given(array=uint8_arrays, zipped=st.booleans())
def test_round_trip(path, array, zipped):
    path.write_bytes(gzip.compress(encode(array)) if zipped else encode(array))
    read = read_idx(path)
    assert read.dtype == np.uint8
    assert not read.flags.writeable
    np.testing.assert_array_equal(read, array)
    assert idx_header(array.shape) + array.tobytes() == encode(array)


@given(data=st.data(), name=st.sampled_from(list(CODES)))
def test_every_element_type(path, data, name):
    array = data.draw(arrays(name, array_shapes(max_dims=4, max_side=4)))
    path.write_bytes(encode(array))
    read = read_idx(path)
    assert read.dtype == array.dtype and read.dtype.isnative and not read.flags.writeable
    np.testing.assert_array_equal(read, array)


@given(array=uint8_arrays, zipped=st.booleans(), data=st.data())
def test_truncated_anywhere(path, array, zipped, data):
    body = gzip.compress(encode(array)) if zipped else encode(array)
    cut = data.draw(st.integers(0, len(body) - 1))
    refused(path, body[:cut], "truncated|empty|wrong magic|corrupt gzip")


@given(array=uint8_arrays, zipped=st.booleans(), extra=st.binary(min_size=1, max_size=9))
def test_trailing_bytes(path, array, zipped, extra):
    body = encode(array) + extra
    refused(path, gzip.compress(body) if zipped else body, "wrong length")


@given(array=uint8_arrays, data=st.data())
def test_changed_header(path, array, data):
    """A changed header is refused, or the array read has the shape that the header now states."""
    body = bytearray(encode(array))
    at = data.draw(st.integers(0, 3 + 4 * array.ndim))
    body[at] ^= data.draw(st.integers(1, 255))
    path.write_bytes(body)
    try:
        read = read_idx(path)
    except DataError as error:
        assert str(path) in str(error)
    else:
        assert at >= 2
        np.testing.assert_equal(encode(read), bytes(body))


@given(array=uint8_arrays, data=st.data())
def test_changed_gzip_stream(path, array, data):
    """Damage to a gzip stream is refused, or sits in a part of its header that carries no data."""
    body = bytearray(gzip.compress(encode(array), mtime=0))
    body[data.draw(st.integers(0, len(body) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(body)
    try:
        read = read_idx(path)
    except DataError as error:
        assert str(path) in str(error)
    else:
        np.testing.assert_array_equal(read, array)


@given(body=st.binary(max_size=60))
def test_any_bytes(path, body):
    path.write_bytes(body)
    try:
        read = read_idx(path)
    except DataError:
        return
    assert read.dtype.name in CODES


@pytest.mark.parametrize(
    ("body", "match"),
    [
        (b"", "empty"),
        (gzip.compress(b""), "empty"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"\r\n <html>", "web page"),
        (b"\xef\xbb\xbf<?xml", "web page"),
        (gzip.compress(b"<html>"), "web page"),
        (b"PK\x03\x04zip", "wrong magic number: .* got 50 4b 03 04"),
        (b"\0\0\x0a\1\0\0\0\0", "wrong element type: expected one of 0x08, .*, got 0x0a"),
        (b"\0\0\x08\0", "1 to 4 dimensions, got 0"),
        (b"\0\0\x08\x05" + bytes(20), "1 to 4 dimensions, got 5"),
        (b"\0\0\x08\3\0\0\0", "header needs 16 bytes, got 7"),
        (b"\0\0\x08\1\xff\xff\xff\xff", "absurd dimensions"),
        (b"\0\0\x08\4" + b"\xff" * 12 + bytes(4), "absurd dimensions"),
        (b"\0\0\x08\1\0\0\0\5abcd", "truncated: .* needs 5 bytes, got 4"),
        (b"\x1f\x8b\x08rubbish", "gzip"),
        (encode(np.zeros(3, np.uint8)) + gzip.compress(b"x"), "wrong length"),
    ],
)
def test_refused(path, body, match):
    refused(path, body, match)


def test_gzip_faults_keep_their_cause(path):
    body = bytearray(gzip.compress(encode(np.arange(9, dtype=np.uint8))))
    body[-5] ^= 1  # the checksum
    path.write_bytes(body)
    with pytest.raises(DataError, match="corrupt gzip stream: CRC") as caught:
        read_idx(path)
    assert isinstance(caught.value.__cause__, gzip.BadGzipFile)


@pytest.mark.parametrize("announced", [10, MAX_BYTES + 1])
def test_bomb_is_not_expanded(path, announced):
    """200 MB of zeros are refused without expanding them: the header states 10 bytes, or more than
    the limit."""
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", compresslevel=1) as stream:
        stream.write(struct.pack(">BBBBI", 0, 0, 8, 1, announced))
        for _ in range(200):
            stream.write(bytes(1 << 20))
    path.write_bytes(packed.getvalue())
    tracemalloc.start()
    with pytest.raises(DataError, match=r"wrong length|absurd"):
        read_idx(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 << 20


def test_limit_is_exact(path):
    path.write_bytes(encode(np.zeros((3, 5), np.uint8)))
    assert read_idx(path, max_bytes=15).shape == (3, 5)
    with pytest.raises(DataError, match=r"\(3, 5\): the limit is 14 bytes"):
        read_idx(path, max_bytes=14)


def test_not_a_file(tmp_path):
    with pytest.raises(DataError, match="a folder"):
        read_idx(tmp_path)
    with pytest.raises(DataError, match="No such file") as caught:
        read_idx(tmp_path / "absent")
    assert isinstance(caught.value.__cause__, FileNotFoundError)
    with pytest.raises(DataError, match="null"):
        read_idx("a\0b")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_named_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="not a regular file"):
        read_idx(tmp_path / "pipe")


def test_unreadable(path, monkeypatch):
    path.write_bytes(encode(np.zeros(1, np.uint8)))

    def denied(*args):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", denied)  # permissions do not bind every user
    with pytest.raises(DataError, match="cannot be read: Permission denied") as caught:
        read_idx(path)
    assert isinstance(caught.value.__cause__, PermissionError)
