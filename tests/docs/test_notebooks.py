"""docs/notebooks match what the script makes from pages and examples, and their code runs."""

import ast
import importlib.util
import json
from pathlib import Path

import matplotlib
import pytest

FOLDER = Path(__file__).parents[2] / "docs" / "notebooks"


def load():
    spec = importlib.util.spec_from_file_location("notebooks_make", FOLDER / "make.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


make = load()
NAMES = [path.stem for path in make.SOURCES]


def test_there_are_six():
    assert NAMES == ["backprop", "edit", "elbo", "gradcheck", "kl", "train"]
    assert {path.stem for path in FOLDER.glob("*.ipynb")} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_the_notebook_is_what_the_script_makes(name):
    """After a change of a page or an example, run python docs/notebooks/make.py."""
    text = (FOLDER / f"{name}.ipynb").read_text(encoding="utf-8")
    assert text == make.notebook(FOLDER / f"{name}.py")
    cells = json.loads(text)["cells"]
    assert len({cell["id"] for cell in cells}) == len(cells)
    assert not any(cell.get("outputs") for cell in cells)


@pytest.mark.parametrize("name", NAMES)
def test_a_question_comes_before_what_answers_it(name):
    """At least three cells ask the reader to predict a result, and the last one is "Your turn"."""
    kinds = list(make.cells((FOLDER / f"{name}.py").read_text(encoding="utf-8")))
    asked = sum("**Predict" in text for kind, text in kinds if kind == "markdown")
    assert asked >= 3 and "Your turn" in kinds[-1][1]


MARKS = {"edit": pytest.mark.minutes, "train": pytest.mark.slow}  # both train


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=MARKS[n]) if n in MARKS else n for n in NAMES],
)
def test_the_code_runs(name, capsys, monkeypatch):
    """The cells run one after another in one namespace; .ci/run executes them in Jupyter."""
    matplotlib.use("Agg")
    monkeypatch.setenv("MPLBACKEND", "Agg")
    space = {}
    for kind, text in make.cells((FOLDER / f"{name}.py").read_text(encoding="utf-8")):
        if kind == "code":
            exec(compile(ast.parse(text), name, "exec"), space)
    matplotlib.pyplot.close("all")
    assert capsys.readouterr().out


def test_sections_and_definitions_that_are_not_there_are_errors():
    with pytest.raises(ValueError, match="no heading"):
        make.section("elbo.md", "Nowhere")
    with pytest.raises(ValueError, match="does not define nobody"):
        make.definitions("backprop_by_hand.py", ["X", "nobody"])
    with pytest.raises(ValueError, match="unknown kind"):
        list(make.cells("# %% [video]\n"))


def test_a_section_reads_as_a_notebook_shows_it():
    text = make.section("gaussian-kl.md", "From the integral")
    assert text.startswith("## From the integral") and "## Why" not in text
    assert "$$\n" in text and "```math" not in text and "<!--" not in text
    assert "](../../minivae/" in text  # one folder further down


def test_definitions_come_whole_and_in_order():
    text = make.definitions("backprop_by_hand.py", ["WEIGHTS", "by_hand", "X"])
    assert text.index("X, T =") < text.index("WEIGHTS =") < text.index("def by_hand")
    ast.parse(text)
