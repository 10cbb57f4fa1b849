"""A mixture of Gaussians, p(z) = sum_k pi_k N(z; m_k, S_k) with full covariances, fitted by EM."""

import numpy as np


def log_densities(z, weights, means, covs):
    """ln [pi_k N(z; m_k, S_k)], (N, K)."""
    columns = []
    for weight, mean, cov in zip(weights, means, covs, strict=True):
        lower = np.linalg.cholesky(cov)
        d = np.linalg.solve(lower, (z - mean).T)
        logdet = 2 * np.log(np.diag(lower)).sum()
        log_normal = -0.5 * ((d**2).sum(axis=0) + logdet + z.shape[1] * np.log(2 * np.pi))
        columns.append(np.log(weight) + log_normal)
    return np.stack(columns, axis=1)


def fit(z, count, steps, rng):
    """Fit by EM (Dempster, Laird & Rubin 1977).

    Returns:
        (weights, means, covariances), and the mean ln p(z) before each step.
    """
    means = z[rng.choice(len(z), count, replace=False)]
    weights, covs, climb = np.full(count, 1 / count), np.stack([np.cov(z.T)] * count), []
    for _ in range(steps):
        joint = log_densities(z, weights, means, covs)
        evidence = np.logaddexp.reduce(joint, axis=1)
        climb.append(evidence.mean())
        r = np.exp(joint - evidence[:, None])  # E: each component's responsibility for each code
        weights, means = r.mean(axis=0), (r.T @ z) / r.sum(axis=0)[:, None]  # M: weighted moments
        covs = [(r[:, k] * d.T) @ d / r[:, k].sum() for k, d in enumerate(z - means[:, None])]
        covs = np.stack(covs) + 1e-6 * np.eye(z.shape[1])
    return (weights, means, covs), climb


def draw(mixture, count, rng):
    """``count`` samples of the mixture, (count, D)."""
    weights, means, covs = mixture
    k = rng.choice(len(weights), count, p=weights)
    eps = rng.normal(size=(count, means.shape[1]))
    return means[k] + np.einsum("nij,nj->ni", np.linalg.cholesky(covs)[k], eps)
