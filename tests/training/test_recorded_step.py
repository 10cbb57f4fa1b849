"""A step recorded on the CPU: the bytes of the same step made operation by operation."""

import threading
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minivae as mv
from minivae import functional as F
from minivae import kernels, models, nn, optim
from minivae.errors import NonFiniteError
from minivae.tensor import Tensor
from minivae.training import objectives
from minivae.training.choose_step import LARGEST_TAPED, recorded
from minivae.training.cpu_tape import TapedStep
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


def train(
    kind, make, shape, *, steps=7, size=6, objective=objectives.elbo, meddle=None, learned=(),
    images=lambda i, x: x,
):  # fmt: skip
    """(losses as bytes, state, step) after some steps of ``kind``, the fourth on a short batch.

    ``learned`` are initial values of parameters outside the model, which the objective takes.
    """
    model = make()
    np.random.seed(0)
    others = [Tensor(np.float32(value), requires_grad=True) for value in learned]
    adam = optim.Adam([*model.parameters(), *others], lr=1e-3, weight_decay=1e-4)
    objective = partial(objective, *others) if others else objective
    objective = objective() if isinstance(objective, type) else objective
    step = EagerStep(model, adam, objective)
    step = TapedStep(step, lambda text: None) if kind == "taped" else step
    rng, noise, losses = np.random.default_rng(0), mv.NoiseStream(3, 2**60), []
    for i in range(steps):
        x = rng.random((size - 1 if i == 3 else size, *shape), dtype=np.float32)
        adam.lr = 1e-3 / (1 + i // 5)
        if meddle:
            meddle(i, model)
        terms = step(images(i, x), noise.draw(), i / 4)
        losses.append([np.float64(float(term)).tobytes() for term in terms])
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


def normalised(**options):
    """A ``NormalisedVAE`` whose batch normalisation has these options."""

    def make():
        model = NormalisedVAE()
        model.norm = nn.BatchNorm2d(8, **options)
        return model

    return make


class CountingVAE(NormalisedVAE):
    """The mean is scaled by an array of the model, another after some steps."""

    def __init__(self):
        super().__init__()
        self.register_buffer("steps", np.zeros((), np.int64))
        self.scale, self.power = np.float32([1, 2, 3]), 1.0

    def encode(self, x):
        self.steps += 1
        mu, logvar = super().encode(x)
        late = np.minimum(self.steps, 5).astype(np.float32)
        return mu * (np.exp(self.scale) * late) ** self.power, logvar


def test_what_a_part_of_the_model_holds_is_read_anew_or_noticed():
    """Its training mode, arrays, buffers and numbers."""

    def freeze(i, model):
        if i == 4:
            model.norm.eval()
        if isinstance(model, CountingVAE):
            model.scale *= np.float32(0.9)
            if i == 6:
                model.scale, model.power = model.scale / 2, 0.5

    assert assert_same(normalised(), (1, 4, 4), meddle=freeze).recording is not None
    assert assert_same(CountingVAE, (1, 4, 4), meddle=freeze).recording is not None


def test_an_average_over_all_batches_is_not_recorded():
    """Its weight is computed by Python."""
    step = assert_same(normalised(momentum=None), (1, 4, 4))
    assert step.recording is None and "asks for a value" in step.refused


def test_a_model_that_is_another_at_each_step_is_given_up():
    def meddle(i, model):
        model.power = 0.9**i

    step = assert_same(CountingVAE, (1, 4, 4), meddle=meddle)
    assert step.refused == "what the model holds is another at each step"


class LateObjective:
    """An objective that is another after some calls."""

    def __init__(self):
        self.calls = 0

    def __call__(self, model, x, noise, beta):
        self.calls += 1
        terms = objectives.elbo(model, x, noise, beta)
        return terms._replace(loss=terms.loss * 2) if self.calls > 5 else terms


def test_an_objective_that_counts_is_not_recorded():
    step = assert_same(*MODELS["mlp"], objective=LateObjective)
    assert step.recording is None and "counts in an attribute" in step.refused


def test_a_changed_number_of_the_objective_is_noticed():
    def objective(model, x, noise, beta):
        terms = objectives.elbo(model, x, noise, beta)
        return terms._replace(loss=terms.loss * objective.factor)

    def meddle(i, model):
        objective.factor = 0.5 if i < 4 else 2.0

    step = assert_same(*MODELS["mlp"], objective=objective, meddle=meddle)
    assert step.recording is not None


def test_a_parameter_outside_the_model_is_recorded():
    def weighted(weight, model, x, noise, beta):
        terms = objectives.elbo(model, x, noise, beta)
        return terms._replace(loss=terms.loss * F.exp(-weight) + weight * weight)

    step = assert_same(*MODELS["mlp"], objective=weighted, learned=[0.3])
    assert step.recording is not None, step.refused


def test_a_parameter_that_the_optimiser_does_not_have_is_not_recorded():
    """Its gradients add up from step to step."""
    grads = {}
    for kind in (EagerStep, TapedStep):
        model = MODELS["mlp"][0]()
        step = eager = EagerStep(model, optim.Adam([model.fc1.weight]))
        if kind is TapedStep:
            step = TapedStep(eager, lambda text: None)
        for i in range(4):
            step(np.full((6, 1, 28, 28), i / 4, np.float32), mv.Noise(3, i), 1.0)
        grads[kind] = [p.grad.tobytes() for p in model.parameters()]
    assert grads[EagerStep] == grads[TapedStep]
    assert "is not the optimiser's" in step.refused


@pytest.mark.parametrize("dtype", [np.float64, np.uint8])
def test_images_of_another_dtype_are_refused_as_ever(dtype):
    _, _, step = train("taped", *MODELS["mlp"])
    for fresh in (step, TapedStep(step.eager, lambda text: None)):
        with pytest.raises(TypeError, match="expected dtype float32 as the model"):
            fresh(np.ones((6, 1, 28, 28), dtype), mv.Noise(3, 7), 1.0)


def test_other_orders_of_images_and_rows_of_noise_run_eagerly():
    _, _, step = train("taped", *MODELS["mlp"])
    replays, x = step.replays, np.ones((6, 1, 28, 28), np.float32)
    step(np.asfortranarray(x * np.arange(28, dtype=np.float32)), mv.Noise(3, 7), 1.0)
    step(x, mv.Noise(3, 8, first=2), 1.0)
    assert step.replays == replays
    step(x, mv.Noise(3, 9), 1.0)
    assert step.replays == replays + 1


def test_an_exchanged_array_and_a_frozen_parameter_are_noticed():
    def meddle(i, model):
        if i == 4:
            model.fc1.weight.data = model.fc1.weight.data * np.float32(0.5)
        if i == 5:
            model.fc3.bias.requires_grad = False

    assert assert_same(*MODELS["mlp"], meddle=meddle).recording is not None


def scaled(model, x, noise, beta):
    """An objective that NumPy has a part in."""
    terms = objectives.elbo(model, x, noise, beta)
    return terms._replace(loss=terms.loss * np.float32(1.5))


def prepared(model, x, noise, beta):
    """An objective whose kernels work on what NumPy made of the images."""
    return objectives.elbo(model, np.sqrt(x), noise, beta)


def penalised(model, x, noise, beta):
    """An objective whose kernels work on what NumPy made of a weight."""
    return objectives.elbo(model, x, noise, np.abs(model.fc1.weight.data).max())


def quiet(model, x, noise, beta):
    """An objective of which a part is made with other warnings than the rest."""
    terms = objectives.elbo(model, x, noise, beta)
    with np.errstate(divide="ignore"):
        return terms._replace(loss=terms.loss + F.exp(F.log(0 * terms.kl.detach())))


def masked(model, x, noise, beta):
    """An objective of a part of the pixels, the rest stays what it was filled with."""
    dark = np.log(x, where=x > 0.5, out=np.zeros_like(x))
    bright = x.sum(where=x > 0.9)
    terms = objectives.elbo(model, x, noise, beta)
    return terms._replace(rec=terms.rec + F.mean(Tensor(dark)) + bright)


def ordered(model, x, noise, beta):
    """An objective of a sum in another order than the elements are numbered in."""
    terms = objectives.elbo(model, x, noise, beta)
    return terms._replace(rec=Tensor(np.tanh(x.transpose(3, 2, 1, 0)).sum()))


def single(model, x, noise, beta):
    """An objective of single elements."""
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
    """An objective that goes one of two ways."""
    terms = objectives.elbo(model, x, noise, beta)
    return terms if terms.kl.item() > 1e9 else objectives.elbo(model, x, noise, beta)


def comparing(model, x, noise, beta):
    """The same of an array."""
    terms = objectives.elbo(model, x, noise, beta)
    return terms if terms.kl.data > 1e9 else objectives.elbo(model, x, noise, beta)


def sorting(model, x, noise, beta):
    """An objective of a function that is no ufunc."""
    return objectives.elbo(model, np.sort(x, axis=0), noise, beta)


def filling(model, x, noise, beta):
    """An objective of an array that is filled element by element."""
    twin = np.zeros_like(x)
    twin[:, :, ::2] = x[:, :, ::2]
    return objectives.elbo(model, twin, noise, beta)


def adding_up(model, x, noise, beta):
    """An objective that adds to an array of its own."""
    total = np.zeros((6, 1, 28, 28), np.float32)[: len(x)]
    total += x
    return objectives.elbo(model, total, noise, beta)


def picking(model, x, noise, beta):
    """An objective of some elements, whose gradients are added one by one."""
    terms = objectives.elbo(model, x, noise, beta)
    some = model.encode(x)[0][np.array([0, 0])]
    return terms._replace(loss=terms.loss + F.mean(some * some))


def leaking(model, x, noise, beta):
    """The same of an array that no longer tells what becomes of it."""
    return objectives.elbo(model, np.sort(np.asarray(x), axis=0), noise, beta)


def unlike(model, x, noise, beta):
    """An objective of which a term is a number."""
    return objectives.elbo(model, x, noise, beta)._replace(rec=0.0)


def weighing(model, x, noise, beta):
    """An objective of a weight that Python computes with all digits."""
    return objectives.elbo(model, x, noise, (1 - beta) ** 2)


def drawing(model, x, noise, beta):
    """An objective that draws with NumPy's own generator."""
    x = x + np.random.random(x.shape).astype(np.float32)
    return objectives.elbo(model, x / 2, noise, beta)


def seeding(model, x, noise, beta):
    """An objective that draws other numbers with the noise's name."""
    rng = np.random.default_rng(noise[1] % 1000)
    return objectives.elbo(model, x * np.float32(rng.random()), noise, beta)


@pytest.mark.parametrize(
    ("objective", "reason"),
    [
        (asking, "asks for a value"),
        (comparing, "asks for a value"),
        (sorting, "NumPy's sort asks for a value"),
        (adding_up, "a ufunc's result is written to an array of the step's own"),
        (picking, "an index by an array asks for a value"),
        (filling, "an array's __setitem__ asks for a value"),
        (leaking, "the term loss depends on something that is neither a compiled kernel nor a"),
        (unlike, "a term is no tensor"),
        (weighing, "a number is computed from beta alone"),
        (drawing, "the term loss depends on something that is neither a compiled kernel nor a"),
        (seeding, "the term loss depends on something that is neither a compiled kernel nor a"),
    ],
)
def test_what_cannot_be_recorded_runs_eagerly_and_says_why(objective, reason):
    step = assert_same(*MODELS["mlp"], objective=objective)
    assert step.recording is None and reason in step.refused
    assert {type(a) for p in step.params() for a in (p.data, p.grad)} == {np.ndarray}


def test_an_interrupted_recording_leaves_the_model_as_it_was():
    make, shape = MODELS["mlp"]
    calls = []

    def objective(model, x, noise, beta):
        calls.append(0)
        if len(calls) == 4:  # while the step is recorded
            raise KeyboardInterrupt
        return objectives.elbo(model, x, noise, beta)

    model = make()
    step = TapedStep(EagerStep(model, optim.Adam(model.parameters()), objective), print)
    x = np.ones((6, *shape), np.float32)
    step(x, mv.Noise(3, 0), 1.0)
    before = model.state_dict()
    with pytest.raises(KeyboardInterrupt):
        step(x, mv.Noise(3, 1), 1.0)
    assert all(model.state_dict()[name].tobytes() == before[name].tobytes() for name in before)
    assert step.recording is None
    step(x, mv.Noise(3, 1), 1.0)
    assert step.recording is not None


def test_without_the_trial_such_a_tape_would_be_wrong(monkeypatch):
    """So the test above tests the trial."""
    monkeypatch.setattr(TapedStep, "_digests", lambda *_: {})
    with pytest.raises((AssertionError, NonFiniteError)):
        assert_same(*MODELS["mlp"], objective=leaking)


def in_vain(x):
    """A question that goes without an answer where there is none."""
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
    """No more than an answer that is the same in the trial."""
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


def test_results_of_a_recording_are_plain_arrays():
    _, _, step = train("taped", *MODELS["mlp"], objective=OBJECTIVES["free bits"])
    terms = step(np.zeros((6, 1, 28, 28), np.float32), mv.Noise(3, 7), 1.0)
    arrays = [p.data for p in step.params()] + [p.grad for p in step.params()]
    assert {type(a) for a in (*arrays, *(t.data for t in terms))} == {np.ndarray}


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
    assert not any(step.recording.tape.owns(array) for array in kept)
    step(np.zeros((6, *shape), np.float32), mv.Noise(3, 7), 1.0)
    assert all((array == expected).all() for array in kept)
    images = 6 * (28 * 28 + 2 * 32 * 14 * 14 + 2 * 64 * 7 * 7)  # activations of the encoder alone
    assert step.recording.tape.bytes < 12 * 4 * images


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
