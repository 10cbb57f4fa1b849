"""Importance-weighted bounds, on a linear Gaussian model whose likelihood is known exactly."""

import math

import numpy as np
import pytest
from cuda_emulation import emulated_device

import minivae as mv
from linear_gaussian import LinearGaussian
from minivae import evaluation, models
from minivae.evaluation import bounds, importance_weighted_nll
from minivae.evaluation.grouping import regroup

MODEL = LinearGaussian()
X = MODEL.draw(40)


def nll(samples, model=MODEL, x=X, seed=0):
    return importance_weighted_nll(model, [x], mv.NoiseStream(seed, evaluation.IMPORTANCE), samples)


def is_exact(found, exact):
    """Whether an estimate is within 4 of its standard errors of the exact value."""
    return abs(found.nll - exact.mean()) < 4 * found.standard_error


def test_many_samples_give_the_exact_likelihood():
    found = nll(3000)
    assert 0 < found.standard_error < 0.01
    assert is_exact(found, MODEL.exact_nll(X))
    errors = found.per_image - MODEL.exact_nll(X)
    assert np.sqrt(np.mean(errors**2)) < 0.1


def test_the_standard_error_is_that_of_repetitions():
    repeated = [nll(300, seed=seed) for seed in range(40)]
    spread = np.std([r.nll for r in repeated], ddof=1)
    assert 0.6 < spread / np.mean([r.standard_error for r in repeated]) < 1.6


def test_one_sample_tells_no_standard_error():
    assert math.isnan(nll(1).standard_error)


def test_one_sample_is_the_elbo_and_more_are_better():
    """ELBO = L_1 <= L_K <= L_(K+1) <= ln p(x), each in expectation."""
    many = np.tile(X, (100, 1))
    found = [nll(k, x=many) for k in (1, 2, 8, 64)]
    rec, kl = MODEL.exact_elbo(many)
    error = found[0].per_image.std() / math.sqrt(len(many))
    assert abs(found[0].nll - (rec + kl).mean()) < 4 * error
    values = [r.nll for r in found]
    assert values == sorted(values, reverse=True)
    assert values[-1] > MODEL.exact_nll(X).mean() - 4 * found[-1].standard_error


def test_evidence_is_elbo_plus_kl():
    """ln p(x) = ln w + ln q(z|x) - ln p(z|x) for every z; the mean over q is the identity."""
    eps = np.random.default_rng(0).normal(size=(len(X), 5, MODEL.latent_dim))
    z = (X @ MODEL.A.T + MODEL.c)[:, None] + np.exp(MODEL.v / 2) * eps
    ln_q = -0.5 * (eps**2 + MODEL.v + math.log(2 * math.pi)).sum(axis=2)
    precision = np.eye(MODEL.latent_dim) + MODEL.W.T @ MODEL.W / MODEL.s**2
    mean = np.linalg.solve(precision, MODEL.W.T @ (X - MODEL.b).T / MODEL.s**2).T
    off = z - mean[:, None]
    ln_posterior = 0.5 * (
        np.linalg.slogdet(precision / (2 * math.pi))[1]
        - np.einsum("nkd,de,nke->nk", off, precision, off)
    )
    evidence = MODEL.log_weights(X, eps).data + ln_q - ln_posterior
    np.testing.assert_allclose(evidence, -np.tile(MODEL.exact_nll(X)[:, None], 5), rtol=1e-10)


def test_beta_above_1_keeps_the_bound_and_below_1_may_not():
    """With the true posterior and beta 1 the loss is -ln p(x); the KL is positive."""
    model = LinearGaussian(dim=4, latent_dim=1, width=1, shift=0)
    x = model.draw(500)
    exact = model.exact_nll(x).mean()
    loss, error = {}, {}
    for beta in (0.5, 1.0, 2.0):
        found = evaluation.elbo(model, [x], mv.NoiseStream(1), samples=200, beta=beta)
        loss[beta], error[beta] = found.terms.loss, found.standard_error
    assert loss[1.0] == pytest.approx(exact, abs=4 * error[1.0])
    assert loss[2.0] > exact + 4 * error[2.0]
    assert loss[0.5] < exact - 4 * error[0.5]


def test_with_the_true_posterior_one_sample_is_enough():
    """All weights are p(x) itself where q is the posterior: one latent, any x."""
    model = LinearGaussian(dim=4, latent_dim=1, width=1, shift=0)
    x = model.draw(10)
    found = nll(3, model, x)
    np.testing.assert_allclose(found.per_image, model.exact_nll(x), rtol=1e-12)
    np.testing.assert_allclose(found.effective_samples, 3)


@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_sums_that_grow_block_by_block_are_those_of_all_weights_at_once(offset):
    """Blockwise sums equal one sum over all weights, also where exp of a weight is 0 in float64."""

    class Far(LinearGaussian):
        def reconstruction_loss(self, logits, x):
            return super().reconstruction_loss(logits, x) + offset

    k, stream = 1300, mv.NoiseStream(0)
    found = importance_weighted_nll(Far(), [X[:3]], mv.NoiseStream(0), k)
    eps = np.stack([stream.draw().normal((k, 3), np.float64) for _ in range(3)])
    variance = 0
    for row, nll, effective in zip(
        MODEL.log_weights(X[:3], eps).data, found.per_image, found.effective_samples, strict=True
    ):
        w = np.exp(row)
        assert nll == pytest.approx(offset - math.log(math.fsum(w) / k), rel=1e-12)
        assert effective == pytest.approx(math.fsum(w) ** 2 / math.fsum(w * w), rel=1e-9)
        variance += w.var() / k / w.mean() ** 2  # of the mean weight, relative to it
    assert found.standard_error == pytest.approx(math.sqrt(variance) / 3, rel=1e-6)


# ---- planted errors: each makes the agreement above fail


def test_averaging_outside_the_logarithm_is_seen(monkeypatch):
    """A planted average outside the logarithm gives the ELBO for every K."""
    monkeypatch.setattr(bounds, "_log_sum_exp", lambda x: x.mean(axis=1) + math.log(x.shape[1]))
    assert not is_exact(nll(3000), MODEL.exact_nll(X))


class MeanInPlaceOfSample(LinearGaussian):
    """Planted error: decodes mu instead of z."""

    def log_weight(self, x, posterior, eps):
        return super().log_weight(x, posterior, 0 * eps)


class NoPosteriorDensity(LinearGaussian):
    """Planted error: weights p(x, z), without the density of q."""

    def log_weight(self, x, posterior, eps):
        entropy = 0.5 * (eps * eps + posterior[1].data).sum(axis=1)
        return super().log_weight(x, posterior, eps) - entropy


class HalfThePrior(LinearGaussian):
    """Planted error: multiplies ln p(z) - ln q(z|x) by a beta of 0.5, as a training loss may."""

    def log_weight(self, x, posterior, eps):
        w = super().log_weight(x, posterior, eps)
        z = posterior[0].data + np.exp(posterior[1].data / 2) * eps
        return w - 0.25 * (eps * eps + posterior[1].data - z * z).sum(axis=1)


@pytest.mark.parametrize("wrong", [MeanInPlaceOfSample, NoPosteriorDensity, HalfThePrior])
def test_wrong_weights_are_seen(wrong):
    assert not is_exact(nll(3000, wrong()), MODEL.exact_nll(X))


# ---- chunks and kernels


@pytest.mark.parametrize("samples", [1, 7, 600])
@pytest.mark.parametrize("sizes", [(20,), (19, 1), (1,) * 20, (3, 0, 11, 6)])
def test_bits_do_not_depend_on_the_batches(samples, sizes):
    model = models.MLPVAE(latent_dim=5, hidden=32)
    x = np.random.default_rng(0).random((20, 784), np.float32)
    whole, found = (
        importance_weighted_nll(model, parts, mv.NoiseStream(3), samples)
        for parts in ([x], np.split(x, np.cumsum(sizes)[:-1]))
    )
    for a, b in zip(whole, found, strict=True):
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


def test_a_result_that_follows_the_batches_would_be_seen():
    """The test above is not vacuous: noise drawn for each batch gives other numbers."""

    class PerBatch(mv.NoiseStream):
        def draw(self):
            return mv.Noise(self.seed, 0)

    one, two = (
        importance_weighted_nll(MODEL, [X[part]], noise, 5).per_image
        for part, noise in ((slice(2), mv.NoiseStream(0)), (slice(1, 2), PerBatch(0)))
    )
    assert one[1] != two[0]


def test_fewer_samples_are_the_first_of_more():
    model = LinearGaussian(width=1, shift=0)
    few, more = (nll(k, model).per_image for k in (1, 2))
    assert np.all(np.exp(-more) * 2 > np.exp(-few))  # w1 + w2 > w1


@pytest.mark.parametrize("name", mv.kernels.available())
def test_kernels_agree_to_rounding(name):
    model = models.MLPVAE(latent_dim=3, hidden=16)
    x = (np.random.default_rng(0).random((6, 784)) < 0.3).astype(np.float32)
    with mv.kernels.use("reference"):
        expected = importance_weighted_nll(model, [x], mv.NoiseStream(0), 20)
    with mv.kernels.use(name):
        found = importance_weighted_nll(model, [x], mv.NoiseStream(0), 20)
    np.testing.assert_allclose(found.per_image, expected.per_image, rtol=1e-5)


def test_a_gpu_gives_the_same_to_rounding():
    """On the stand-in for a GPU, which refuses arrays on the wrong device and hidden transfers."""
    model = models.MLPVAE(latent_dim=3, hidden=16)
    x = (np.random.default_rng(0).random((6, 784)) < 0.3).astype(np.float32)

    def found():
        weighted = importance_weighted_nll(model, [x[:4], x[4:]], mv.NoiseStream(0), 20)
        return weighted.per_image, evaluation.elbo(model, [x], mv.NoiseStream(0), 3).per_image

    expected = found()
    with emulated_device(None):
        model.to("cuda")
        on_device = found()
    np.testing.assert_allclose(on_device, expected, rtol=1e-5)


def test_images_of_any_size_are_decoded_in_bounded_blocks():
    """A block decodes at most 512 digits or 21 large faces, counted as (image, sample) pairs."""
    for shape, k in [((784,), 1), ((784,), 50), ((1, 28, 28), 5000), ((3, 256, 256), 5000)]:
        images, block = bounds._tile(shape, k, "cpu")
        rows = 21 if len(shape) == 3 and shape[1] == 256 else 512
        assert 1 <= images * block <= rows
        assert images == 1 or block == k


def test_bad_arguments():
    with pytest.raises(ValueError, match="samples: expected at least 1, got 0"):
        nll(0)
    with pytest.raises(ValueError, match="batches: expected at least one image"):
        importance_weighted_nll(MODEL, [X[:0]], mv.NoiseStream(0), 1)
    with pytest.raises(ValueError, match="expected images"):
        importance_weighted_nll(models.ConvVAE(), [np.zeros((2, 784), np.float32)],
                                mv.NoiseStream(0), 1)  # fmt: skip


def test_regrouping_keeps_images_and_order():
    rng = np.random.default_rng(0)
    for size in (1, 3, 50):
        sizes = rng.integers(0, 9, 12)
        parts = np.split(np.arange(sizes.sum()), np.cumsum(sizes)[:-1])
        groups = list(regroup(parts, size))
        assert np.concatenate(groups).tolist() == list(range(sizes.sum()))
        assert {len(g) for g in groups[:-1]} <= {size} and 1 <= len(groups[-1]) <= size
