"""ELBO(q) + KL(q(z) || p(z|x)) = log p(x) for every q, on models where all three are known.

The evidence log p(x) does not depend on q: raising the bound lowers the KL from the true posterior.

1. Linear Gaussian: z ~ N(0, I) in two dimensions, x|z ~ N(W z + b, s^2 I) in three; closed forms. q
   has independent coordinates, as in a VAE; the posterior has correlated ones, so a gap remains.
2. Mixture: z from a mixture of two Gaussians, x|z ~ N(z, 1); quadrature over z. The posterior has
   two peaks and a Gaussian q covers only one of them, so the ELBO has two maxima.
"""

import numpy as np
from _study import options, panels, run_example, save

import minivae as mv
from minivae import functional as F

LOG_2PI = np.log(2 * np.pi)
W, B, S2 = np.array([[1.0, 0.8], [-0.5, 0.2], [0.9, 0.7]]), np.array([0.1, 0.0, -0.2]), 0.5
X = np.array([1.2, 0.4, 0.3])
PI, M, V = np.array([0.6, 0.4]), np.array([-1.5, 2.0]), np.array([0.4, 0.25])  # the mixture
X1, S1 = 0.3, 1.0


def kl_normal(m0, S0, m1, S1):
    """KL(N(m0, S0) || N(m1, S1)) = 1/2 [tr(S1^-1 S0) + d^T S1^-1 d - D + ln |S1|/|S0|]."""
    d, logdet = m1 - m0, np.linalg.slogdet(S1)[1] - np.linalg.slogdet(S0)[1]
    return 0.5 * (np.trace(np.linalg.solve(S1, S0)) + d @ np.linalg.solve(S1, d) - len(d) + logdet)


def elbo(mu, logvar):
    """E_q[ln p(x|z)] - KL(q || N(0, I)), tensors of shape (1, 2): the expectation is closed form,
    because under q the squared error grows by the variance that passes through W.
    """
    error = F.sum((X - B - F.linear(mu, W)) ** 2) + F.sum(F.exp(logvar) * (W**2).sum(axis=0))
    _, kl = F.reparameterize_kl(mu, logvar, np.zeros((1, 2)))  # the KL needs no sample
    return -0.5 * (len(X) * (LOG_2PI + np.log(S2)) + error / S2) - F.sum(kl)


def linear_gaussian(steps):
    """Maximise the ELBO: rows (ELBO, KL from the posterior), ln p(x), least KL of such a q."""
    total, d = W @ W.T + S2 * np.eye(3), X - B  # p(x) = N(b, total)
    logdet = np.linalg.slogdet(total)[1]
    evidence = -0.5 * (len(X) * LOG_2PI + logdet + d @ np.linalg.solve(total, d))
    cov = np.linalg.inv(np.eye(2) + W.T @ W / S2)  # p(z|x) = N(mean, cov)
    mean = cov @ W.T @ d / S2
    mu = mv.Tensor([[-1.0, 1.5]], requires_grad=True)
    logvar = mv.Tensor([[0.5, -3.0]], requires_grad=True)
    adam, rows = mv.optim.Adam([mu, logvar], lr=0.05), []
    for _ in range(steps):
        bound = elbo(mu, logvar)
        gap = kl_normal(mu.data[0], np.diag(np.exp(logvar.data[0])), mean, cov)
        rows.append((bound.item(), gap))
        adam.zero_grad()
        (-bound).backward()
        adam.step()
    best = 0.5 * (np.log(np.diag(np.linalg.inv(cov))).sum() + np.linalg.slogdet(cov)[1])
    return np.array(rows), evidence, best  # best: KL of the best independent q, 1/2 ln |diag P|/|P|


def normal(x, mean, var):
    """N(x; mean, var), elementwise."""
    return np.exp(-0.5 * (x - mean) ** 2 / var) / np.sqrt(2 * np.pi * var)


def mixture(mus, var, points):
    """ELBO and KL from the posterior for q = N(mu, var), each an integral over z; ln p(x)."""
    z, dz = np.linspace(-12, 12, points, retstep=True)  # integrands are 0 at the ends: equal
    prior = (PI * normal(z[:, None], M, V)).sum(axis=1)  # weights are exact to rounding
    evidence = (PI * normal(X1, M, V + S1)).sum()
    share, cov = PI * normal(X1, M, V + S1) / evidence, 1 / (1 / V + 1 / S1)
    # The posterior is a mixture too: of the posteriors of the components.
    posterior = (share * normal(z[:, None], cov * (M / V + X1 / S1), cov)).sum(axis=1)
    log_joint, log_posterior = np.log(prior * normal(X1, z, S1)), np.log(posterior)
    log_q = -0.5 * (LOG_2PI + np.log(var) + (z - mus[:, None]) ** 2 / var)  # (mus, points)
    q = np.exp(log_q) * dz
    rows = [(q * (log_joint - log_q)).sum(axis=1), (q * (log_q - log_posterior)).sum(axis=1)]
    return np.transpose(rows), np.log(evidence), (z, posterior)


def main(argv=None):
    """Print and draw both models; numbers.json has the largest violation of the identity."""
    args = options(__doc__, "elbo_identity", argv)
    climb, evidence, best = linear_gaussian(150 if args.short else 600)
    print(f"1. Linear Gaussian, log p(x) = {evidence:.10f} nats")
    print(f"\n{'step':>6}{'ELBO':>16}{'KL(q||p(z|x))':>18}{'sum':>16}")
    for step in np.unique(np.geomspace(1, len(climb), 8).astype(int)) - 1:
        print("{:>6}{:>16.10f}{:>18.10f}{:>16.10f}".format(step, *climb[step], climb[step].sum()))
    print(f"\nThe gap ends at {climb[-1, 1]:.6f}; the best independent q has {best:.6f}.")
    mus, var = np.linspace(-3, 3.5, 131), 0.25
    moved, evidence1, truth = mixture(mus, var, 4001)
    peaks = mus[1:-1][(moved[1:-1, 0] > moved[:-2, 0]) & (moved[1:-1, 0] > moved[2:, 0])]
    print(f"\n2. Mixture, log p(x) = {evidence1:.10f}: q = N(mu, {var}), mu moves over [-3, 3.5].")
    print(f"The ELBO has maxima at mu = {', '.join(f'{m:.2f}' for m in peaks)}.")
    violation = max(abs(climb.sum(1) - evidence).max(), abs(moved.sum(1) - evidence1).max())
    print(f"\nLargest |ELBO + KL - log p(x)| over all q of both: {violation:.1e}")
    numbers = {"violation": violation, "final_gap": climb[-1, 1], "best_gap": best}
    numbers |= {"smallest_kl": min(climb[:, 1].min(), moved[:, 1].min()), "maxima": list(peaks)}
    figure, (left, middle, right) = panels(1, 3, width=4.6, height=3.6)
    draw_gap(left, "step", np.arange(150), climb[:150], evidence)
    draw_gap(middle, "mean of q", mus, moved, evidence1)
    right.plot(*truth, "k", label="p(z|x)")
    for mu in peaks:
        right.plot(truth[0], normal(truth[0], mu, var), label=f"q, mean {mu:.2f}")
    right.set(title="one Gaussian covers one peak", xlabel="z", xlim=(-4, 4))
    right.legend(fontsize="small")
    save(args, numbers, gap=figure)


def draw_gap(axes, name, x, rows, evidence):
    """The ELBO below the evidence, and the KL that fills the gap."""
    axes.axhline(evidence, color="k", label="log p(x)")
    axes.plot(x, rows[:, 0], label="ELBO(q)")
    axes.fill_between(x, rows[:, 0], evidence, alpha=0.25, label="KL(q || p(z|x))")
    axes.set(xlabel=name, ylabel="nats", ylim=(evidence - 7, evidence + 0.5))
    axes.legend(loc="lower center", fontsize="small")


if __name__ == "__main__":
    run_example(main)
