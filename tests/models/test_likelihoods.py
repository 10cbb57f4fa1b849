"""The choices of p(x|z) against densities written out here, and that each is a likelihood."""

import functools
import json
import math

import numpy as np
import pytest

import minivae as mv
from minivae import models
from minivae.data import DequantisedBatches

LN_2PI = math.log(2 * math.pi)
SIGMOID = np.vectorize(lambda l: 1 / (1 + math.exp(-l)))


def pair(shape=(3, 784), seed=0):
    """Logits and pixels in [0, 1], float32."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=shape).astype(np.float32), rng.random(shape, np.float32)


def log_normal(x, mean, sigma):
    """ln N(x; mean, sigma^2) of each image: summed over its pixels, in double."""
    x, mean, sigma = (np.asarray(a, np.float64) for a in (x, mean, sigma))
    ln = -0.5 * ((x - mean) / sigma) ** 2 - np.log(sigma) - LN_2PI / 2
    return ln.reshape(len(ln), -1).sum(axis=1)


def loss(model, logits, x):
    return model.reconstruction_loss(mv.Tensor(logits), mv.Tensor(x)).data


def test_bernoulli():
    logits, x = pair()
    x = np.round(x)
    p = SIGMOID(logits)
    expected = -np.log(np.where(x == 1, p, 1 - p)).sum(axis=1)
    np.testing.assert_allclose(loss(models.MLPVAE(), logits, x), expected, rtol=1e-5)


def test_bernoulli_of_binary_pixels_is_a_distribution():
    """All 2^n pictures of n pixels have probabilities that add up to 1."""
    pictures = np.array([[i >> b & 1 for b in range(6)] for i in range(64)], np.float32)
    logits = np.tile(pair((1, 6))[0], (64, 1))
    total = np.exp(-loss(models.MLPVAE(), logits, pictures).astype(float)).sum()
    assert total == pytest.approx(1, rel=1e-5)


class FewPixels(models.VAE):
    """4 pixels, 1 latent, two linear maps, in float64."""

    latent_dim = 1

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)
        self.down, self.up = mv.nn.Linear(4, 2), mv.nn.Linear(1, 4)
        for p in self.parameters():
            p.data = self.rng.normal(0, 1.5, p.shape)

    def encode(self, x):
        heads = self.down(x)
        return heads[:, :1], heads[:, 1:]

    def decode(self, z):
        return self.up(z)


@pytest.mark.parametrize("seed", range(5))
def test_the_loss_of_grey_pixels_bounds_that_of_binary_ones(seed):
    """rec + kl of grey x is at least the mean of -ln p(b) over binary b drawn from x."""
    model = FewPixels(seed)
    x = model.rng.random((1, 4))
    nodes, weights = np.polynomial.hermite_e.hermegauss(100)
    weights = weights / weights.sum()
    out = model.forward(np.repeat(x, len(nodes), axis=0), nodes[:, None])
    rows = model.reconstruction_loss(out.logits, np.repeat(x, len(nodes), axis=0)).data
    grey = weights @ rows + out.kl.data[0]

    pictures = np.array([[i >> k & 1 for k in range(4)] for i in range(16)], float)
    p = SIGMOID(model.decode(mv.Tensor(nodes[:, None])).data)  # at z drawn from the prior
    binary = np.where(pictures[:, None] == 1, p, 1 - p).prod(axis=2) @ weights
    drawn = np.where(pictures == 1, x, 1 - x).prod(axis=1)
    assert binary.sum() == pytest.approx(1, rel=1e-9) and drawn.sum() == pytest.approx(1)
    mean = -drawn @ np.log(binary)
    assert mean < grey


SMALL_FACES = functools.partial(models.FaceVAE, image_size=16)


@pytest.mark.parametrize("build", [models.MLPVAE, models.ConvVAE, SMALL_FACES])
def test_gaussian_with_one_learned_sigma(build):
    model = build(likelihood="gaussian")
    logits, x = pair((3, *model.image_shapes[0]) if build is not SMALL_FACES else (3, 3, 8, 8))
    model.pixel_logvar.data[...] = 2 * math.log(0.3)
    expected = -log_normal(x, SIGMOID(logits), 0.3)
    np.testing.assert_allclose(loss(model, logits, x), expected, rtol=1e-5)


def test_gaussian_with_a_sigma_for_each_pixel():
    model = models.ConvVAE(likelihood="gaussian-per-pixel")
    logits, x = pair((3, 1, 28, 28))
    sigma = np.random.default_rng(1).uniform(0.1, 2, (1, 28, 28))
    assert model.pixel_logvar.shape == sigma.shape
    model.pixel_logvar.data[...] = 2 * np.log(sigma)
    expected = -log_normal(x, SIGMOID(logits), sigma)
    np.testing.assert_allclose(loss(model, logits, x), expected, rtol=1e-4)


def test_gaussian_with_a_given_sigma_learns_none():
    model = models.MLPVAE(likelihood="gaussian", sigma=0.5)
    logits, x = pair()
    assert loss(model, logits, x) == pytest.approx(-log_normal(x, SIGMOID(logits), 0.5), rel=1e-5)
    assert model.state_dict().keys() == models.MLPVAE().state_dict().keys()


def test_the_learned_sigma_is_the_root_mean_squared_error():
    """At that sigma the gradient vanishes (Rybkin et al. 2021)."""
    model = models.MLPVAE(likelihood="gaussian")
    logits, x = pair()
    error = np.mean((SIGMOID(logits) - x) ** 2)
    model.pixel_logvar.data[...] = math.log(error)
    model.reconstruction_loss(mv.Tensor(logits), mv.Tensor(x)).sum().backward()
    assert abs(model.pixel_logvar.grad) < 1e-4 * x.size


@pytest.mark.parametrize(
    "config",
    [{}, {"likelihood": "gaussian"}, {"likelihood": "gaussian", "sigma": 0.1},
     {"likelihood": "gaussian-per-pixel"}, {"likelihood": "squared-error"}],
)  # fmt: skip
@pytest.mark.parametrize("build", [models.MLPVAE, models.ConvVAE])
def test_a_checkpoint_brings_its_likelihood_back(build, config):
    made = build(latent_dim=2, **config)
    again = models.build(build.__name__, **json.loads(json.dumps(made.config())))
    assert (again.likelihood, again.sigma) == (made.likelihood, made.sigma)
    assert {n: a.shape for n, a in again.state_dict().items()} == {
        n: a.shape for n, a in made.state_dict().items()
    }


def test_the_default_is_not_mentioned_in_a_configuration():
    """Checkpoints from before the choice of a likelihood have no such entry and still resume."""
    assert models.MLPVAE().config().keys() == {"latent_dim", "hidden"}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"likelihood": "poisson"}, "likelihood: expected one of"),
        ({"sigma": 0.1}, "sigma: expected None"),
        ({"likelihood": "gaussian", "sigma": 0}, "a number above 0, got 0"),
        ({"likelihood": "gaussian", "sigma": math.nan}, "got nan"),
        ({"likelihood": "gaussian-per-pixel", "sigma": 1}, "sigma: expected None"),
    ],
)
def test_bad_choices(config, message):
    with pytest.raises(ValueError, match=message):
        models.MLPVAE(**config)


# ---- dequantised pixels


def test_dequantised_pixels_are_spread_over_their_own_cell():
    images = np.arange(256, dtype=np.uint8).reshape(4, 8, 8)
    x = np.concatenate(list(DequantisedBatches(images, 3).epoch(0)))
    assert x.shape == (4, 1, 8, 8) and x.dtype == np.float32
    u = 256 * x.astype(float).ravel() - np.arange(256)
    assert u.min() >= 0 and u.max() <= 1 and 0.4 < u.mean() < 0.6 and 0.2 < u.std() < 0.4


@pytest.mark.parametrize("size", [1, 2, 5])
def test_dequantised_pixels_follow_the_image_and_not_the_batch(size):
    images = np.random.default_rng(0).integers(0, 256, (5, 4, 4), dtype=np.uint8)
    parts, whole = (list(DequantisedBatches(images, n, seed=7).epoch(0)) for n in (size, 5))
    assert np.concatenate(parts).tobytes() == whole[0].tobytes()
    (other,) = DequantisedBatches(images, 5, seed=8).epoch(0)
    assert (other != whole[0]).mean() > 0.9
    (again,) = DequantisedBatches(images, 5, seed=7).epoch(3)
    assert again.tobytes() == whole[0].tobytes()
