"""Recorded steps: which objectives can be recorded, and which are refused and run eagerly."""

from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minivae import functional as F
from minivae import kernels, models
from minivae.errors import NonFiniteError
from minivae.tensor import Tensor
from minivae.training import objectives
from minivae.training.cpu_tape import TapedStep
from taped_steps import MODELS, assert_same

pytestmark = pytest.mark.skipif(
    "cpu" not in kernels.available(), reason="the compiled kernels are not built"
)


def scaled(model, x, noise, beta):
    """An objective that multiplies the loss by a NumPy scalar."""
    terms = objectives.elbo(model, x, noise, beta)
    return terms._replace(loss=terms.loss * np.float32(1.5))


def prepared(model, x, noise, beta):
    """An objective that applies a NumPy function to the images before the kernels."""
    return objectives.elbo(model, np.sqrt(x), noise, beta)


def penalised(model, x, noise, beta):
    """An objective whose beta NumPy computes from a weight."""
    return objectives.elbo(model, x, noise, np.abs(model.fc1.weight.data).max())


def quiet(model, x, noise, beta):
    """An objective that computes a part under another ``np.errstate``."""
    terms = objectives.elbo(model, x, noise, beta)
    with np.errstate(divide="ignore"):
        return terms._replace(loss=terms.loss + F.exp(F.log(0 * terms.kl.detach())))


def masked(model, x, noise, beta):
    """An objective with ufuncs under a ``where`` mask; masked elements keep their fill value."""
    dark = np.log(x, where=x > 0.5, out=np.zeros_like(x))
    bright = x.sum(where=x > 0.9)
    terms = objectives.elbo(model, x, noise, beta)
    return terms._replace(rec=terms.rec + F.mean(Tensor(dark)) + bright)


def ordered(model, x, noise, beta):
    """An objective that sums a transposed array, so not in row-major order."""
    terms = objectives.elbo(model, x, noise, beta)
    return terms._replace(rec=Tensor(np.tanh(x.transpose(3, 2, 1, 0)).sum()))


def single(model, x, noise, beta):
    """An objective that indexes single elements of the images."""
    terms = objectives.elbo(model, x, noise, beta)
    first = x[0, 0, 0, 0] + max([x[1, 0], x[2, 0]], key=id).sum()
    return terms._replace(rec=Tensor(sum(row[2] for row in x[:, 0, 0]) + 0 * first))


OBJECTIVES = {
    "masked": masked,
    "ordered": ordered,
    "single": single,
    "scaled": scaled,
    "prepared": prepared,
    "penalised": penalised,
    "quiet": quiet,
    "free bits": partial(objectives.free_bits, nats=0.1),
    "sampled ELBO": partial(objectives.sampled_elbo, samples=1),
    "three samples": partial(objectives.sampled_elbo, samples=3),
    "IWAE": partial(objectives.iwae, samples=3),
    "DReG": partial(objectives.dreg, samples=3),
}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_what_numpy_does_between_the_kernels_is_recorded(name):
    step = assert_same(*MODELS["mlp"], objective=OBJECTIVES[name])
    assert step.recording is not None, step.refused


OTHER_MODELS = {
    "tanh": lambda: models.DeepVAE(3, (8, 8), seed=1),
    "two layers of latents": lambda: models.TwoLayerVAE(seed=1),
    "learned sigma": lambda: models.MLPVAE(3, 8, seed=1, likelihood="gaussian"),
    "fixed sigma": lambda: models.MLPVAE(3, 8, seed=1, likelihood="gaussian", sigma=0.1),
    "sigma of each pixel": lambda: models.MLPVAE(3, 8, seed=1, likelihood="gaussian-per-pixel"),
}


@pytest.mark.parametrize("name", OTHER_MODELS)
@pytest.mark.parametrize("objective", [objectives.elbo, OBJECTIVES["IWAE"]])
def test_models_that_numpy_has_a_part_in_are_recorded(name, objective):
    step = assert_same(OTHER_MODELS[name], (1, 28, 28), objective=objective)
    assert step.recording is not None


def asking(model, x, noise, beta):
    """An objective that branches on the value of a tensor."""
    terms = objectives.elbo(model, x, noise, beta)
    return terms if terms.kl.item() > 1e9 else objectives.elbo(model, x, noise, beta)


def comparing(model, x, noise, beta):
    """An objective that branches on the value of an array."""
    terms = objectives.elbo(model, x, noise, beta)
    return terms if terms.kl.data > 1e9 else objectives.elbo(model, x, noise, beta)


def sorting(model, x, noise, beta):
    """An objective that uses a NumPy function that is no ufunc."""
    return objectives.elbo(model, np.sort(x, axis=0), noise, beta)


def filling(model, x, noise, beta):
    """An objective that assigns to a part of an array."""
    twin = np.zeros_like(x)
    twin[:, :, ::2] = x[:, :, ::2]
    return objectives.elbo(model, twin, noise, beta)


def adding_up(model, x, noise, beta):
    """An objective that adds in place to an array of its own."""
    total = np.zeros((6, 1, 28, 28), np.float32)[: len(x)]
    total += x
    return objectives.elbo(model, total, noise, beta)


def picking(model, x, noise, beta):
    """An objective that indexes by an array with repeats, so that gradients add up."""
    terms = objectives.elbo(model, x, noise, beta)
    some = model.encode(x)[0][np.array([0, 0])]
    return terms._replace(loss=terms.loss + F.mean(some * some))


def leaking(model, x, noise, beta):
    """An objective that sorts a plain array made of the images, which the recording cannot see."""
    return objectives.elbo(model, np.sort(np.asarray(x), axis=0), noise, beta)


def unlike(model, x, noise, beta):
    """An objective with a Python number as one of its terms."""
    return objectives.elbo(model, x, noise, beta)._replace(rec=0.0)


def weighing(model, x, noise, beta):
    """An objective with a weight that Python computes from beta, in double precision."""
    return objectives.elbo(model, x, noise, (1 - beta) ** 2)


def drawing(model, x, noise, beta):
    """An objective that draws with NumPy's own generator."""
    x = x + np.random.random(x.shape).astype(np.float32)
    return objectives.elbo(model, x / 2, noise, beta)


def seeding(model, x, noise, beta):
    """An objective that seeds a NumPy generator with the noise's offset."""
    rng = np.random.default_rng(noise[1] % 1000)
    return objectives.elbo(model, x * np.float32(rng.random()), noise, beta)


@pytest.mark.parametrize(
    ("objective", "reason"),
    [
        (asking, "asks for a value"),
        (comparing, "asks for a value"),
        (sorting, "NumPy's sort asks for a value"),
        (adding_up, "out: expected an array of the recording"),
        (picking, "an index by an array asks for a value"),
        (filling, "an array's __setitem__ asks for a value"),
        (leaking, "the term loss depends on something that is neither a compiled kernel nor a"),
        (unlike, "expected each term to be a Tensor"),
        (weighing, "a number is computed from beta alone"),
        (drawing, "the term loss depends on something that is neither a compiled kernel nor a"),
        (seeding, "the term loss depends on something that is neither a compiled kernel nor a"),
    ],
)
def test_what_cannot_be_recorded_runs_eagerly_and_says_why(objective, reason):
    step = assert_same(*MODELS["mlp"], objective=objective)
    assert step.recording is None and reason in step.refused
    assert {type(a) for p in step.params() for a in (p.data, p.grad)} == {np.ndarray}


def test_without_the_trial_such_a_tape_would_be_wrong(monkeypatch):
    """Without the trial replay, a wrong tape is used: the trial is what the test above tests."""
    monkeypatch.setattr(TapedStep, "_digests", lambda *_: {})
    with pytest.raises((AssertionError, NonFiniteError)):
        assert_same(*MODELS["mlp"], objective=leaking)


def in_vain(x):
    """An objective's question about a value that catches the error of a recording."""
    try:
        return bool(x.max() > 0.5)
    except RuntimeError:
        return False


QUESTIONS = {  # of images that are bright later and dark while the step is recorded
    "an element": lambda x, _: x[0, 0, 0, 0] > 0.5,
    "a list": lambda x, _: x[0, 0, 0].tolist()[0] > 0.5,
    "a loop": lambda x, _: max(x.ravel()) > 0.5,
    "flat": lambda x, _: x.flat[0] > 0.5,
    "a product": lambda x, _: np.dot(x.ravel(), x.ravel()) > x.size / 4,
    "in vain": lambda x, _: in_vain(x),
    "a norm": lambda x, _: np.linalg.norm(x) > x.size**0.5 / 2,
    "a text": lambda x, _: float(f"{x.max():.3f}") > 0.5,
    "bytes": lambda x, _: x.tobytes()[3] > 0x3E,
    "a view": lambda x, _: np.asarray(x).max() > 0.5,
    "a copy": lambda x, _: np.array(x).min() < 0.3,
    "a buffer": lambda x, _: memoryview(x.ravel())[0] > 0.5,
    "a result": lambda x, _: np.asarray(x * 2).max() > 1,
    "what a kernel made": lambda x, mu: np.abs(np.asarray(mu)).max() > 0.3,
    "an array that is filled": lambda x, _: (
        np.add(x, 0, out=np.zeros(x.shape, x.dtype)).max() > 0.5
    ),
}


@pytest.mark.parametrize("name", QUESTIONS)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_an_answer_is_not_recorded(name):
    """A branch on a value is not recorded, even if the trial replay takes the same branch."""
    answers = []

    def objective(model, x, noise, beta):
        terms = objectives.elbo(model, x, noise, beta)
        mu, _ = model.encode(x)
        answers.append(bool(QUESTIONS[name](x, mu.data)))
        return terms._replace(loss=terms.loss * 2) if answers[-1] else terms

    def images(i, x):
        return x * np.float32(0.4) if i < 4 else x / 2 + np.float32(0.5)

    step = assert_same(*MODELS["mlp"], objective=objective, images=images)
    assert step.recording is None
    assert answers[:4] != answers[4:7]


PARTS = {
    "tanh": F.tanh,
    "sigmoid": F.sigmoid,
    "softplus": F.softplus,
    "leaky relu": F.leaky_relu,
    "relu": F.relu,
    "square": lambda t: t * t,
    "bell": lambda t: F.exp(-t * t),
    "fraction": lambda t: t / (1 + t * t),
    "root": lambda t: F.sqrt(t * t + 1),
    "centred": lambda t: t - F.mean(t, axis=0),
    "mean": lambda t: F.mean(t, axis=-1, keepdims=True),
    "sum": lambda t: F.sum(t, axis=0, keepdims=True) * 0.01,
    "largest": lambda t: F.max(t, axis=0, keepdims=True),
    "log mean exp": lambda t: F.reshape(F.log_mean_exp(t), -1, 1),
    "transposed": F.transpose,
    "flat": lambda t: F.reshape(F.transpose(t), -1, 1),
    "every other": lambda t: t[::2],
    "picked": lambda t: t[np.array([0, 0])],
    "twice": lambda t: F.concatenate([t, t]),
    "product": lambda t: t @ F.transpose(t),
    "power": lambda t: (t * t + 1) ** 1.5,
}


@given(st.lists(st.sampled_from(sorted(PARTS)), min_size=1, max_size=4))
def test_a_random_part_of_the_loss_is_recorded_right_or_not_at_all(names):
    def objective(model, x, noise, beta):
        terms = objectives.elbo(model, x, noise, beta)
        part, _ = model.encode(x)
        for name in names:
            part = PARTS[name](part)
        return terms._replace(loss=terms.loss + F.mean(F.tanh(part)))

    step = assert_same(*MODELS["mlp"], objective=objective)
    unrecorded = {"every other", "picked", "twice"} & set(names)
    assert (step.recording is None) <= bool(unrecorded), step.refused
