"""Attribute tables: CelebA's format and CSV, and errors that name the line and the column."""

import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minivae import DataError
from minivae.data import image_npz
from minivae.data.attributes import read_attributes


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    return tmp_path_factory.mktemp("table") / "table"


CELEBA = "3\nGlasses Smile\na.jpg  1 -1\nb.jpg -1 -1\nc.jpg -1  1\n"
CSV = 'image_id,Glasses,Smile\na.jpg,1,0\n"b.jpg",False,false\nc.jpg,-1,TRUE\n'


def write(tmp_path, text):
    path = tmp_path / "table"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize(
    "text",
    [
        CELEBA,
        CSV,
        CELEBA.replace("\n", "\r\n"),
        CSV.replace("\n", "\r\n"),
        "\ufeff" + CSV,
        CELEBA + "\n",
    ],
    ids=["celeba", "csv", "celeba-crlf", "csv-crlf", "bom", "blank-line"],
)
def test_both_formats_say_the_same(tmp_path, text):
    table = read_attributes(write(tmp_path, text))
    assert table.images == ("a.jpg", "b.jpg", "c.jpg")
    assert {name: column.tolist() for name, column in table.columns.items()} == {
        "Glasses": [True, False, False],
        "Smile": [False, False, True],
    }
    assert all(column.dtype == bool for column in table.columns.values())


def test_columns_are_chosen_before_they_are_judged(tmp_path):
    path = write(tmp_path, "path,glasses,source\na.jpg,1,web\n")
    assert list(read_attributes(path, columns=["glasses"]).columns) == ["glasses"]
    with pytest.raises(DataError, match=r"line 2, column 3 \(source\): .* got 'web'"):
        read_attributes(path)
    with pytest.raises(DataError, match="line 1: no column 'hat'; there are glasses, source"):
        read_attributes(path, columns=["hat"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file is empty"),
        (" \n\n", "the file is empty"),
        (b"\xff\xfe\x00", "not text in UTF-8"),
        ("3\n", "line 2: expected the names of the attributes"),
        (CELEBA.replace("3", "4", 1), "line 1: announces 4 rows, 3 follow"),
        (CELEBA.replace("3", "-3", 1), "line 1: announces -3 rows, 3 follow"),
        (CELEBA.replace("b.jpg -1 -1", "b.jpg -1"), "line 4: expected 3 columns, got 2"),
        (CELEBA.replace("b.jpg -1 -1", "b.jpg -1 -1 1"), "line 4: expected 3 columns, got 4"),
        (CELEBA.replace("b.jpg -1 -1", "b.jpg -1 2"), r"line 4, column 3 \(Smile\): .* got '2'"),
        (CELEBA.replace("Glasses", "Smile"), "line 2, column 3: attribute 'Smile' is named twice"),
        (CSV.replace("False,false", "False"), "line 3: expected 3 columns, got 2"),
        (CSV.replace("TRUE", ""), r"line 4, column 3 \(Smile\): .* got ''"),
        (CSV.replace("Smile", ""), "line 1, column 3: attribute '' has no name"),
        ("image_id\na.jpg\n", "line 1: expected image and attribute names"),
        ('a,b\n"c', "line 2: not CSV"),
    ],
)
def test_mistakes_are_named(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        read_attributes(write(tmp_path, text))


def test_a_line_number_counts_blank_and_quoted_lines(tmp_path):
    path = write(tmp_path, 'image,"two\nlines"\n\na.jpg,1\nb.jpg,x\n')
    with pytest.raises(DataError, match="line 5, column 2"):
        read_attributes(path)


def test_a_missing_file_and_a_folder(tmp_path):
    with pytest.raises(DataError, match=r"none\.txt: cannot be read: No such file"):
        read_attributes(tmp_path / "none.txt")
    with pytest.raises(DataError, match="expected a file, this is a folder"):
        read_attributes(tmp_path)


def test_rows_follow_the_images(tmp_path):
    table = read_attributes(write(tmp_path, CELEBA))
    rows = table.rows_for(["x/c.jpg", "x/a.jpg", "b.jpg"])
    np.testing.assert_array_equal(rows["Smile"], [True, False, False])
    np.testing.assert_array_equal(rows["Glasses"], [False, True, False])
    # An image that is there but could not be read needs no row, and may have one.
    rows = table.rows_for(["a.jpg", "c.jpg"], skipped=["b.jpg", "d.jpg"])
    np.testing.assert_array_equal(rows["Glasses"], [True, False])


def test_an_exact_path_comes_before_a_bare_name(tmp_path):
    table = read_attributes(write(tmp_path, "path,p\na/1.jpg,1\nb/1.jpg,0\n"))
    np.testing.assert_array_equal(table.rows_for(["b/1.jpg", "a/1.jpg"])["p"], [False, True])


@given(st.permutations(["a.jpg", "b.jpg", "c.jpg"]), st.integers(0, 3))
def test_a_table_may_describe_more_images_than_are_there(scratch, names, count):
    scratch.write_text(CELEBA)
    glasses = {"a.jpg": True, "b.jpg": False, "c.jpg": False}
    rows = read_attributes(scratch).rows_for(names[:count])
    assert rows["Glasses"].tolist() == [glasses[name] for name in names[:count]]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a.jpg", "b.jpg", "c.jpg", "d.jpg"], "no row for image 'd.jpg'"),
        (
            ["a.jpg", "x/b.jpg", "y/b.jpg", "c.jpg"],
            "line 4, column 1: 'b.jpg' is the name of several",
        ),
    ],
)
def test_tables_that_do_not_fit_the_images(tmp_path, names, message):
    with pytest.raises(DataError, match=message):
        read_attributes(write(tmp_path, CELEBA)).rows_for(names)


def test_a_second_row_for_an_image(tmp_path):
    table = read_attributes(write(tmp_path, "image,p\na.jpg,1\na.jpg,0\n"))
    with pytest.raises(DataError, match=r"line 3, column 1: 'a.jpg' has a row before, line 2"):
        table.rows_for(["a.jpg"])


@given(st.binary(max_size=80) | st.text('0123-,"ab\n\r \x00é', max_size=60).map(str.encode))
def test_any_bytes_are_a_table_or_a_data_error(scratch, data):
    scratch.write_bytes(data)
    try:
        table = read_attributes(scratch)
    except DataError:
        return
    assert all(len(column) == len(table.images) for column in table.columns.values())


@given(st.integers(0, len(CELEBA)), st.sampled_from([CELEBA, CSV]))
def test_a_table_cut_anywhere_is_whole_or_a_data_error(scratch, length, text):
    scratch.write_text(text[:length])
    try:
        table = read_attributes(scratch)
    except DataError:
        return
    assert len(table.images) <= 3


def test_a_hundred_thousand_columns_take_no_time(tmp_path):
    """Reading is linear in the columns; comparing each name with all others would take minutes."""
    names = [f"a{i}" for i in range(100_000)]
    path = tmp_path / "wide.csv"
    path.write_text(f"image,{','.join(names)}\n1.jpg{',1' * len(names)}\n")
    assert list(read_attributes(path).columns) == names
    path.write_text(f"image,{','.join(names)},a0\n")
    with pytest.raises(DataError, match=r"line 1, column 100002: attribute 'a0' is named twice"):
        read_attributes(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_neither_a_pipe_nor_a_huge_file_is_read(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match=r"pipe: expected a file, this is not a regular file"):
        read_attributes(tmp_path / "pipe")
    with pytest.raises(DataError, match=r"pipe: expected a file, this is not a regular file"):
        image_npz.read_npz(tmp_path / "pipe")
    with open(tmp_path / "huge", "wb") as file:
        file.truncate((1 << 26) + 1)
    with pytest.raises(DataError, match=r"huge: 67108865 bytes, the limit is 67108864"):
        read_attributes(tmp_path / "huge")
