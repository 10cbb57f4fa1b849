"""From the same weights and noise, training follows PyTorch's losses step by step."""

import sys
from pathlib import Path

import numpy as np
import pytest

import minivae as mv
from minivae import models, optim

torch = pytest.importorskip("torch")
sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
torch_models = pytest.importorskip("torch_models")

MODELS = {
    "MLPVAE": ({}, (784,)),
    "ConvVAE": ({}, (1, 28, 28)),
    "FaceVAE": ({"image_size": 64}, (3, 64, 64)),
}
OURS = {"FaceVAE": {"paddings": (1, 1, 0)}}  # the published network's paddings, also at size 64


def pair(name, dtype, seed=0):
    """minivae's model and PyTorch's, the first loaded from the second's state_dict."""
    torch.manual_seed(seed)
    config, shape = MODELS[name]
    theirs = getattr(torch_models, name)(**config).to(getattr(torch, np.dtype(dtype).name))
    ours = getattr(models, name)(**config, **OURS.get(name, {}), seed=seed + 1).to(dtype=dtype)
    ours.load_state_dict({k: v.numpy() for k, v in theirs.state_dict().items()})
    return ours, theirs, shape


def losses(ours, theirs, shape, dtype, steps, batch, **adam):
    """Losses of both, (steps, 3) each: loss, rec, kl."""
    rng = np.random.default_rng(0)
    images = rng.random((4 * batch, *shape)).astype(dtype) ** 4
    mine = optim.Adam(ours.parameters(), **adam)
    other = torch.optim.Adam(theirs.parameters(), **adam)
    rows = []
    for _ in range(steps):
        x = images[rng.integers(len(images), size=batch)]
        eps = rng.standard_normal((batch, ours.latent_dim)).astype(dtype)
        terms = ours.elbo(x, eps)
        mine.zero_grad()
        terms.loss.backward()
        mine.step()
        reference = theirs.elbo(torch.from_numpy(x), torch.from_numpy(eps))
        other.zero_grad()
        reference[0].backward()
        other.step()
        rows.append([[t.item() for t in terms], [t.item() for t in reference]])
    return np.array(rows).transpose(1, 0, 2)


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "rtol"), [(np.float64, 1e-5), (np.float32, 1e-3)])
def test_mlp_vae_follows_torch_for_100_steps(dtype, rtol):
    ours, theirs, shape = pair("MLPVAE", dtype)
    mine, reference = losses(ours, theirs, shape, dtype, steps=100, batch=32, lr=1e-3)
    np.testing.assert_allclose(mine, reference, rtol=rtol)
    assert reference[-1, 0] < 0.8 * reference[0, 0], "the run is too short to show anything"


@pytest.mark.slow
def test_conv_vae_follows_torch_for_20_steps():
    ours, theirs, shape = pair("ConvVAE", np.float64)
    mine, reference = losses(ours, theirs, shape, np.float64, steps=20, batch=8, lr=1e-3)
    np.testing.assert_allclose(mine, reference, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "rtol"), [(np.float64, 1e-7), (np.float32, 1e-4)])
def test_face_vae_follows_torch_for_20_steps_with_weight_decay(dtype, rtol):
    ours, theirs, shape = pair("FaceVAE", dtype)
    mine, reference = losses(
        ours, theirs, shape, dtype, steps=20, batch=4, lr=1e-4, weight_decay=1e-5
    )
    np.testing.assert_allclose(mine, reference, rtol=rtol)
    # A bias before batch norm has gradient zero but for rounding, which Adam scales up to steps of
    # lr: in float32 the batch means, and only they, may drift apart by lr a step.
    drift = 20 * 1e-4 if dtype == np.float32 else 1e-9
    state = theirs.state_dict()
    for name, array in ours.state_dict().items():
        if "running" in name or "tracked" in name:
            atol = drift if "mean" in name else 0
            np.testing.assert_allclose(array, state[name].numpy(), rtol=10 * rtol, atol=atol)


@pytest.mark.parametrize("name", MODELS)
def test_state_dict_goes_both_ways(name):
    ours, theirs, _ = pair(name, np.float32)
    expected = theirs.state_dict()
    assert list(ours.state_dict()) == list(expected)
    fresh = getattr(torch_models, name)(**MODELS[name][0])
    fresh.load_state_dict({k: torch.from_numpy(v) for k, v in ours.state_dict().items()})
    for key, value in fresh.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), expected[key].numpy())


@pytest.mark.slow
def test_face_vae_at_256_has_the_published_size():
    model = models.FaceVAE()
    assert sum(p.size for p in model.parameters()) == 63_332_411


def test_default_initialisation_has_torchs_bounds():
    torch.manual_seed(1)
    for ours, theirs in [
        (mv.nn.Linear(30, 500, rng=mv.NoiseStream(1)), torch.nn.Linear(30, 500)),
        (mv.nn.Conv2d(5, 400, 3, rng=mv.NoiseStream(2)), torch.nn.Conv2d(5, 400, 3)),
        (mv.nn.ConvTranspose2d(4, 300, 3, rng=mv.NoiseStream(3)),
         torch.nn.ConvTranspose2d(4, 300, 3)),
    ]:  # fmt: skip
        for name, value in theirs.named_parameters():
            mine = dict(ours.named_parameters())[name]
            assert mine.shape == tuple(value.shape)
            bound = value.abs().max().item()
            assert abs(np.abs(mine.data).max() / bound - 1) < 0.05
            assert abs(mine.data.mean()) < bound / np.sqrt(mine.size) * 2
