"""Wrong solutions of the exercises, by exercise and mistake, and functions that check them."""

import contextlib
import importlib
import sys
from pathlib import Path

import numpy as np

import minivae as mv
from minivae import functional as F
from minivae.tensor import Function

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "examples" / "exercises"


@contextlib.contextmanager
def importing_exercises():
    """Put the exercises folder on ``sys.path``; restore ``sys.path`` afterwards."""
    before = list(sys.path)
    sys.path.insert(0, str(FOLDER))
    try:
        yield
    finally:
        sys.path[:] = before


with importing_exercises():
    exercises = importlib.import_module("check")
sys.modules.pop("check")
checks, HINTS = exercises._checks, exercises.HINTS


def judge(name, solution):
    """Run the check of exercise ``name`` on a solution."""
    getattr(checks, f"check_{name}")(solution)


def right(name):
    """The correct solution of exercise ``name``, from the folder."""
    return exercises.load(FOLDER / "solutions" / f"{name}.py", exercises.EXERCISES[name].piece)


def op(forward, backward):
    """A Function with this forward (saving its inputs) and backward (of those and dy)."""

    class Op(Function):
        def forward(self, *arrays):
            self.save(*arrays)
            return forward(*arrays)

        def backward(self, dy):
            return backward(*self.saved, dy)

    return Op


def logistic(x):
    """1 / (1 + exp(-x))."""
    with np.errstate(over="ignore"):
        return 1 / (1 + np.exp(-x))


def swish(slope):
    """A Swish whose derivative is slope(x, s) with s = sigmoid(x)."""
    return op(lambda x: x * logistic(x), lambda x, dy: dy * slope(x, logistic(x)))


def sample(z, slopes):
    """A Sample with forward z(mu, logvar, eps) and gradients slopes(mu, logvar, eps, dz)."""
    return op(z, lambda mu, logvar, eps, dz: (*slopes(mu, logvar, eps, dz), None))


def z(mu, logvar, eps):
    """mu + sigma eps."""
    return mu + np.exp(logvar / 2) * eps


def kl_terms(logvar):
    """expm1(l) - l."""
    return np.expm1(logvar) - logvar


def breadth_first(root):
    """Each node once, by its shortest distance from the root: wrong if a longer path exists."""
    order, seen = [root], {root}
    for node in order:
        for n in node.inputs:
            if n not in seen:
                seen.add(n)
                order.append(n)
    return order


def every_path(root):
    """A walk along every path: exponential time on shared nodes."""
    order, stack = [], [root]
    while stack:
        order.append(stack.pop())
        stack += order[-1].inputs
    return list(dict.fromkeys(reversed(order)))[::-1]


def recursive(root):
    """The right order, but by recursion, which fails on a deep graph."""
    done = {}

    def visit(node):
        if node not in done:
            for n in node.inputs:
                visit(n)
            done[node] = None

    visit(root)
    return list(done)[::-1]


def adjoint(change):
    """The correct adjoint, called with changed arguments."""
    return lambda *arguments: right("adjoint")(*change(*arguments))


def tapwise(y, w, size, stride, padding):
    """The right answer, but with the padding of both ends cut at the beginning."""
    whole = right("adjoint")(y, w, size + 2 * padding, stride, 0)
    return whole[2 * padding :] if padding else whole


def bound_minus(top):
    """importance_bound with top(w) in place of each row's maximum."""

    def bound(w):
        m = top(w)
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            return np.ravel(m + np.log(np.exp(w - m).mean(axis=1, keepdims=True)))

    return bound


def batch_norm(statistics, order=0):
    """Backward of batch norm with dx = statistics(w, std, hat, dy, N); order=1 swaps dw and db."""

    def backward(x, w, eps, dy):
        std = np.sqrt(x.var(axis=0) + eps)
        hat = (x - x.mean(axis=0)) / std
        dx = statistics(w, std, hat, dy, len(x))
        pair = (dy * hat).sum(axis=0), dy.sum(axis=0)
        return (dx, *(pair[::-1] if order else pair))

    return backward


def softmax(a):
    """Softmax of each row."""
    e = np.exp(a - a.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def half_memory(terms, half=0.5, greedy=False):
    """reparam_kl_forward with ``terms`` in place of expm1(l) - l."""

    def forward(mu, logvar, eps):
        if greedy:
            squares, z = mu * mu, mu + np.exp(logvar / 2) * eps
            return z, (half * (terms(logvar) + squares).sum(1, dtype=np.float64)).astype(mu.dtype)
        z = np.exp(logvar / 2)
        z *= eps
        z += mu
        squares = np.einsum("nd,nd->n", mu, mu, dtype=np.float64)
        kl = half * (terms(logvar).sum(axis=1, dtype=np.float64) + squares)
        return z, kl.astype(mu.dtype)

    return forward


def naive_terms(logvar):
    """exp(l) - 1 - l, in place."""
    e = np.exp(logvar)
    e -= 1
    e -= logvar
    return e


def overwritten(y, w, size, stride, padding):
    """The adjoint with = for +=: overlapping kernels overwrite one another."""
    padded = np.zeros(size + 2 * padding)
    for i, value in enumerate(y):
        padded[stride * i : stride * i + len(w)] = value * w
    return padded[padding : padding + size]


REFUSALS = AssertionError, mv.GradientError, ValueError, RecursionError
CURVES = right("loss_curve")
SWAPPED = CURVES | {"B": CURVES["E"], "E": CURVES["B"]}

WRONG = {
    "unbroadcast": {
        "the first axis only": lambda g, s: g.sum(axis=0) if g.shape != s else g,
        "no new axes": lambda g, s: g.sum(
            axis=tuple(i for i, n in enumerate(s) if n == 1), keepdims=True
        ).reshape(s),
        "mean for sum": lambda g, s: right("unbroadcast")(g, s) * np.prod(s) / max(g.size, 1),
        "axes left out": lambda g, s: g.sum(
            axis=tuple(i for i, (n, m) in enumerate(zip((1,) * (g.ndim - len(s)) + s, g.shape))  # noqa: B905
                       if n != m)),
        "one of the uses": lambda g, s: (
            np.resize(g, s) if g.size >= np.prod(s) else np.zeros(s)
        ),
    },
    "order": {
        "breadth first": breadth_first,
        "every path": every_path,
        "recursion": recursive,
        "leaves first": lambda root: right("order")(root)[::-1],
        "one node lost": lambda root: right("order")(root)[:-1] or [root],
        "a node twice": lambda root: [*right("order")(root), right("order")(root)[-1]],
    },
    "swish": {
        "product rule forgotten": swish(lambda x, s: s),
        "dy forgotten": op(lambda x: x * logistic(x), lambda x, dy: logistic(x)),
        "wrong by 0.1 %": swish(lambda x, s: 1.001 * s * (1 + x * (1 - s))),
        "s' without s": swish(lambda x, s: s + x * (1 - s)),
        "NaN far out": swish(lambda x, s: np.where(abs(x) > 700, np.nan, s * (1 + x * (1 - s)))),
    },
    "kl": {
        "the half lost": lambda m, l: (m**2 + kl_terms(l)).sum(axis=1),
        "half of the half": lambda m, l: (0.5 * m**2 + kl_terms(l)).sum(axis=1),
        "mean over latents": lambda m, l: 0.5 * (m**2 + kl_terms(l)).mean(axis=1),
        "exp(l) - 1 - l": lambda m, l: 0.5 * (m**2 + (np.exp(l) - 1 - l)).sum(axis=1),
        "expm1(l) + mu^2 before - l": lambda m, l: (
            0.5 * (1 + m**2 + np.expm1(l) - l - 1).sum(axis=1)
        ),
        "logvar read as ln sigma": lambda m, l: 0.5 * (m**2 + kl_terms(2 * l)).sum(axis=1),
        "logvar taken for ln sigma in the log": lambda m, l: (
            0.5 * (m**2 + np.expm1(l) - l / 2).sum(axis=1)
        ),
        "sign": lambda m, l: -0.5 * (m**2 + kl_terms(l)).sum(axis=1),
        "mu not squared": lambda m, l: 0.5 * (abs(m) + kl_terms(l)).sum(axis=1),
        "the whole batch": lambda m, l: np.full(len(m), 0.5 * (m**2 + kl_terms(l)).sum()),
        "another dtype": lambda m, l: (
            0.5 * (m.astype(float) ** 2 + kl_terms(l.astype(float))).sum(axis=1)
        ),
    },
    "reparameterise": {
        "sigma = exp(logvar)": sample(
            lambda m, l, e: m + np.exp(l) * e, lambda m, l, e, dz: (dz, dz * e * np.exp(l))
        ),
        "the half lost": sample(z, lambda m, l, e, dz: (dz, dz * e * np.exp(l / 2))),
        "eps lost": sample(z, lambda m, l, e, dz: (dz, 0.5 * dz * np.exp(l / 2))),
        "mu gets nothing": sample(z, lambda m, l, e, dz: (0 * dz, 0.5 * dz * e * np.exp(l / 2))),
        "sigma gets nothing": sample(z, lambda m, l, e, dz: (dz, 0 * dz)),
        "a draw of its own": sample(
            lambda m, l, e: m + np.exp(l / 2) * np.random.default_rng().normal(size=e.shape),
            lambda m, l, e, dz: (dz, 0.5 * dz * e * np.exp(l / 2)),
        ),
        "gradients exchanged": sample(z, lambda m, l, e, dz: (0.5 * dz * e * np.exp(l / 2), dz)),
    },
    "adjoint": {
        "kernel flipped": adjoint(lambda y, w, *rest: (y, w[::-1], *rest)),
        "stride forgotten": lambda y, w, size, stride, padding: np.resize(
            np.convolve(y, w), size
        ),
        "padding forgotten": adjoint(lambda y, w, size, stride, _: (y, w, size, stride, 0)),
        "padding cut at one end": tapwise,
        "smallest size": lambda y, w, size, stride, padding: right("adjoint")(
            y, w, (len(y) - 1) * stride - 2 * padding + len(w), stride, padding
        ),
        "one off": lambda *a: np.roll(right("adjoint")(*a), 1),
        "overlaps overwritten": overwritten,
    },
    "bound": {
        "underflow": lambda w: np.log(
            np.maximum(np.exp(np.minimum(w, 700)).mean(axis=1), 1e-300)
        ),
        "the global maximum": bound_minus(lambda w: w.max()),
        "the first column": bound_minus(lambda w: w[:, :1]),
        "the last column": bound_minus(lambda w: w[:, -1:]),
        "the mean of the row": bound_minus(lambda w: w.mean(axis=1, keepdims=True)),
        "the smallest": bound_minus(lambda w: w.min(axis=1, keepdims=True)),
        "the largest of each column": lambda w: (
            w.max(axis=0).max() + np.log(np.exp(w - w.max(axis=0)).mean(axis=1))
        ),
        "the ELBO itself": lambda w: w.mean(axis=1),
        "the largest alone": lambda w: w.max(axis=1),
        "sum for mean": lambda w: right("bound")(w) + np.log(w.shape[1]),
        "mean over images": lambda w: np.full(len(w), right("bound")(w.T).mean()),
    },
    "loss_curve": {
        "two exchanged": SWAPPED,
        "one name for all": dict.fromkeys(CURVES, "none"),
        "one left out": CURVES | {"H": ""},
        "only some letters": {"A": CURVES["A"]},
    },
    "batch_norm": {
        "mean and variance constant": batch_norm(lambda w, std, hat, dy, n: w / std * dy),
        "variance constant": batch_norm(lambda w, std, hat, dy, n: w / std * (dy - dy.mean(0))),
        "mean constant": batch_norm(
            lambda w, std, hat, dy, n: w / std * (dy - hat * (dy * hat).mean(0))
        ),
        "N - 1": batch_norm(
            lambda w, std, hat, dy, n: w / std * (
                dy - dy.mean(0) - hat * (dy * hat).sum(0) / max(n - 1, 1)
            )
        ),
        "w forgotten": batch_norm(
            lambda w, std, hat, dy, n: (dy - dy.mean(0) - hat * (dy * hat).mean(0)) / std
        ),
        "divided by the variance": batch_norm(
            lambda w, std, hat, dy, n: w / std**2 * (dy - dy.mean(0) - hat * (dy * hat).mean(0))
        ),
        "dw and db exchanged": batch_norm(
            lambda w, std, hat, dy, n: w / std * (dy - dy.mean(0) - hat * (dy * hat).mean(0)), 1
        ),
        "eps forgotten": lambda x, w, eps, dy: right("batch_norm")(x, w, 0.0, dy),
    },
    "free_bits": {
        "maximum of each image": lambda kl, nats: F.sum(F.mean(nats + F.relu(kl - nats), axis=0)),
        "free bits taken off": lambda kl, nats: F.sum(F.relu(F.mean(kl, axis=0) - nats)),
        "the sum is clamped": lambda kl, nats: nats + F.relu(F.sum(F.mean(kl, axis=0)) - nats),
        "minimum": lambda kl, nats: F.sum(nats - F.relu(nats - F.mean(kl, axis=0))),
        "mean over latents": lambda kl, nats: F.mean(nats + F.relu(F.mean(kl, axis=0) - nats)),
        "sum over images": lambda kl, nats: F.sum(nats + F.relu(F.sum(kl, axis=0) - nats)),
        "the plain KL": lambda kl, nats: F.sum(F.mean(kl, axis=0)),
        "value without gradient": lambda kl, nats: (
            right("free_bits")(kl.detach(), nats) + 0 * F.sum(kl)
        ),
    },
    "dreg": {
        "w~ not squared": lambda w, s: -softmax(w) * s / len(w),
        "sign": lambda w, s: softmax(w) ** 2 * s / len(w),
        "sum over images": lambda w, s: -(softmax(w) ** 2) * s,
        "weights not normalised": lambda w, s: -np.exp(2 * np.maximum(w, -700)) * s / len(w),
        "underflow": lambda w, s: (
            -((np.exp(w) / np.maximum(np.exp(w).sum(1, keepdims=True), 1e-300)) ** 2) * s / len(w)
        ),
        "mean over samples": lambda w, s: -(softmax(w) ** 2) * s / w.size,
        "softmax over images": lambda w, s: -(softmax(w.T).T ** 2) * s / len(w),
    },
    "half_memory": {
        "too many arrays": half_memory(kl_terms, greedy=True),
        "the half lost": half_memory(naive_terms, half=1.0),
        "exp(l) - 1 - l": half_memory(naive_terms),
        "inputs overwritten": lambda mu, logvar, eps: (np.add(mu, eps, out=mu), mu[:, 0]),
    },
}  # fmt: skip
