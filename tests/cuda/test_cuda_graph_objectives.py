"""Every objective, eager and captured, on the stand-in and on a GPU: the losses of the CPU."""

from functools import partial

import numpy as np
import pytest
from cuda_emulation import DEVICES, device_called

import minivae as mv
from minivae import models, optim
from minivae.backend import to_device, to_numpy
from minivae.data import PixelBatches
from minivae.data.device_batches import Selection
from minivae.training import cuda_graph, objectives
from minivae.training.step import EagerStep

IMAGES = np.random.default_rng(0).integers(0, 256, (12, 28, 28), dtype=np.uint8)
OBJECTIVES = {
    "free-bits": partial(objectives.free_bits, nats=0.05),
    "sampled-elbo": partial(objectives.sampled_elbo, samples=3),
    "iwae": partial(objectives.iwae, samples=3),
    "dreg": partial(objectives.dreg, samples=3),
}


@pytest.fixture(params=DEVICES)
def device(request):
    with device_called(request.param) as cupy:
        yield cupy


def losses(kind, objective):
    """The losses of six steps, and the messages about steps that were not captured."""
    where, told = "cpu" if kind == "cpu" else "cuda", []
    model = models.DeepVAE(3, (5,), seed=1).to(where)
    step = EagerStep(model, optim.Adam(model.parameters()), objective)
    batches = PixelBatches(IMAGES, 6, seed=4, binarize="dynamic")
    if kind == "captured":
        step, batches = cuda_graph.captured(step, batches, told.append)
    stream, found = mv.NoiseStream(9), []
    for epoch in range(3):
        for x in batches.epoch(epoch):
            x = x if isinstance(x, Selection) else to_device(x, where)
            found.append(step(x, stream.draw(), 0.7))
    return np.array([[float(to_numpy(t.data)) for t in terms] for terms in found]), told


@pytest.mark.parametrize("name", OBJECTIVES)
def test_losses_are_those_of_the_cpu(device, name):
    expected, _ = losses("cpu", OBJECTIVES[name])
    for kind in ("eager", "captured"):
        found, told = losses(kind, OBJECTIVES[name])
        np.testing.assert_allclose(found, expected, rtol=1e-4)
        assert told == [], "the whole step is one graph"
