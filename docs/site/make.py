"""Build the documentation site with Sphinx: README.md, docs/*.md and an API reference.

python docs/site/make.py FOLDER

The pages are copied as they are, and the reference is made from docstrings. A relative link to a
source file becomes a link to a page of the site that shows the file. Needs git and
.ci/requirements-site.txt; a warning of Sphinx is an error.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path, PurePosixPath

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
LINK = re.compile(r"(\]\()(?!https?:|mailto:|#)([^)#\s]*)((?:#[^)\s]*)?\))")
FENCE = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)
PICTURES = {".png", ".svg", ".gif"}
LANGUAGES = {".py": "python", ".pyi": "python", ".h": "cpp", ".cpp": "cpp", ".inl": "cpp",
             ".cu": "cuda", ".cuh": "cuda", ".js": "javascript", ".html": "html",
             ".css": "css", ".json": "json", ".ipynb": "json", ".toml": "toml", ".yml": "yaml",
             ".sh": "bash"}  # fmt: skip
MODULES = {
    "minivae": "Tensor Noise NoiseStream no_grad gradcheck save load",
    "minivae.errors": "", "minivae.functional": "", "minivae.nn": "", "minivae.optim": "",
    "minivae.models": "", "minivae.data": "", "minivae.training": "", "minivae.evaluation": "",
    "minivae.kernels": "use available reasons table", "minivae.viz.graph": "",
    "minivae.viz.latent": "",
}  # fmt: skip


def tracked():
    """The files of the project, relative to its root."""
    names = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, text=True, capture_output=True, check=True
    )
    return [name for name in names.stdout.splitlines() if (ROOT / name).is_file()]


class Site:
    """The folder that Sphinx reads: the project's pages, and a page for each file they link to."""

    def __init__(self, folder):
        self.folder, self.files = folder, tracked()
        pages = [name for name in self.files if name.endswith(".md") and name[0] != "."]
        self.pages = {name: name for name in pages}
        self.pages["README.md"] = "index.md"
        self.shown = set()

    def write(self, name, text):
        """Write one page."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def copy(self, name, more=""):
        """Copy a page of the project, with its links changed to pages of the site."""
        here = os.path.dirname(name)

        def led(match):
            start, target, end = match.groups()
            path = os.path.normpath(os.path.join(here, target))
            if PurePosixPath(path).suffix in PICTURES:
                (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / path, self.folder / path)
                return match[0]
            if f"{path}/README.md" in self.pages:
                path = f"{path}/README.md"
            if page := self.pages.get(path):
                return f"{start}/{page}{end}"
            return f"{start}/{self.show(path)})"

        parts = FENCE.split((ROOT / name).read_text("utf-8"))
        parts[::2] = [LINK.sub(led, part) for part in parts[::2]]
        self.write(self.pages[name], "".join(parts) + more)

    def show(self, path):
        """The name of the page that shows a file or folder of the source; it is written once."""
        page = f"source/{path}.md"
        if page in self.shown:
            return page
        self.shown.add(page)
        title = f"---\norphan: true\n---\n\n# `{path}`\n\n"
        if (ROOT / path).is_dir():
            inside = [name for name in self.files if name.startswith(f"{path}/")]
            files = [name for name in inside if not name.endswith((".md", ".ipynb", ".gz"))]
            files = [name for name in files if PurePosixPath(name).suffix not in PICTURES]
            text = "\n".join(f"- [{n.removeprefix(path)[1:]}](/{self.show(n)})" for n in files)
        else:
            language = LANGUAGES.get(PurePosixPath(path).suffix, "text")
            options = f":language: {language}\n:force:"
            file = os.path.relpath(ROOT / path, (self.folder / page).parent)
            text = f"```{{literalinclude}} {file}\n{options}\n```"
        self.write(page, f"{title}{text}\n")
        return page

    def build(self, out):
        """Write all pages and run Sphinx; returns its exit status."""
        table = re.findall(r"^\| \[.*?\]\((.+?)\.md\)", (ROOT / "docs/README.md").read_text(), re.M)
        docs = [name[5:-3] for name in self.pages if name.startswith("docs/")]
        docs = [*table, *(page for page in docs if page not in (*table, "README"))]
        for name in self.pages:
            if name == "README.md":
                self.copy(name, toctree("docs/README", "api/index", "CHANGELOG", "CONTRIBUTING"))
            elif name == "docs/README.md":
                self.copy(name, toctree(*docs))
            elif name.startswith("docs/") or name in ("CHANGELOG.md", "CONTRIBUTING.md"):
                self.copy(name)
            else:
                self.copy(name)
                path = self.folder / name
                path.write_text(f"---\norphan: true\n---\n\n{path.read_text('utf-8')}", "utf-8")
        self.write("api/index.md", "# Reference\n" + toctree(*MODULES, hidden=False))
        for module, names in MODULES.items():
            members = f"   :members: {names.replace(' ', ', ')}".rstrip()
            text = f".. automodule:: {module}\n{members}"
            self.write(f"api/{module}.md", f"# `{module}`\n\n```{{eval-rst}}\n{text}\n```\n")
        command = ["-m", "sphinx", "-q", "-W", "--keep-going", "-j", "auto", "-b", "html"]
        return subprocess.run([sys.executable, *command, "-c", HERE, self.folder, out]).returncode


def toctree(*pages, hidden=True):
    """A list of pages for the site's navigation."""
    options = ":hidden:\n" if hidden else ""
    return "\n```{toctree}\n" + options + "\n" + "\n".join(pages) + "\n```\n"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        sys.exit(Site(Path(scratch)).build(Path(sys.argv[1]).resolve()))
