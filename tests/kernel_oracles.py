"""Test oracles for the fused kernels: loops over Python floats.

Nothing of minivae is imported. They take arrays of any float dtype and work in double.
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
