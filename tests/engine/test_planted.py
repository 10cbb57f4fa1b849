"""Planted errors: gradcheck catches a wrong gradient of every input of every operation."""

import numpy as np
import pytest

import minivae as mv
from minivae import functional as F
from minivae.ops.reparam_kl import ReparameterizeKL
from minivae.tensor import function as engine
from op_specs import SPECS


def check(spec, case):
    """gradcheck of one operation at one point."""
    return mv.gradcheck(lambda *xs: spec.fn(*xs, **case.params), case.inputs)


def example(spec):
    """The operation's own example, with random values."""
    return spec.build(*spec.example, np.random.default_rng(3))


def plant(monkeypatch, op, change):
    """Replace the gradients that ``op.backward`` returns by ``change(list of gradients)``."""
    right = op.backward

    def wrong(self, *dys):
        grads = right(self, *dys)
        return tuple(change([*grads] if isinstance(grads, tuple) else [grads]))

    monkeypatch.setattr(op, "backward", wrong)


# Each takes the gradient of one input and returns a wrong one.


def scaled(grad):
    """0.1 % too large everywhere."""
    return grad * 1.001


def one_element(grad):
    """0.1 % too large in the largest element."""
    grad = np.array(grad)
    grad.flat[abs(grad).argmax()] *= 1.001
    return grad


def negated(grad):
    """The wrong sign."""
    return -grad


def dropped(grad):
    """Zero everywhere."""
    return np.zeros_like(grad)


def half_dropped(grad):
    """Zero in the second half of the elements."""
    grad = np.array(grad, order="C")
    grad.reshape(-1)[grad.size // 2 :] = 0
    return grad


def transposed(grad):
    """The last two axes exchanged; the shape is still right where they are equally long."""
    return grad.swapaxes(-1, -2)


def rolled(grad):
    """Every element moved by one position."""
    return np.roll(grad, 1)


def shifted(grad):
    """0.01 too large everywhere."""
    return grad + 0.01


def nan(grad):
    """NaN in the last element."""
    grad = np.array(grad)
    grad.flat[-1] = np.nan
    return grad


def infinite(grad):
    """Infinity in the first element."""
    grad = np.array(grad)
    grad.flat[0] = np.inf
    return grad


WRONG = (
    scaled,
    one_element,
    negated,
    dropped,
    half_dropped,
    transposed,
    rolled,
    shifted,
    nan,
    infinite,
)
PLACES = [
    (name, spec, i, shape)
    for name, spec in SPECS.items()
    for i, shape in enumerate(spec.example[0])
]
PLANTS = [
    pytest.param(spec, i, wrong, id=f"{name}-input{i}-{wrong.__name__}")
    for name, spec, i, shape in PLACES
    for wrong in WRONG
    if wrong is not transposed or (len(shape) >= 2 and shape[-1] == shape[-2])
    if wrong is not rolled or not spec.even
]


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_gradcheck_passes_without_a_planted_error(spec):
    """gradcheck passes without a planted error at the points that the other tests use."""
    assert check(spec, example(spec))


@pytest.mark.parametrize(("spec", "i", "wrong"), PLANTS)
def test_wrong_gradient_is_caught(spec, i, wrong, monkeypatch):
    """A wrong gradient of any input of any operation fails, and the message names the input."""

    def change(grads):
        grads[i] = wrong(grads[i])
        return grads

    plant(monkeypatch, spec.op, change)
    with pytest.raises(mv.GradientError, match=f"input {i}, index"):
        check(spec, example(spec))


@pytest.mark.parametrize(
    ("spec", "i"), [pytest.param(spec, i, id=f"{name}-input{i}") for name, spec, i, _ in PLACES]
)
def test_forgotten_gradient_is_caught(spec, i, monkeypatch):
    """A backward that returns None for an input that influences the output fails."""
    plant(monkeypatch, spec.op, lambda grads: [None if k == i else g for k, g in enumerate(grads)])
    with pytest.raises(mv.GradientError, match="expected a gradient for each input"):
        check(spec, example(spec))


@pytest.mark.parametrize(
    ("what", "spec"),
    [
        pytest.param(what, spec, id=f"{what}-{name}")
        for what in ("ignored", "squared", "reversed")
        for name, spec in SPECS.items()
        if what != "reversed" or not spec.even  # its cotangents are single numbers
    ],
)
def test_wrong_use_of_the_cotangent_is_caught(spec, what, monkeypatch):
    """dy replaced by ones, squared or reversed fails, although all three are right for dy = 1."""
    right = spec.op.backward
    wrong = {
        "ignored": np.ones_like,
        "squared": np.square,
        "reversed": lambda dy: np.flip(dy).copy(),
    }[what]
    monkeypatch.setattr(spec.op, "backward", lambda self, *dys: right(self, *map(wrong, dys)))
    with pytest.raises(mv.GradientError, match="input 0, index"):
        check(spec, example(spec))


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_backward_that_writes_to_its_cotangent_is_caught(spec, monkeypatch):
    """A backward that writes to dy fails: another function may need dy, or it is read-only."""
    right = spec.op.backward

    def wrong(self, *dys):
        grads = right(self, *(dy.copy() for dy in dys))
        dys[0][...] *= 2
        return grads

    monkeypatch.setattr(spec.op, "backward", wrong)
    with pytest.raises((mv.GradientError, ValueError), match=r"wrote to|read-only"):
        check(spec, example(spec))


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_backward_that_draws_noise_is_caught(spec, monkeypatch):
    """Noise in the last bits of a gradient fails: two backward passes give different bytes."""
    rng = np.random.default_rng(0)
    plant(
        monkeypatch,
        spec.op,
        lambda grads: [g * (1 + 1e-14 * rng.integers(1, 100, g.shape)) for g in grads],
    )
    with pytest.raises(mv.GradientError, match="second backward"):
        check(spec, example(spec))


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_forward_that_draws_noise_is_caught(spec, monkeypatch):
    """Noise in the last bits of an output fails: two forward passes give different bytes."""
    rng, right = np.random.default_rng(0), spec.op.forward

    def wrong(self, *arrays, **params):
        y = right(self, *arrays, **params)
        shake = 1 + 1e-14 * rng.integers(1, 100)
        return tuple(a * shake for a in y) if isinstance(y, tuple) else y * shake

    monkeypatch.setattr(spec.op, "forward", wrong)
    with pytest.raises(mv.GradientError, match="not deterministic"):
        check(spec, example(spec))


BROADCAST = {name: spec for name, spec in SPECS.items() if spec.broadcasts}


@pytest.mark.parametrize("spec", BROADCAST.values(), ids=BROADCAST)
@pytest.mark.parametrize("shape", [(3,), (1, 3), (3, 1), ()])
def test_forgotten_broadcasting_sum_is_caught(spec, shape, monkeypatch):
    """Taking the gradient of one repeated element instead of the sum over all of them fails."""
    (first, *rest), params = spec.example
    case = spec.build((first, shape, *rest[1:]), params, np.random.default_rng(3))
    assert check(spec, case)

    def first_of_them(grad, shape):
        grad = grad[(0,) * (grad.ndim - len(shape))]
        return grad[tuple(slice(0, n) for n in shape)]

    monkeypatch.setattr(engine, "unbroadcast", first_of_them)
    with pytest.raises(mv.GradientError, match="input 1, index"):
        check(spec, case)


# --- The sampling step ------------------------------------------------------------------------

LATENT = {name: spec for name, spec in SPECS.items() if spec.op is ReparameterizeKL}
every_latent = pytest.mark.parametrize("spec", LATENT.values(), ids=LATENT)


def noise_array(noise, like):
    """The standard normal numbers, given or drawn."""
    return noise.normal(like.shape, like.dtype) if isinstance(noise, mv.Noise) else noise


@every_latent
def test_variance_for_std_in_forward_is_caught(spec, monkeypatch):
    """A forward that computes z = mu + sigma^2 eps fails."""
    right = ReparameterizeKL.forward

    def wrong(self, mu, logvar, noise):
        _, kl = right(self, mu, logvar, noise)
        return mu + np.exp(logvar) * noise_array(noise, mu), kl

    monkeypatch.setattr(ReparameterizeKL, "forward", wrong)
    with pytest.raises(mv.GradientError, match="input 1, index"):
        check(spec, example(spec))


@every_latent
@pytest.mark.parametrize("mistake", ["variance", "factor", "no noise", "kl dropped", "kl sign"])
def test_wrong_derivative_of_the_latent_is_caught(spec, mistake, monkeypatch):
    """dlogvar fails with sigma^2 for sigma, without the factor 1/2, without eps, and with the KL's
    term left out or negated."""

    def wrong(self, dz, dkl):
        mu, logvar, *_ = self.saved
        eps, dkl = noise_array(self.noise, mu), dkl[:, None]
        by_z, by_kl = dz * eps * np.exp(logvar / 2) / 2, dkl * np.expm1(logvar) / 2
        dlogvar = {
            "variance": dz * eps * np.exp(logvar) / 2 + by_kl,
            "factor": 2 * by_z + by_kl,
            "no noise": dz * np.exp(logvar / 2) / 2 + by_kl,
            "kl dropped": by_z,
            "kl sign": by_z - by_kl,
        }[mistake]
        return dz + dkl * mu, dlogvar

    monkeypatch.setattr(ReparameterizeKL, "backward", wrong)
    with pytest.raises(mv.GradientError, match="input 1, index"):
        check(spec, example(spec))


@every_latent
def test_second_noise_in_backward_is_caught(spec, monkeypatch):
    """A backward that uses other noise than forward, such as that of the next offset, fails."""
    right = ReparameterizeKL.backward

    def wrong(self, dz, dkl):
        noise = self.noise
        drawn = isinstance(noise, mv.Noise)
        self.noise = mv.Noise(noise.seed, noise.offset + 1) if drawn else np.flip(noise).copy()
        return right(self, dz, dkl)

    monkeypatch.setattr(ReparameterizeKL, "backward", wrong)
    with pytest.raises(mv.GradientError, match="input 1, index"):
        check(spec, example(spec))


def test_second_noise_in_forward_is_caught():
    """A stream that fn advances gives each call other noise, and gradcheck fails."""
    stream = mv.NoiseStream(0)
    mu, logvar = np.random.default_rng(0).normal(size=(2, 3, 4))
    with pytest.raises(mv.GradientError, match="not deterministic"):
        mv.gradcheck(lambda m, v: F.reparameterize_kl(m, v, stream.draw()), [mu, logvar])
