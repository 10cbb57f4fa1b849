"""Type annotations of public names: complete, and accepted by a type checker."""

import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import minivae as mv

ROOT = Path(__file__).parents[2]
PUBLIC = [
    "minivae",
    "minivae.data",
    "minivae.functional",
    "minivae.kernels",
    "minivae.models",
    "minivae.nn",
    "minivae.optim",
    "minivae.viz.latent",
]


# A client's program, and on which lines a type checker says that it is wrong.
CLIENTS = {
    "right": ([
        "x = mv.Tensor([[1.0, 2.0]], requires_grad=True)",
        "loss: mv.Tensor = (2 * x @ x.T - x.sum() ** 2 / 3)[0].mean()",
        "loss.backward()",
        "model: mv.models.MLPVAE = mv.models.MLPVAE().to('cpu')",
        "mv.save('model.safetensors', model, mv.optim.Adam(model.parameters()))",
    ], []),
    "wrong": ([
        "x = mv.Tensor([1.0], requires_grad=True)",
        "x.backwards()",
        "text: str = mv.functional.exp(x)",
        "mv.kernels.use(2)",
    ], ["3", "4", "5"]),
}  # fmt: skip


@pytest.mark.slow
def test_a_type_checker_knows_the_names_and_operators(tmp_path):
    """mypy --strict finds exactly the marked errors in programs that use the package, among them
    errors with the operators that ops adds to Tensor."""
    pytest.importorskip("mypy")
    for name, (lines, _) in CLIENTS.items():
        (tmp_path / f"{name}.py").write_text("\n".join(["import minivae as mv", *lines, ""]))
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--python-version=3.12"]
    done = subprocess.run(
        [*command, "--follow-imports=silent", *(f"{name}.py" for name in CLIENTS)],
        cwd=tmp_path, env={"MYPYPATH": str(ROOT)}, capture_output=True, text=True,
    )  # fmt: skip
    told = [line.split(":")[:2] for line in done.stdout.splitlines() if ": error:" in line]
    for name, (_, expected) in CLIENTS.items():
        assert [number for file, number in told if file == f"{name}.py"] == expected, done.stdout


def functions(module):
    """(name, function) of the public functions of a module, and of its classes' methods."""
    for name in getattr(module, "__all__", list(vars(module))):
        value = getattr(module, name)
        if getattr(value, "__module__", "").partition(".")[0] != "minivae":
            continue
        if inspect.isclass(value):
            for method, made in vars(value).items():
                made = made.fget if isinstance(made, property) else getattr(made, "__func__", made)
                ours = inspect.isfunction(made) and made.__module__.startswith("minivae")
                if ours and (method == "__init__" or method[0] != "_"):
                    yield f"{name}.{method}", inspect.unwrap(made)
        elif inspect.isfunction(value) and name[0] != "_":
            yield name, inspect.unwrap(value)


def untyped(function):
    """The parameters without a type, and "return"."""
    signature = inspect.signature(function)
    found = [
        p.name
        for p in signature.parameters.values()
        if p.annotation is p.empty and p.name not in ("self", "cls")
    ]
    return found + ["return"] * (
        signature.return_annotation is signature.empty and function.__name__ != "__init__"
    )


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_function_has_types(name):
    missing = {
        f: found
        for f, function in functions(importlib.import_module(name))
        if (found := untyped(function))
    }
    assert missing == {}


def test_an_untyped_function_is_seen():
    assert untyped(lambda x: x) == ["x", "return"]
    assert untyped(mv.no_grad.__exit__) == []
