"""Values and gradients of every operation against PyTorch's, over random shapes and layouts."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minivae as mv
from minivae import functional as F
from op_shapes import as_pair
from op_specs import SPECS
from strategies import LAYOUTS, layouts, seeds

torch = pytest.importorskip("torch")
torch.set_num_threads(1)  # the arrays are small: several threads would only wait for one another
TF = torch.nn.functional


def reduced(loss, reduction):
    """PyTorch's elementwise losses, with our reductions."""
    if reduction == "rows":
        return loss.sum(tuple(range(1, loss.ndim))) if loss.ndim > 1 else loss
    return {"none": lambda t: t, "sum": torch.sum, "mean": torch.mean}[reduction](loss)


def axes_of(x, axis):
    """All axes for None, as a tuple."""
    return tuple(range(x.ndim)) if axis is None else axis


def total(f, x, axis, keepdims):
    """A reduction of PyTorch's; over no axes it is the identity (PyTorch takes () for all)."""
    axis = axes_of(x, axis)
    return x * 1 if axis == () else f(x, axis, keepdims)


def index(x, key):
    """x[key]; PyTorch takes no negative steps, so a step of -2 becomes a flip."""
    if isinstance(key, slice) and key.step == -2:
        return x.flip(0)[::2]
    return x[torch.from_numpy(key) if isinstance(key, np.ndarray) else key]


def pixels(f):
    """A loss of PyTorch's taken element by element."""
    return lambda x, target, reduction: reduced(f(x, target, reduction="none"), reduction)


def rectified(f):
    """A layer of PyTorch's followed by ReLU."""
    return lambda x, w, b=None, activation=None, **geometry: TF.relu(f(x, w, b, **geometry))


def gaussian_nll(x, mean, logvar, reduction):
    """-ln of the normal density of torch.distributions."""
    density = torch.distributions.Normal(mean, torch.exp(logvar / 2))
    return reduced(-density.log_prob(x), reduction)


def reparameterize_kl(mu, logvar, noise):
    """(z, kl), the KL by torch.distributions."""
    noise = noise.normal(mu.shape, np.float64) if isinstance(noise, mv.Noise) else noise
    std = torch.exp(logvar / 2)
    q = torch.distributions.Normal(mu, std)
    p = torch.distributions.Normal(torch.zeros_like(mu), torch.ones_like(mu))
    eps = torch.as_tensor(noise, dtype=mu.dtype)
    return mu + std * eps, torch.distributions.kl_divergence(q, p).sum(-1)


def transpose(x, axes):
    """x.permute, with all axes reversed by default."""
    return x.permute(tuple(range(x.ndim))[::-1] if axes is None else axes)


TORCH = {  # operations whose name PyTorch lacks, or has for a function with other arguments
    "sum": lambda x, axis=None, keepdims=False: total(torch.sum, x, axis, keepdims),
    "mean": lambda x, axis=None, keepdims=False: total(torch.mean, x, axis, keepdims),
    "max": lambda x, axis=None, keepdims=False: total(torch.amax, x, axis, keepdims),
    "log_mean_exp": lambda x, axis=-1: torch.logsumexp(x, axis) - math.log(x.shape[axis]),
    "flatten": torch.flatten,
    "pow of tensors": torch.pow,
    "transpose": transpose,
    "index": index,
    "concatenate": lambda *xs, axis: torch.cat(xs, axis),
    "linear with relu": rectified(TF.linear),
    "conv2d with relu": rectified(TF.conv2d),
    "conv_transpose2d with relu": rectified(TF.conv_transpose2d),
    "linear_heads": lambda x, w1, b1, w2, b2: (TF.linear(x, w1, b1), TF.linear(x, w2, b2)),
    "bce_with_logits": pixels(TF.binary_cross_entropy_with_logits),
    "squared_error_with_logits": pixels(
        lambda x, target, reduction: TF.mse_loss(torch.sigmoid(x), target, reduction=reduction)
    ),
    "mse": pixels(TF.mse_loss),
    "negative_elbo": lambda rec, kl, beta: (rec.mean() + beta * kl.mean(), rec.mean(), kl.mean()),
    "gaussian_nll": gaussian_nll,
    "reparameterize_kl": reparameterize_kl,
    "reparameterize_kl with noise made inside": reparameterize_kl,
    "conv2d": lambda x, w, b=None, **geometry: TF.conv2d(x, w, b, **geometry),
    "conv_transpose2d": lambda x, w, b=None, **geometry: TF.conv_transpose2d(x, w, b, **geometry),
    "batch_norm": lambda x, w, b: TF.batch_norm(x, None, None, w, b, training=True),
    "batch_norm in evaluation": lambda x, w, b, mean, var: TF.batch_norm(
        x, torch.as_tensor(mean, dtype=x.dtype), torch.as_tensor(var, dtype=x.dtype), w, b
    ),
}


def counterpart(name):
    """The PyTorch function for the operation ``name``."""
    return TORCH.get(name) or getattr(TF, name, None) or getattr(torch, name)


def test_every_operation_is_compared():
    """Every operation has a counterpart in PyTorch, and TORCH has no row for a removed one."""
    for name in SPECS:
        assert callable(counterpart(name))
    assert TORCH.keys() <= SPECS.keys()


def as_tuple(y):
    """Several outputs as they are, one output as a tuple."""
    return tuple(y) if isinstance(y, tuple) else (y,)


def both(name, inputs, params, seed):
    """(ours, theirs): outputs and gradients of one operation, as lists of arrays."""
    ours = [None if a is None else mv.Tensor(a, requires_grad=True) for a in inputs]
    theirs = [None if a is None else torch.tensor(a.copy(), requires_grad=True) for a in inputs]
    ys = as_tuple(SPECS[name].fn(*ours, **params))
    ts = as_tuple(counterpart(name)(*theirs, **params))
    rng = np.random.default_rng(seed)
    cotangents = [np.asarray(rng.normal(size=y.shape)).astype(y.dtype) for y in ys]
    loss, their_loss = 0.0, 0.0
    for y, t, u in zip(ys, ts, cotangents, strict=True):
        loss, their_loss = F.sum(y * u) + loss, (t * torch.from_numpy(u)).sum() + their_loss
    loss.backward()
    their_loss.backward()
    return (
        [y.data for y in ys] + [t.grad for t in ours if t is not None],
        [t.detach().numpy() for t in ts] + [t.grad.numpy() for t in theirs if t is not None],
    )


@pytest.mark.parametrize("name", SPECS)
@given(data=st.data())
def test_same_as_torch(name, data):
    """float64: equal up to rounding, for any shape, geometry and layout."""
    case = data.draw(SPECS[name].cases())
    layout = data.draw(layouts)
    inputs = [None if a is None else LAYOUTS[layout](a) for a in case.inputs]
    for a, b in zip(*both(name, inputs, case.params, data.draw(seeds)), strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("name", SPECS)
def test_same_as_torch_in_float32(name):
    """float32 in, float32 out, and as close as float32 allows."""
    spec = SPECS[name]
    case = spec.build(*spec.example, np.random.default_rng(5))
    inputs = [None if a is None else a.astype(np.float32) for a in case.inputs]
    for a, b in zip(*both(name, inputs, case.params, 0), strict=True):
        assert a.dtype == np.float32
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("shape", [(5, 3), (4, 3, 2, 2)])
def test_running_statistics_as_torch(shape):
    """Running mean and variance match PyTorch's over three training steps and an evaluation."""
    rng = np.random.default_rng(0)
    mean, var, w, b = rng.normal(size=3), rng.uniform(1, 2, 3), np.ones(3), np.zeros(3)
    their_mean, their_var = torch.tensor(mean), torch.tensor(var)
    for training in (True, True, True, False):
        x = rng.normal(2, 3, shape)
        ours = F.batch_norm(
            mv.Tensor(x), mean, var, mv.Tensor(w), mv.Tensor(b), training, momentum=0.3
        )
        theirs = TF.batch_norm(
            torch.tensor(x), their_mean, their_var, training=training, momentum=0.3
        )
        np.testing.assert_allclose(ours.data, theirs.numpy(), rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(mean, their_mean.numpy(), rtol=1e-12)
        np.testing.assert_allclose(var, their_var.numpy(), rtol=1e-12)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["relu", "leaky_relu", "sigmoid", "tanh", "softplus", "exp"])
def test_special_values_as_torch(name, value):
    """NaN stays NaN and infinities go to the limits, as they do in PyTorch."""
    x = np.array([value, 1.0])
    with np.errstate(all="ignore"):
        ours = SPECS[name].fn(mv.Tensor(x)).data
    np.testing.assert_allclose(ours, counterpart(name)(torch.tensor(x)).numpy(), rtol=1e-12)


@given(data=st.data())
def test_refused_geometry_as_torch(data):
    """What PyTorch refuses of a transposed convolution is refused here, and the other way round."""
    size = data.draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    kernel = data.draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    geometry = {
        "stride": data.draw(st.integers(1, 3)),
        "padding": data.draw(st.integers(0, 3)),
        "output_padding": data.draw(st.integers(0, 3)),
        "dilation": data.draw(st.integers(1, 3)),
    }
    x, w = np.ones((1, 1, *size)), np.ones((1, 1, *kernel))
    geometry = {key: as_pair(value) for key, value in geometry.items()}
    try:
        theirs = TF.conv_transpose2d(torch.tensor(x), torch.tensor(w), **geometry).numpy()
    except RuntimeError:
        with pytest.raises(ValueError, match=r"^output_padding: expected|expected at least 1$"):
            F.conv_transpose2d(mv.Tensor(x), mv.Tensor(w), **geometry)
    else:
        ours = F.conv_transpose2d(mv.Tensor(x), mv.Tensor(w), **geometry).data
        np.testing.assert_allclose(ours, theirs, rtol=1e-12)
