"""Initial weights that are not the layers' own."""

import math

import numpy as np
import pytest
from _initial_weights import glorot_uniform, logits_of_means

from minivae import models, nn
from minivae.noise import init_stream


def test_glorot_bounds_biases_and_seeds():
    """Every weight fills its own interval (-b, b), b = sqrt(6 / (fan_in + fan_out))."""
    model = glorot_uniform(models.ConvVAE(2, "relu"), seed=3)
    fans = {  # (C_in + C_out) times the taps of a kernel
        "encoder.conv1": (1 + 32) * 9, "encoder.conv2": (32 + 64) * 9, "encoder.linear": 3136 + 16,
        "encoder.mu": 16 + 2, "encoder.logvar": 16 + 2, "decoder.linear": 2 + 3136,
        "decoder.conv1": (64 + 64) * 9, "decoder.conv2": (64 + 32) * 9, "decoder.conv3": 33 * 9,
    }  # fmt: skip
    state = model.state_dict()
    assert {name.rpartition(".")[0] for name in state} == set(fans)
    for name, fan in fans.items():
        weight, bound = state[f"{name}.weight"], math.sqrt(6 / fan)
        assert weight.dtype == np.float32 and not state[f"{name}.bias"].any()
        # The chance that all of n numbers stay below (1 - 12/n) of the bound is exp(-12).
        assert bound * (1 - 12 / weight.size) < np.abs(weight).max() <= bound * (1 + 1e-6), name
        assert abs(weight.mean()) < 5 * bound / math.sqrt(3 * weight.size)
    again = glorot_uniform(models.ConvVAE(2, "relu", seed=9), seed=3).state_dict()
    assert all(again[name].tobytes() == a.tobytes() for name, a in state.items())
    other = glorot_uniform(models.ConvVAE(2, "relu"), seed=4).state_dict()
    assert not np.array_equal(other["encoder.conv1.weight"], state["encoder.conv1.weight"])


def test_glorot_draws_each_weight_once_in_order():
    model = nn.Sequential(nn.Linear(3, 2), nn.Tanh(), nn.Linear(2, 4, bias=False))
    glorot_uniform(model, seed=1)
    stream = init_stream(1)
    for layer in (model[0], model[2]):
        u = 2 * stream.draw().uniform(layer.weight.shape, np.float32) - 1
        bound = math.sqrt(6 / sum(layer.weight.shape))
        np.testing.assert_allclose(layer.weight.data, bound * u, rtol=1e-6)


def test_glorot_leaves_normalisation_alone():
    face = models.FaceVAE(3, 16)
    face.encoder.batch2.bias.data[...] = 0.5
    glorot_uniform(face)
    assert (face.encoder.batch2.weight.data == 1).all()
    assert (face.encoder.batch2.bias.data == 0.5).all()


def test_a_decoder_starts_from_the_mean_image():
    images = np.random.default_rng(0).integers(0, 256, (50, 28, 28), dtype=np.uint8)
    images[:, 0], images[:, 1] = 0, 255  # rows that no logit could reach
    model = models.DeepVAE(2, (3,))
    model.decoder[-1].weight.data[...] = 0
    logits_of_means(model.decoder[-1], images)
    mean = images.reshape(50, -1).mean(axis=0) / 255
    drawn = model.pixels(np.zeros((1, 2), np.float32)).numpy()[0]
    np.testing.assert_allclose(drawn, mean.clip(0.001, 0.999), rtol=1e-4)
    assert drawn[:28] == pytest.approx(0.001, rel=1e-3)
    assert drawn[28:56] == pytest.approx(0.999, rel=1e-3)
