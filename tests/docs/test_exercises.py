"""The exercises' checks: red on the empty piece and on wrong solutions, green on a right one."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

import minivae as mv
from minivae.tensor import Function

FOLDER = Path(__file__).resolve().parents[2] / "examples" / "exercises"


def load(name):
    """A file of the folder as a module of another name, so that it meets no other ``check``."""
    spec = importlib.util.spec_from_file_location(f"exercise_{name}", FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


checks = load("check")


def swish(dx):
    """A solution of exercise 1 with this backward, a function of x, s and dy."""

    class Swish(load("swish").Swish):
        def backward(self, dy):
            x, s = self.saved
            return dx(x, s, dy)

    assert issubclass(Swish, Function)
    return Swish


def bound(log_weights):
    """A right importance_bound."""
    top = log_weights.max(axis=1, keepdims=True)
    return top[:, 0] + np.log(np.exp(log_weights - top).mean(axis=1))


def rung(mu, logvar, eps):
    """A right reparam_kl_forward with two arrays."""
    z = np.exp(logvar / 2)
    z *= eps
    z += mu
    terms = np.expm1(logvar)
    terms -= logvar
    squares = np.einsum("nd,nd->n", mu, mu, dtype=np.float64)
    kl = (terms.sum(axis=1, dtype=np.float64) + squares) / 2
    return z, kl.astype(mu.dtype)


def greedy(mu, logvar, eps):
    """Right values, too many arrays."""
    z = mu + np.exp(logvar / 2) * eps
    terms, squares = np.expm1(logvar) - logvar, mu * mu
    return z, ((terms + squares).sum(axis=1, dtype=np.float64) / 2).astype(mu.dtype)


def naive_kl(mu, logvar, eps):
    """Half the memory, but a KL twice too large."""
    z, kl = rung(mu, logvar, eps)
    return z, 2 * kl


RIGHT = {
    "swish": swish(lambda x, s, dy: dy * s * (1 + x * (1 - s))),
    "bound": bound,
    "rung": rung,
}
WRONG = {
    "swish, product rule forgotten": ("swish", swish(lambda x, s, dy: dy * s)),
    "swish, dy forgotten": ("swish", swish(lambda x, s, dy: s * (1 + x * (1 - s)))),
    "swish, wrong by 0.1 %": ("swish", swish(lambda x, s, dy: 1.001 * dy * s * (1 + x * (1 - s)))),
    "swish, NaN far out": (
        "swish",
        swish(lambda x, s, dy: dy * np.where(abs(x) > 700, np.nan, s * (1 + x * (1 - s)))),
    ),
    "bound, underflow": (
        "bound",
        lambda w: np.log(np.maximum(np.exp(np.minimum(w, 700)).mean(axis=1), 1e-300)),
    ),
    "bound, the ELBO itself": ("bound", lambda w: w.mean(axis=1)),
    "bound, sum for mean": ("bound", lambda w: bound(w) + np.log(w.shape[1])),
    "rung, too many arrays": ("rung", greedy),
    "rung, wrong value": ("rung", naive_kl),
}


@pytest.mark.parametrize("name", checks.CHECKS)
def test_the_empty_piece_is_red(name):
    """A newcomer starts from red, with a message that says what to write."""
    check, piece = checks.CHECKS[name]
    with pytest.raises(NotImplementedError, match=r"an array|numbers|arrays"):
        check(getattr(load(name), piece))


@pytest.mark.parametrize("name", checks.CHECKS)
def test_a_right_solution_is_green(name):
    """The exercise can be done."""
    checks.CHECKS[name][0](RIGHT[name])


@pytest.mark.parametrize(("name", "solution"), WRONG.values(), ids=WRONG)
def test_a_wrong_solution_is_red(name, solution):
    """The check sees it."""
    with pytest.raises((AssertionError, mv.GradientError)):
        checks.CHECKS[name][0](solution)


def test_the_command(capsys):
    """The command names each exercise, says what is missing, and its status counts what is."""
    before = list(sys.path)
    try:
        assert checks.main(["swish"]) == 1
        assert capsys.readouterr().out.startswith("swish: not yet. NotImplementedError: dx")
        assert checks.main([]) == len(checks.CHECKS)
        with pytest.raises(SystemExit):
            checks.main(["swoosh"])
    finally:
        sys.path[:] = before
        for name in checks.CHECKS:
            sys.modules.pop(name, None)
