"""A training step recorded on the CPU and replayed gives the same bytes as the eager step."""

import threading
from functools import partial

import numpy as np
import pytest

import minivae as mv
from minivae import functional as F
from minivae import kernels, models, nn, optim
from minivae.errors import NonFiniteError
from minivae.training import objectives
from minivae.training.choose_step import LARGEST_TAPED, recorded
from minivae.training.cpu_tape import TapedStep
from minivae.training.step import EagerStep
from taped_steps import MODELS, NormalisedVAE, assert_same, train

pytestmark = pytest.mark.skipif(
    "cpu" not in kernels.available(), reason="the compiled kernels are not built"
)


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
    """mu is scaled by an array and a power of the model, which change after some steps."""

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
    """A replay follows changes of the model's training mode, arrays, buffers and numbers."""

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
    """With momentum=None Python computes the weight of each batch, which no replay repeats."""
    step = assert_same(normalised(momentum=None), (1, 4, 4))
    assert step.recording is None and "asks for a value" in step.refused


def test_a_model_that_is_another_at_each_step_is_given_up():
    def meddle(i, model):
        model.power = 0.9**i

    step = assert_same(CountingVAE, (1, 4, 4), meddle=meddle)
    assert step.refused == "the model's arrays or attributes are replaced at each step"


class LateObjective:
    """An objective whose loss doubles after five calls."""

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
    """Gradients of parameters outside the optimiser accumulate from step to step."""
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
    assert "is not in the optimiser" in step.refused


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


def test_results_of_a_recording_are_plain_arrays():
    _, _, step = train("taped", *MODELS["mlp"], objective=partial(objectives.free_bits, nats=0.1))
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
    """A replay does not write to results of other kernels, nor do they use the tape's memory."""
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
