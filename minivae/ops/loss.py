"""Losses: negative log-likelihoods in nats, and squared error.

Reductions: "none" keeps one value per element, "sum" adds all, "mean" divides by their number.

Derivations: docs/losses.md; the ELBO: docs/elbo.md.
"""

import math
from collections.abc import Callable

import numpy as np

from .. import kernels
from ..backend import Array, contiguous
from ..tensor import Function, Grads, Tensor, TensorLike, as_tensor
from ..tensor.arrays import filled
from . import composed, reductions
from .activation import logistic
from .shapes import reshape

__all__ = ["bce_with_logits", "gaussian_nll", "mse", "negative_elbo", "squared_error_with_logits"]

LOG_2PI = math.log(math.tau)


class _LossOfLogits(Function):
    """Base of losses loss_n, one for each row n of logits l and targets t, both (N, M).

    In the same pass over memory as the loss, the kernel computes dl for dy_n = ``expected``: the
    gradient that loss_n usually receives, 1 / N if the losses are averaged and 1 if they are
    summed. ``scaled_rows`` corrects dl for another dy.
    """

    takes_numbers = True
    expected: float
    dlogits: Array | None

    def scaled_rows(self, dy: Array | float) -> Array | None:
        """dl for the actual dy: rows times dy_n / ``expected``, in place, as nothing else holds dl.

        None where the logits need no gradient.
        """
        dlogits, self.dlogits = self.dlogits, None
        if dlogits is not None and not (isinstance(dy, float) and dy == self.expected):
            factors = filled(self.xp, dy, dlogits.shape[:1], dlogits.dtype) * (1 / self.expected)
            kernels.get("scale_rows", dlogits, factors)(dlogits, factors)
        return dlogits


class BCEWithLogits(_LossOfLogits):
    """loss_n = sum_m [softplus(l) - l t];  dl = dy_n (sigmoid(l) - t);  dt = -dy_n l.

    softplus(l) - l t = -[t ln sigmoid(l) + (1 - t) ln sigmoid(-l)], the Bernoulli cross-entropy.
    Computed by ``kernels.reference.bce_with_logits``.
    """

    def forward(self, logits: Array, target: Array, expected: float) -> Array:
        logits, target = contiguous(logits), contiguous(target)
        kernel = kernels.get("bce_with_logits", logits, target)
        self.expected = expected
        loss, self.dlogits = kernel(logits, target, self.needs[0], expected)
        if self.needs[1]:
            self.save(logits)
        return loss

    def backward(self, dy: Array | float) -> Grads:
        dlogits = self.scaled_rows(dy)
        if not self.needs[1]:
            return dlogits, None
        (logits,) = self.saved
        return dlogits, -logits * as_column(dy)


class SquaredErrorWithLogits(_LossOfLogits):
    """loss_n = sum_m (s - t)^2 with s = sigmoid(l);  dl = dy_n 2 (s - t) s (1 - s);
    dt = -dy_n 2 (s - t).

    Computed by ``kernels.reference.squared_error_with_logits``.
    """

    def forward(self, logits: Array, target: Array, expected: float) -> Array:
        logits, target = contiguous(logits), contiguous(target)
        kernel = kernels.get("squared_error_with_logits", logits, target)
        self.expected = expected
        loss, self.dlogits = kernel(logits, target, self.needs[0], expected)
        if self.needs[1]:
            self.save(logits, target)
        return loss

    def backward(self, dy: Array | float) -> Grads:
        dlogits = self.scaled_rows(dy)
        if not self.needs[1]:
            return dlogits, None
        logits, target = self.saved
        return dlogits, -2 * as_column(dy) * (logistic(logits, self.xp) - target)


def as_column(dy: Array | float) -> Array | float:
    """dy (N,) as a column (N, 1) that multiplies rows; a number unchanged."""
    return dy if isinstance(dy, float) else dy[:, None]


class NegativeELBO(Function):
    """loss = rec + beta kl, where rec and kl are the means of rec_n and kl_n;
    drec_n = (dloss + drec) / N;  dkl_n = (beta dloss + dkl) / N;  dbeta = kl dloss.

    Computed by ``kernels.reference.negative_elbo``, which also returns the array beta / N: dkl_n
    if only loss has a gradient, of 1.
    """

    takes_numbers = True

    def forward(self, rec: Array, kl: Array, beta: Array) -> tuple[Array, Array, Array]:
        self.shapes = rec.shape, kl.shape
        kernel = kernels.get("negative_elbo", rec, kl)
        flat = (contiguous(a).reshape(-1) for a in (rec, kl))
        terms, self.share = kernel(*flat, beta)
        loss, rec, kl = (terms[i, ...] for i in range(3))
        self.save(kl, beta)
        return loss, rec, kl

    def backward(self, dloss: Array | float, drec: Array | float, dkl: Array | float) -> Grads:
        kl, beta = self.saved
        (R, K), zeros = map(math.prod, self.shapes), self.xp.zeros
        dbeta = kl * dloss if self.needs[2] else None
        if type(dloss) is float and dloss == 1 and type(dkl) is float and dkl == 0:
            dkl_n = self.share
        else:
            dkl_n = zeros(K, beta.dtype) + (beta * dloss + dkl) / K
        drec_n = (dloss + drec) / R
        if type(drec_n) is not float:
            drec_n = zeros(self.shapes[0], beta.dtype) + drec_n
        return drec_n, dkl_n.reshape(self.shapes[1]), dbeta


class MSE(Function):
    """loss = (x - t)^2;  dx = 2 dy (x - t);  dt = -dx."""

    def forward(self, x: Array, target: Array) -> Array:
        difference = x - target
        self.save(difference)
        return difference * difference

    def backward(self, dy: Array) -> Grads:
        (difference,) = self.saved
        dx = 2 * dy * difference
        return dx, -dx


class GaussianNLL(Function):
    """loss = 1/2 [ln 2 pi + v + (x - m)^2 exp(-v)], m the mean and v the log variance.

    With e = (x - m) exp(-v):  dx = dy e;  dm = -dy e;  dv = dy/2 [1 - (x - m) e].
    """

    def forward(self, x: Array, mean: Array, logvar: Array) -> Array:
        difference = x - mean
        scaled = difference * self.xp.exp(-logvar)
        self.save(difference, scaled)
        return 0.5 * (LOG_2PI + logvar + difference * scaled)

    def backward(self, dy: Array) -> Grads:
        difference, scaled = self.saved
        dx = dy * scaled
        return dx, -dx, 0.5 * dy * (1 - difference * scaled)


def bce_with_logits(logits: TensorLike, target: TensorLike, reduction: str = "sum") -> Tensor:
    """Bernoulli negative log-likelihood of ``target`` in [0, 1] given logits, in nats.

    Args:
        logits, target: same shape, any. A target strictly between 0 and 1 makes this a
            cross-entropy that is not a likelihood.
        reduction: "none", "sum", "mean", or "rows": one sum for each index of the first axis.

    Raises:
        ValueError: shapes differ or the reduction is unknown.

    >>> import numpy as np
    >>> round(bce_with_logits(np.zeros(3), np.array([0.0, 0.5, 1.0])).item() / math.log(2), 12)
    3.0
    """
    logits, target = _same_shape("bce_with_logits", logits, target)
    return _with_logits(BCEWithLogits, composed.bce_with_logits, logits, target, reduction)


def squared_error_with_logits(
    logits: TensorLike, target: TensorLike, reduction: str = "sum"
) -> Tensor:
    """(sigmoid(logits) - target)^2: the face VAE's reconstruction term. Not a likelihood.

    Arguments, reductions and errors as ``bce_with_logits``.
    """
    logits, target = _same_shape("squared_error_with_logits", logits, target)
    by_element = composed.squared_error_with_logits
    return _with_logits(SquaredErrorWithLogits, by_element, logits, target, reduction)


def negative_elbo(
    rec: TensorLike, kl: TensorLike, beta: float | Tensor = 1.0
) -> tuple[Tensor, Tensor, Tensor]:
    """The negative ELBO of a batch: the mean of rec, the mean of kl, and rec + beta kl.

    Args:
        rec, kl: -ln p(x|z) and the KL of each image in nats, any shapes.
        beta: weight of the KL, a number or a tensor without axes.

    Returns:
        ``(loss, rec, kl)``, scalars: loss = rec + beta kl.

    Raises:
        ValueError: ``rec`` or ``kl`` is empty, or ``beta`` has axes.

    >>> import numpy as np
    >>> [term.item() for term in negative_elbo(np.array([1.0, 3.0]), np.array([4.0, 4.0]), 0.5)]
    [4.0, 2.0, 4.0]
    """
    rec, kl = as_tensor(rec), as_tensor(kl)
    if rec.size == 0 or kl.size == 0:
        raise ValueError(
            "negative_elbo: expected rec and kl of at least one image, got shapes "
            f"{rec.shape} and {kl.shape}"
        )
    if (shape := getattr(beta, "shape", ())) != ():
        raise ValueError(f"beta: expected one number, got shape {shape}")
    return NegativeELBO.apply(rec, kl, beta)


def mse(x: TensorLike, target: TensorLike, reduction: str = "sum") -> Tensor:
    """(x - target)^2 of equal shapes; ``reduction`` as in ``bce_with_logits``.

    "mean" gives the mean squared error.
    """
    x, target = _same_shape("mse", x, target)
    return reduce(MSE.apply(x, target), reduction)


def gaussian_nll(
    x: TensorLike, mean: TensorLike, logvar: TensorLike, reduction: str = "sum"
) -> Tensor:
    """-ln N(x; mean, exp(logvar)) in nats, constant included; the three arguments broadcast.

    ``reduction`` as in ``bce_with_logits``, over the broadcast shape. Kingma & Welling 2014
    (arXiv:1312.6114), appendix C.2.
    """
    return reduce(GaussianNLL.apply(x, mean, logvar), reduction)


def reduce(loss: Tensor, reduction: str) -> Tensor:
    """Apply a reduction to elementwise losses; ValueError for an unknown one."""
    if reduction == "none":
        return loss
    if reduction == "rows":
        return reductions.sum(loss, axis=tuple(range(1, loss.ndim)))
    if reduction == "sum":
        return reductions.sum(loss)
    if reduction == "mean":
        return reductions.mean(loss)
    raise ValueError(f"reduction: expected 'none', 'sum', 'mean' or 'rows', got {reduction!r}")


def _with_logits(
    op: type[_LossOfLogits], by_element: Callable[[Tensor, Tensor], Tensor], logits: Tensor,
    target: Tensor, reduction: str,
) -> Tensor:  # fmt: skip
    """A loss by ``op``, which sums rows, or by ``by_element`` in the variant ``composed``."""
    if reduction == "mean" and logits.dtype == np.float16:  # the sum of a row would overflow
        return reduce(by_element(logits, target), reduction)
    run: Callable[[], Tensor] = kernels.fused_or_composed(
        lambda: _reduce_rows(op, logits, target, reduction),
        lambda: reduce(by_element(logits, target), reduction),
    )
    return run()


def _reduce_rows(op: type[_LossOfLogits], logits: Tensor, target: Tensor, reduction: str) -> Tensor:
    """Reduce with an op that sums the rows of (N, M); for "none" each row is one element."""
    shape = logits.shape
    if reduction == "none" or not shape:
        as_rows = (logits.size, 1)
    else:
        as_rows = (shape[0], math.prod(shape[1:]))
    if shape != as_rows:
        logits, target = reshape(logits, as_rows), reshape(target, as_rows)
    expected = 1 / max(1, as_rows[0]) if reduction == "rows" else 1.0
    rows = op.apply(logits, target, expected=expected)
    if reduction == "none":
        return reshape(rows, shape)
    if reduction == "mean":
        if not logits.size:
            raise ValueError(f"mean: expected at least one element, got shape {shape}")
        return reductions.sum(rows) * (1 / logits.size)
    return rows if reduction == "rows" else reduce(rows, reduction)


def _same_shape(name: str, a: TensorLike, b: TensorLike) -> tuple[Tensor, Tensor]:
    a, b = as_tensor(a), as_tensor(b)
    if a.shape != b.shape:
        raise ValueError(f"{name}: expected target of shape {a.shape}, got {b.shape}")
    return a, b
