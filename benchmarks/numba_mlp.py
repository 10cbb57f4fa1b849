"""The training step of MLPVAE as a user of NumPy and numba writes it.

Products are BLAS's, backward is written by hand, and consecutive elementwise operations are fused
into one compiled loop on one thread (a second thread pool would compete with that of BLAS).
"""

import math

import numpy as np
from numba import njit


@njit
def gather(images, index, x):
    for row in range(len(index)):
        for i in range(x.shape[1]):
            x[row, i] = images[index[row], i] * np.float32(1 / 255)


@njit
def relu(h):
    for i in range(h.size):
        h[i] = max(h[i], np.float32(0))


@njit
def relu_backward(h, dh):
    for i in range(h.size):
        if h[i] <= 0:
            dh[i] = 0


@njit
def sample(mu, logvar, eps, z):
    """z, and the KL summed over the batch."""
    kl = 0.0
    for i in range(mu.size):
        m, l = mu[i], logvar[i]
        z[i] = m + math.exp(np.float32(0.5) * l) * eps[i]
        kl += 0.5 * (m * m + math.expm1(l) - l)
    return kl


@njit
def sample_backward(mu, logvar, eps, dz, scale, dmu, dlogvar):
    for i in range(mu.size):
        std = math.exp(np.float32(0.5) * logvar[i])
        dmu[i] = dz[i] + scale * mu[i]
        dlogvar[i] = np.float32(0.5) * (dz[i] * std * eps[i] + scale * math.expm1(logvar[i]))


@njit
def bernoulli(logits, x, scale, dlogits):
    """-log p(x|z) summed over the batch, and its gradient times ``scale``."""
    total = 0.0
    for i in range(logits.size):
        l = logits[i]
        e = math.exp(-abs(l))
        total += max(l, np.float32(0)) - l * x[i] + math.log1p(e)
        sigmoid = (np.float32(1) if l >= 0 else e) / (np.float32(1) + e)
        dlogits[i] = scale * (sigmoid - x[i])
    return total


@njit
def adam(p, g, m, v, step_size, scale):
    for i in range(p.size):
        m[i] = np.float32(0.9) * m[i] + np.float32(0.1) * g[i]
        v[i] = np.float32(0.999) * v[i] + np.float32(0.001) * g[i] * g[i]
        p[i] -= step_size * m[i] / (math.sqrt(v[i]) * scale + np.float32(1e-8))


def flat(a):
    return a.reshape(-1)


def make_step(state_dict, images, batch, lr):
    """``step(index, eps) -> loss``; weights start at minivae's ``state_dict``."""
    names = list(state_dict)
    sizes = [state_dict[k].size for k in names]
    p = np.concatenate([state_dict[k].ravel() for k in names])
    g, m, v = (np.zeros_like(p) for _ in range(3))

    def views(flat):
        parts = np.split(flat, np.cumsum(sizes)[:-1])
        return {k: a.reshape(state_dict[k].shape) for k, a in zip(names, parts, strict=True)}

    W, G = views(p), views(g)
    images = images.reshape(len(images), -1)
    x = np.empty((batch, images.shape[1]), np.float32)
    h1, h3 = (np.empty((batch, len(W["fc1.bias"])), np.float32) for _ in range(2))
    z, dmu, dlogvar = (np.empty((batch, len(W["fc21.bias"])), np.float32) for _ in range(3))
    logits, dlogits = np.empty_like(x), np.empty_like(x)
    scale, t = np.float32(1 / batch), 0

    def forward(name, a, out=None):
        y = np.matmul(a, W[f"{name}.weight"].T, out=out)
        y += W[f"{name}.bias"]
        return y

    def backward(name, a, dy):
        np.matmul(dy.T, a, out=G[f"{name}.weight"])
        np.sum(dy, axis=0, out=G[f"{name}.bias"])

    def step(index, eps):
        nonlocal t
        gather(images, index, x)
        relu(flat(forward("fc1", x, h1)))
        mu, logvar = forward("fc21", h1), forward("fc22", h1)
        kl = sample(flat(mu), flat(logvar), flat(eps), flat(z))
        relu(flat(forward("fc3", z, h3)))
        forward("fc4", h3, logits)
        rec = bernoulli(flat(logits), flat(x), scale, flat(dlogits))
        backward("fc4", h3, dlogits)
        dh3 = dlogits @ W["fc4.weight"]
        relu_backward(flat(h3), flat(dh3))
        backward("fc3", z, dh3)
        dz = dh3 @ W["fc3.weight"]
        sample_backward(*map(flat, (mu, logvar, eps, dz)), scale, flat(dmu), flat(dlogvar))
        backward("fc21", h1, dmu)
        backward("fc22", h1, dlogvar)
        dh1 = dmu @ W["fc21.weight"]
        dh1 += dlogvar @ W["fc22.weight"]
        relu_backward(flat(h1), flat(dh1))
        backward("fc1", x, dh1)
        t += 1
        bias = np.float32(lr / (1 - 0.9**t)), np.float32(1 / math.sqrt(1 - 0.999**t))
        adam(p, g, m, v, *bias)
        return (rec + kl) / batch

    return step
