"""Whole runs on the stand-in and on a GPU: trainer, checkpoints, evaluation, pictures."""

import csv

import numpy as np
import pytest
from cuda_emulation import DEVICES, device_called

import minivae as mv
from minivae import models, optim
from minivae.backend import device_of, to_device
from minivae.data import PixelBatches
from minivae.evaluation import elbo, posteriors
from minivae.training import checkpoint, cuda_graph
from minivae.training.output_folder import OutputFolder
from minivae.training.step import EagerStep
from minivae.training.trainer import Trainer
from minivae.viz import plots

IMAGES = np.random.default_rng(0).integers(0, 256, (14, 28, 28), dtype=np.uint8)


@pytest.fixture(params=DEVICES)
def device(request):
    with device_called(request.param) as cupy:
        yield cupy


def trainer(out, device, *, epochs=2, seed=0, make=None, size=6, **options):
    """A ``Trainer`` of a tiny model on a device: three steps an epoch, the last of two images."""
    model = (make or (lambda: models.MLPVAE(latent_dim=2, hidden=4, seed=seed)))().to(device)
    adam = optim.Adam(model.parameters(), lr=1e-3)
    train = PixelBatches(IMAGES, size, seed=seed, binarize="dynamic")
    test = PixelBatches(IMAGES[:7], 6, train=False)
    options = {"epochs": epochs, "seed": seed, "warmup": 1, **options}
    return Trainer(model, adam, train, test, out, **options)


def run(folder, device, *, resume=False, **options):
    """Train in a folder; (metrics, checkpoint's bytes, trainer)."""
    with OutputFolder(folder) as out:
        made = trainer(out, device, **options)
        assert made.resume() == resume
        made.run()
    with open(folder / "metrics.csv", newline="") as file:
        rows = [{k: float(v) for k, v in row.items() if k != "seconds"}
                for row in csv.DictReader(file)]  # fmt: skip
    return rows, (folder / "checkpoint.safetensors").read_bytes(), made


def test_a_run_gives_what_it_gives_on_the_cpu(device, tmp_path, capsys):
    expected, _, _ = run(tmp_path / "cpu", "cpu")
    rows, _, made = run(tmp_path / "cuda", "cuda")
    assert type(made.step_function) is cuda_graph.CapturedStep
    assert made.step_function.replays == 3
    for got, want in zip(rows, expected, strict=True):
        assert got.keys() == want.keys()
        for name in want:
            assert got[name] == pytest.approx(want[name], rel=1e-4), name
    assert capsys.readouterr().out.count("not in a graph: the shape of the batch is (2,") == 1


def test_a_resumed_run_ends_with_the_bytes_of_one_never_stopped(device, tmp_path):
    _, whole, _ = run(tmp_path / "whole", "cuda", epochs=3)
    run(tmp_path / "parts", "cuda", epochs=1)
    rows, parts, _ = run(tmp_path / "parts", "cuda", epochs=3, resume=True)
    assert parts == whole and len(rows) == 3


def test_several_steps_at_a_time_stop_for_a_checkpoint(device, tmp_path):
    """With fourteen steps per epoch and a checkpoint every ten, a group of steps ends where a
    checkpoint is due, and the metrics are those of the CPU."""
    rows, _, made = run(tmp_path / "several", "cuda", size=1, save_every=10)
    assert made.step_function._long is not None
    expected, _, _ = run(tmp_path / "cpu", "cpu", size=1, save_every=10)
    assert [made._until_saved(8) for made.state.step in (0, 7, 12, 20)] == [8, 3, 8, 8]
    for got, want in zip(rows, expected, strict=True):
        for name in want:
            assert got[name] == pytest.approx(want[name], rel=1e-3), name


def test_a_checkpoint_moves_between_cpu_and_device(device, tmp_path):
    """Saving copies arrays to the host; loading copies them to the model's device."""
    rng = np.random.default_rng(3)
    model = models.MLPVAE(latent_dim=2, hidden=4, seed=1).to("cuda")
    adam = optim.Adam(model.parameters())
    x = to_device(rng.random((6, 784)).astype(np.float32), "cuda")
    EagerStep(model, adam)(x, mv.Noise(1, 0), 1.0)
    mv.save(tmp_path / "a", model, adam)
    other = models.MLPVAE(latent_dim=2, hidden=4, seed=2)
    other_adam = optim.Adam(other.parameters())
    checkpoint.load(tmp_path / "a", other, other_adam)
    for name, array in model.state_dict().items():
        assert type(array) is np.ndarray
        np.testing.assert_array_equal(array, other.state_dict()[name])
    for name, array in adam.state_dict().items():
        np.testing.assert_array_equal(array, other_adam.state_dict()[name])
    mv.save(tmp_path / "b", other, other_adam)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    checkpoint.load(tmp_path / "b", model, adam)
    weight = model.fc1.weight
    assert device_of(weight.data) == device_of(adam.state[weight]["m"]) == "cuda"


def test_evaluation_codes_samples_and_pictures(device):
    cpu = models.MLPVAE(latent_dim=2, hidden=4, seed=1)
    gpu = models.MLPVAE(latent_dim=2, hidden=4, seed=1).to("cuda")
    batches = PixelBatches(IMAGES, 6, train=False)
    results = [elbo(model, batches.epoch(0), mv.NoiseStream(5)).terms for model in (cpu, gpu)]
    assert results[1] == pytest.approx(results[0], rel=1e-5)
    codes = [posteriors(model, batches.epoch(0))[0] for model in (cpu, gpu)]
    np.testing.assert_allclose(codes[1], codes[0], atol=1e-6)
    samples = [model.sample(4, mv.Noise(1, 2)).numpy() for model in (cpu, gpu)]
    np.testing.assert_allclose(samples[1], samples[0], atol=1e-5)
    x = IMAGES[:4, None].astype(np.float32) / 255
    again = gpu.reconstruct(to_device(x, "cuda")).numpy()
    np.testing.assert_allclose(again, cpu.reconstruct(x).numpy(), atol=1e-5)
    between = gpu.interpolate(to_device(x[0], "cuda"), to_device(x[1], "cuda"), 3).numpy()
    np.testing.assert_allclose(between, cpu.interpolate(x[0], x[1], 3).numpy(), atol=1e-5)
    assert plots.png(plots.samples(samples[1], "drawn on the device"))[1:4] == b"PNG"


def steps(make, shape, device, graph, count=4):
    """Losses of a few steps on the same images, in float64.

    Adam divides a gradient g by sqrt(v) + eps, v near g^2. The gradient of a bias before batch norm
    is 0 but for its rounding e, and moves the bias by up to e lr / eps a step: with Adam's own eps,
    1e-8, that is 1e5 e. With eps = lr it is e.
    """
    model = make().to(device, np.float64)
    step = EagerStep(model, optim.Adam(model.parameters(), lr=1e-3, eps=1e-3))
    if graph:
        step = cuda_graph.CapturedStep(step, pytest.fail)
    x = to_device(np.random.default_rng(4).random(shape), device)
    terms = [step(x, mv.Noise(2, i), 1.0) for i in range(count)]
    assert not graph or step.replays == count - 1
    state = model.state_dict()
    return [float(mv.Tensor(t.loss.data).numpy()) for t in terms], state


def face(**options):
    return lambda: models.FaceVAE(3, image_size=16, channels=1, seed=1, **options)


# 4 steps, each with the rounding of a sum of 2 x 16 x 16 terms of up to 100 in float64.
ATOL = 4 * (2 * 16 * 16) * 100 * 2.0**-53
LARGER = {
    "conv": (lambda: models.ConvVAE(latent_dim=2, seed=1), (2, 1, 28, 28)),
    "face": (face(), (2, 1, 16, 16)),
    "face, gaussian": (face(likelihood="gaussian"), (2, 1, 16, 16)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", LARGER)
def test_steps_of_the_convolutional_models(device, name):
    """Losses and running statistics match the CPU's with convolutions and batch norm, eager and
    captured."""
    make, shape = LARGER[name]
    expected, state = steps(make, shape, "cpu", False)
    for graph in (False, True):
        losses, found = steps(make, shape, "cuda", graph)
        np.testing.assert_allclose(losses, expected, rtol=1e-12)
        for key in state:
            np.testing.assert_allclose(found[key], state[key], rtol=1e-10, atol=ATOL)


class OutOfMemoryError(MemoryError):
    """An error with the name of CuPy's, by which minivae recognises it."""


def test_a_device_without_memory_is_reported(device, tmp_path, monkeypatch):
    """The error says which step asked for how much memory; the step is not tried again eagerly."""
    with OutputFolder(tmp_path) as out:
        made = trainer(out, "cuda")
        step = made.step_function

        def ask(*_):
            raise OutOfMemoryError("Out of memory allocating 4,096 bytes")

        monkeypatch.setattr(step.optimizer, "update", ask)
        expected = r"epoch 1, step 1 of batches of 6: .*4,096 bytes; the GPU has \d+ of \d+ MiB"
        with pytest.raises(mv.errors.DeviceMemoryError, match=expected):
            made.run()
    assert step.refused is None and step.reasons == {}


def test_without_a_device_the_reason_is_given():
    with pytest.raises(RuntimeError, match=r"device 'cuda' is not available: .{10}"):
        models.MLPVAE().to("cuda")
    with pytest.raises(ValueError, match="device: expected 'cpu' or 'cuda', got 'gpu'"):
        models.MLPVAE().to("gpu")
