"""Gradient check: compare gradients from ``backward`` with finite differences.

Let J be the Jacobian of f. ``backward`` with cotangent u gives u^T J; a central difference along
a direction v gives J v. Both give u^T J v:

    <u^T J, v>   by backward             <u, f(x + h v) - f(x - h v)> / 2h   by differences

One random pair (u, v) tests all entries of J together, for two evaluations of f, whatever the size;
a wrong entry shows when it changes u^T J v by more than the tolerance. u is
never all ones, under which transposed, exchanged and misplaced gradients can look right. A small
J is compared entry by entry as well.

Where f is linear along v, h = 1 makes the difference exact up to rounding. Elsewhere h = 1e-5
balances truncation, h^2, against rounding, 1e-16 / h (Nocedal & Wright 2006, Numerical
Optimization, section 8.1). The one-sided slopes [f(x + h v) - f(x)] / h and
[f(x) - f(x - h v)] / h differ by h f'' where f is smooth; at a kink they differ by the same amount
for every h, and near one the central slope changes with h. More: docs/gradient-checking.md.
"""

from collections.abc import Callable, Sequence
from typing import Any, NoReturn, TypeAlias

import numpy as np

from .backend import Array, device_of, is_device_array, to_device, to_numpy
from .errors import GradientError
from .tensor import Function, Tensor, TensorLike, no_grad

FULL_JACOBIAN = 2000  # entries up to which J is compared one by one
LINEAR_STEPS = 1.0, 0.6180339887  # irrational ratio: no periodic function repeats after both
SMOOTH_STEP = 1e-5
Checked: TypeAlias = Callable[..., Tensor | tuple[Tensor, ...]]
ROUNDING = 64 * np.finfo(np.float64).eps  # rounding error of a sum, relative to largest output


def gradcheck(
    fn: Checked,
    inputs: Sequence[TensorLike],
    *,
    step: float | None = None,
    atol: float = 1e-7,
    rtol: float = 1e-5,
    directions: int = 3,
    seed: int = 0,
) -> bool:
    """Check the gradients of ``fn`` at ``inputs``: True, or an error that says where they fail.

    To pass, outputs and gradients must also be finite, fn must not change its inputs, a second call
    must give the same bytes, and so must a second backward through a fresh graph.

    Args:
        fn: called as ``fn(*inputs)`` with tensors; returns a float64 tensor or a tuple of them.
        inputs: a tensor or array, or a sequence of inputs. Every floating-point one is checked and
            must be float64; anything else is passed to fn unchanged.
        step: h, in units of max(1, |x|) for each element; fn is evaluated no further away than
            that. None tries h = 1 first and then 1e-5 (see above).
        atol, rtol: |analytic - numeric| <= atol + rtol |numeric| passes. For a random direction
            |numeric| is replaced by the root of the summed squares of the terms of <u^T J, v>.
        directions: how many random pairs (u, v) to try for each input.
        seed: seed of the random numbers.

    Raises:
        GradientError: the check fails; the message names the input, the index, both values and
            the likely cause.
        TypeError: an input or output of another float dtype, or an output that is no tensor.
        ValueError: no floating-point input; ``step`` or ``directions`` not positive.

    >>> gradcheck(lambda x: x * x * x, np.array([1.0, 2.0]))
    True
    """
    if step is not None and not 0 < step < np.inf:
        raise ValueError(f"step: expected a positive number or None, got {step!r}")
    if directions < 1:
        raise ValueError(f"directions: expected at least 1, got {directions!r}")
    rng = np.random.default_rng(seed)
    with np.errstate(all="ignore"):  # NaN and infinity are reported below, with their index
        check = _Check(fn, inputs, step, atol, rtol)
        if check.y.size * sum(check.inputs[i].size for i in check.floats) <= FULL_JACOBIAN:
            check.every_entry(rng)
        for _ in range(directions):
            check.random_direction(rng)
    return True


class _Pairing(Function):
    """y = sum_k <u_k, y_k> over the outputs y_k of fn;  dy_k = u_k, as dy is 1."""

    def forward(self, *ys: Array, cotangents: tuple[Array, ...]) -> Any:
        self.cotangents = cotangents
        return sum((u * y).sum() for u, y in zip(cotangents, ys, strict=True))

    def backward(self, _: Array) -> tuple[Array, ...]:
        return self.cotangents


class _Check:
    """fn at one point, with its outputs joined to one flat vector y and gradients flattened."""

    def __init__(
        self,
        fn: Checked,
        inputs: Sequence[TensorLike],
        step: float | None,
        atol: float,
        rtol: float,
    ):
        self.fn, self.step, self.atol, self.rtol = fn, step, atol, rtol
        single = isinstance(inputs, (Tensor, np.ndarray)) or is_device_array(inputs)
        self.inputs: list[Any] = [inputs] if single else list(inputs)
        self.floats: list[int] = []  # positions of the inputs that are checked
        for i, x in enumerate(self.inputs):
            dtype = getattr(x, "dtype", None)
            if getattr(dtype, "kind", None) == "f":
                if dtype != np.float64:
                    raise TypeError(f"gradcheck: input {i}: expected float64, got {dtype}")
                self.inputs[i] = x.data if isinstance(x, Tensor) else x
                self.floats.append(i)
        if not self.floats:
            raise ValueError("gradcheck: inputs: expected at least one floating-point array")
        ys = self.call()[1]
        self.shapes, self.y = [y.shape for y in ys], _flat(ys)
        self.require_same(self.call()[1])
        if not np.isfinite(self.y).all():
            j = np.argmin(np.isfinite(self.y))
            raise GradientError(f"gradcheck: {self.output(j)} is {self.y[j]} at these inputs")

    def call(
        self, i: int | None = None, x: Array | None = None
    ) -> tuple[dict[int, Tensor], tuple[Tensor, ...]]:
        """fn with input ``i`` replaced by ``x``: the input tensors by position, and the outputs."""
        arrays: dict[int, Any] = {k: x if k == i else self.inputs[k] for k in self.floats}
        before = {k: to_numpy(a).tobytes() for k, a in arrays.items()}
        tensors = {k: Tensor(a, requires_grad=True) for k, a in arrays.items()}
        ys = self.fn(*(tensors.get(k, given) for k, given in enumerate(self.inputs)))
        ys = tuple(ys) if isinstance(ys, (tuple, list)) else (ys,)
        for k, y in enumerate(ys):
            if getattr(y, "dtype", None) != np.float64 or not isinstance(y, Tensor):
                got = y.dtype if isinstance(y, Tensor) else type(y).__name__
                raise TypeError(f"gradcheck: output {k}: expected a float64 Tensor, got {got}")
        for k, a in arrays.items():
            if to_numpy(a).tobytes() != before[k]:
                raise GradientError(f"gradcheck: input {k} was changed in place by fn")
        return tensors, ys

    def require_same(self, ys: Sequence[Tensor]) -> None:
        """Raise unless another call on the same inputs gave the same bytes."""
        again = _flat(ys)
        if again.tobytes() != self.y.tobytes():
            j = np.argmax(again != self.y)
            raise GradientError(
                f"gradcheck: fn is not deterministic: {self.output(j)} was {self.y[j]}, then "
                f"{again[j]} for the same inputs; draw noise outside fn and hand it in"
            )

    def gradients(self, u: Array) -> dict[int, Any]:
        """u^T J by backward through a fresh graph, for each checked input; None for no gradient."""
        tensors, ys = self.call()
        self.require_same(ys)
        parts = np.split(u.copy(), np.cumsum([y.size for y in ys])[:-1])
        cotangents = tuple(
            to_device(part.reshape(y.shape), device_of(y.data))
            for part, y in zip(parts, ys, strict=True)
        )
        paired = _Pairing.apply(*ys, cotangents=cotangents)
        if paired.requires_grad:
            paired.backward()
        if not np.array_equal(np.concatenate([to_numpy(c).ravel() for c in cotangents]), u):
            raise GradientError("gradcheck: backward wrote to the gradient it was given")
        return {i: None if t.grad is None else to_numpy(t.grad).ravel() for i, t in tensors.items()}

    def every_entry(self, rng: np.random.Generator) -> None:
        """Compare J entry by entry: a column is a difference, a row a backward."""
        columns = {}
        for i in self.floats:
            unit = self.unit(i)
            slopes = [self.slope(i, _only(unit, at)) / unit[at] for at in range(unit.size)]
            columns[i] = np.array(slopes).reshape(unit.size, self.y.size)
        for j, scale in enumerate(_random(rng, self.y.size)):
            row = self.gradients(_only(np.full(self.y.size, scale), j))
            for i in self.floats:
                numeric = columns[i][:, j]
                analytic = np.zeros(len(numeric)) if row[i] is None else row[i] / scale
                error = abs(analytic - numeric)
                right = np.isfinite(analytic) & (error <= self.atol + self.rtol * abs(numeric))
                if not right.all():
                    at = np.argmin(right)
                    self.fail(i, at, row[i], analytic[at], numeric[at], self.output(j))

    def random_direction(self, rng: np.random.Generator) -> None:
        """Compare <u^T J, v> with <u, J v> for a random u and, input by input, a random v."""
        u = _random(rng, self.y.size)
        first, second = self.gradients(u), self.gradients(u)
        for i in self.floats:
            v = _random(rng, self.inputs[i].size) * self.unit(i)
            du = np.zeros(v.size) if first[i] is None else first[i]
            if first[i] is not None and du.tobytes() != second[i].tobytes():
                at = int(np.argmax(du != second[i]))
                raise GradientError(
                    f"gradcheck: input {i}, index {self.index(i, at)}: a second backward gave "
                    f"{second[i][at]} after {du[at]}; it draws noise or uses changed state"
                )

            def error(v: Array, i: int = i, du: Array = du) -> Any:
                return abs(du @ v - u @ self.slope(i, v))

            if not np.isfinite(du).all():
                at = int(np.argmin(np.isfinite(du)))
            elif error(v) <= self.atol + self.rtol * np.linalg.norm(du * v):
                continue
            else:
                at = _locate(error, v)
            numeric = u @ self.slope(i, _only(v, at)) / v[at]
            self.fail(i, at, first[i], du[at], numeric, "<u, outputs> for a random u")

    def slope(self, i: int, v: Array) -> Array:
        """J v: the derivative of every output along ``v`` in input ``i``. Kinks are errors."""
        if self.step is None:
            slope, gap, noise = self.difference(i, v, LINEAR_STEPS[0])
            if (gap <= noise).all():
                nearer, gap, noise = self.difference(i, v, LINEAR_STEPS[1])
                if (gap <= noise).all() and (abs(slope - nearer) <= noise).all():
                    return slope
        slope, doubt = self.smooth_slope(i, v)
        if doubt.any():
            at = _locate(lambda part: np.max(self.smooth_slope(i, part)[1]), v)
            j = np.argmax(self.smooth_slope(i, _only(v, at))[1])
            raise GradientError(
                f"gradcheck: input {i}, index {self.index(i, at)} = {self.inputs[i].flat[at]}: a "
                "kink, a jump or an edge of the domain lies within a step; around it the slopes "
                f"of {self.output(j)} disagree by {doubt.max():.3g}. Move the input away from it "
                "(or pass a smaller step, where fn is smooth but strongly curved)"
            )
        return slope

    def smooth_slope(self, i: int, v: Array) -> tuple[Array, Array]:
        """J v, and for each output by how much its slopes disagree where they should not."""
        step = SMOOTH_STEP if self.step is None else self.step
        slope, gap, _ = self.difference(i, v, step)
        nearer, nearer_gap, noise = self.difference(i, v, step / 4)
        doubt = np.maximum(abs(slope - nearer), np.where(nearer_gap > gap / 2, nearer_gap, 0))
        return slope, np.where(doubt <= self.atol + self.rtol * abs(nearer) + noise, 0, doubt)

    def difference(self, i: int, v: Array, h: float) -> tuple[Array, Array, Any]:
        """Central slope, difference of the one-sided slopes, and the rounding error of both."""
        x = self.inputs[i]
        hv = to_device((h * v).reshape(x.shape), device_of(x))
        with no_grad():
            plus, minus = _flat(self.call(i, x + hv)[1]), _flat(self.call(i, x - hv)[1])
            largest = np.max([abs(plus), abs(self.y), abs(minus)], initial=0)
            gap = abs((plus - self.y) - (self.y - minus)) / h
            return (plus - minus) / (2 * h), gap, ROUNDING * largest / h

    def unit(self, i: int) -> Array:
        """The unit in which steps are measured, max(1, |x|), for each element of input ``i``."""
        return np.maximum(1, abs(to_numpy(self.inputs[i]).ravel()))

    def index(self, i: int, at: Any) -> tuple[int, ...]:
        """Flat position ``at`` as an index of input ``i``."""
        return tuple(map(int, np.unravel_index(at, self.inputs[i].shape)))

    def output(self, j: Any) -> str:
        """The name of element ``j`` of y in messages: "output k, index (...)"."""
        for k, shape in enumerate(self.shapes):
            size = int(np.prod(shape))
            if j < size:
                return f"output {k}, index {tuple(map(int, np.unravel_index(j, shape)))}"
            j -= size
        raise IndexError(f"no element {j} of the outputs")

    def fail(
        self, i: int, at: Any, gradient: Any, analytic: Any, numeric: Any, of: str
    ) -> NoReturn:
        """Raise for element ``at`` of input ``i``."""
        if gradient is None:
            advice = "no gradient reached it: is it cut off by .data, detach() or a None?"
        elif not np.isfinite(analytic):
            advice = "look for 0/0, 0*inf or an overflow in backward"
        elif analytic == 0 or numeric == 0:
            advice = "look for a dropped or extra term, or a wrong index, in its line of backward"
        else:
            advice = f"a factor of {analytic / numeric:.6g}: look at its line of backward"
        raise GradientError(
            f"gradcheck: input {i}, index {self.index(i, at)}: derivative of {of}: analytic "
            f"{analytic!s}, numeric {numeric!s}; {advice}"
        )


def _locate(badness: Callable[[Array], Any], v: Array) -> int:
    """The element of ``v`` with the largest ``badness``, found by bisection."""
    suspects = np.arange(v.size)
    while suspects.size > 1:
        halves = np.array_split(suspects, 2)
        suspects = max(halves, key=lambda half: np.nan_to_num(badness(_only(v, half)), nan=np.inf))
    return int(suspects[0])


def _only(v: Array, at: Any) -> Array:
    """``v`` with zeros everywhere but at ``at``."""
    part = np.zeros_like(v)
    part[at] = v[at]
    return part


def _random(rng: np.random.Generator, size: int) -> Array:
    """Numbers of random sign with sizes in [0.5, 1.5]: none is so small that it hides an error."""
    return rng.uniform(0.5, 1.5, size) * rng.choice([-1.0, 1.0], size)


def _flat(tensors: Sequence[Tensor]) -> Array:
    """The values of several tensors as one NumPy vector."""
    return np.concatenate([to_numpy(t.data).ravel() for t in tensors])
