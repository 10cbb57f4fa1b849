"""Checks of a page of docs/, for test_docs: links, formulas, lists, code and its output."""

import ast
import contextlib
import functools
import io
import re

from minivae.kernels import reference

LINK = re.compile(r"\[((?:`[^`\n]*`|[^\[\]])*)\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`[^`\n]*`")


MATHS = re.compile(r"^```math\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# Macros that GitHub's MathJax refuses, or whose extension it does not load.
REFUSED = frozenset(
    "DeclareMathOperator operatorname colorbox fcolorbox definecolor DeclarePairedDelimiter "
    "DeclarePairedDelimiterX DeclarePairedDelimiterXPP mathtip texttip toggle bbox cellcolor "
    "rowcolor columncolor xtwoheadrightarrow xtwoheadleftarrow xmapsto xlongequal xtofrom href "
    "class cssId style data def let newcommand renewcommand providecommand newenvironment "
    "renewenvironment require qty abs norm eval order comm dv dd pdv ket bra expval vb va vu "
    "setOptions unicode includegraphics label ref eqref".split()
)
# Spellings in formulas that docs/notation.md does not allow, and what to write instead.
RETIRED = {
    r"\\epsilon": r"\varepsilon for noise, \kappa for eps",
    r"(?<!\\mathcal )L_[\d{K]": r"\mathcal L_K for a bound; L is the loss",
    r"KL\}?\(\w+,": r"\mathrm{KL}(q \Vert p)",
}


def prose(text):
    """The page without fenced blocks."""
    return FENCE.sub("", text)


def anchors(text):
    """The anchors GitHub gives the headings of a page."""
    found = set()
    for heading in re.findall(r"^#+ (.*)$", prose(text), re.MULTILINE):
        slug = re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")
        found.add(slug)
    return found


@functools.cache
def python_names(source):
    """Names a Python file defines: ``f``, ``Class.method``, ``CONSTANT``, ``TABLE["key"]``."""
    names = set()

    def visit(body, prefix):
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                names.add(prefix + node.name)
                if isinstance(node, ast.ClassDef):
                    visit(node.body, f"{prefix}{node.name}.")
            elif isinstance(node, ast.Assign | ast.AnnAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                for target in targets:
                    if isinstance(target, ast.Name):
                        names.add(prefix + target.id)
                        if isinstance(node.value, ast.Dict):
                            keys = [k for k in node.value.keys if isinstance(k, ast.Constant)]
                            names.update(f'{prefix}{target.id}["{k.value}"]' for k in keys)

    visit(ast.parse(source).body, "")
    return names


def defines(path, symbol):
    """Whether the file at ``path`` defines ``symbol``: by syntax in Python, by pattern in C++."""
    source = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        return symbol in python_names(source)
    code = re.sub(r"//.*", "", source)
    name = re.escape(symbol)
    return bool(
        re.search(rf"^[\w:<>,*& ]+[ *&]{name}\s*\([^;]*?\)\s*(const\s*)?\{{", code, re.MULTILINE)
        or re.search(rf"\b(struct|class|using|enum)\s+{name}\b", code)
        or re.search(rf"#define\s+{name}\b", code)
    )


def link_faults(page, text=None):
    """What is wrong with the links of a page, one line each."""
    faults = []
    text = page.read_text(encoding="utf-8") if text is None else text
    for label, target in LINK.findall(prose(text)):
        if re.match(r"https?:", target):
            continue
        name, _, anchor = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        if not path.exists():
            faults.append(f"{target}: no such file")
            continue
        if anchor:
            linked = text if path == page else path.read_text(encoding="utf-8")
            if anchor not in anchors(linked):
                faults.append(f"{target}: no such heading; there are {sorted(anchors(linked))}")
        symbol = re.fullmatch(r"`([^`]+)`", label)
        if symbol and path.is_file() and path.suffix in (".py", ".h", ".inl", ".cpp", ".cu"):
            written = symbol[1]
            if not target.endswith(written) and not defines(path, written):
                faults.append(f"{target}: does not define {written}")
    return faults


def formulas(text):
    """Every formula of a page: fenced ``math`` blocks, and text between dollar signs."""
    return MATHS.findall(text) + CODE.sub("x", prose(text)).split("$")[1::2]


def refused_macros(text):
    """Names of the macros in formulas that GitHub shows as an error."""
    used = {name for formula in formulas(text) for name in re.findall(r"\\([A-Za-z]+)", formula)}
    return sorted(used & REFUSED)


def retired_notation(text):
    """What to write in place of each spelling in formulas that notation.md does not allow."""
    joined = "\n".join(formulas(text))
    return [meant for pattern, meant in RETIRED.items() if re.search(pattern, joined)]


def list_faults(text):
    """Lines indented like a list item's text after an unindented paragraph has ended the list."""
    faults, inside = [], False
    for block in re.split(r"\n\s*\n", text):
        first = block.splitlines()[0] if block.splitlines() else ""
        if re.match(r"\s{2,}\S", first) and not inside and not first.startswith("    "):
            faults.append(f"indented outside a list: {first.strip()[:60]}")
        if re.match(r"\s*([-*+]|\d+\.) ", first):
            inside = True
        elif first and not first[0].isspace():
            inside = False
    return faults


def maths_faults(text):
    """Formulas that GitHub would not render: refused macros, and ``$...$`` that Markdown breaks."""
    faults = [f"GitHub refuses \\{name}" for name in refused_macros(text)]
    stripped = CODE.sub("x", prose(text))
    for paragraph in re.split(r"\n\s*\n|\|", stripped):
        if paragraph.count("$") % 2:
            faults.append(f"an odd number of $ in {paragraph.strip()[:60]!r}")
            continue
        parts = paragraph.split("$")
        for i in range(1, len(parts), 2):
            before, inside, after = parts[i - 1], parts[i], parts[i + 1]
            why = (
                "a space just inside the $" if inside != inside.strip() or not inside else
                "no space or bracket before the $" if before and before[-1] not in " \n(±" else
                "a letter or digit after the $" if after and after[0].isalnum() else
                "a backslash before punctuation" if re.search(r"\\[^A-Za-z]", inside) else
                "an underscore after punctuation" if re.search(r"[^\w]_", inside) else
                "an asterisk" if "*" in inside else
                "a link" if "](" in inside else
                "an HTML tag" if re.search(r"<[A-Za-z/!]", inside) else
                None
            )  # fmt: skip
            if why:
                faults.append(f"{why}: ${inside}$")
    return faults


def printed_wrongly(block):
    """Run a block of Python; (printed, expected) where a line differs from its print's comment."""
    said = [line.partition("  # ")[2] for line in block.splitlines() if line.startswith("print(")]
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        exec(compile(block, "page", "exec"), {})
    # After two spaces a comment may go on with a remark that is not printed.
    wanted = [re.split(r"  +", comment)[0] for comment in said]
    got = output.getvalue().splitlines()
    return [pair for pair in zip(got, wanted, strict=True) if pair[1] and pair[0] != pair[1]]


def kernels_of(path, class_name):
    """Names of the kernels that a class requests from ``kernels.get``; empty if none."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    (cls,) = (n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == class_name)
    if "kernels.get" not in ast.unparse(cls):
        return set()
    strings = (n.value for n in ast.walk(cls) if isinstance(n, ast.Constant))
    return {s for s in strings if s in reference.__all__}
