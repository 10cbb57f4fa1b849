"""The pages of docs/: links, names, numbers, formulas that GitHub renders, a row for every op."""

import ast
import importlib.util
import json
import math
import re
from pathlib import Path

import pytest

from minivae import functional as F
from pages import (
    LINK,
    kernels_of,
    link_faults,
    list_faults,
    maths_faults,
    printed_wrongly,
    prose,
    python_names,
    retired_notation,
)

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = [*sorted(DOCS.glob("*.md")), *sorted(DOCS.glob("zh/*.md")), ROOT / "README.md"]
every_page = pytest.mark.parametrize("page", PAGES, ids=lambda p: f"{p.parent.name}/{p.name}")
every_page_of_docs = pytest.mark.parametrize("page", PAGES[:-1], ids=every_page.kwargs["ids"])


@every_page
def test_links_and_symbols(page):
    """Every relative link leads somewhere, and every name in one is defined there."""
    assert link_faults(page) == []


@every_page
def test_inline_maths_survives_markdown(page):
    """Inline maths keeps to what GitHub passes on unchanged; the rest goes in a ```math block."""
    assert maths_faults(page.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[page](nowhere.md)", "no such file"),
        ("[part](elbo.md#nowhere)", "no such heading"),
        ("[own part](#nowhere)", "no such heading"),
        ("[`Mull`](../minivae/ops/arithmetic.py)", "does not define Mull"),
        ("[`Mul.bakward`](../minivae/ops/arithmetic.py)", "does not define Mul.bakward"),
        ('[`SPECS["mull"]`](../tests/op_specs.py)', "does not define SPECS"),
        ("[`adam_elements`](../csrc/math/adam.h)", "does not define adam_elements"),
        ("[`sqrt`](../csrc/math/adam.h)", "does not define sqrt"),  # called, not defined
    ],
)
def test_planted_link_faults_are_seen(text, fault):
    """The link checker sees each kind of broken link, and nothing wrong in its mended twin."""
    (seen,) = link_faults(DOCS / "README.md", text)
    assert fault in seen


def test_good_links_pass():
    """The link checker accepts good links of each kind."""
    good = (
        "[a](elbo.md#in-code) [`Mul.backward`](../minivae/ops/arithmetic.py) "
        '[`SPECS["mul"]`](../tests/op_specs.py) [`adam_element`](../csrc/math/adam.h) '
        "[`AdamFactors`](../csrc/math/adam.h) [`MV_HD`](../csrc/common/host_device.h)"
    )
    assert link_faults(DOCS / "README.md", good) == []


@pytest.mark.parametrize(
    "text",
    [
        "$a\\, b$", "$a\\|b$", "$\\hat{x}_i$", "$a *b$", "as$x$", "$x$s", "$ x$", "one $ only",
        "$E[a](b)$", "$a<b$", "$\\operatorname{tr} A$",
        "text\n\n```math\n\\operatorname*{mean}_n x\n```\n", "```math\n\\def\\x{1}\n```\n",
    ],
)  # fmt: skip
def test_planted_maths_faults_are_seen(text):
    """The formula checker sees each kind of formula that GitHub renders wrongly."""
    assert maths_faults(text)


@every_page
def test_a_letter_has_one_meaning(page):
    """No formula has a spelling that notation.md has replaced."""
    assert retired_notation(page.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "text", ["$\\epsilon$", "$L_K$", "```math\nL_{1} \\le L\n```\n", "$\\mathrm{KL}(q, p)$"]
)
def test_planted_second_spellings_are_seen(text):
    """The check sees each replaced spelling and accepts the right ones."""
    assert len(retired_notation(text)) == 1
    assert retired_notation("$\\varepsilon$ $\\mathcal L_K$ $L$ $\\mathrm{KL}(q \\Vert p)$") == []


@every_page
def test_lists_are_whole(page):
    """No line is indented as part of a list that a block at the margin has ended."""
    assert list_faults(page.read_text(encoding="utf-8")) == []


def test_a_broken_list_is_seen():
    """The test above can fail."""
    assert list_faults("- one\n\n```math\nx\n```\n\n  more of one\n")
    assert list_faults("- one\n\n  more of one\n\ntext\n") == []


@every_page_of_docs
def test_no_line_starts_with_a_comment(page):
    """Such a line would be a block of HTML, and the Markdown in it would stay as it is typed.

    A comment that has a line to itself ends that block.
    """
    text = prose(page.read_text(encoding="utf-8"))
    assert re.findall(r"^[\s>]*(?:[-*+]|\d+\.)?\s*<!--.*?-->.+$", text, re.MULTILINE) == []


@every_page
def test_code_on_pages_runs(page):
    """Blocks of Python run and print what the comments beside them say."""
    for block in re.findall(r"^```python\n(.*?)^```$", page.read_text("utf-8"), re.M | re.S):
        assert printed_wrongly(block) == []


def test_planted_wrong_output_is_seen():
    """The check of printed output sees a wrong comment."""
    assert printed_wrongly("print(1 + 1)  # 3") == [("2", "3")]
    assert printed_wrongly("print(1 + 1)  # 2   as everybody knows") == []


@every_page_of_docs
def test_pages_are_short(page):
    """One to two screens each, tables aside."""
    lines = page.read_text(encoding="utf-8").splitlines()
    assert sum(len(line.split()) for line in lines if not line.startswith("|")) < 1400


@every_page_of_docs
def test_a_formula_leads_to_its_test(page):
    """Every page with a formula of its own links a test, as docs/README.md says."""
    text = page.read_text(encoding="utf-8")
    assert "```math" not in text or re.search(r"\]\((\.\./)+tests/(\w+/test_|op_specs\.py)", text)


def test_the_readme_is_short_and_has_the_two_commands():
    """The README has about 120 lines, and the two commands on lines of their own, for .ci/run."""
    lines = (ROOT / "README.md").read_text("utf-8").splitlines()
    assert len(lines) < 145
    assert "python -m pip install -e . && python examples/mnist_vae.py" in lines
    assert 'python -m pip install -e ".[test]" && python -m pytest' in lines


def test_the_tree_of_the_readme_is_there():
    """Every folder that the README's tree names exists."""
    (block,) = re.findall(
        r"^```\n(minivae/ .*?)^```$", (ROOT / "README.md").read_text(), re.M | re.S
    )
    lines = block.splitlines()
    assert len(lines) == 6
    for line in lines:
        top, *rest = line.split()
        named = [
            ROOT / top,
            *(ROOT / top / w.strip(",;()") for w in rest if w.strip(",;").endswith("/")),
        ]
        assert [p for p in named if not p.is_dir()] == []


def test_status_names_every_cuda_source():
    """status.md lists every source in csrc/cuda under what has not run on a GPU."""
    text = (DOCS / "status.md").read_text("utf-8").partition("## Not run on a GPU")[2]
    sources = {path.stem for path in (ROOT / "csrc" / "cuda").glob("*.cu")}
    assert sources and sources <= set(re.findall(r"`(\w+)`", text))


def test_every_paper_is_on_the_reading_list():
    """Each arXiv number that code or a page cites is on the reading list."""
    number = re.compile(r"(?:arXiv:|arxiv\.org/abs/)(\d{4}\.\d{4,5})")
    sources = [p for f in ("minivae", "examples", "tests", "csrc") for p in (ROOT / f).rglob("*.*")]
    cited = set()
    for path in [*sources, *PAGES]:
        if path.suffix in (".py", ".md", ".h", ".inl", ".cpp", ".cu"):
            cited |= set(number.findall(path.read_text("utf-8")))
    assert cited <= set(number.findall((DOCS / "reading-list.md").read_text("utf-8")))


def test_every_page_is_in_the_index():
    """docs/README.md names every page."""
    linked = {target for _, target in LINK.findall((DOCS / "README.md").read_text("utf-8"))}
    assert {p.name for p in DOCS.glob("*.md")} - {"README.md"} <= linked


# ---------------------------------------------------------------- numbers


def _make():
    """docs/figures/make.py as a module."""
    spec = importlib.util.spec_from_file_location("docs_make", DOCS / "figures" / "make.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


make = _make()
NUMBERS = json.loads(make.NUMBERS.read_text())


@every_page
def test_pages_quote_the_measured_numbers(page):
    """Every marked number is the one in numbers.json."""
    text = page.read_text(encoding="utf-8")
    assert make.fill(text, NUMBERS) == text


def test_a_stale_number_is_seen():
    """The test above can fail."""
    text = "<!--=mixture.total:.3f-->1.001<!--/-->"
    assert make.fill(text, NUMBERS) == "<!--=mixture.total:.3f-->1.000<!--/-->"
    with pytest.raises(KeyError):
        make.fill("<!--=mixture.nobody:.3f-->1<!--/-->", NUMBERS)


def test_no_number_is_left_over():
    """numbers.json holds what the pages quote and nothing else."""
    quoted = {key for page in PAGES for key, _, _ in make.MARKER.findall(page.read_text("utf-8"))}
    assert set(NUMBERS) == quoted


# Of the size of rounding errors, which differ between machines in their leading digit.
ROUNDING = {"differences.forward_error", "differences.central_error", "differences.single_error",
            "differences.chosen_error", "differences.linear_narrow"}  # fmt: skip
# NumPy has other float32 functions for each instruction set. Their figures are at least those of
# correctly rounded functions and at most what is recorded, which AVX-512 gave.
SPREAD = {
    f"gaussian_kl.{name}_numpy{what}": f"gaussian_kl.{name}{what}"
    for name in ("naive", "expm1")
    for what in ("_percent", "_negative_percent")
}
TRAINED = ("autoencoders", "depth", "portraits")  # topics that train networks
STEPS = {"differences.forward_step", "differences.central_step", "differences.single_step"}


@pytest.mark.parametrize(
    "topic",
    [
        pytest.param(topic, marks=pytest.mark.minutes) if topic in TRAINED else topic
        for topic in make.TOPICS
    ],
)
def test_numbers_can_be_measured_again(topic):
    """Each topic's script gives the numbers on the pages."""
    measured = make.measure(topic)
    wanted = {key: value for key, value in NUMBERS.items() if key.startswith(f"{topic}.")}
    # Not without MNIST; see blur.measure.
    assert wanted.keys() - measured.keys() <= {"blur.floor_mnist"}
    for key in wanted.keys() & measured.keys():
        factor = 30 if key in ROUNDING | STEPS else None
        if least := SPREAD.get(key):
            assert 0.99 * wanted[least] <= measured[key] <= 1.01 * wanted[key], key
        elif factor:
            assert wanted[key] / factor < measured[key] < wanted[key] * factor, key
        else:
            assert measured[key] == pytest.approx(wanted[key], rel=0.01, abs=1e-12), key


@pytest.mark.parametrize("topic", make.TOPICS)
def test_figures_are_there_and_small(topic):
    """Every figure a topic draws is in the folder, and small enough to live in a repository."""
    for name in make._module(topic).FIGURES:
        assert (DOCS / "figures" / name).stat().st_size < 200_000


def test_figures_can_be_drawn(tmp_path):
    """Drawing works and gives the same bytes twice."""
    pytest.importorskip("matplotlib")
    module = _make()
    contents = []
    for _ in range(2):
        module.draw(module._module("mixture"), tmp_path)
        contents.append((tmp_path / "mixture.svg").read_bytes())
    assert contents[0] == contents[1]
    assert b"<svg" in contents[0]


def test_a_number_can_be_tried_without_a_change_of_the_tree(tmp_path, capsys):
    """A changed number (docs/path.md) prints other results, and rewrites no page or figure."""
    before = {p: p.read_bytes() for p in DOCS.rglob("*") if p.is_file() and p.suffix != ".pyc"}
    make.main(["elbo", "--set", "W=4.0", "--set", "X=0.5", "--out", str(tmp_path)])
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "log_evidence" in line]
    told = [float(number) for number in line.split()[1:]]
    wanted = -0.5 * (math.log(2 * math.pi * 17) + 0.25 / 17)  # x ~ N(0, 4^2 + 1)
    assert told == pytest.approx([NUMBERS["elbo.log_evidence"], wanted], rel=1e-5)
    assert (tmp_path / "elbo.svg").read_bytes() != (DOCS / "figures" / "elbo.svg").read_bytes()
    assert {p: p.read_bytes() for p in before} == before


@pytest.mark.parametrize(
    "arguments", [["elbo", "--set", "W=4"], ["elbo", "--set", "w=4", "--out", "x"], ["--out", "x"]]
)
def test_what_cannot_be_tried_is_refused(arguments, capsys):
    """--set is refused when pages are written, for an unknown name, and without a topic."""
    with pytest.raises(SystemExit):
        make.main(arguments)
    assert "expected" in capsys.readouterr().err


# ---------------------------------------------------------------- the table of operations


def table_rows():
    """{operation: the five cells of its row} of ops.md."""
    rows = {}
    for line in (DOCS / "ops.md").read_text(encoding="utf-8").splitlines():
        if match := re.match(r"\| `(\w+)` \|", line):
            assert match[1] not in rows, f"two rows for {match[1]}"
            rows[match[1]] = [cell.strip() for cell in line.strip("|").split("|")]
    return rows


ROWS = table_rows()


def test_every_operation_has_a_row():
    """ops.md has the functions of minivae.functional, each once."""
    assert set(ROWS) == set(F.__all__)


@pytest.mark.parametrize("op", sorted(F.__all__))
def test_a_row_leads_from_derivation_to_kernel(op):
    """A row links a derivation, a class with forward and backward, a gradient test and kernels."""
    _, derivation, cls, spec, kernel = ROWS[op]
    ((_, target),) = LINK.findall(derivation)
    page, _, anchor = target.partition("#")
    assert anchor, f"{op}: the derivation names no section"
    ((name, target),) = LINK.findall(cls)
    name, path = name.strip("`"), (DOCS / target).resolve()
    names = python_names(path.read_text(encoding="utf-8"))
    assert {name, f"{name}.forward", f"{name}.backward", op} <= names
    assert LINK.findall(spec) == [(f'`SPECS["{op}"]`', "../tests/op_specs.py")]
    linked = {label.strip("`") for label, _ in LINK.findall(kernel)}
    assert kernels_of(path, name) <= linked, f"{op}: a kernel is missing from its row"
    assert bool(linked) == bool(kernels_of(path, name))
    # And back: the module says where its maths is derived.
    assert f"docs/{page}" in ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
