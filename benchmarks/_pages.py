"""Write Markdown tables into the pages; imports only the standard library."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def markdown_table(header, rows):
    """Rows of strings as a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def replace_between_markers(path, name, text):
    """Put ``text`` between ``<!-- name:begin -->`` and ``<!-- name:end -->`` of a file."""
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    body = Path(path).read_text()
    head, rest = body.split(begin)
    _, tail = rest.split(end)
    Path(path).write_text(f"{head}{begin}\n{text}\n{end}{tail}")
