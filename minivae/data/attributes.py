"""Read tables of yes/no attributes of images: CelebA's list_attr_celeba.txt, and CSV.

CelebA's format (Z. Liu, P. Luo, X. Wang, X. Tang, ICCV 2015), fields separated by blanks:

    202599                                    the number of rows
    5_o_Clock_Shadow Arched_Eyebrows ...      the names of the attributes
    000001.jpg -1 1 1 ...                     an image and its values, 1 or -1

CSV has a header line; its first column is the image's name. Values are 1, 0, -1, true or false.
"""

import csv
import io
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TypeAlias

import numpy as np

from ..arguments import AnyPath
from ..errors import DataError
from .untrusted_file import errors_named, memory_errors_named, require_regular

MAX_BYTES = 1 << 26  # CelebA's table has 27 million
VALUES = {"1": True, "true": True, "0": False, "-1": False, "false": False}

Row: TypeAlias = tuple[int, list[str]]  # line number, fields


@dataclass(frozen=True)
class AttributeTable:
    """Yes/no attributes of images.

    Attributes:
        path: the file.
        images, lines: for each row the name of its image, and its line number in the file.
        columns: attribute name -> bool (R,), one value per row.
    """

    path: Path
    images: tuple[str, ...]
    lines: tuple[int, ...]
    columns: dict[str, np.ndarray]

    def rows_for(self, names: Sequence[str], skipped: Iterable[str] = ()) -> dict[str, np.ndarray]:
        """The columns in the order of the images ``names``: attribute name -> bool (len(names),).

        A row belongs to the image with exactly its name (a path below the folder, with slashes), or
        else to the only image whose last path component is that name. Rows of missing images are
        ignored, since a folder may hold only some of the table's images.

        Args:
            names: the images.
            skipped: further images in the folder, which could not be read.

        Raises:
            DataError: an image has no row or several rows, or a row belongs to several images; the
                message has the line.
        """
        present = [*names, *skipped]
        by_name = {name: i for i, name in enumerate(present)}
        by_base: dict[str, list[int]] = {}
        for i, name in enumerate(present):
            by_base.setdefault(PurePosixPath(name).name, []).append(i)
        row_of: dict[int, int] = {}
        for row, (image, line) in enumerate(zip(self.images, self.lines, strict=True)):
            found = [by_name[image]] if image in by_name else by_base.get(image, [])
            where = f"{self.path}, line {line}, column 1: {image!r}"
            if len(found) > 1:
                raise DataError(f"{where} is the name of several images")
            for i in found:
                if i in row_of:
                    raise DataError(f"{where} has a row before, line {self.lines[row_of[i]]}")
                row_of[i] = row
        for i, name in enumerate(names):
            if i not in row_of:
                raise DataError(f"{self.path}: no row for image {name!r}")
        order = np.array([row_of[i] for i in range(len(names))], dtype=np.int64)
        return {name: values[order] for name, values in self.columns.items()}


def read_attributes(path: AnyPath, columns: Iterable[str] | None = None) -> AttributeTable:
    """Read an attribute table in either format, which the first line shows.

    Args:
        path: the file.
        columns: the attributes to read; other columns need not be yes/no. None reads all.

    Raises:
        DataError: the file is no such table; the message has line and column.
    """
    path = Path(os.fspath(path))
    with memory_errors_named(path):
        with errors_named(path):
            require_regular(path, MAX_BYTES)
            body = path.read_bytes()
        try:
            text = body.decode("utf-8-sig")
        except UnicodeDecodeError as cause:
            raise DataError(f"{path}: not text in UTF-8 (byte {cause.start})") from cause
        first = text.strip().split("\n", 1)[0].strip()
        if not first:
            raise DataError(f"{path}: the file is empty, expected a table of attributes")
        is_count = re.fullmatch(r"-?[0-9]{1,18}", first)
        rows = _celeba_rows(path, text) if is_count else _csv_rows(path, text)
        return _table(path, rows, columns)


def _celeba_rows(path: Any, text: str) -> list[Row]:
    """(line number, fields) of each row, the header first, with "image" added as first column."""
    lines = [(number, line.split()) for number, line in enumerate(text.splitlines(), 1)]
    lines = [(number, fields) for number, fields in lines if fields]
    (count_line, (count, *_)), *rows = lines
    if not rows:
        raise DataError(f"{path}, line {count_line + 1}: expected the names of the attributes")
    if int(count) != len(rows) - 1:
        raise DataError(
            f"{path}, line {count_line}: announces {count} rows, {len(rows) - 1} follow"
        )
    return [(rows[0][0], ["image", *rows[0][1]]), *rows[1:]]


def _csv_rows(path: Any, text: str) -> list[Row]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: list[Row] = []
    try:
        for fields in reader:
            if fields:
                rows.append((reader.line_num, [field.strip() for field in fields]))
    except csv.Error as cause:
        raise DataError(f"{path}, line {reader.line_num}: not CSV: {cause}") from cause
    return rows


def _table(path: Any, table: list[Row], columns: Iterable[str] | None) -> AttributeTable:
    (header_line, (_, *names)), *rows = table
    if not names:
        raise DataError(
            f"{path}, line {header_line}: expected image and attribute names, got one column"
        )
    place_of: dict[str, int] = {}
    for column, name in enumerate(names, 1):
        if not name or name in place_of:
            problem = "is named twice" if name else "has no name"
            raise DataError(
                f"{path}, line {header_line}, column {column + 1}: attribute {name!r} {problem}"
            )
        place_of[name] = column
    chosen = list(names) if columns is None else list(columns)
    for name in chosen:
        if name not in place_of:
            raise DataError(
                f"{path}, line {header_line}: no column {name!r}; there are {', '.join(names)}"
            )
    places = [place_of[name] for name in chosen]
    values = np.empty((len(rows), len(chosen)), bool)
    for r, (line, fields) in enumerate(rows):
        if len(fields) != len(names) + 1:
            raise DataError(
                f"{path}, line {line}: expected {len(names) + 1} columns, got {len(fields)}"
            )
        for c, place in enumerate(places):
            value = VALUES.get(fields[place].lower())
            if value is None:
                raise DataError(
                    f"{path}, line {line}, column {place + 1} ({chosen[c]}): "
                    f"expected 1, 0, -1, true or false, got {fields[place]!r}"
                )
            values[r, c] = value
    return AttributeTable(
        path,
        images=tuple(fields[0] for _, fields in rows),
        lines=tuple(line for line, _ in rows),
        columns={name: values[:, c].copy() for c, name in enumerate(chosen)},
    )
