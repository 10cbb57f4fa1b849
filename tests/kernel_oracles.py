"""Test oracles for the fused kernels: loops over Python floats, and plain array code.

Nothing of minivae is imported. The loops take arrays of any float dtype and work in double. The
``plain_`` functions work in the dtype of their arrays: their error is what rounding alone causes,
and kernels are allowed a small multiple of it.
"""

import math

import numpy as np


def reparam_kl_forward(mu, logvar, eps):
    rows, columns = mu.shape
    z, kl = np.empty((rows, columns)), np.empty(rows)
    for n in range(rows):
        terms = []
        for d in range(columns):
            m, v = float(mu[n, d]), float(logvar[n, d])
            z[n, d] = m + math.exp(v / 2) * float(eps[n, d])
            terms += [m * m / 2, math.expm1(v) / 2, -v / 2]
        kl[n] = math.fsum(terms)
    return z, kl


def reparam_kl_backward(mu, logvar, eps, dz, dkl):
    rows, columns = mu.shape
    dmu, dlogvar = np.empty((rows, columns)), np.empty((rows, columns))
    for n in range(rows):
        for d in range(columns):
            v, g, k = float(logvar[n, d]), float(dz[n, d]), float(dkl[n])
            dmu[n, d] = g + k * float(mu[n, d])
            dlogvar[n, d] = 0.5 * g * float(eps[n, d]) * math.exp(v / 2) + 0.5 * k * math.expm1(v)
    return dmu, dlogvar


def bce_with_logits(logits, target):
    """(loss, dlogits), from ln p = ln sigmoid(l) = -ln(1 + e^-l) and ln(1 - p) = ln sigmoid(-l)."""
    rows, columns = logits.shape
    loss, dlogits = np.empty(rows), np.empty((rows, columns))
    for n in range(rows):
        terms = []
        for m in range(columns):
            x, t = float(logits[n, m]), float(target[n, m])
            small = math.log1p(math.exp(-abs(x)))
            log_p, log_q = min(x, 0) - small, min(-x, 0) - small
            terms += [-t * log_p, -(1 - t) * log_q]
            dlogits[n, m] = math.exp(log_p) - t
        loss[n] = math.fsum(terms)
    return loss, dlogits


def log_mean_exp(x):
    """(y, softmax), with the row's first element subtracted before exp against overflow."""
    y, softmax = np.empty(len(x)), np.empty(x.shape)
    for n, row in enumerate(x.astype(float)):
        e = [math.exp(v - row[0]) for v in row]
        y[n] = row[0] + math.log(math.fsum(e) / len(e))
        softmax[n] = np.array(e) / math.fsum(e)
    return y, softmax


def squared_error_with_logits(logits, target):
    """(loss, dlogits) in long double: s = (1 + tanh(l/2))/2, ds/dl = 1/(4 cosh(l/2)^2)."""
    s = (1 + np.tanh(logits.astype(np.longdouble) / 2)) / 2
    slope = 1 / (4 * np.cosh(logits.astype(np.longdouble) / 2) ** 2)
    error = s - target.astype(np.longdouble)
    return (error**2).sum(axis=1).astype(float), (2 * error * slope).astype(float)


def adam(param, grad, m, v, step, lr, beta1, beta2, eps, weight_decay):
    """(param, m, v) after one step of Adam (Kingma & Ba 2015, algorithm 1), element by element."""
    new = np.empty((3, param.size))
    for i in range(param.size):
        g = float(grad[i]) + weight_decay * float(param[i])
        first = beta1 * float(m[i]) + (1 - beta1) * g
        second = beta2 * float(v[i]) + (1 - beta2) * g**2
        first_hat, second_hat = first / (1 - beta1**step), second / (1 - beta2**step)
        new[:, i] = (
            float(param[i]) - lr * first_hat / (math.sqrt(second_hat) + eps),
            first,
            second,
        )
    return tuple(new)


def plain_reparam_kl_forward(mu, logvar, eps):
    return mu + np.exp(logvar / 2) * eps, 0.5 * (mu**2 + np.expm1(logvar) - logvar).sum(axis=1)


def plain_reparam_kl_backward(mu, logvar, eps, dz, dkl):
    k = dkl[:, None]
    return dz + k * mu, 0.5 * dz * eps * np.exp(logvar / 2) + 0.5 * k * np.expm1(logvar)


def plain_bce_with_logits(logits, target):
    loss = np.logaddexp(np.zeros_like(logits), logits) - logits * target
    return loss.sum(axis=1), 1 / (1 + np.exp(-logits)) - target


def plain_log_mean_exp(x):
    e = np.exp(x - x.max(axis=1, keepdims=True))
    total = e.sum(axis=1, keepdims=True)
    y = x.max(axis=1) + np.log(total[:, 0] / x.dtype.type(x.shape[1]))
    return y, e / total


def plain_squared_error_with_logits(logits, target):
    s = 1 / (1 + np.exp(-logits))
    return ((s - target) ** 2).sum(axis=1), 2 * (s - target) * s * (1 - s)
