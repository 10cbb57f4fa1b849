"""Test oracles for every operation: naive loops and closed forms, slow and obvious.

Imports numpy and math only, so that an oracle cannot share a mistake with the package.
"""

import math
from itertools import product

import numpy as np


def elementwise(f):
    """Turn a function of numbers into one of broadcast arrays, computed element by element."""
    return np.vectorize(f, otypes=[np.float64])


def _softplus(x):
    return x if x > 700 else math.log(1 + math.exp(x))


def _sigmoid(x):
    return 1 / (1 + math.exp(-x)) if x > -700 else 0.0


add = elementwise(lambda a, b: a + b)
sub = elementwise(lambda a, b: a - b)
mul = elementwise(lambda a, b: a * b)
div = elementwise(lambda a, b: a / b)
neg = elementwise(lambda x: -x)
exp = elementwise(math.exp)
expm1 = elementwise(math.expm1)
log = elementwise(math.log)
sqrt = elementwise(math.sqrt)
tanh = elementwise(math.tanh)
abs = elementwise(math.fabs)
relu = elementwise(lambda x: x if x > 0 else 0.0)
sigmoid = elementwise(_sigmoid)
softplus = elementwise(_softplus)


def pow(x, exponent):
    """x ** exponent."""
    return elementwise(math.pow)(x, exponent)


def leaky_relu(x, negative_slope=0.01):
    """x where x > 0, else negative_slope x."""
    return elementwise(lambda a: a if a > 0 else negative_slope * a)(x)


def matmul(a, b):
    """Matrix product, one ``fsum`` per output element; leading axes broadcast."""
    batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    a = np.broadcast_to(a, batch + a.shape[-2:])
    b = np.broadcast_to(b, batch + b.shape[-2:])
    y = np.zeros((*batch, a.shape[-2], b.shape[-1]))
    for at in np.ndindex(*y.shape):
        *n, i, j = at
        y[at] = math.fsum(a[(*n, i, k)] * b[(*n, k, j)] for k in range(a.shape[-1]))
    return y


def linear_heads(x, w1, b1, w2, b2):
    """(x W1^T + b1, x W2^T + b2): two linear layers of the same input."""
    return linear(x, w1, b1), linear(x, w2, b2)


def linear(x, w, b=None):
    """x W^T + b."""
    y = np.zeros((*x.shape[:-1], w.shape[0]))
    for at in np.ndindex(*y.shape):
        *n, o = at
        terms = [x[(*n, i)] * w[o, i] for i in range(w.shape[1])]
        y[at] = math.fsum([*terms, 0.0 if b is None else b[o]])
    return y


def _reduce(x, axis, keepdims, f):
    """Apply f to each list of elements that a reduction over ``axis`` combines into one."""
    axes = range(x.ndim) if axis is None else [axis] if isinstance(axis, int) else axis
    axes = {i % x.ndim for i in axes}
    kept = tuple(1 if i in axes else n for i, n in enumerate(x.shape))
    groups = {at: [] for at in np.ndindex(*kept)}
    for at in np.ndindex(*x.shape):
        groups[tuple(0 if i in axes else k for i, k in enumerate(at))].append(x[at])
    y = np.array([f(group) for group in groups.values()], np.float64).reshape(kept)
    return y if keepdims else y.reshape([n for i, n in enumerate(x.shape) if i not in axes])


def sum(x, axis=None, keepdims=False):
    """Sum over ``axis``: exact, rounded once."""
    return _reduce(x, axis, keepdims, math.fsum)


def mean(x, axis=None, keepdims=False):
    """Exact sum divided by the number of elements."""
    return _reduce(x, axis, keepdims, lambda group: math.fsum(group) / len(group))


def max(x, axis=None, keepdims=False):
    """Maximum: the last of the sorted elements."""
    return _reduce(x, axis, keepdims, lambda group: sorted(group)[-1])


def negative_elbo(rec, kl, beta=1.0):
    """(loss, rec, kl): the means of rec and kl, and loss = rec + beta kl."""
    rec, kl = np.float64(mean(rec)), np.float64(mean(kl))
    return rec + beta * kl, rec, kl


def log_mean_exp(x, axis=-1):
    """ln(mean(exp(x))), with the first element subtracted before exp against overflow."""

    def of_group(group):
        first = group[0]
        return first + math.log(math.fsum(math.exp(v - first) for v in group) / len(group))

    return _reduce(x, axis, False, of_group)


def reshape(x, shape):
    """The elements in row-major order, arranged in the new shape."""
    elements = [x[at] for at in np.ndindex(*x.shape)]
    return np.array(elements, np.float64).reshape(shape)


def flatten(x, start_dim=0, end_dim=-1):
    """Merge the axes from start_dim to end_dim (inclusive) into one."""
    sizes = list(x.shape) or [1]
    start, end = (range(len(sizes))[dim] for dim in (start_dim, end_dim))
    sizes[start : end + 1] = [math.prod(sizes[start : end + 1])]
    return reshape(x, tuple(sizes))


def transpose(x, axes=None):
    """y[at permuted by axes] = x[at] for every index ``at``; axes reversed by default."""
    axes = range(x.ndim)[::-1] if axes is None else [a % x.ndim for a in axes]
    y = np.zeros([x.shape[a] for a in axes])
    for at in np.ndindex(*x.shape):
        y[tuple(at[a] for a in axes)] = x[at]
    return y


def index(x, key):
    """Python's own indexing of nested lists; the shape, which empty lists do not tell, is NumPy's.

    Lists in the key go through their elements together; a mask is the list of its true places.
    """

    def taken(x, key):
        if not key:
            return x
        first, *rest = key
        if first is None:
            return [taken(x, rest)]
        if isinstance(first, list):
            rows = range(len(first))
            return [taken(x, [k[n] if isinstance(k, list) else k for k in key]) for n in rows]
        if isinstance(first, slice):
            return [taken(row, rest) for row in x[first]]
        return taken(x[first], rest)

    parts = []
    for part in key if isinstance(key, tuple) else (key,):
        part = part.tolist() if hasattr(part, "tolist") else part
        if isinstance(part, list) and part and isinstance(part[0], bool):
            part = [i for i, true in enumerate(part) if true]
        parts.append(part)
    if ... in parts:
        at, named = parts.index(...), [part for part in parts if part not in (None, ...)]
        parts[at : at + 1] = [slice(None)] * (x.ndim - len(named))
    return np.array(taken(x.tolist(), parts), np.float64).reshape(np.shape(x[key]))


def concatenate(*xs, axis=0):
    """Copy the arrays, element by element, one after another along ``axis``."""
    axis %= xs[0].ndim
    shape = list(xs[0].shape)
    shape[axis] = math.fsum(x.shape[axis] for x in xs)
    y = np.zeros([int(n) for n in shape])
    start = 0
    for x in xs:
        for at in np.ndindex(*x.shape):
            place = list(at)
            place[axis] += start
            y[tuple(place)] = x[at]
        start += x.shape[axis]
    return y


def _reduced(loss, reduction):
    if reduction == "none":
        return loss
    if reduction == "rows":
        return np.array([math.fsum(row.ravel()) for row in loss], np.float64)
    total = math.fsum(loss.ravel())
    return np.array(total if reduction == "sum" else total / loss.size)


def bce_with_logits(logits, target, reduction="sum"):
    """-t ln p - (1 - t) ln (1 - p) with p = sigmoid(logit)."""
    bits = elementwise(lambda s, t: -t * math.log(_sigmoid(s)) - (1 - t) * math.log(_sigmoid(-s)))
    return _reduced(bits(logits, target), reduction)


def mse(x, target, reduction="sum"):
    """Squared difference."""
    return _reduced(elementwise(lambda a, b: (a - b) ** 2)(x, target), reduction)


def squared_error_with_logits(logits, target, reduction="sum"):
    """Squared difference between sigmoid(logit) and target."""
    return _reduced(elementwise(lambda s, t: (_sigmoid(s) - t) ** 2)(logits, target), reduction)


def gaussian_nll(x, mean, logvar, reduction="sum"):
    """-ln of the normal density with that mean and variance."""

    def nll(a, m, v):
        variance = math.exp(v)
        return -math.log(
            math.exp(-((a - m) ** 2) / (2 * variance)) / math.sqrt(2 * math.pi * variance)
        )

    return _reduced(elementwise(nll)(x, mean, logvar), reduction)


def philox(counter, key):
    """The ten rounds of Philox4x32 (Salmon et al. 2011) on four words and a key of two."""
    (a, b, c, d), (k, l), mask = counter, key, 2**32 - 1
    for r in range(10):
        p, q = 0xD2511F53 * a, 0xCD9E8D57 * c
        a, b = q >> 32 ^ b ^ (k + r * 0x9E3779B9) & mask, q & mask
        c, d = p >> 32 ^ d ^ (l + r * 0xBB67AE85) & mask, p & mask
    return [a, b, c, d]


def noise_element(seed, offset, i):
    """(word, normal number) of element i of a draw: Philox, then Box-Muller on pairs of words."""
    halves = [half for n in (i // 4, offset, seed) for half in (n % 2**32, n >> 32)]
    w = philox(halves[:4], halves[4:])
    u, v = ((2 * word + 1) / 2**33 for word in w[i % 4 // 2 * 2 :][:2])
    turn = math.sin if i % 2 else math.cos
    return w[i % 4], math.sqrt(-2 * math.log(u)) * turn(2 * math.pi * v)


def normal(seed, offset, shape):
    """The standard normal numbers of a draw."""
    numbers = [noise_element(seed, offset, i)[1] for i in range(math.prod(shape))]
    return np.array(numbers, np.float64).reshape(shape)


def reparameterize_kl(mu, logvar, noise):
    """z = mu + sigma eps; KL = sum_d [ (sigma^2 + mu^2 - 1) / 2 - ln sigma ]."""

    def kl(m, v):
        sigma = math.sqrt(math.exp(v))
        return (sigma**2 + m**2 - 1) / 2 - math.log(sigma)

    z = elementwise(lambda m, v, e: m + math.sqrt(math.exp(v)) * e)(mu, logvar, noise)
    return z, sum(elementwise(kl)(mu, logvar), axis=-1)


def conv2d(x, w, b=None, stride=1, padding=0, dilation=1):
    """Convolution by its definition: a loop over output elements and one over kernel elements."""
    (sh, sw), (ph, pw), (dh, dw) = map(_pair, (stride, padding, dilation))
    (N, C, H, W), (M, _, KH, KW) = x.shape, w.shape
    OH = (H + 2 * ph - dh * (KH - 1) - 1) // sh + 1
    OW = (W + 2 * pw - dw * (KW - 1) - 1) // sw + 1
    y = np.zeros((N, M, OH, OW))
    for n, o, i, j in np.ndindex(*y.shape):
        y[n, o, i, j] = 0 if b is None else b[o]
        for c, k, m in product(range(C), range(KH), range(KW)):
            r, s = sh * i + dh * k - ph, sw * j + dw * m - pw
            if 0 <= r < H and 0 <= s < W:
                y[n, o, i, j] += w[o, c, k, m] * x[n, c, r, s]
    return y


def conv_transpose2d(x, w, b=None, stride=1, padding=0, output_padding=0, dilation=1):
    """For each input element, add the kernel times that element to the output."""
    (sh, sw), (ph, pw), (dh, dw) = map(_pair, (stride, padding, dilation))
    eh, ew = _pair(output_padding)
    (N, _, H, W), (_, M, KH, KW) = x.shape, w.shape
    OH = (H - 1) * sh - 2 * ph + dh * (KH - 1) + eh + 1
    OW = (W - 1) * sw - 2 * pw + dw * (KW - 1) + ew + 1
    y = np.zeros((N, M, OH, OW))
    for n, c, i, j in np.ndindex(*x.shape):
        for o, k, m in product(range(M), range(KH), range(KW)):
            r, s = sh * i + dh * k - ph, sw * j + dw * m - pw
            if 0 <= r < OH and 0 <= s < OW:
                y[n, o, r, s] += w[c, o, k, m] * x[n, c, i, j]
    for o in range(M):
        y[:, o] += 0 if b is None else b[o]
    return y


def conv2d_matrix(w, size, stride=1, padding=0, dilation=1):
    """The dense matrix A with vec(conv2d(x, w)) = A vec(x) for one image of height, width ``size``.

    Row (o, i, j), column (c, r, s): w[o, c, k, m] where r = s_h i + d_h k - p_h and
    s = s_w j + d_w m - p_w; 0 where no such k, m exist.
    """
    (sh, sw), (ph, pw), (dh, dw) = map(_pair, (stride, padding, dilation))
    (H, W), (M, C, KH, KW) = size, w.shape
    OH = (H + 2 * ph - dh * (KH - 1) - 1) // sh + 1
    OW = (W + 2 * pw - dw * (KW - 1) - 1) // sw + 1
    A = np.zeros((M, OH, OW, C, H, W))
    for o, i, j, c, r, s in np.ndindex(*A.shape):
        k, k_left = divmod(r + ph - sh * i, dh)
        m, m_left = divmod(s + pw - sw * j, dw)
        if k_left == m_left == 0 and 0 <= k < KH and 0 <= m < KW:
            A[o, i, j, c, r, s] = w[o, c, k, m]
    return A.reshape(M * OH * OW, C * H * W)


def _pair(value):
    return (value, value) if isinstance(value, int) else value


def channel_statistics(x):
    """Mean and biased variance of each channel (axis 1), two passes."""
    groups = [[x[at] for at in np.ndindex(*x.shape) if at[1] == c] for c in range(x.shape[1])]
    means = [math.fsum(g) / len(g) for g in groups]
    variances = [
        math.fsum((a - m) ** 2 for a in g) / len(g) for g, m in zip(groups, means, strict=True)
    ]
    return np.array(means), np.array(variances)


def batch_norm(x, w, b, mean, var, eps=1e-5):
    """w (x - mean) / sqrt(var + eps) + b for each channel."""
    y = np.zeros(x.shape)
    for at in np.ndindex(*x.shape):
        c = at[1]
        y[at] = w[c] * (x[at] - mean[c]) / math.sqrt(var[c] + eps) + b[c]
    return y


def adam(p, grads, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0):
    """A scalar parameter after one Adam step per gradient in ``grads``.

    Kingma & Ba 2015, algorithm 1, plus the L2 term. The moments are weighted sums over all
    gradients so far, in place of the recursions that the optimiser uses.
    """
    (b1, b2), seen = betas, []
    for t, g in enumerate(grads, start=1):
        seen.append(g + weight_decay * p)
        first = math.fsum((1 - b1) * b1 ** (t - s) * h for s, h in enumerate(seen, start=1))
        second = math.fsum((1 - b2) * b2 ** (t - s) * h * h for s, h in enumerate(seen, start=1))
        unbiased_first, unbiased_second = first / (1 - b1**t), second / (1 - b2**t)
        p = p - lr * unbiased_first / (math.sqrt(unbiased_second) + eps)
    return p


def kl_by_monte_carlo(mu, logvar, samples, seed):
    """(estimate, standard error) of KL(q || p) = E_q[ln q(z) - ln p(z)].

    q = N(mu, exp(logvar)), p = N(0, 1); mu, logvar (D,). Uses the two densities, not the closed
    form.
    """
    rng = np.random.default_rng(seed)
    sigma = np.exp(logvar / 2)
    z = rng.normal(mu, sigma, (samples, len(mu)))
    ln_q = -(((z - mu) / sigma) ** 2) / 2 - np.log(sigma)
    ln_p = -(z**2) / 2
    ratio = (ln_q - ln_p).sum(axis=1)  # the constant ln(2 pi) / 2 cancels, so neither has it
    return ratio.mean(), ratio.std(ddof=1) / math.sqrt(samples)
