"""Errors of finite differences by step size, and the mistakes that a gradient check catches.

A central difference [f(x + h) - f(x - h)] / 2h is wrong by h^2 f'''/6 (truncation) and by about
u |f| / h (rounding, u = 2^-53 in double precision). A large step suffers from the first, a small
one from the second; the best step is near the cube root of u, and no step is good in single
precision. Where f is linear there is no truncation, and a step of 1 is exact to rounding.

Then ``mv.gradcheck`` checks operations with a wrong backward; its error messages are printed.
"""

import functools

import numpy as np
from _study import options, panels, run_example, save

import minivae as mv
from minivae import functional as F
from minivae.tensor import Function

SCHEMES = {  # name: (difference quotient, order of its truncation error)
    "forward": (lambda f, x, h: (f(x + h) - f(x)) / h, 1),
    "central": (lambda f, x, h: (f(x + h) - f(x - h)) / (2 * h), 2),
}


def errors(scheme, dtype, f, slope, x, steps):
    """Median relative error over points x for each step, everything computed in ``dtype``."""
    x, slope = x.astype(dtype), slope(x)
    with np.errstate(invalid="ignore", divide="ignore"):
        found = [scheme(f, x, dtype(h)).astype(np.float64) for h in steps]
    return np.array([np.median(abs(d / slope - 1)) for d in found])


class Product(Function):
    """y = x^2 w;  dx = 2 dy x w;  dw = dy x^2; ``mistake`` changes dx."""

    def forward(self, x, w, mistake):
        self.save(x, w)
        self.mistake = mistake
        return x**2 * w

    def backward(self, dy):
        x, w = self.saved
        return self.mistake(2 * dy * x * w, dy), dy * x**2


MISTAKES = {
    "no mistake": lambda dx, dy: dx,
    "a factor of 1.001": lambda dx, dy: 1.001 * dx,
    "x dx + x dx, one of them forgotten": lambda dx, dy: dx / 2,
    "the neighbour's gradient": lambda dx, dy: np.roll(dx, 1),
    "NaN at one place": lambda dx, dy: np.where(dx == dx[0, 1], np.nan, dx),
    "no gradient at all": lambda dx, dy: np.zeros_like(dx),
    "right if dy is all ones": lambda dx, dy: dx / dy * dy.mean(),
}


def main(argv=None):
    """Draw the error against the step; print the result of the check for each planted mistake."""
    args = options(__doc__, "gradcheck_tour", argv)
    rng = np.random.default_rng(args.seed)
    x = rng.uniform(0.5, 1.5, 50 if args.short else 2000)
    steps, numbers = np.geomspace(1e-15, 1, 91), {"best": {}}
    figure, axes = panels(1, 2, width=5.5, height=3.8, sharey=True)
    print("f = exp: the step with the smallest error, and that error")
    print(f"{'':>18}{'best h':>10}{'expected':>10}{'error':>10}{'slope at large h':>18}")
    for dtype, ax in zip((np.float64, np.float32), axes, strict=True):
        for name, (scheme, order) in SCHEMES.items():
            error = errors(scheme, dtype, np.exp, np.exp, x, steps)
            best, large = np.nanargmin(error), (steps > 0.03) & (steps < 0.3)
            slope = np.polyfit(np.log(steps[large]), np.log(error[large]), 1)[0]
            expected = (np.finfo(dtype).eps / 2) ** (1 / (order + 1))
            key = f"{name} {np.dtype(dtype).name}"
            print(
                f"{key:>18}{steps[best]:>10.0e}{expected:>10.0e}{error[best]:>10.0e}{slope:>18.2f}"
            )
            numbers["best"][key] = [steps[best], error[best], slope]
            ax.loglog(steps, error, label=name)
        linear = errors(
            SCHEMES["central"][0], dtype, lambda x: 3 * x, lambda x: 3 + 0 * x, x, steps
        )
        numbers[f"linear at 1, {np.dtype(dtype).name}"] = linear[-1]
        ax.loglog(steps, np.maximum(linear, 1e-17), ":", label="central, f = 3x")
        ax.set(
            title=np.dtype(dtype).name, xlabel="step h", ylabel="relative error", ylim=(1e-17, 10)
        )
        ax.legend()

    print("\nmv.gradcheck on y = x^2 w with dx spoiled by")
    x, w = rng.normal(size=(2, 3)), rng.normal(size=(2, 3))
    numbers["caught"] = {}
    for name, mistake in MISTAKES.items():
        op = functools.partial(Product.apply, mistake=mistake)
        numbers["caught"][name] = verdict(op, [x, w])
        print(f"\n- {name}: {numbers['caught'][name] or 'passes'}")
    ones = verdict(lambda x, w: F.sum(op(x, w)), [x, w])
    kink = verdict(F.relu, [np.array([0.3, 0.0])])
    print(f"\n- the same op inside sum(), whose dy is all ones: {ones or 'passes, wrongly'}")
    print(f"\n- relu at 0, which has no derivative there: {kink}")
    numbers |= {"ones only, through sum": ones, "kink": kink}
    save(args, numbers, error_against_step=figure)


def verdict(fn, inputs):
    """None when the gradients of ``fn`` pass, else the error message."""
    try:
        mv.gradcheck(fn, [a.copy() for a in inputs])
    except mv.GradientError as error:
        return str(error).removeprefix("gradcheck: ")


if __name__ == "__main__":
    run_example(main)
