"""A step recorded on the CPU: the bytes of the same step made operation by operation."""

import threading
from functools import partial

import numpy as np
import pytest

import minivae as mv
from minivae import functional as F
from minivae import kernels, models, nn, optim
from minivae.errors import NonFiniteError
from minivae.training import objectives
from minivae.training.cpu_tape import TapedStep
from minivae.training.recording import LARGEST_TAPED, recorded
from minivae.training.step import EagerStep

pytestmark = pytest.mark.skipif(
    "cpu" not in kernels.available(), reason="the compiled kernels are not built"
)


class NormalisedVAE(models.VAE):
    """A VAE with batch normalisation, whose buffers a step moves too."""

    latent_dim = 3

    def __init__(self, seed=0):
        rng = mv.NoiseStream(seed)
        self.into, self.norm = nn.Linear(16, 8, rng=rng), nn.BatchNorm2d(8)
        self.mu, self.logvar = nn.Linear(8, 3, rng=rng), nn.Linear(8, 3, rng=rng)
        self.out = nn.Linear(3, 16, rng=rng)

    def encode(self, x):
        h = F.relu(self.norm(self.into(F.flatten(x, 1))))
        return self.mu(h), self.logvar(h)

    def decode(self, z):
        return self.out(z)


MODELS = {
    "mlp": (lambda: models.MLPVAE(3, 8, seed=1), (1, 28, 28)),
    "conv": (lambda: models.ConvVAE(2, seed=1), (1, 28, 28)),
    "batch norm": (NormalisedVAE, (1, 4, 4)),
    "squared error": (lambda: models.MLPVAE(3, 8, seed=1, likelihood="squared-error"), (1, 28, 28)),
}


def train(kind, make, shape, *, steps=7, size=6, objective=objectives.elbo, meddle=None):
    """(losses as bytes, state, step) after some steps of ``kind``, the fourth on a short batch."""
    model = make()
    adam = optim.Adam(model.parameters(), lr=1e-3, weight_decay=1e-4)
    step = EagerStep(model, adam, objective)
    step = TapedStep(step, lambda text: None) if kind == "taped" else step
    rng, noise, losses = np.random.default_rng(0), mv.NoiseStream(3, 2**60), []
    for i in range(steps):
        x = rng.random((size - 1 if i == 3 else size, *shape), dtype=np.float32)
        adam.lr = 1e-3 / (1 + i // 5)
        if meddle:
            meddle(i, model)
        terms = step(x, noise.draw(), i / 4)
        losses.append([term.data.tobytes() for term in terms])
    moments = adam.state_dict()
    return losses, {**model.state_dict(), **{f"adam {k}": a for k, a in moments.items()}}, step


def assert_same(make, shape, **options):
    """A taped run and an eager one end with the same bytes; returns the taped step."""
    eager, taped = (train(kind, make, shape, **options) for kind in ("eager", "taped"))
    assert taped[0] == eager[0]
    assert {k: a.tobytes() for k, a in taped[1].items()} == {
        k: a.tobytes() for k, a in eager[1].items()
    }
    return taped[2]


@pytest.mark.parametrize("name", MODELS)
def test_the_bytes_are_those_of_the_eager_step(name):
    step = assert_same(*MODELS[name])
    assert step.recording is not None
    assert list(step.reasons.values()) == [1]  # the short batch alone ran eagerly


@pytest.mark.parametrize("threads", [1, 3])
def test_the_bytes_do_not_depend_on_the_threads(threads):
    before = kernels.threads()
    kernels.set_threads(threads)
    try:
        assert_same(*MODELS["conv"])
    finally:
        kernels.set_threads(before)


def test_an_exchanged_array_and_a_frozen_parameter_are_noticed():
    def meddle(i, model):
        if i == 4:
            model.fc1.weight.data = model.fc1.weight.data * np.float32(0.5)
        if i == 5:
            model.fc3.bias.requires_grad = False

    assert assert_same(*MODELS["mlp"], meddle=meddle).recording is not None


def outside(model, x, noise, beta):
    """An objective that NumPy has a part in."""
    terms = objectives.elbo(model, x, noise, beta)
    return terms._replace(loss=terms.loss * np.float32(1.5))


def prepared(model, x, noise, beta):
    """An objective whose kernels work on what NumPy made of the images."""
    return objectives.elbo(model, np.sqrt(x), noise, beta)


def penalised(model, x, noise, beta):
    """An objective whose kernels work on what NumPy made of a weight."""
    return objectives.elbo(model, x, noise, np.abs(model.fc1.weight.data).max())


def asking(model, x, noise, beta):
    """An objective that goes one of two ways."""
    terms = objectives.elbo(model, x, noise, beta)
    return terms if terms.kl.item() > 1e9 else objectives.elbo(model, x, noise, beta)


@pytest.mark.parametrize(
    ("objective", "reason"),
    [
        (outside, "depends on something outside the compiled kernels"),
        (asking, "asks for a value"),
        (prepared, "the term loss depends on something outside the compiled kernels"),
        (penalised, "depends on something outside the compiled kernels"),
        (partial(objectives.free_bits, nats=0.1), "outside the compiled kernels"),
        (partial(objectives.iwae, samples=2), "not known on the host"),
    ],
)
def test_what_cannot_be_recorded_runs_eagerly_and_says_why(objective, reason):
    step = assert_same(*MODELS["mlp"], objective=objective)
    assert step.recording is None and reason in step.refused


def test_without_the_trial_such_a_tape_would_be_wrong(monkeypatch):
    """So the test above tests the trial."""
    monkeypatch.setattr(TapedStep, "_digests", lambda *_: {})
    with pytest.raises((AssertionError, NonFiniteError)):
        assert_same(*MODELS["mlp"], objective=outside)


def test_nan_is_refused_before_a_weight_changes():
    make, shape = MODELS["mlp"]
    _, before, step = train("taped", make, shape)
    x = np.full((6, *shape), np.nan, np.float32)
    with pytest.raises(NonFiniteError, match="the input batch"):
        step(x, mv.Noise(3, 99), 1.0)
    after = step.model.state_dict()
    assert all(after[name].tobytes() == before[name].tobytes() for name in after)


def test_the_memory_of_a_tape_is_used_again_within_and_never_outside():
    """Results of other kernels stay as they are through replays, and the tape through theirs."""
    make, shape = MODELS["conv"]
    _, _, step = train("taped", make, shape)
    a = np.random.default_rng(1).random((50, 50), dtype=np.float32)
    kept = [kernels.get("matmul", a)(a, a) for _ in range(20)]
    expected = kept[0].copy()
    assert not any(step.recording.owns(array) for array in kept)
    step(np.zeros((6, *shape), np.float32), mv.Noise(3, 7), 1.0)
    assert all((array == expected).all() for array in kept)
    images = 6 * (28 * 28 + 2 * 32 * 14 * 14 + 2 * 64 * 7 * 7)  # activations of the encoder alone
    assert step.recording.bytes < 12 * 4 * images


def test_only_the_recording_thread_is_recorded():
    from minivae._cpu import Tape

    tape, a = Tape(), np.eye(3, dtype=np.float32)
    results = []
    tape.start()
    try:
        thread = threading.Thread(target=lambda: results.append(kernels.get("matmul", a)(a, a)))
        thread.start()
        thread.join()
        assert len(tape) == 0 and (results[0] == a).all()
        product = kernels.get("matmul", a)(a, a)
        with pytest.raises(RuntimeError, match="already"):
            Tape().start()
    finally:
        tape.stop()
    assert len(tape) == 1 and tape.owns(product)
    a *= 2
    tape.replay(0, 1)
    assert (product == a @ a).all()
    with pytest.raises(IndexError, match="expected 0 <= first <= last <= 1, got 0 and 2"):
        tape.replay(0, 2)
    with pytest.raises(RuntimeError, match="not being recorded"):
        tape.stop()


def test_large_models_keep_the_eager_step():
    model = models.FaceVAE(100, 64)
    assert sum(p.size for p in model.parameters()) > LARGEST_TAPED
    eager = EagerStep(model, optim.Adam(model.parameters()))
    assert recorded(eager, [])[0] is eager
