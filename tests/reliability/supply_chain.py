"""Dependencies: the lower bounds work, the locked set installs by hash alone, nothing is unpickled,
and every address is https."""

import ast
import re
import sys
import tempfile
from pathlib import Path

import install
import report

# The oldest interpreter that has wheels of every lower bound.
PYTHON = "3.11"
LOCK = report.ROOT / ".ci" / "requirements.txt"
LOCKS = sorted((report.ROOT / ".ci").glob("requirements*.txt"))  # that of PyTorch too
TESTS = [f"tests/{name}.py" for name in (
    "kernels/test_kernels", "kernels/test_kernels_conv", "kernels/test_kernels_layers",
    "kernels/test_kernels_products", "kernels/test_kernel_arguments", "engine/test_ops",
    "engine/test_optim", "engine/test_noise", "training/test_checkpoint", "data/test_idx",
    "models/test_models", "engine/test_backward", "engine/test_tensor",
    "viz/test_plots", "data/test_image_folder", "training/test_trainer")]  # fmt: skip
# Exempt: the local machine, and the name of a vocabulary, which is never requested.
NO_TRAFFIC = ("http://{ADDRESS}:", "http://www.w3.org")
# Modules that can run code from the data that they read.
UNSAFE = {"pickle", "marshal", "shelve", "dill", "joblib", "cloudpickle"}


def measure(quick):
    """All of it, or without the two environments when quick."""
    rows, faults = [], []
    _source_rows(rows, faults)
    _lock_row(rows, faults)
    numbers = {}
    if not quick:
        python = install.interpreter(PYTHON)
        if python is None:
            raise report.Unavailable(f"no Python {PYTHON} here")
        with tempfile.TemporaryDirectory() as folder:
            _lower_bounds(python, Path(folder), rows, faults, numbers)
            _locked_install(python, Path(folder), rows, faults)
    return report.Report(["check", "tried", "result"], rows, faults, numbers)


def _source_rows(rows, faults):
    """Imports that unpickle, calls that evaluate, and addresses without TLS."""
    files = sorted((report.ROOT / "minivae").rglob("*.py"))
    addresses = 0
    for path in files:
        text = path.read_text("utf-8")
        name = path.relative_to(report.ROOT).as_posix()
        for address in re.findall(r"\b(?:https?|ftp)://[^/]*", text):
            addresses += 1
            if not address.startswith(("https://", *NO_TRAFFIC)):
                faults.append(f"{name} has an address with {address}")
        for node in ast.walk(ast.parse(text)):
            modules = []
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                modules = [node.module or ""]
            for module in modules:
                if module.split(".")[0] in UNSAFE:
                    faults.append(f"{name} imports {module}")
            if isinstance(node, ast.Call):
                _check_call(name, node, faults)
    rows.append(["imports that unpickle, calls that evaluate", len(files), "none in minivae/"])
    rows.append(["addresses in the package", addresses, "https, or never asked for"])


def _check_call(name, node, faults):
    called = ast.unparse(node.func)
    if called in ("eval", "exec", "os.system", "__import__"):
        faults.append(f"{name} calls {called}")
    for keyword in node.keywords:
        if keyword.arg == "allow_pickle" and ast.unparse(keyword.value) != "False":
            faults.append(f"{name} calls {called} with allow_pickle")
        if keyword.arg == "shell" and ast.unparse(keyword.value) != "False":
            faults.append(f"{name} calls {called} with a shell")


def locked(path):
    """Package -> (version, number of hashes) of a locked set."""
    found, name = {}, None
    for line in path.read_text("utf-8").splitlines():
        if match := re.match(r"([A-Za-z0-9_.-]+)==(\S+)", line):
            name = match[1]
            found[name] = [match[2], 0]
        elif "--hash=sha256:" in line:
            found[name][1] += 1
    return found


def _lock_row(rows, faults):
    packages = {name: found for path in LOCKS for name, found in locked(path).items()}
    faults += [f"{name} is locked without a hash" for name, (_, n) in packages.items() if not n]
    known = {name.lower() for name in packages}
    for bound in lower_bounds():
        if bound.partition("==")[0].lower() not in known:
            faults.append(
                f"{bound} is a lower bound of pyproject.toml, but nothing is locked for it"
            )
    rows.append(["locked packages with SHA-256 hashes", len(packages),
                 f"{sum(n for _, n in packages.values()):,} hashes"])  # fmt: skip


def lower_bounds():
    """name==version of every bound of the package's own and its tests' requirements."""
    project = (report.ROOT / "pyproject.toml").read_text("utf-8")
    lists = [re.search(rf"^{key} = \[\n(.*?)^\]", project, re.MULTILINE | re.DOTALL)[1]
             for key in ("dependencies", "test")]  # fmt: skip
    pairs = re.findall(r'^ *"([A-Za-z0-9_.-]+)>=([0-9.]+)"', "".join(lists), re.MULTILINE)
    return [f"{name}=={version}" for name, version in pairs]


def _lower_bounds(python, folder, rows, faults, numbers):
    bounds = lower_bounds()
    try:
        env = install.Environment(python, folder / "lowest")
        source = install.source_tree(folder / "source")
        env.pip(*bounds, cwd=folder)
        env.pip("-e", ".", "--no-build-isolation", "--no-deps", cwd=source,
                MINIVAE_CPU="1", MINIVAE_CUDA="0")  # fmt: skip
        # What these old releases call in the newest of their own dependencies is deprecated there.
        passed = env.test(*TESTS, "-W", "ignore::DeprecationWarning", cwd=source)
        numbers["lower_bounds"] = bounds
        result = f"{passed:,} tests pass"
    except install.InstallError as error:
        faults.append(f"lower bounds: {error}")
        result = "fails"
    rows.append([f"dependencies at their lower bounds, Python {PYTHON}", len(bounds), result])


def _locked_install(python, folder, rows, faults):
    try:
        env = install.Environment(python, folder / "locked")
        env.pip("--require-hashes", "--no-deps", "-r", LOCK, cwd=folder)
        install.run(env.python, "-m", "pip", "check", cwd=folder)
        result = "installs, `pip check` agrees"
    except install.InstallError as error:
        faults.append(f"locked set: {error}")
        result = "fails"
    rows.append([f"`pip install --require-hashes`, Python {PYTHON}", len(locked(LOCK)), result])


if __name__ == "__main__":
    sys.exit(report.main(measure))
