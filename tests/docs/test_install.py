"""Building and installing: rebuilds, packages, and an install that works without a compiler."""

import os
import re
import shutil
import tarfile

import pytest

pytest.importorskip("pybind11")
pytest.importorskip("setuptools")

import cuda_build
from builds import CUDA_SENTENCE, NO_COMPILER, NO_NVCC, ROOT, SENTENCE, build, fake_command, run

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    "environment, reason",
    [
        ({**NO_COMPILER, "MINIVAE_CPU": "auto"}, "/nonexistent/"),
        ({"MINIVAE_CPU": "0"}, "MINIVAE_CPU=0"),
    ],
)
def test_build_goes_on_and_says_why_in_one_line(tmp_path, environment, reason):
    process = build(tmp_path, **environment)
    assert process.returncode == 0, process.stdout
    lines = [line for line in process.stdout.splitlines() if line.startswith(SENTENCE)]
    assert len(lines) == 1 and reason in lines[0] and len(lines[0]) < 250
    note = tmp_path / "lib" / "minivae" / "_cpu_not_built.txt"
    assert reason in note.read_text()
    names = sorted(path.name for path in note.parent.iterdir())
    assert names == [note.name, "_cuda_not_built.txt"]


def test_build_fails_when_the_extension_was_demanded(tmp_path):
    process = build(tmp_path, MINIVAE_CPU="1", **NO_COMPILER)
    assert process.returncode != 0 and SENTENCE not in process.stdout


def test_a_switch_with_another_value_is_refused(tmp_path):
    process = build(tmp_path, MINIVAE_CPU="yes")
    assert process.returncode != 0
    assert "MINIVAE_CPU must be auto, 0 or 1, not 'yes'" in process.stdout


@pytest.fixture
def counted(tmp_path):
    """(build, calls): build a copy of the source with a compiler that only counts its calls."""
    source = tmp_path / "source"
    source.mkdir()
    shutil.copytree(ROOT / "csrc", source / "csrc")
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    log = tmp_path / "calls"
    fake_command(
        tmp_path / "bin", "c++",
        f'echo "$@" >> {log}\n'
        'while [ $# -gt 0 ]; do [ "$1" = -o ] && echo "$CXXFLAGS" > "$2"; shift; done; exit 0',
    )  # fmt: skip
    compiler = str(tmp_path / "bin" / "c++")

    def build_again(folder, *options, **environment):
        log.write_text("")
        process = run(
            "setup.py", "build_ext", "-b", tmp_path / folder, "-t", tmp_path / "tmp", *options,
            cwd=source, MINIVAE_CPU="1", MINIVAE_CUDA="0", CC=compiler, CXX=compiler,
            **environment,
        )  # fmt: skip
        assert process.returncode == 0, process.stdout
        assert list((tmp_path / folder / "minivae").glob("_cpu*.so"))
        return process.stdout, len(log.read_text().splitlines())

    return source, build_again


def test_a_second_build_of_the_same_sources_compiles_nothing(counted):
    _, build_again = counted
    assert build_again("first")[1] > 5
    assert build_again("second")[1] == build_again("first")[1] == 0
    assert build_again("first", "--force")[1] > 5


@pytest.mark.parametrize("changed", ["csrc/cpu/heap.cpp", "csrc/math/relu.h", "csrc/cpu/dot.inl"])
def test_any_changed_source_is_compiled_again(counted, changed):
    """A changed source is compiled again, also if its modification time is older."""
    source, build_again = counted
    build_again("first")
    with (source / changed).open("a") as file:
        file.write("// changed\n")
    os.utime(source / changed, (1, 1))
    assert build_again("first")[1] > 5


def test_other_flags_compile_again(counted):
    _, build_again = counted
    build_again("first")
    assert build_again("first", CXXFLAGS="-g")[1] > 5


def test_each_file_has_a_line_of_progress(counted):
    source, build_again = counted
    told, _ = build_again("first")
    files = re.findall(r"^minivae: (\d+)/(\d+) (\S+), [\d.]+ s$", told, re.MULTILINE)
    there = sorted(str(p.relative_to(source)) for p in source.glob("csrc/**/*.cpp"))
    there = [name for name in there if "cuda" not in name]
    assert sorted(name for _, _, name in files) == there
    assert sorted(int(n) for n, _, _ in files) == [*range(1, len(there) + 1)]
    assert {count for _, count, _ in files} == {str(len(there))}


def test_a_rebuild_leaves_the_old_file_to_who_has_it_open(setup_py, tmp_path):
    """A rebuild writes a new file and renames it, so that an extension in use does not change."""
    from setuptools import Distribution

    old, new = tmp_path / "_cpu.so", tmp_path / "built.so"
    old.write_bytes(b"old" * 1000)
    new.write_bytes(b"new" * 1000)
    with old.open("rb") as mapped:
        setup_py.OptionalBuild(Distribution()).copy_file(str(new), str(old))
        assert mapped.read() == b"old" * 1000
    assert old.read_bytes() == b"new" * 1000
    assert sorted(path.name for path in tmp_path.iterdir()) == ["_cpu.so", "built.so"]


def test_pip_install_without_a_compiler(tmp_path):
    """Without a compiler a copy of the source installs, computes, and names what is missing."""
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    unwanted = shutil.ignore_patterns("__pycache__", "*.so", "*_not_built.txt")
    for name in ("csrc", "minivae"):
        shutil.copytree(ROOT / name, source / name, ignore=unwanted)
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    process = run(
        "-m", "pip", "install", "-v", "--no-build-isolation", "--no-deps", "--no-index",
        "--disable-pip-version-check", "--target", target, source,
        cwd=tmp_path, MINIVAE_CPU="auto", MINIVAE_CUDA="auto", **(NO_COMPILER | NO_NVCC),
    )  # fmt: skip
    assert process.returncode == 0, process.stdout
    assert process.stdout.count(SENTENCE) == process.stdout.count(CUDA_SENTENCE) == 1
    program = (
        # An editable install of the checkout would serve what is missing here.
        "import sys; sys.meta_path = [f for f in sys.meta_path if 'Editable' not in repr(f)];"
        "import minivae as mv; print(mv.__file__, mv.kernels.reasons()['cpu']);"
        "print(mv.Noise(0, 0).normal(3).shape)"
    )
    process = run("-c", program, cwd=tmp_path, PYTHONPATH=str(target))
    assert process.returncode == 0, process.stdout
    assert str(target) in process.stdout and "(3,)" in process.stdout
    assert "not built: " in process.stdout and "/nonexistent/" in process.stdout


def test_the_source_distribution_holds_what_building_and_testing_take(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    unwanted = shutil.ignore_patterns("__pycache__", "*.so", "*_not_built.txt", ".hypothesis")
    for name in ("benchmarks", "csrc", "docs", "examples", "minivae", "tests"):
        shutil.copytree(ROOT / name, source / name, ignore=unwanted)
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE", "MANIFEST.in"):
        shutil.copy(ROOT / name, source)
    expected = {p.relative_to(source).as_posix() for p in source.rglob("*") if p.is_file()}
    process = run("setup.py", "-q", "sdist", "--dist-dir", tmp_path, cwd=source)
    assert process.returncode == 0, process.stdout
    (archive,) = tmp_path.glob("minivae-*.tar.gz")
    with tarfile.open(archive) as file:
        held = {name.partition("/")[2] for name in file.getnames()}
    assert expected - held == set()
    assert not [name for name in held if name.endswith((".so", ".pyc"))]


def test_tests_of_an_installed_package_do_without_the_source(tmp_path, monkeypatch):
    """Tests without csrc beside them, as for a wheel, do not compile the stand-in for a GPU."""
    if why := cuda_build.missing():
        pytest.skip(why)
    monkeypatch.setattr(cuda_build, "CSRC", tmp_path / "csrc")
    assert cuda_build.missing() == "csrc is not beside the tests"


def test_the_stand_in_is_compiled_where_the_package_would_be(monkeypatch):
    monkeypatch.setenv("CXX", NO_COMPILER["CXX"])
    assert cuda_build.missing() == f"CXX={NO_COMPILER['CXX']} names no compiler"


def relative_links(text):
    """The targets of Markdown links and pictures that are relative paths."""
    return re.findall(r"\]\((?!https?:)([^)]*)\)", re.sub(r"(?ms)^```.*?^```$", "", text))


def test_an_index_is_shown_no_relative_link(tmp_path):
    process = run("setup.py", "-q", "egg_info", "-e", tmp_path, cwd=ROOT)
    assert process.returncode == 0, process.stdout
    shown = (tmp_path / "minivae.egg-info" / "PKG-INFO").read_text("utf-8")
    assert "\n# minivae\n" in shown and "text/markdown" in shown
    assert relative_links(shown) == []
    assert relative_links((ROOT / "README.md").read_text("utf-8"))  # the test can fail


def test_links_lead_to_the_repository_when_there_is_one(setup_py):
    shown = setup_py.description("https://example.org/repo")
    assert relative_links(shown) == []
    assert "](https://example.org/repo/blob/HEAD/docs/status.md)" in shown
    assert "](https://example.org/repo/raw/HEAD/docs/images/manifold.png)" in shown


def test_without_a_repository_the_text_of_links_stays(setup_py):
    shown = setup_py.description(None)
    assert "docs/status.md" in shown and "manifold.png" not in shown
    assert "(w * x + x * x).sum()" in shown  # code is left alone
