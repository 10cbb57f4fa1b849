"""CONTRIBUTING.md and CHANGELOG.md name files, tests and modules that exist."""

import collections
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CHANGES = ROOT / "CHANGELOG.md"
pytestmark = pytest.mark.skipif(not CHANGES.exists(), reason="the pages are not beside the tests")


def test_the_table_of_lines_names_parts_that_exist():
    """The counts are updated for a release, not for every commit; a removed part fails here."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    (table,) = re.findall(r"<!-- lines:begin -->\n(.*)<!-- lines:end -->", text, re.DOTALL)
    parts = re.findall(r"^\| `([^`]+)` \|", table, re.MULTILINE)
    assert len(parts) > 20
    assert [part for part in parts if not (ROOT / part).exists()] == []


def test_the_places_of_a_kernel_hold_one():
    """Each file that "Add a kernel" names is there for adam and says its name."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    (section,) = re.findall(r"^## Add a kernel$(.*?)^## ", text, re.MULTILINE | re.DOTALL)
    places = re.findall(r"`((?:minivae|csrc|tests)/[^`]+)`", section.replace("STEM", "adam"))
    assert len(places) > 10
    assert [p for p in places if "adam" not in (ROOT / p).read_text()] == []


def test_no_two_modules_of_tests_have_one_name():
    """Test modules lie in no packages: with two of one name, pytest stops with an error."""
    names = collections.Counter(path.name for path in (ROOT / "tests").rglob("test_*.py"))
    assert [name for name, count in names.items() if count > 1] == []


@pytest.mark.parametrize("script", [".ci/run", ".ci/arm", ".github/workflows/tests.yml"])
def test_files_that_a_check_runs_exist(script):
    """Files named in the steps of the check exist; a renamed test would fail its last step."""
    text = (ROOT / script).read_text()
    paths = re.findall(r"(?<![\w/$}])(?:tests|benchmarks|examples|docs)/[\w/.*-]+", text)
    assert paths
    assert [path for path in paths if not any(ROOT.glob(path.rstrip("/")))] == []


def test_the_lines_are_counted():
    if not (ROOT / ".git").exists():
        pytest.skip("not a repository of git")
    python = [sys.executable, "-E", "-S"]  # as in a fresh clone: no packages, no PYTHONPATH
    command = [*python, ROOT / "benchmarks" / "lines.py"]
    table = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    counted = {
        part: int(lines)
        for part, lines in re.findall(r"^\| `?([\w./]+)`? \| \d+ \| (\d+) \|$", table, re.MULTILINE)
    }
    source = (ROOT / "minivae" / "noise.py").read_text()
    assert counted["minivae/noise.py"] == len(source.splitlines())
    parts = [part for part in counted if part.startswith(("minivae/", "csrc/"))]
    assert counted["together"] == sum(counted[part] for part in parts)


def planted(folder, source, *options):
    """The output of pytest for a file with this source, under the project's settings."""
    test = folder / "test_planted.py"
    test.write_text(source)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options]
    settings = ["-c", ROOT / "pyproject.toml", "--confcutdir", ROOT, "-p", "conftest"]
    environment = {k: v for k, v in os.environ.items() if k != "PYTEST_ADDOPTS"}
    environment["PYTHONPATH"] = os.pathsep.join(map(str, [ROOT, ROOT / "tests"]))
    done = subprocess.run(
        [*command, *settings, test], cwd=folder, env=environment, capture_output=True, text=True
    )
    return done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    "options, expected",
    [(["-m", "not slow"], "deselected"), ([], "1 takes minutes"), (["--everything"], "1 passed")],
)
def test_tests_of_minutes_run_when_everything_is_asked_for(tmp_path, options, expected):
    said = planted(tmp_path, "import pytest\n@pytest.mark.minutes\ndef test_it(): pass\n", *options)
    assert expected in said, said


@pytest.mark.slow
def test_long_bytes_are_told_apart_by_their_first_difference(tmp_path):
    """The report of unequal long bytes names the first difference; pytest's diff takes minutes."""
    said = planted(
        tmp_path,
        "A, B = b'a' * 400_000, b'a' * 300_000 + b'b' * 100_000\n\n\n"
        "def test_bytes():\n    assert A == B\n\n\n"
        "def test_dict():\n    assert {'x': A, 'y': 1, 'z': b''} == {'x': A[1:], 'y': 2}\n",
    )
    assert "bytes: 400000 and 400000 bytes, which differ from byte 300000 on" in said
    assert "only one has ['z']" in said and "y: 1 != 2" in said
    assert "x: 400000 and 399999 bytes, which differ from byte 399999 on" in said


def moved():
    """(old, new) module of every row of the changelog's table, new as a list."""
    rows = re.findall(r"^ *\| (`minivae\..*?) \| (.*?) \|$", CHANGES.read_text(), re.MULTILINE)
    return [(old.split("`")[1], re.findall(r"`(minivae\.[\w.]+)`", new)) for old, new in rows]


def found(module):
    """Whether a module of this name exists."""
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def test_modules_moved_to_where_the_changelog_says():
    rows = moved() if CHANGES.exists() else []
    assert len(rows) > 20
    for old, new in rows:
        assert all(map(found, new)), new
        assert not found(old), old
