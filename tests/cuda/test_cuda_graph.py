"""The captured training step, on the stand-in and on a GPU: the losses of eager steps and of the
CPU."""

import itertools

import numpy as np
import pytest
from cuda_emulation import DEVICES, device_called, emulated_device
from cupy_streams import Graph

import minivae as mv
from minivae import kernels, models, optim
from minivae.backend import to_device, to_numpy
from minivae.data import PixelBatches
from minivae.data.device_batches import ResidentBatches, Selection
from minivae.noise import CountedNoise
from minivae.training import cuda_graph
from minivae.training.step import EagerStep

IMAGES = np.random.default_rng(0).integers(0, 256, (23, 28, 28), dtype=np.uint8)


@pytest.fixture(params=DEVICES)
def device(request):
    with device_called(request.param) as cupy:
        yield cupy


def training(device, *, binarize="dynamic", images=IMAGES, size=6, make=None):
    """(eager step, batches) of a tiny model."""
    model = make() if make else models.MLPVAE(latent_dim=3, hidden=5, seed=1)
    model.to(device)
    adam = optim.Adam(model.parameters(), lr=1e-3)
    return EagerStep(model, adam), PixelBatches(images, size, seed=4, binarize=binarize)


def train(step, batches, epochs, beta=lambda i: 1.0):
    """All losses, (steps, 3), read at the end as the trainer does."""
    stream, terms = mv.NoiseStream(9), []
    for epoch in range(epochs):
        for x in batches.epoch(epoch):
            x = x if isinstance(x, Selection) else to_device(x, step.model_device)
            terms.append(step(x, stream.draw(), beta(len(terms))))
    return np.array([[float(to_numpy(t.data)) for t in three] for three in terms])


def run(kind, epochs=2, beta=lambda i: 1.0, **options):
    """Losses and final weights of one kind of step: cpu, eager or captured."""
    eager, batches = training("cpu" if kind == "cpu" else "cuda", **options)
    step, told = eager, []
    if kind == "captured":
        step, batches = cuda_graph.captured(eager, batches, told.append)
        assert isinstance(batches, ResidentBatches)
    step.model_device = "cpu" if kind == "cpu" else "cuda"
    losses = train(step, batches, epochs, beta)
    return losses, eager.model.state_dict(), step, told


@pytest.mark.parametrize("binarize", ["none", "dynamic"])
def test_the_same_losses_step_by_step_and_on_the_cpu(device, binarize):
    """Four batches per epoch; the last one, of five images, runs eagerly, which is told once."""
    results = {kind: run(kind, 4, binarize=binarize) for kind in ("cpu", "eager", "captured")}
    *_, step, told = results["captured"]
    assert step.replays == 4 * 3 - 1  # all but the first, which ran by itself
    assert len(told) == 1 and "(5, 1, 28, 28)" in told[0] and "(6, 1, 28, 28)" in told[0]
    assert step.reasons == {told[0].removeprefix("not in a graph: "): 4}
    for kind in ("eager", "captured"):
        np.testing.assert_allclose(results[kind][0], results["cpu"][0], rtol=3e-5)
        for name, weights in results["cpu"][1].items():
            np.testing.assert_allclose(results[kind][1][name], weights, rtol=1e-3, atol=2e-5)
    np.testing.assert_array_equal(results["captured"][0], results["eager"][0])


def in_groups(step, batches, epochs, beta=lambda i: 1.0):
    """``train`` with ``step.together`` steps at a time, as in ``Trainer``."""
    stream, terms = mv.NoiseStream(9), []
    for epoch in range(epochs):
        left = iter(batches.epoch(epoch))
        while xs := list(itertools.islice(left, step.together)):
            betas = [beta(len(terms) + i) for i in range(len(xs))]
            terms += step.several(xs, [stream.draw() for _ in xs], betas)
    return np.array([[float(to_numpy(t.data)) for t in three] for three in terms])


@pytest.mark.parametrize("binarize", ["none", "dynamic"])
def test_several_steps_in_one_launch(device, binarize):
    """Several steps per launch give the bits of one at a time, also while beta grows; the eleven
    full batches of an epoch are groups of eight and three."""
    results = []
    for way in (train, in_groups):
        eager, batches = training("cuda", size=2, binarize=binarize)
        step, batches = cuda_graph.captured(eager, batches, lambda text: None)
        step.model_device = "cuda"
        losses = way(step, batches, 3, beta=lambda i: min(1.0, i / 20))
        results.append((losses, eager.model.state_dict(), eager.optimizer.state_dict()))
        assert step.replays == 3 * 11 - 1
    (one, *states), (several, *other_states) = results
    assert step._long is not None
    assert one.tobytes() == several.tobytes()
    for state, other in zip(states, other_states, strict=True):
        assert all(state[name].tobytes() == other[name].tobytes() for name in state)


def test_what_does_not_follow_is_not_launched_together(device):
    """Batches in another order, or noise with a gap in its offsets, run one step at a time."""
    results = []
    for group in (False, True):
        eager, batches = training("cuda", size=2)
        step, batches = cuda_graph.captured(eager, batches, pytest.fail)
        xs = list(batches.epoch(0))[:10]
        terms = [step(x, mv.Noise(9, i), 1.0) for i, x in enumerate(xs[:2])]
        noises = [mv.Noise(9, i + (i > 5)) for i in range(2, 10)]
        for order in (xs[2:], xs[:1:-1]):
            steps = zip(order, noises, [1.0] * 8, strict=True)
            terms += step.several(order, noises, [1.0] * 8) if group else [step(*s) for s in steps]
        results.append([float(to_numpy(t.loss.data)) for t in terms])
        assert step._long is None
    assert results[0] == results[1]


def test_a_step_of_mlpvae_is_eighteen_launches_of_which_fourteen_follow_each_other():
    """The stand-in counts the launches, with copies and the second kernels of CuPy; see docs."""
    with device_called("stand-in"):
        step = run("captured")[2]
        graph = step.recording
        assert (graph.size, graph.longest_path) == (18, 14)


@pytest.mark.parametrize("turns", ["first", "others"])
def test_the_streams_of_a_step_wait_for_what_they_read(turns, monkeypatch):
    """The bits are those of eager steps, whichever stream of the graph runs first."""
    with device_called("stand-in"):
        expected, weights, *_ = run("eager")
        monkeypatch.setattr(Graph, "turns", turns)
        found, ends, step, _ = run("captured")
        assert step.replays and found.tobytes() == expected.tobytes()
        assert all(ends[name].tobytes() == weights[name].tobytes() for name in weights)


class Tied(models.MLPVAE):
    """A model that uses one weight twice."""

    def decode(self, z):
        return super().decode(z) + 0.1 * self.fc3(z, activation="relu").sum()


@pytest.mark.parametrize("turns", ["first", "others"])
def test_a_weight_used_twice_is_added_up_on_one_stream(turns, monkeypatch):
    def make():
        return Tied(latent_dim=3, hidden=5, seed=1)

    with device_called("stand-in"):
        expected = run("eager", make=make)[0]
        monkeypatch.setattr(Graph, "turns", turns)
        found, _, step, _ = run("captured", make=make)
        assert step.recording.size == step.recording.longest_path
        assert found.tobytes() == expected.tobytes()


def test_what_changes_from_step_to_step_is_not_captured(device):
    """The weight of the KL and the learning rate may change at any step."""

    def beta(i):
        return min(1.0, i / 7)

    assert np.ptp(run("cpu", beta=beta)[0] - run("cpu")[0]) > 0.1
    expected, _, _, _ = run("cpu", beta=beta)
    np.testing.assert_allclose(run("captured", beta=beta)[0], expected, rtol=3e-5)

    losses = []
    for kind in ("cpu", "captured"):
        eager, batches = training("cpu" if kind == "cpu" else "cuda")
        step = eager
        if kind == "captured":
            step, batches = cuda_graph.captured(eager, batches, lambda text: None)
        step.model_device = "cpu" if kind == "cpu" else "cuda"
        for lr in (1e-3, 1e-2):
            eager.optimizer.lr = lr
            losses.append(train(step, batches, 2))
    np.testing.assert_allclose(losses[2:], losses[:2], rtol=2e-4)


@pytest.mark.minutes
def test_the_same_losses_over_a_thousand_steps(device):
    results = [run(kind, 250, images=IMAGES[:8], size=2)[0] for kind in ("cpu", "captured")]
    assert len(results[0]) == 1000
    np.testing.assert_allclose(results[1], results[0], rtol=2e-3)


def test_arrays_instead_of_resident_images(device):
    """A step on an array copies the array to the memory that the graph reads."""
    rng = np.random.default_rng(2)
    xs = rng.random((5, 6, 784)).astype(np.float32)
    losses = []
    for kind in ("cpu", "captured"):
        eager, _ = training("cpu" if kind == "cpu" else "cuda")
        step = cuda_graph.CapturedStep(eager, pytest.fail) if kind == "captured" else eager
        stream = mv.NoiseStream(1)
        for x in xs:
            x = to_device(x, "cpu" if kind == "cpu" else "cuda")
            losses.append(float(to_numpy(step(x, stream.draw(), 1.0).loss.data)))
    assert step.recording is not None
    np.testing.assert_allclose(losses[5:], losses[:5], rtol=3e-5)


def test_weights_that_somebody_sets_between_steps_are_used(device):
    losses = []
    for kind in ("cpu", "captured"):
        eager, _ = training("cpu" if kind == "cpu" else "cuda")
        step = cuda_graph.CapturedStep(eager, pytest.fail) if kind == "captured" else eager
        x = to_device(np.ones((6, 784), np.float32), "cpu" if kind == "cpu" else "cuda")
        for i in range(4):
            if i == 3:
                weight = eager.model.fc3.weight
                weight.data = weight.data * 0
            losses.append(float(to_numpy(step(x, mv.Noise(0, i), 1.0).loss.data)))
    np.testing.assert_allclose(losses[4:], losses[:4], rtol=3e-5)


@pytest.mark.parametrize("exchange", ["the weights", "the moments", "an option", "a gradient"])
def test_what_is_exchanged_between_steps_is_noticed(device, exchange):
    """A graph holds addresses and options; if one of them changes, the step is captured again."""
    losses = []
    for kind in ("cpu", "captured"):
        eager, _ = training("cpu" if kind == "cpu" else "cuda")
        step = cuda_graph.CapturedStep(eager, pytest.fail) if kind == "captured" else eager
        x = to_device(np.ones((6, 784), np.float32), "cpu" if kind == "cpu" else "cuda")
        for i in range(8):
            if i == 4:
                weight, adam = eager.model.fc3.weight, eager.optimizer
                if exchange == "the weights":
                    weight.data = weight.data / 2
                elif exchange == "the moments":
                    adam.load_state_dict(adam.state_dict())
                    adam.state[weight]["m"] = adam.state[weight]["m"] * 3
                elif exchange == "an option":
                    adam.param_groups[0]["weight_decay"] = 0.5
                else:
                    weight.grad = None
            losses.append(float(to_numpy(step(x, mv.Noise(0, i), 1.0).loss.data)))
    assert step.recording is not None
    np.testing.assert_allclose(losses[8:], losses[:8], rtol=3e-5)


def test_gradients_after_a_launch_are_those_of_the_step(device):
    grads = []
    for kind in ("cpu", "captured"):
        eager, _ = training("cpu" if kind == "cpu" else "cuda")
        step = cuda_graph.CapturedStep(eager, pytest.fail) if kind == "captured" else eager
        x = to_device(np.ones((6, 784), np.float32), "cpu" if kind == "cpu" else "cuda")
        for i in range(4):
            eager.optimizer.zero_grad()
            step(x, mv.Noise(0, i), 1.0)
            grads.append([to_numpy(p.grad).copy() for p in eager.model.parameters()])
    for a, b in zip(grads[:4], grads[4:], strict=True):
        for mine, graphs in zip(a, b, strict=True):
            np.testing.assert_allclose(graphs, mine, rtol=1e-4, atol=1e-5)


class Waiting(models.MLPVAE):
    """A model that reads a value on the host while it runs, which cannot be captured."""

    def decode(self, z):
        if float(z.data.sum()) > 1e9:
            raise AssertionError
        return super().decode(z)


def test_a_model_that_waits_for_the_device_is_trained_step_by_step(device):
    def make():
        return Waiting(latent_dim=3, hidden=5, seed=1)

    losses, _, step, told = run("captured", make=make)
    assert step.recording is None and len(told) == 1
    waited = "waiting for a value" if device.__version__ == "emulated" else "StreamCapture"
    assert waited in told[0]
    np.testing.assert_array_equal(losses, run("eager", make=make)[0])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda step: setattr(step, "optimizer", optim.SGD(step.model.parameters(), 0.1)), "SGD"),
        (lambda step: step.model.to("cpu"), "host memory"),
    ],
)
def test_what_cannot_be_captured_is_said(device, change, reason):
    eager, batches = training("cuda")
    change(eager)
    if reason == "host memory":
        eager.optimizer = optim.Adam(eager.model.parameters())
    told = []
    step = cuda_graph.CapturedStep(eager, told.append)
    x = to_device(next(batches.epoch(0)), "cpu" if reason == "host memory" else "cuda")
    for i in range(3):
        step(x, mv.Noise(0, i), 1.0)
    assert len(told) == 1 and reason in told[0]


def test_another_variant_of_kernels_is_not_captured(device):
    eager, batches = training("cuda")
    told = []
    step = cuda_graph.CapturedStep(eager, told.append)
    x = to_device(next(batches.epoch(0)), "cuda")
    with kernels.use("reference"):
        step(x, mv.Noise(0, 0), 1.0)
    assert told == ["not in a graph: the kernel variant 'reference' is forced"]


def test_without_the_extension_steps_run_one_by_one():
    with emulated_device():
        losses, *_, told = run("captured")
        assert len(told) == 1 and "cuda kernels are not available" in told[0]
    np.testing.assert_allclose(losses, run("cpu")[0], rtol=3e-5)


def test_counted_noise_is_the_noise_of_its_counter(device):
    counter = to_device(np.array([5], np.uint64), "cuda")
    noise = CountedNoise(3, counter)
    drawn = noise.normal((2, 7), np.float32, "cuda")
    np.testing.assert_allclose(to_numpy(drawn), mv.Noise(3, 5).normal((2, 7)), rtol=1e-6)
    for use in (lambda: noise.offset, lambda: tuple(noise), lambda: noise.normal((3,))):
        with pytest.raises(RuntimeError, match="not known on the host"):
            use()


def test_selections_name_the_batches(device):
    plain = PixelBatches(IMAGES, 6, seed=2, binarize="dynamic")
    resident = ResidentBatches(plain)
    assert len(resident) == len(plain) and resident.count == plain.count
    for epoch, start in ((0, 0), (3, 2)):
        pairs = zip(resident.epoch(epoch, start), plain.epoch(epoch, start), strict=True)
        for chosen, pixels in pairs:
            assert chosen.shape == pixels.shape and len(chosen) == len(pixels)
            np.testing.assert_array_equal(to_numpy(chosen.pixels()), pixels)
