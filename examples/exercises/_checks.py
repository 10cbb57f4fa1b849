"""What each exercise must satisfy: a function of the solution that returns, or raises saying why.

None of them looks at how the solution is written, and none compares with a copy of it: they use
definitions (an integral, an inner product, a finite difference) and inputs on which the usual
mistakes show.
"""

import hashlib
import tracemalloc

import numpy as np

import minivae as mv
from minivae.kernels import reference
from minivae.tensor import Function

equal = np.testing.assert_allclose


def check_unbroadcast(unbroadcast):
    """<x broadcast, g> = <x, unbroadcast(g)> for every pair of shapes, and x's shape."""
    rng = np.random.default_rng(0)
    pairs = [
        ((4,), (3, 4)), ((3, 1), (3, 4)), ((1, 4), (3, 4)), ((1, 1), (3, 4)), ((), (3, 4)),
        ((1,), (5,)), ((3, 4), (3, 4)), ((2, 1, 4), (2, 3, 4)), ((3, 1), (2, 3, 4)),
        ((1, 3, 1), (2, 3, 1)), ((3, 3), (3, 3, 3)), ((1, 3), (0, 3)),
    ]  # fmt: skip
    for shape, wide in pairs:
        x, g = rng.normal(size=shape), rng.normal(size=wide)
        found = np.asarray(unbroadcast(g, shape))
        told = f"for a gradient of shape {wide} and x of shape {shape}"
        assert found.shape == shape, f"expected shape {shape}, got {found.shape} {told}"
        equal((x * found).sum(), (np.broadcast_to(x, wide) * g).sum(), rtol=1e-12, atol=1e-12,
              err_msg=f"<x broadcast, g> and <x, unbroadcast(g)> differ {told}")  # fmt: skip


class Node:
    """A node that counts how often its inputs are looked at."""

    def __init__(self, *inputs):
        self._inputs, self.looks = inputs, 0

    @property
    def inputs(self):
        """The nodes this one was computed from."""
        self.looks += 1
        assert self.looks < 50, (
            "the inputs of one node were looked at 50 times: every path is walked"
        )
        return self._inputs


def check_order(backward_order):
    """Each node once, after all that use it, on graphs that are wide, deep or full of diamonds."""
    rng = np.random.default_rng(0)
    for trial in range(40):
        nodes = [Node()]
        for _ in range(trial):  # each node uses some of those before it, perhaps one of them twice
            nodes.append(Node(*(nodes[i] for i in rng.integers(0, len(nodes), rng.integers(1, 4)))))
        require_order(backward_order(nodes[-1]), nodes[-1])
    ladder = [Node()]
    for _ in range(60):
        ladder.append(Node(ladder[-1], ladder[-1], *ladder[-2:-1]))
    require_order(backward_order(ladder[-1]), ladder[-1])
    deep = Node()
    for _ in range(10_000):
        deep = Node(deep)
    require_order(backward_order(deep), deep)


def require_order(order, root):
    """The definition, with ``_inputs``, which nobody counts."""
    behind, stack = {root}, [root]
    while stack:
        for node in stack.pop()._inputs:
            if node not in behind:
                behind.add(node)
                stack.append(node)
    assert order and order[0] is root, "the list must begin with the root"
    place = {node: i for i, node in enumerate(order)}
    assert len(place) == len(order), "a node comes twice"
    assert place.keys() == behind, f"expected {len(behind)} nodes, got {len(order)}"
    for user in order:
        for node in user._inputs:
            assert place[node] > place[user], "a node comes before one that uses it"


def check_swish(op):
    """Values, gradients at ordinary points, and finite gradients far from 0."""
    for shape in [(7,), (3, 4), (2, 1, 5)]:
        x = 2 * mv.Noise(0, len(shape)).normal(shape, np.float64)
        equal(op.apply(x).data, x / (1 + np.exp(-x)), rtol=1e-12)
        mv.gradcheck(op.apply, x)
    far = mv.Tensor([-800.0, -30.0, 30.0, 800.0], requires_grad=True)
    op.apply(far).backward(np.ones(4))
    equal(far.grad, [0, 0, 1, 1], atol=1e-9, err_msg="far from 0")


def check_kl(gaussian_kl):
    """The integral of q ln(q/p), the sum over latents, and single precision near 0."""
    mu = np.array([0.0, 0.7, -1.5, 2.0, 0.0])
    logvar = np.array([0.0, -1.8, 0.0, -4.0, 2.2])
    e = np.linspace(-12, 12, 4001)[:, None]
    q = np.exp(-0.5 * e**2) / np.sqrt(2 * np.pi) * (24 / 4000)  # q dz in units of sigma
    z = mu + np.exp(logvar / 2) * e
    each = (q * 0.5 * (z**2 - e**2 - logvar)).sum(axis=0)
    found = np.asarray(gaussian_kl(mu[:, None], logvar[:, None]))
    assert found.shape == (5,), f"expected shape (5,), got {found.shape}"
    equal(found, each, atol=1e-9, err_msg="one latent, against the integral of q ln(q/p)")
    two = gaussian_kl(np.stack([mu, mu[::-1]], 1), np.stack([logvar, logvar[::-1]], 1))
    equal(two, each + each[::-1], atol=1e-9, err_msg="two latents: the sum of their KLs")
    near = (1e-3 * mv.Noise(3, 0).normal((1000, 1), np.float64)).astype(np.float32)
    near[abs(near) < 1e-5] = 1e-5
    found = np.asarray(gaussian_kl(np.zeros_like(near), near))
    assert found.dtype == np.float32, f"expected float32 as given, got {found.dtype}"
    assert (found >= 0).all(), "a KL came out negative in single precision, logvar near 1e-3"
    exact = 0.5 * (np.expm1(near.astype(np.float64)) - near)[:, 0]
    worst = abs(found / exact - 1).max()
    assert worst < 0.02, f"single precision, logvar near 1e-3: wrong by up to {worst:.0%}"


def check_reparameterise(op):
    """z is mu + sigma eps with the eps that is given, and both gradients are right."""
    mu, logvar = np.array([[0.5, -1.0, 0.0]]), np.array([[-2.0, 1.5, 0.3]])
    eps = mv.Noise(4, 0).normal((4, 3), np.float64)
    z = op.apply(np.repeat(mu, 4, 0), np.repeat(logvar, 4, 0), eps).data
    equal(op.apply(mu, logvar, np.zeros((1, 3))).data, mu, err_msg="with eps 0, z is mu")
    plus, minus = (op.apply(mu, logvar, sign * np.ones((1, 3))).data for sign in (1.0, -1.0))
    equal((plus - minus)[0] ** 2 / 4, np.exp(logvar[0]), err_msg="sigma^2 must be exp(logvar)")
    again = op.apply(np.repeat(mu, 4, 0), np.repeat(logvar, 4, 0), eps).data
    equal(z, again, rtol=0, err_msg="the same eps gave another z: do not draw, eps is given")
    fixed = eps[:2]
    mu, logvar = (
        mv.Noise(4, 1).normal((2, 3), np.float64),
        mv.Noise(4, 2).normal((2, 3), np.float64),
    )
    mv.gradcheck(lambda mu, logvar: op.apply(mu, logvar, fixed), [mu, logvar])


def check_adjoint(conv_transpose):
    """<conv x, y> = <x, conv_transpose y> over kernels, strides, paddings and sizes."""
    rng = np.random.default_rng(0)
    for taps in (1, 2, 3, 5):
        for stride in (1, 2, 3):
            for padding in range(3):
                for size in range(max(5, taps), 12):
                    x, w = rng.normal(size=size), rng.normal(size=taps)
                    forward = _conv(x, w, stride, padding)
                    y = rng.normal(size=forward.shape)
                    back = np.asarray(conv_transpose(y, w, size, stride, padding))
                    told = f"kernel {taps}, stride {stride}, padding {padding}, size {size}"
                    assert back.shape == (size,), f"expected ({size},), got {back.shape}: {told}"
                    told = f"<conv x, y> and <x, conv_transpose y> differ: {told}"
                    equal(x @ back, forward @ y, rtol=1e-10, atol=1e-10, err_msg=told)


def _conv(x, w, stride, padding):
    """y_i = sum_k w_k x_(stride i + k - padding)."""
    padded = np.pad(x, padding)
    return np.lib.stride_tricks.sliding_window_view(padded, len(w))[::stride] @ w


def check_bound(importance_bound):
    """One weight, equal and tiny weights, unlike rows, and a model whose ln p(x) is known."""
    one = mv.Noise(1, 0).normal((5, 1), np.float64)
    equal(importance_bound(one), one[:, 0], err_msg="with K = 1 it is the ELBO")
    equal(importance_bound(np.full((2, 9), -1000.0)), -1000.0)
    equal(importance_bound(np.array([[800.0, -800.0]])), 800 - np.log(2))
    for lost in range(3):  # two of three weights vanish beside the third, whichever it is
        weights = np.full((1, 3), -2000.0)
        weights[0, lost] = -1000.0
        told = f"{weights[0]}: only the largest weight counts"
        equal(importance_bound(weights), -1000 - np.log(3), err_msg=told)
    # Images whose weights differ by more than a float can hold; each row for itself is easy.
    scales = np.array([0.0, -1000.0, -3000.0, 2000.0, -100.0])
    rows = mv.Noise(1, 2).normal((5, 7), np.float64)
    easy = np.log(np.exp(rows).mean(axis=1))
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        found = importance_bound(rows + scales[:, None])
    equal(found, easy + scales, rtol=1e-12, err_msg="rows of very different scale")
    # z ~ N(0, 1), x | z ~ N(z, 1), so x ~ N(0, 2); q is the prior, so a weight is p(x | z).
    x = np.array([-1.0, 0.0, 2.0])
    z = mv.Noise(1, 1).normal((3, 20_000), np.float64)
    log_weights = -0.5 * (np.log(2 * np.pi) + (x[:, None] - z) ** 2)
    exact = -0.5 * (np.log(4 * np.pi) + x**2 / 2)
    equal(importance_bound(log_weights), exact, atol=0.03, err_msg="a model whose ln p(x) is known")
    means = log_weights.mean(axis=1)
    assert (importance_bound(log_weights) > means).all(), "the bound must lie above the ELBO"


RIGHT_CURVES = {  # SHA-256 of "letter: fault", so that reading this file gives nothing away
    "A": "c3fdddf1e70c1f9cfb05f655f1bc7ad5f22ed51b7d1b255433c518c48b38b8b3",
    "B": "fb84eb8a5d3d50d2cc674f9be7b59cf510a8cd385b57a7b364062d8e3a8e2193",
    "C": "4582cf1f2123612648923ca95ba029dc8d02bead3f0678b500f8bf385646b68b",
    "D": "105129048406fb7023620673bd61f9f664df303fabe4ae1525029180ea09b327",
    "E": "8ce3d203c175df44e1fb51802b9951f5d89bb648c1cc009be69d68d5fbbaf443",
    "F": "4cd7b0971f162cc868294513909bd71a4e768ea167b8a39ea7739f1fcddf4452",
    "G": "2148ce4762c0b54a8135535d96d250273b3e8556f3baa64e4e148c1c8631d53d",
    "H": "54b9f0168f1fb1ed2e4e1d05e546a5fd701841d9ef4f39c2e97849b2872c64a1",
}


def check_loss_curve(answers):
    """Every curve has its own fault."""
    if not any(answers.values()):
        raise NotImplementedError("eight answers out of FAULTS: no numbers, look at the picture")
    wrong = [
        letter
        for letter, digest in RIGHT_CURVES.items()
        if hashlib.sha256(f"{letter}: {answers.get(letter)}".encode()).hexdigest() != digest
    ]
    assert not wrong, (
        f"{len(RIGHT_CURVES) - len(wrong)} of 8 right; look again at {', '.join(wrong)}"
    )


def check_batch_norm(backward):
    """Gradients of x, w and b against finite differences, eps neither small nor 1e-5."""

    class BatchNorm(Function):
        def forward(self, x, w, b, eps):
            self.save(x, w)
            self.eps = eps
            centred = x - x.mean(axis=0)
            return w * centred / np.sqrt((centred**2).mean(axis=0) + eps) + b

        def backward(self, dy):
            x, w = self.saved
            return tuple(backward(x, w, self.eps, dy))

    for n, c, eps in ((5, 3, 0.5), (2, 1, 1e-3), (16, 4, 1e-5)):
        stream = mv.NoiseStream(5, n)
        scale = np.arange(1.0, c + 1)  # channels of different spread
        x = 3 + scale * stream.draw().normal((n, c), np.float64)
        w, b = (1 + stream.draw().normal((c,), np.float64) ** 2 for _ in range(2))
        mv.gradcheck(lambda x, w, b, eps=eps: BatchNorm.apply(x, w, b, eps=eps), [x, w, b])


def check_free_bits(charged):
    """The value, and 1/N as gradient of those latents that pay."""
    kl = np.array([[0.1, 2.0, 0.9, 0.0], [0.3, 4.0, 0.3, 0.0]])  # means 0.2, 3.0, 0.6, 0
    for nats, total, paying in (
        (0.5, 0.5 + 3.0 + 0.6 + 0.5, [0, 1, 1, 0]),
        (0.0, 3.8, [1, 1, 1, 0]),
        (10.0, 40.0, [0, 0, 0, 0]),
    ):
        x = mv.Tensor(kl, requires_grad=True)
        loss = charged(x, nats)
        told = f"with {nats} nats free and mean KLs {kl.mean(axis=0)}"
        equal(np.asarray(loss.item()), total, err_msg=f"the charge {told}")
        loss.backward()
        found = np.zeros_like(kl) if x.grad is None else x.grad
        used = [0, 1, 2] if nats == 0 else [0, 1, 2, 3]  # at the kink either slope will do
        wanted = np.tile(np.array(paying) / 2, (2, 1))
        equal(found[:, used], wanted[:, used], err_msg=f"its gradient {told}")


def check_dreg(sample_gradient, images=4, draws=60_000):
    """Its mean is the slope of the bound, in mu and in sigma, and it is sharper than the usual one.

    z ~ N(0, 1), x|z ~ N(z, 1), q = N(mu, sigma^2): everything is in closed form but the bound.
    """
    extreme = np.array([[-1000.0, -1001.0], [-5.0, -900.0]])
    found = np.asarray(sample_gradient(extreme, np.ones((2, 2))))
    assert found.shape == (2, 2), f"expected shape (2, 2), got {found.shape}"
    w = np.exp(-1.0) / (1 + np.exp(-1.0))
    equal(found, -0.5 * np.array([[(1 - w) ** 2, w**2], [1, 0]]), atol=1e-12,
          err_msg="log weights around -1000, slopes 1, two images")  # fmt: skip
    x, mu, sigma, k = 1.0, -0.3, 0.8, images
    eps = mv.Noise(6, 0).normal((draws, k), np.float64)

    def log_weights(mu, sigma):
        z = mu + sigma * eps
        return -0.5 * (z**2 + (x - z) ** 2 + np.log(2 * np.pi) - eps**2) + np.log(sigma)

    def bound(mu, sigma):
        return np.log(np.exp(log_weights(mu, sigma)).mean(axis=1))

    h, z = 1e-4, mu + sigma * eps
    slopes = -z + (x - z) + eps / sigma  # d/dz [ln p(z) + ln p(x|z) - ln q(z)], q held fixed
    given = draws * np.asarray(sample_gradient(log_weights(mu, sigma), slopes))
    for name, dz, loss_slope in (
        ("mu", 1, -(bound(mu + h, sigma) - bound(mu - h, sigma)) / (2 * h)),
        ("sigma", eps, -(bound(mu, sigma + h) - bound(mu, sigma - h)) / (2 * h)),
    ):
        yours = (given * dz).sum(axis=1)
        apart, error = yours.mean() - loss_slope.mean(), (yours - loss_slope).std() / draws**0.5
        assert abs(apart) < 5 * error, (
            f"the slope in {name} should be {loss_slope.mean():.4f} on average, got "
            f"{yours.mean():.4f} (standard error of the difference {error:.4f})"
        )
        assert yours.std() < loss_slope.std(), f"the slope in {name} is no sharper than the usual"


def check_half_memory(forward, rows=4000, d=64):
    """Same results as the definition, inputs untouched, and no more than two arrays alive."""
    for dtype, rtol in ((np.float64, 1e-12), (np.float32, 1e-5)):
        for scale in (1, 1e-3):  # near 0 only expm1 keeps the digits
            arrays = [mv.Noise(2, i).normal((rows, d), dtype) for i in range(3)]
            arrays[0] *= dtype(scale) ** 2
            arrays[1] *= dtype(scale)
            for a in arrays:
                a.flags.writeable = False
            z, kl = forward(*arrays)
            wide = [a.astype(np.float64) for a in arrays]
            exact = reference.reparam_kl_forward(*wide)
            for name, got, expected in zip(("z", "kl"), (z, kl), exact, strict=True):
                assert got.shape == expected.shape, f"{name}: expected shape {expected.shape}"
                assert got.dtype == dtype, f"{name}: expected {np.dtype(dtype)}, got {got.dtype}"
                told = f"{name}, {np.dtype(dtype)}, log variances of scale {scale}"
                floor = rtol if name == "z" else 0
                equal(
                    got, expected, rtol=100 * rtol if scale < 1 else rtol, atol=floor, err_msg=told
                )
        tracemalloc.start()
        try:
            forward(*arrays)
            peak = tracemalloc.get_traced_memory()[1] / arrays[0].nbytes
        finally:
            tracemalloc.stop()
        assert peak < 2.5, f"at the worst moment {peak:.1f} arrays were alive; expected 2"
