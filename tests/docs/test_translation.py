"""The Chinese pages match the English ones in formulas, numbers, code, links and headings.

Each begins with a line that identifies the version of its English page. If that page has changed
since, the test names it and gives the line to write once the translation is up to date.
"""

import hashlib
import re
from pathlib import Path

import pytest

from pages import CODE, LINK, MATHS, formulas, prose

DOCS = Path(__file__).resolve().parents[2] / "docs"
TRANSLATED = sorted(p.name for p in (DOCS / "zh").glob("*.md"))
EXPECTED = {"path", "backprop", "elbo", "gaussian-kl", "reparameterisation", "glossary"}
MARKER = re.compile(r"(<!--=[\w.]+:[^>]*?-->).*?<!--/-->")
TABLE = re.compile(r"(<!-- (\w+):begin -->\n).*?<!-- \2:end -->", re.DOTALL)
FENCED = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)


def pair(name, english=None, chinese=None):
    """The texts of both pages."""
    texts = (DOCS / name).read_text("utf-8"), (DOCS / "zh" / name).read_text("utf-8")
    return english or texts[0], chinese or texts[1]


def first_line(name, english):
    """How the translation of a page in this state begins. Measured numbers and where links lead do
    not count: ``differences`` compares them.
    """
    text = LINK.sub(r"[\1]", TABLE.sub(r"\1", MARKER.sub(r"\1", english)))
    return f"<!-- ../{name} {hashlib.sha256(text.encode()).hexdigest()[:12]} -->"


def inline(text):
    """The formulas between dollars, each once."""
    return set(formulas(text)[len(MATHS.findall(text)) :])


def targets(text, folder):
    """What a page links, as paths; sections of translated pages have other names, so they are not
    compared. A link to a translated page counts as one to the English page.
    """
    found = set()
    for _, target in LINK.findall(prose(text)):
        if re.match("https?:", target):
            found.add(target)
            continue
        name, _, anchor = target.partition("#")
        path = (folder / name).resolve()
        if path.parent == DOCS / "zh":
            path = DOCS / path.name
        translated = path.parent == DOCS and path.name in TRANSLATED
        found.add(f"{path}#{anchor}" if anchor and not translated else str(path))
    return found


def levels(text):
    """The levels of the headings, in their order."""
    return [len(marks) for marks in re.findall(r"^(#+) ", prose(text), re.MULTILINE)]


def rows(text):
    """The number of rows of tables."""
    return len(re.findall(r"^\|", text, re.MULTILINE))


def differences(name, english=None, chinese=None):
    """What the translation of a page lacks or has in addition, one line each."""
    english, chinese = pair(name, english, chinese)
    line, found = first_line(name, english), []
    if chinese.partition("\n")[0] != line:
        found.append(
            f"docs/{name} has changed since docs/zh/{name} was translated: bring it up to date, "
            f"then let it begin with {line}"
        )
    links = targets(english, DOCS), targets(chinese, DOCS / "zh")
    if name == "path.md":  # where the translated pages are listed
        links[1].intersection_update(links[0])
    code = [CODE.findall(prose(text)) for text in (english, chinese)]
    for what, (a, b) in {
        "inline formulas": (inline(english), inline(chinese)),
        "measured numbers": (sorted(MARKER.findall(english)), sorted(MARKER.findall(chinese))),
        "blocks of code or formulas": (FENCED.findall(english), FENCED.findall(chinese)),
        "names in code": tuple(map(set, code)),
        "links": links,
        "headings": (levels(english), levels(chinese)),
        "rows of tables": (rows(english), rows(chinese)),
    }.items():
        if a != b:
            found.append(f"docs/zh/{name}: other {what} than docs/{name}: {_unlike(a, b)}")
    return found


def _unlike(a, b):
    if isinstance(a, int):
        return f"expected {a}, got {b}"
    return f"missing {[x for x in a if x not in b]}, too much {[x for x in b if x not in a]}"


def test_the_pages_that_were_asked_for_are_there():
    assert {Path(name).stem for name in TRANSLATED} == EXPECTED


@pytest.mark.parametrize("name", TRANSLATED)
def test_a_translation_keeps_up(name):
    assert differences(name) == []
    assert len(re.findall(r"[\u4e00-\u9fff]", pair(name)[1])) > 400, "is it Chinese?"


@pytest.mark.parametrize(
    ("page", "old", "new", "fault"),
    [
        ("english", "Short, but", "Short, and", "docs/elbo.md has changed since docs/zh/elbo.md"),
        ("english", "-->-1.9487<", "-->-1.9488<", None),  # a number is measured anew
        ("chinese", "\\ge \\mathbb E_q", "\\le \\mathbb E_q", "blocks of code or formulas"),
        ("chinese", "$K + 1$", "$K - 1$", "inline formulas"),
        ("chinese", "elbo.bound_10:.3f", "elbo.bound_10:.2f", "measured numbers"),
        ("chinese", "`beta=4`", "`beta=3`", "names in code"),
        ("chinese", "../figures/elbo.svg", "../figures/blur.svg", "links"),
        ("chinese", "## 在代码中\n", "", "headings"),
        ("chinese", "| | 纳特 |\n", "", "rows of tables"),
    ],
)  # fmt: skip
def test_a_page_out_of_step_is_named(page, old, new, fault):
    """Each kind of difference is reported with its own message."""
    texts = dict(zip(("english", "chinese"), pair("elbo.md"), strict=True))
    assert old in texts[page]
    texts[page] = texts[page].replace(old, new)
    found = differences("elbo.md", **texts)
    assert [fault in line for line in found] == [True] if fault else found == []
