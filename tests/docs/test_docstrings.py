"""Docstrings of public names: arguments, errors and shapes are documented, and doctests pass."""

import ast
import doctest
import importlib
import inspect
import pkgutil
import re
import textwrap

import pytest

import minivae as mv
from minivae import data, evaluation, functional, kernels, models, nn, noise, optim
from minivae.tensor import arrays
from minivae.viz import graph, latent

# Modules of kernels that may be missing here, and the variant whose absence explains it.
NEEDS = {
    "minivae.kernels.cpu": "cpu",
    "minivae.kernels.cpu_layers": "cpu",
    "minivae.kernels.cublaslt": "cuda",
    "minivae.kernels.cuda": "cuda",
    "minivae.kernels.cuda_layers": "cuda",
    "minivae.kernels.cupy_fused": "cupy",
    "minivae.kernels.numba_cpu": "numba",
}


def modules():
    """Every Python module of the package but ``__main__``."""
    names = [m.name for m in pkgutil.walk_packages(mv.__path__, "minivae.")]
    return ["minivae", *(n for n in names if not n.rpartition(".")[2].startswith("_"))]


def load(name):
    """Import a module; skip the test if its kernel variant is unavailable here."""
    if why := kernels.reasons().get(NEEDS.get(name)):
        pytest.skip(why)
    return importlib.import_module(name)


@pytest.mark.parametrize("name", modules())
def test_module_and_examples(name):
    """The module has a docstring, and its doctests hold."""
    module = load(name)
    assert module.__doc__
    assert doctest.testmod(module).failed == 0


def test_there_are_doctests():
    """The modules that a reader meets first have doctests, so the test above runs some."""
    finder = doctest.DocTestFinder()
    counts = {
        m.__name__: sum(len(t.examples) for t in finder.find(m))
        for m in (mv, arrays, noise, kernels, functional, optim)
    }
    assert counts["minivae"] and counts["minivae.tensor.arrays"] and counts["minivae.noise"]
    everywhere = sum(
        len(t.examples)
        for name in modules()
        if name not in NEEDS
        for t in finder.find(importlib.import_module(name))
    )
    assert everywhere >= 30


def test_a_wrong_doctest_fails():
    """doctest compares: a planted wrong value is a failure."""
    test = doctest.DocTestParser().get_doctest(">>> 1 + 1\n3\n", {}, "planted", None, 0)
    assert doctest.DocTestRunner(verbose=False).run(test, out=lambda _: None).failed == 1


# ---------------------------------------------------------------- docstrings


def public():
    """{name: object}: functions, classes and methods that the package exports."""
    found = {}
    for module in (mv, functional, nn, optim, models, data, evaluation, kernels, graph, latent):
        listed = getattr(module, "__all__", None)
        for name in listed or [n for n in vars(module) if n[0] != "_"]:
            thing = getattr(module, name)
            if not (inspect.isfunction(thing) or inspect.isclass(thing)):
                continue
            if not listed and thing.__module__ != module.__name__:
                continue
            found[f"{thing.__module__}.{thing.__qualname__}"] = thing
            if inspect.isclass(thing):
                for key, member in vars(thing).items():
                    if inspect.isfunction(member) and not key.startswith("_"):
                        found[f"{thing.__module__}.{thing.__qualname__}.{key}"] = member
    return found


PUBLIC = public()


def owner(name):
    """The class that a method belongs to, or None."""
    return PUBLIC.get(name.rpartition(".")[0])


def faults(name, thing):
    """What is missing in the docstring of a public function, method or class."""
    text = inspect.getdoc(thing) or ""
    if not text:
        inherited = owner(name) and inspect.getdoc(getattr(owner(name), thing.__name__))
        if inherited:
            return []
        return ["no docstring"]
    said = text + (inspect.getdoc(owner(name)) or "" if owner(name) else "")
    said_of_errors = said + (inspect.getmodule(thing).__doc__ or "")
    result = []
    code = thing if inspect.isfunction(thing) else vars(thing).get("__init__")
    if not inspect.isfunction(code) or code.__code__.co_filename.startswith("<"):
        return result  # inherited, or written by dataclass
    if code.__module__ == "typing":
        return result  # a protocol's
    arguments = [a for a in inspect.signature(code).parameters if a not in ("self", "kwargs")]
    for argument in arguments[1:]:  # what it says, it says of the first
        named = re.search(rf"\b{re.escape(argument)}\b", said)
        if not named and not re.search(r"rguments[^.]*\sas\s", said):
            result.append(f"does not say what {argument} is")
    for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(code)))):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            error = ast.unparse(node.exc.func)
            elsewhere = re.search(r"errors\s[^.]*\bas\s", said)
            if error != "NotImplementedError" and not (elsewhere or error in said_of_errors):
                result.append(f"does not say that it raises {error}")
    return result


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_docstring_is_complete(name):
    """Every public docstring exists, and names the arguments and the errors raised."""
    assert faults(name, PUBLIC[name]) == []


def test_planted_docstring_faults_are_seen():
    """The check sees each kind of incomplete docstring."""

    def bare(x): ...

    def silent(x, factor):
        """Doubles."""
        raise ValueError(f"x: expected less, got {x}")

    def whole(x):
        """Doubles x. Raises ValueError."""
        raise ValueError(f"x: expected less, got {x}")

    assert faults("here.bare", bare) == ["no docstring"]
    assert faults("here.silent", silent) == [
        "does not say what factor is",
        "does not say that it raises ValueError",
    ]
    assert faults("here.whole", whole) == []


SHAPE = re.compile(
    r"\((N|\.\.\.|C|O|D|I),? |elementwise|element|shape|ax[ie]s|-x|broadcast|rguments.* as "
)


@pytest.mark.parametrize("name", functional.__all__)
def test_operations_name_their_shapes(name):
    """A function of arrays says what shapes it takes, or that it works element by element."""
    assert SHAPE.search(inspect.getdoc(getattr(functional, name)))
