"""KL(N(mu, sigma^2) || N(0, 1)) computed in three ways, and the effect of common wrong formulas.

    KL = E_q[ln q(z) - ln p(z)] = 1/2 (mu^2 + sigma^2 - 1 - ln sigma^2)
       = 1/2 (mu^2 + expm1(logvar) - logvar),  logvar = ln sigma^2

It is 0 at mu = 0, sigma = 1 and positive everywhere else. (Some texts put its minimum at sigma = 0,
mu = 1; the last of the POINTS below is close to that, and the KL grows without bound towards it.)
Each wrong formula below still decreases during training, and its gradient is correct for the
formula, so that only the values show the mistake.
"""

import numpy as np
from _study import options, panels, run_example, save

import minivae as mv
from minivae import functional as F

FORMULAS = {  # functions of mu and of the sigma in z = mu + sigma eps
    "1/2 (mu^2 + s^2 - 1 - ln s^2), right": lambda m, s: 0.5 * (m**2 + s**2 - 1 - np.log(s**2)),
    "1/2 (mu^2 + s^2 - 1 - ln s)": lambda m, s: 0.5 * (m**2 + s**2 - 1 - np.log(s)),
    "1/2 (mu^2 + s^2 - 1) - ln s^2": lambda m, s: 0.5 * (m**2 + s**2 - 1) - np.log(s**2),
    "1/2 (mu^2 + s - 1 - ln s^2)": lambda m, s: 0.5 * (m**2 + s - 1 - np.log(s**2)),
    "mu^2 + s^2 - 1/2 - ln s": lambda m, s: s**2 + m**2 - np.log(s) - 0.5,
    "1/2 (mu^2 + s - 1 - ln s)": lambda m, s: 0.5 * (m**2 + s - 1 - np.log(s)),
    "1/2 (mu^2 + s^2 - 1 + ln s^2)": lambda m, s: 0.5 * (m**2 + s**2 - 1 + np.log(s**2)),
    "-1/2 (mu^2 + s^2 - 1 - ln s^2)": lambda m, s: -0.5 * (m**2 + s**2 - 1 - np.log(s**2)),
}
POINTS = [(0.0, 1.0), (0.7, 0.4), (-1.5, 1.0), (2.0, 0.1), (0.0, 3.0), (1.0, 1e-3)]


def engine(mu, sigma):
    """The library's KL of one latent."""
    _, kl = F.reparameterize_kl(np.array([mu]), np.array([2 * np.log(sigma)]), np.zeros(1))
    return kl.item()


def quadrature(mu, sigma, points=2001):
    """The integral of q (ln q - ln p) over mu +- 12 sigma by the trapezoid rule."""
    e = np.linspace(-12, 12, points)
    q = np.exp(-0.5 * e**2) / np.sqrt(2 * np.pi)  # in units of sigma
    log_ratio = 0.5 * (mu + sigma * e) ** 2 - 0.5 * e**2 - np.log(sigma)
    return (q * log_ratio).sum() * (e[1] - e[0])


def monte_carlo(mu, sigma, noise, draws):
    """Mean of ln q(z) - ln p(z) over draws of q, and its standard error."""
    e = noise.normal((draws,), np.float64)
    log_ratio = 0.5 * (mu + sigma * e) ** 2 - 0.5 * e**2 - np.log(sigma)
    return log_ratio.mean(), log_ratio.std() / np.sqrt(draws)


def least(objective):
    """The sigma in [1e-3, 1e3] with the smallest value, and the value; an end means no minimum."""
    s = np.geomspace(1e-3, 1e3, 600_001)
    at = objective(s).argmin()
    return s[at], objective(s)[at]


def main(argv=None):
    """Print both tables and draw the formulas."""
    args = options(__doc__, "gaussian_kl", argv)
    stream = mv.NoiseStream(args.seed)
    draws = 20_000 if args.short else 1_000_000
    print(f"{'mu':>6}{'sigma':>8}{'closed form':>16}{'quadrature':>16}{'Monte Carlo':>22}{'z':>7}")
    rows = []
    for mu, sigma in POINTS:
        closed, integral = engine(mu, sigma), quadrature(mu, sigma)
        mean, error = monte_carlo(mu, sigma, stream.draw(), draws)
        z = (mean - closed) / error if error > 0 else 0.0
        rows.append({"mu": mu, "sigma": sigma, "closed": closed, "quadrature": integral, "z": z})
        print(f"{mu:>6}{sigma:>8}{closed:>16.10f}{integral:>16.10f}", end="")
        print(f"{mean:>14.5f} ± {error:.5f}{z:>7.1f}")
    print(f"z: distance of the mean of {draws:,} draws from the closed form, in standard errors\n")

    # What a wrong KL does to inference: z ~ N(0, 1), x|z ~ N(2 z, 1). The posterior's variance is
    # 1 / (1 + 4), and -E_q ln p(x|z) contributes 2 sigma^2 to the loss.
    print(f"{'':<39}{'least at':>9}{'value':>9}{'pull on mu':>12}{'posterior sigma':>17}")
    table = {}
    for name, kl in FORMULAS.items():
        s, value = least(lambda s, kl=kl: kl(0.0, s))
        posterior, _ = least(lambda s, kl=kl: 2 * s**2 + kl(0.0, s))
        pull = kl(1.0, 1.0) - kl(0.0, 1.0)
        table[name] = {"sigma": s, "least": value, "pull": 2 * pull, "posterior": posterior}
        value = value if bounded(s)[0] != "t" else -np.inf
        print(f"{name:<39}{bounded(s):>9}{value:>9.3f}{2 * pull:>12.0f}{bounded(posterior):>17}")
    print(f"{'true value':<39}{'1.000':>9}{0:>9.3f}{1:>12}{(1 / 5) ** 0.5:>17.3f}")

    logvar = 1e-3 * stream.draw().normal((100_000,), np.float32)
    naive, stable = np.exp(logvar) - np.float32(1) - logvar, np.expm1(logvar) - logvar
    exact = np.expm1(logvar.astype(np.float64)) - logvar
    digits = {}
    print("\nThe same formula near 0 in single precision, log variances of scale 1e-3:")
    for name, found in (("exp(l) - 1 - l", naive), ("expm1(l) - l", stable)):
        digits[name] = [np.median(abs(found / exact - 1)), (found < 0).mean()]
        print("  {:<15} median error {:.4%}, negative {:.1%}".format(name, *digits[name]))
    save(args, {"three_ways": rows, "formulas": table, "float32": digits}, formulas=draw())


def bounded(s):
    """The sigma of ``least`` as text; "to 0" or "to inf" at an end of its range."""
    return "to 0" if s < 2e-3 else "to inf" if s > 500 else f"{s:.3f}"


def draw():
    """Each formula against sigma at mu = 0; a negative "KL" is in the shaded part."""
    figure, axes = panels(1, 1, width=8, height=4)
    s = np.geomspace(0.05, 6, 400)
    for style, (name, kl) in zip(("k-", *["-"] * 7), FORMULAS.items(), strict=True):
        axes.semilogx(s, kl(0.0, s), style, label=name)
    axes.axhspan(-2, 0, color="0.9")
    axes.set(ylim=(-2, 4), xlabel="sigma", ylabel="nats", title="at mu = 0: a KL is 0 at sigma 1")
    axes.legend(fontsize="small", loc="upper left", bbox_to_anchor=(1, 1))
    return figure


if __name__ == "__main__":
    run_example(main)
