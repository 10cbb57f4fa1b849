"""Seven checks of a VAE's loss function that need no training.

Each takes a ``Loss`` of ``_wrong_losses.py`` and returns None, or a text that says what is wrong.
"""

import numpy as np
from _wrong_losses import Loss

import minivae as mv
from minivae import functional as F
from minivae.noise import Noise

MU, LOGVAR, NOISE = np.array([[0.5, -1.0, 0.0]]), np.array([[-2.0, 0.5, 0.3]]), Noise(0, 0)


def gradcheck(loss):
    """The gradients of sample, KL and reconstruction loss agree with finite differences."""
    logits, x = np.array([[0.3, -2.0]]), np.array([[1.0, 0.0]])
    try:
        mv.gradcheck(lambda mu, logvar: loss.sample(mu, logvar, NOISE), [MU, LOGVAR])
        mv.gradcheck(loss.kl, [MU, LOGVAR])
        mv.gradcheck(lambda logits: loss.rec(logits, x), [logits])
    except mv.GradientError as error:
        return str(error).removeprefix("gradcheck: ").partition(";")[0]  # without hints


def repeated(loss):
    """Two backward passes with the same noise give the same gradient, bit for bit."""
    grads = []
    for _ in range(2):
        logvar = mv.Tensor(LOGVAR, requires_grad=True)
        F.sum(loss.sample(MU, logvar, NOISE)).backward()
        grads.append(logvar.grad)
    if (grads[0] != grads[1]).any():
        return f"the gradient of logvar was {grads[0][0, 0]:.4f}, then {grads[1][0, 0]:.4f}"


def monte_carlo(loss, draws=20_000):
    """The KL term is the mean of ln q(z) - ln p(z) over the loss's own samples."""
    mu, logvar = np.repeat(MU, draws, axis=0), np.repeat(LOGVAR, draws, axis=0)
    z, charged = loss.sample(mu, logvar, NOISE).data, charge(loss, mu, logvar)
    log_ratio = 0.5 * (z**2 - (z - mu) ** 2 / np.exp(logvar) - logvar).sum(axis=1)
    mean, error = log_ratio.mean(), log_ratio.std() / draws**0.5
    if abs(charged - mean) > 5 * error:
        return f"KL term {charged:.3f} nats, mean over samples {mean:.3f} ± {error:.3f}"


def minimum(loss):
    """The KL term is 0 at mu 0, sigma 1 and larger elsewhere."""
    points = [(mu, sigma) for mu in (-1.0, 0.0, 1.0) for sigma in np.geomspace(0.1, 10, 41)]
    charged = [
        charge(loss, np.full((1, 2), mu), np.full((1, 2), 2 * np.log(s))) for mu, s in points
    ]
    mu, sigma = points[np.argmin(charged)]
    if mu != 0 or abs(sigma - 1) > 1e-12 or abs(min(charged)) > 1e-12:
        edge = ", the edge of the search" if sigma in (points[0][1], points[-1][1]) else ""
        return f"KL term least at mu {mu:.0f}, sigma {sigma:.2f}{edge}: {min(charged):.3f} nats"


def bound(loss, draws=20_000):
    """ELBO <= log p(x), on a model with two latents where p(x) is computed on a grid of z."""
    rng = np.random.default_rng(0)
    W, x = rng.normal(size=(2, 8)), (rng.uniform(size=8) < 0.5).astype(float)
    axis, step = np.linspace(-7, 7, 281, retstep=True)
    z = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    log_joint = (z @ W * x - np.logaddexp(0, z @ W)).sum(axis=1) - (z**2).sum(axis=1) / 2
    joint = np.exp(log_joint) / (2 * np.pi) * step**2  # p(x, z) dz, p(x|z) Bernoulli of logits W z
    evidence = joint.sum()
    mean = joint @ z / evidence  # q has the posterior's mean and variances: a small gap
    var = joint @ (z - mean) ** 2 / evidence
    mu, logvar, x = (np.repeat(a[None], draws, axis=0) for a in (mean, np.log(var), x))
    elbo = -loss(mu, logvar, lambda z: z @ W, x, NOISE).loss.item()
    if elbo > np.log(evidence) + 0.02:  # more than the sampling error
        return f"ELBO = {elbo:.3f} above log p(x) = {np.log(evidence):.3f}"


def certain(loss):
    """The reconstruction loss is 0 where large logits predict the pixels correctly."""
    x = np.array([[0.0, 1.0, 0.0, 1.0]])
    cost = F.sum(loss.rec(mv.Tensor(100 * (2 * x - 1)), x)).item()
    if abs(cost) > 1e-12:
        return f"4 correct pixels with logits of ±100 cost {cost:.3f} nats"


def beta(loss):
    """The weight of the KL relative to rec is the given beta, with 20 latents and 784 pixels."""
    rng = np.random.default_rng(0)
    mu, logvar, logits = (rng.normal(size=(64, n)) for n in (20, 20, 784))
    x = (rng.uniform(size=logits.shape) < 0.5).astype(float)
    right, args = Loss(), (mu, logvar, lambda z: logits, x, NOISE, 0.0)
    rec = loss(*args).loss.item() / right(*args).loss.item()
    found = charge(loss, mu, logvar) / charge(right, mu, logvar) / rec
    if abs(found - 1) > 0.05:
        return f"beta 1 acts as beta {found:.3g}"


def charge(loss, mu, logvar):
    """The KL term: the loss with beta 1 less the loss with beta 0. It should be the mean KL."""
    nothing = np.zeros((len(mu), 1))
    at = [loss(mu, logvar, lambda z: nothing, nothing, NOISE, beta).loss for beta in (0.0, 1.0)]
    return (at[1] - at[0]).item()


_ALL = (gradcheck, repeated, monte_carlo, minimum, bound, certain, beta)
CHECKS = {check.__name__: check for check in _ALL}
