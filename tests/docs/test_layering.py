"""Allowed imports between the parts of the package: no lower layer imports a higher one.

cli, examples, benchmarks -> explore, training -> evaluation, interop -> models, data -> nn, optim,
functional -> ops -> tensor, kernels, viz -> backend -> numpy or cupy; in csrc: bind -> cpu, cuda ->
math -> common.
"""

import ast
import functools
import graphlib
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PYTHON = sorted(
    p
    for folder in ("minivae", "examples", "benchmarks")
    for p in (ROOT / folder).rglob("*.py")
    if "build" not in p.parts
)
SOURCES = sorted(p for p in (ROOT / "csrc").rglob("*") if p.suffix in {".h", ".inl", ".cuh"}) + [
    p for p in (ROOT / "csrc").rglob("*") if p.suffix in {".cpp", ".cu"}
]

# The parts of minivae/, lowest first. A part is a module or folder directly under minivae/; it may
# import within itself and what ``ALLOWED`` says, and every part has its line there.
LOW = {"errors", "arguments", "torch_names", "backend", "kernels", "noise", "tensor"}
ENGINE = LOW | {"ops", "functional", "nn", "optim"}
MODELS = ENGINE | {"models", "data"}
ALLOWED = {
    "errors": set(),
    "arguments": set(),
    "torch_names": set(),
    "backend": {"errors"},
    "kernels": {"backend", "arguments", "errors", "_cpu", "_cuda"},
    "noise": {"kernels", "backend", "errors"},
    "tensor": {"backend", "errors"},
    "gradcheck": {"tensor", "backend", "errors"},
    "ops": LOW,
    "functional": {"ops", "torch_names"},
    "nn": LOW | {"functional", "ops"},
    "optim": LOW,
    "atomic_write": {"arguments", "errors"},
    "progress_bar": set(),
    "data": {"kernels", "noise", "atomic_write", "progress_bar", "backend", "arguments", "errors"},
    "models": ENGINE,
    "viz": {"tensor", "backend", "arguments", "errors"},
    "evaluation": MODELS | {"progress_bar", "viz"},
    "training": MODELS | {"evaluation", "atomic_write", "progress_bar"},
    "interop": MODELS,
    "explore": MODELS | {"evaluation", "viz"},
    "cli": MODELS
    | {"evaluation", "viz", "training", "explore", "interop", "atomic_write", "_cpu", "_cuda"},
    "__init__": MODELS | {"gradcheck", "training", "viz"},
}
LEVELS = 8  # of parts that import one another
HEADERS = {  # what each folder of csrc may include of the others
    "common": set(),
    "math": {"common"},
    "cpu": {"common", "math"},
    "cuda": {"common", "math"},
    "bind": {"common", "math", "cpu", "cuda"},
}


@functools.cache
def imports(source, module):
    """Absolute names of everything that the source of ``module`` imports, at any depth of code.

    ``module`` is a dotted name; one that ends in ``.__init__`` is a package.
    """
    package, found = module.split(".")[:-1], []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            name = ".".join([*base, *([node.module] if node.module else [])])
            # "from .. import kernels" imports a module, "from ..tensor import Tensor" a name
            found += [f"{name}.{a.name}" for a in node.names] if name in PACKAGES else [name]
    return found


PACKAGES = {
    ".".join(p.parent.relative_to(ROOT).parts) for p in PYTHON if p.name == "__init__.py"
} | {"minivae"}


def part(name):
    """The part of the package that a dotted name of ours belongs to, or None for others."""
    first, own, *_ = [*name.split("."), "__init__"]
    if first != "minivae":
        return None
    return "cli" if own == "__main__" else own  # python -m minivae is the command


def back_edges(source, module):
    """What this module imports and may not, as text."""
    own, found = part(module), []
    for name in imports(source, module):
        top, target = name.split(".")[0], part(name)
        if top in {"torch", "jax"} and not module.startswith("benchmarks"):
            found.append(f"{module} imports {name}")
        if top == "tqdm" and module != "minivae.progress_bar":
            found.append(f"{module} imports {name}")
        if top == "mpi4py" and module != "minivae.training.parallel":
            found.append(f"{module} imports {name}")
        if top == "cupy" and own != "backend" and not module.startswith("benchmarks"):
            found.append(f"{module} imports {name}")
        if target and own and target not in {own, *ALLOWED[own]}:
            found.append(f"{module} imports {name}")
    return found


def bad_includes(source, folder):
    """What a file of csrc/<folder> includes and may not, as text."""
    found = []
    for header in re.findall(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]', source, re.MULTILINE):
        top = header.split("/")[0]
        ours = top in HEADERS and "/" in header
        if ours and top != folder and top not in HEADERS[folder]:
            found.append(header)
        if (top == "pybind11" or header == "Python.h") and folder != "bind":
            found.append(header)
        if re.match(r"cuda|cublas|cub/|cooperative_groups", header) and folder not in {
            "cuda",
            "bind",
        }:
            found.append(header)
    return found


@pytest.mark.parametrize("path", PYTHON, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports(path):
    """No module imports a layer above it; none torch or jax, one each CuPy, MPI and tqdm."""
    module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    assert back_edges(path.read_text(), module) == []


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_includes(path):
    """Arithmetic knows no machine, kernels know no Python."""
    folder = path.relative_to(ROOT / "csrc").parts[0]
    assert bad_includes(path.read_text(), folder) == []


def test_oracles_import_nothing_of_ours():
    """An oracle that calls the code under test proves nothing."""
    source = (ROOT / "tests" / "oracles.py").read_text()
    names = {name.split(".")[0] for name in imports(source, "oracles")}
    assert names - set(sys.stdlib_module_names) == {"numpy"}


def modules():
    """{dotted name: source} of every module of the package."""
    return {
        ".".join(p.relative_to(ROOT).with_suffix("").parts): p.read_text()
        for p in PYTHON
        if p.is_relative_to(ROOT / "minivae")
    }


def misnamed(parts, rules):
    """Parts without a rule, which could import anything, and rules without a part."""
    return [f"no rule for {p}" for p in sorted(parts - rules)] + [
        f"a rule for {r}, which is gone" for r in sorted(rules - parts)
    ]


def test_every_part_has_a_rule_and_every_rule_a_part():
    parts = {part(name) for name in modules()}
    assert misnamed(parts, set(ALLOWED)) == []
    assert misnamed({*parts, "planted"}, set(ALLOWED)) == ["no rule for planted"]
    assert misnamed(parts - {"viz"}, set(ALLOWED)) == ["a rule for viz, which is gone"]
    compiled = {"_cpu", "_cuda"}  # without a file in the package
    assert set().union(*ALLOWED.values()) <= set(ALLOWED) | compiled
    if (ROOT / "csrc").is_dir():
        folders = {p.name for p in (ROOT / "csrc").iterdir()}
        assert misnamed(folders, set(HEADERS)) == []


def longest_chain(sources):
    """Parts of which each imports the one before, as many as there are."""
    graph = {}
    for module, source in sources.items():
        targets = {part(name) for name in imports(source, module)}
        graph.setdefault(part(module), set()).update(targets - {part(module), None})
    chains = {}
    for own in graphlib.TopologicalSorter(graph).static_order():
        below = [chains[target] for target in graph.get(own, ())]
        chains[own] = (*max(below, key=len, default=()), own)
    return max(chains.values(), key=len)


def test_levels():
    """The longest chain of parts that import one another has at most eight parts."""
    sources = modules()
    chain = longest_chain(sources)
    assert len(chain) <= LEVELS, chain
    assert len(longest_chain({**sources, "minivae.planted": "from . import cli"})) > len(chain)


def cycle(sources):
    """A cycle of imports among modules (dotted name -> source), or None."""
    graph = {}
    for module, source in sources.items():
        own = module.removesuffix(".__init__")
        known = {m.removesuffix(".__init__") for m in sources} - {own}
        wanted = set()
        for name in imports(source, module):
            while name and name not in known:  # a name in a module counts as the module
                name = name.rpartition(".")[0]
            wanted.add(name)
        graph[own] = wanted - {"", "minivae"}
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return error.args[1]
    return None


def test_no_cycles():
    """Modules do not import one another in a cycle, also within a part, where no rule applies."""
    sources = modules()
    assert cycle(sources) is None
    sources["minivae.errors"] = "def f():\n    from .training import trainer"
    assert cycle(sources)


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("minivae.tensor", "from .ops import linear"),
        ("minivae.tensor", "from . import functional"),
        ("minivae.kernels.reference", "from ..tensor import Tensor"),
        ("minivae.kernels.cpu", "from .. import tensor"),
        ("minivae.kernels.__init__", "import minivae.tensor"),
        ("minivae.kernels.cpu", "def f():\n    from ..tensor import Tensor"),
        ("minivae.ops.arithmetic", "from .. import nn"),
        ("minivae.nn", "from . import models"),
        ("minivae.models.conditional_vae", "from ..data.labelled import LabelledBatches"),
        ("minivae.nn", "from .optim import Adam"),
        ("minivae.data.mnist", "from ..training.trainer import fit"),
        ("minivae.gradcheck", "from .ops.arithmetic import mul"),
        ("minivae.backend", "from .tensor import Tensor"),
        ("minivae.kernels.cpu", "import cupy as cp"),
        ("minivae.training.trainer", "from mpi4py import MPI"),
        ("minivae.models.mlp", "import torch"),
        ("minivae.training.trainer", "def f():\n    import jax.numpy"),
        ("examples.mnist_vae", "from torch import nn"),
    ],
)
def test_a_planted_back_edge_is_seen(module, line):
    """The import check sees each planted import of a higher layer."""
    assert back_edges(line, module)


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("minivae.tensor", "from .backend import array_module\nimport numpy"),
        ("minivae.kernels.__init__", "from . import reference"),
        ("minivae.kernels.cpu", "from .. import _cpu"),
        ("minivae.backend", "def f():\n    import cupy"),
        ("minivae.training.parallel", "import mpi4py"),
        ("benchmarks.train_step", "import torch"),
        ("minivae.ops.conv", "from .. import kernels\nfrom . import shapes"),
    ],
)
def test_a_right_edge_is_not_reported(module, line):
    """The import check accepts allowed imports."""
    assert not back_edges(line, module)


@pytest.mark.parametrize(
    ("folder", "line", "wrong"),
    [
        ("math", '#include "cpu/table.h"', True),
        ("math", "#include <pybind11/numpy.h>", True),
        ("cpu", "  #  include <Python.h>", True),
        ("cpu", '#include "bind/array_args.h"', True),
        ("common", "#include <cuda_runtime.h>", True),
        ("math", '#include "common/host_device.h"', False),
        ("bind", "#include <pybind11/pybind11.h>", False),
        ("cuda", "#include <cuda_runtime.h>", False),
        ("cpu", "#include <cmath>", False),
    ],
)
def test_a_planted_include_is_seen(folder, line, wrong):
    """The include check sees each planted include."""
    assert bool(bad_includes(line, folder)) == wrong
