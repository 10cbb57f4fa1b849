"""The tables of README.md and docs/ match the recorded results in benchmarks/results."""

import importlib
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def tables():
    """benchmarks/tables.py as a module."""
    before = set(sys.modules)
    sys.path.insert(0, str(BENCHMARKS))
    yield importlib.import_module("tables")
    sys.path.remove(str(BENCHMARKS))
    for name in set(sys.modules) - before:
        if str(BENCHMARKS) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def test_the_pages_have_the_tables_of_the_records(tables):
    assert tables.stale() == []


def test_a_number_changed_by_hand_is_seen_and_mended(tables, tmp_path, monkeypatch):
    page, make = tables.TABLES["headlines"]
    good = page.read_text()
    copy = tmp_path / "page.md"
    copy.write_text(good.replace("89.78 published", "98.78 published"))
    monkeypatch.setattr(tables, "TABLES", {"headlines": (copy, make)})
    with pytest.raises(SystemExit, match="headlines"):
        tables.main([])
    tables.main(["--write"])
    assert copy.read_text() == good


def test_every_table_between_markers_has_a_maker(tables):
    pages = [BENCHMARKS.parent / "README.md", *(BENCHMARKS.parent / "docs").glob("*.md")]
    marked = "".join(page.read_text("utf-8") for page in pages)
    assert marked.count(":begin -->") == marked.count(":end -->") == len(tables.TABLES)


def test_a_reproduction_inside_its_band_is_told_from_one_outside(tables):
    line = {
        "recipe": "r", "form": "full", "variant": "v", "metric": "m", "value": "1.234",
        "low": "1", "high": "2", "published": "1.5", "epochs": "3", "date": "d", "commit": "c",
        "device": "x", "kernels": "cpu", "seconds": "90",
    }  # fmt: skip
    made = tables.reproductions_table([
        line, {**line, "value": "2.5"}, {**line, "low": "", "high": "", "form": "short"},
        {**line, "low": "0", "high": "inf"},
    ]).splitlines()  # fmt: skip
    assert (
        len(made) == 6 and made[2] == "| r | v | m | 1.5 | 1-2 | 1.23 | 3 | 2 | x, cpu | d | `c` |"
    )
    assert "2.50 (outside)" in made[3]
    assert "| v (short) | m | 1.5 |  | 1.23 |" in made[4]
    assert "| above 0 | 1.23 |" in made[5]
