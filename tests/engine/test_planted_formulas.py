"""Planted errors that gradcheck cannot see: wrong formulas for the KL divergence and for Adam."""

import functools

import numpy as np
import pytest

import minivae as mv
import oracles
from minivae import functional as F
from minivae import kernels, nn, optim

# ---- the closed form of the KL


def agrees_with_monte_carlo(kl_of):
    """Whether kl_of(mu, logvar) lies within 5 standard errors of a direct estimate."""
    rng = np.random.default_rng(0)
    for trial in range(4):
        mu, logvar = rng.normal(size=3), rng.uniform(-2, 1, 3)
        estimate, error = oracles.kl_by_monte_carlo(mu, logvar, samples=200_000, seed=trial)
        if not abs(kl_of(mu, logvar) - estimate) <= 5 * error:
            return False
    return True


def test_kl_agrees_with_monte_carlo():
    """The operation's closed form agrees with an estimate from samples and the two densities."""

    def kl_of(mu, logvar):
        noise = np.zeros((1, len(mu)))
        return F.reparameterize_kl(mv.Tensor(mu[None]), mv.Tensor(logvar[None]), noise)[1].item()

    assert agrees_with_monte_carlo(kl_of)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda m, v: np.sum(m * m + np.expm1(v) - v),  # 1/2 lost
        lambda m, v: np.sum(m * m + np.exp(v) - v) / 2,  # 1 lost
        lambda m, v: np.sum(m * m + np.expm1(v) + v) / 2,  # sign
        lambda m, v: np.sum(m * m + np.expm1(v / 2) - v) / 2,  # sigma for sigma^2
        lambda m, v: np.sum(m * m + np.expm1(2 * v) - 2 * v) / 2,  # logvar taken for log sigma
        lambda m, v: np.sum(m * m * np.exp(-v) + np.expm1(-v) + v) / 2,  # KL(p || q)
        lambda m, v: np.mean(m * m + np.expm1(v) - v) / 2,  # mean for sum
        lambda m, v: np.nan,
    ],
)
def test_wrong_kl_disagrees_with_monte_carlo(wrong):
    """The estimate is precise enough to reject each usual mistake in the closed form."""
    assert not agrees_with_monte_carlo(wrong)


# ---- Adam

ADAM = {"lr": 0.05, "betas": (0.8, 0.9), "eps": 0.03, "weight_decay": 0.1}


def follows_the_oracle(**changes):
    """Whether ten steps of optim.Adam from random gradients end where the oracle says."""
    rng = np.random.default_rng(0)
    start, grads = rng.normal(size=(2, 3)), rng.normal(size=(10, 2, 3))
    param = nn.Parameter(start.copy())
    settings = {**ADAM, **changes}
    opt = optim.Adam([param], **settings)
    for grad in grads:
        param.grad = grad.copy()
        opt.step()
    expected = [
        oracles.adam(start[at], [g[at] for g in grads], **settings)
        for at in np.ndindex(*start.shape)
    ]
    return np.allclose(param.data.ravel(), expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("variant", kernels.available())
@pytest.mark.parametrize("changes", [{}, {"eps": 1e-8}, {"weight_decay": 0}, {"lr": 1e-3}])
def test_adam_follows_the_oracle(variant, changes):
    """Ten steps of every variant end at the oracle's values."""
    with kernels.use(variant):
        assert follows_the_oracle(**changes)


def wrong_adam(params, grads, ms, vs, step, lr, beta1, beta2, eps, weight_decay, mistake):
    """Adam of one parameter with one mistake, in place."""
    (p,), (g,), (m,), (v,) = params, grads, ms, vs
    if mistake == "decay decoupled":
        p -= lr * weight_decay * p
    elif mistake != "decay forgotten":
        g = g + weight_decay * p
    m[:] = beta1 * m + (1 - beta1) * g
    v[:] = beta2 * v + (1 - beta2) * (abs(g) if mistake == "first power" else g * g)
    t = step - 1 if mistake == "steps counted from 0" else step
    m_hat = m if mistake == "no bias correction" else m / (1 - beta1 ** max(t, 0.5))
    v_hat = v if mistake == "no bias correction" else v / (1 - beta2 ** max(t, 0.5))
    if mistake == "eps inside the root":
        p -= lr * m_hat / np.sqrt(v_hat + eps)
    elif mistake == "eps before correction":
        p -= lr * m_hat * np.sqrt(1 - beta2**step) / (np.sqrt(v) + eps)
    elif mistake == "sign":
        p += lr * m_hat / (np.sqrt(v_hat) + eps)
    else:
        p -= lr * m_hat / (np.sqrt(v_hat) + eps)


MISTAKES = (
    "eps inside the root",
    "eps before correction",
    "no bias correction",
    "steps counted from 0",
    "decay decoupled",
    "decay forgotten",
    "first power",
    "sign",
)


@pytest.mark.parametrize("mistake", [None, *MISTAKES])
def test_wrong_adam_is_caught(mistake, monkeypatch):
    """Each usual mistake departs from the oracle; the same kernel without one agrees with it."""
    planted = functools.partial(wrong_adam, mistake=mistake)
    monkeypatch.setattr(kernels, "get", lambda *_: planted)
    assert follows_the_oracle() == (mistake is None)
