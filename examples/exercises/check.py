"""Check an exercise: python examples/exercises/check.py [swish | bound | rung]

Each check takes a solution and returns, or raises with what is wrong.
"""

import argparse
import importlib
import sys
import tracemalloc
from pathlib import Path

import numpy as np

import minivae as mv
from minivae.kernels import reference


def check_swish(op):
    """Values, gradients at ordinary points, and finite gradients far from 0."""
    for shape in [(7,), (3, 4), (2, 1, 5)]:
        x = 2 * mv.Noise(0, len(shape)).normal(shape, np.float64)
        np.testing.assert_allclose(op.apply(x).data, x / (1 + np.exp(-x)), rtol=1e-12)
        mv.gradcheck(op.apply, x)
    far = mv.Tensor([-800.0, -30.0, 30.0, 800.0], requires_grad=True)
    op.apply(far).backward(np.ones(4))
    np.testing.assert_allclose(far.grad, [0, 0, 1, 1], atol=1e-9, err_msg="far from 0")


def check_bound(importance_bound):
    """One weight, equal weights, tiny weights, and a model whose ln p(x) is known."""
    one = mv.Noise(1, 0).normal((5, 1), np.float64)
    np.testing.assert_allclose(
        importance_bound(one), one[:, 0], err_msg="with K = 1 it is the ELBO"
    )
    np.testing.assert_allclose(importance_bound(np.full((2, 9), -1000.0)), -1000.0)
    np.testing.assert_allclose(importance_bound(np.array([[800.0, -800.0]])), 800 - np.log(2))
    # z ~ N(0, 1), x | z ~ N(z, 1), so x ~ N(0, 2); q is the prior, so a weight is p(x | z).
    x = np.array([-1.0, 0.0, 2.0])
    z = mv.Noise(1, 1).normal((3, 20_000), np.float64)
    log_weights = -0.5 * (np.log(2 * np.pi) + (x[:, None] - z) ** 2)
    exact = -0.5 * (np.log(4 * np.pi) + x**2 / 2)
    np.testing.assert_allclose(importance_bound(log_weights), exact, atol=0.03)
    means = log_weights.mean(axis=1)
    assert (importance_bound(log_weights) > means).all(), "the bound must lie above the ELBO"


def check_rung(forward, rows=4000, d=64):
    """Same results as the definition, inputs untouched, and no more than two arrays alive."""
    for dtype, rtol in ((np.float64, 1e-12), (np.float32, 1e-5)):
        arrays = [mv.Noise(2, i).normal((rows, d), dtype) for i in range(3)]
        for a in arrays:
            a.flags.writeable = False
        for got, expected in zip(
            forward(*arrays), reference.reparam_kl_forward(*arrays), strict=True
        ):
            assert got.shape == expected.shape and got.dtype == dtype
            np.testing.assert_allclose(got, expected, rtol=rtol, atol=rtol)
        tracemalloc.start()
        try:
            forward(*arrays)
            peak = tracemalloc.get_traced_memory()[1] / arrays[0].nbytes
        finally:
            tracemalloc.stop()
        assert peak < 2.5, f"at the worst moment {peak:.1f} arrays were alive; expected 2"


CHECKS = {
    "swish": (check_swish, "Swish"),
    "bound": (check_bound, "importance_bound"),
    "rung": (check_rung, "reparam_kl_forward"),
}


def main(argv=None):
    """Run the checks asked for; the exit status is the number that failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("exercise", nargs="*", help=f"of {', '.join(CHECKS)}; all by default")
    args = parser.parse_args(argv)
    if unknown := set(args.exercise) - set(CHECKS):
        parser.error(f"unknown exercise {sorted(unknown)}; there are {', '.join(CHECKS)}")
    sys.path.insert(0, str(Path(__file__).parent))
    failed = 0
    for name in args.exercise or CHECKS:
        check, piece = CHECKS[name]
        try:
            check(getattr(importlib.import_module(name), piece))
            print(f"{name}: right")
        except Exception as error:  # whatever a solution raises is what is wrong with it
            failed += 1
            print(f"{name}: not yet. {type(error).__name__}: {str(error).strip()}")
    return failed


if __name__ == "__main__":
    sys.exit(main())
