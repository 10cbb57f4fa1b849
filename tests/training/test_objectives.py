"""Objectives against one another, closed forms, finite differences and planted errors."""

import functools
import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minivae as mv
from linear_gaussian import LinearGaussian
from minivae import functional as F
from minivae import models, nn
from minivae.models.vae import ELBO
from minivae.training import objectives
from strategies import seeds

IMPORTANCE_WEIGHTED = (objectives.iwae, objectives.dreg)


class Learned(LinearGaussian):
    """The linear Gaussian model with its arrays as parameters, so that they have gradients."""

    NAMES = ("A", "c", "v", "W", "b")  # the encoder's three, the decoder's two

    def __init__(self, **options):
        super().__init__(**options)
        self.draw = LinearGaussian(**options).draw
        for name in self.NAMES:
            setattr(self, name, nn.Parameter(getattr(self, name).astype(self.dtype)))

    def encode(self, x):
        mu = x @ F.transpose(self.A) + self.c
        return mu, F.reshape(self.v, 1, self.latent_dim) + 0.0 * mu

    def decode(self, z):
        return z @ F.transpose(self.W) + self.b


def loss(objective, model, x, eps, **options):
    """The loss on noise (N, K, D)."""
    return objective(model, x, eps, samples=eps.shape[1], **options).loss.item()


def gradients(objective, model, x, eps, names=Learned.NAMES):
    """The gradient for each parameter by name."""
    for p in model.parameters():
        p.grad = None
    objective(model, x, eps, samples=eps.shape[1]).loss.backward()
    return {name: getattr(model, name).grad.copy() for name in names}


def wrong(rewrite):
    """An importance-weighted objective whose loss is rewrite(rec, kl), both of shape (N, K)."""

    def objective(model, x, noise, beta=1.0, *, samples):
        rec, kl = model.sampled_terms(x, noise)
        return ELBO(rewrite(rec, kl), F.mean(rec), F.mean(kl))

    return objective


PLANTED = {
    "average outside the logarithm": wrong(lambda rec, kl: F.mean(rec + kl)),
    "a sum for the mean": wrong(
        lambda rec, kl: -F.mean(F.log_mean_exp(-(rec + kl), axis=1)) - math.log(rec.shape[1])
    ),
    "no density of q": wrong(lambda rec, kl: -F.mean(F.log_mean_exp(-rec, axis=1))),
    "half the KL": wrong(lambda rec, kl: -F.mean(F.log_mean_exp(-(rec + 0.5 * kl), axis=1))),
    "the batch in the logarithm": wrong(
        lambda rec, kl: -F.log_mean_exp(F.reshape(-(rec + kl), rec.size), axis=0)
    ),
}


# ---- the chain ELBO <= L_K <= L_(K+1) <= ln p(x)


def require_chain(objective, seed):
    """Burda et al. 2016, theorem 1, whose proof holds for each draw: by Jensen the logarithm of a
    mean over K + 1 weights is no less than the mean of the logarithms of its K-subsets' means.
    """
    model = LinearGaussian(seed=seed % 7)
    rng = np.random.default_rng(seed)
    x, k = model.draw(3, seed), int(rng.integers(1, 5))
    eps = rng.normal(size=(3, k + 1, model.noise_dim))
    one = loss(objectives.sampled_elbo, model, x, eps[:, :1])
    assert loss(objective, model, x, eps[:, :1]) == pytest.approx(one, rel=1e-12)
    subsets = itertools.combinations(range(k + 1), k)
    fewer = np.mean([loss(objective, model, x, eps[:, list(subset)]) for subset in subsets])
    more = loss(objective, model, x, eps)
    elbo = loss(objectives.sampled_elbo, model, x, eps)
    assert more <= fewer + 1e-9 and fewer <= elbo + 1e-9
    assert more < elbo - 1e-9, "weights that differ must make a difference"


@pytest.mark.parametrize("objective", IMPORTANCE_WEIGHTED)
@given(seed=seeds)
def test_one_sample_is_the_elbo_and_more_samples_are_tighter(objective, seed):
    """-IWAE_1 = -ELBO with the same noise; L_K <= L_(K+1) draw by draw."""
    require_chain(objective, seed)


def require_bound(objective):
    """The bound is at most ln p(x) in expectation, and close to it with many samples."""
    model = LinearGaussian()
    x = np.repeat(model.draw(4), 500, axis=0)
    rng = np.random.default_rng(0)
    gap = []
    for k in (1, 8, 200):
        eps = rng.normal(size=(len(x), k, model.noise_dim))
        each = np.array([
            loss(objective, model, x[i : i + 100], eps[i : i + 100])
            - model.exact_nll(x[i : i + 100]).mean()
            for i in range(0, len(x), 100)
        ])  # fmt: skip
        assert each.mean() > -4 * each.std(ddof=1) / math.sqrt(len(each))
        gap.append(each.mean())
    rec, kl = model.exact_elbo(x)
    assert gap[0] == pytest.approx((rec + kl - model.exact_nll(x)).mean(), rel=0.1)
    assert gap[0] > gap[1] > gap[2] and gap[2] < 0.05 * gap[0]


@pytest.mark.parametrize("objective", IMPORTANCE_WEIGHTED)
def test_the_bound_lies_below_the_exact_likelihood_and_reaches_it(objective):
    require_bound(objective)


@pytest.mark.parametrize("objective", (objectives.sampled_elbo, *IMPORTANCE_WEIGHTED))
def test_where_q_is_the_posterior_every_sample_gives_the_likelihood(objective):
    """All weights are p(x): loss = -ln p(x) for any noise and any K."""
    model = LinearGaussian(dim=4, latent_dim=1, width=1, shift=0)
    x = model.draw(5)
    eps = np.random.default_rng(0).normal(size=(5, 3, 1))
    assert loss(objective, model, x, eps) == pytest.approx(model.exact_nll(x).mean(), rel=1e-12)


@pytest.mark.parametrize("planted", PLANTED)
def test_planted_errors_are_seen(planted):
    """None of the wrong losses passes both tests above."""

    def check():
        for seed in range(10):
            require_chain(PLANTED[planted], seed)
        require_bound(PLANTED[planted])

    with pytest.raises(AssertionError):
        check()


def test_sampled_terms_have_the_closed_forms_as_means():
    model = LinearGaussian()
    x = model.draw(3)
    eps = np.random.default_rng(0).normal(size=(3, 20000, 3))
    terms = objectives.sampled_elbo(model, x, eps, samples=20000, beta=0.5)
    rec, kl = (part.mean() for part in model.exact_elbo(x))
    assert terms.rec.item() == pytest.approx(rec, rel=0.02)
    assert terms.kl.item() == pytest.approx(kl, rel=0.02)
    assert terms.loss.item() == pytest.approx(terms.rec.item() + 0.5 * terms.kl.item(), rel=1e-12)


@pytest.mark.parametrize("objective", IMPORTANCE_WEIGHTED)
def test_rec_and_kl_are_those_of_the_elbo(objective):
    """rec and kl are reported apart and unweighted, whatever beta is."""
    model = LinearGaussian()
    x, eps = model.draw(3), np.random.default_rng(0).normal(size=(3, 4, 3))
    plain = objectives.sampled_elbo(model, x, eps, samples=4)
    found = objective(model, x, eps, samples=4, beta=0.3)
    assert found.rec.item() == pytest.approx(plain.rec.item(), rel=1e-12)
    assert found.kl.item() == pytest.approx(plain.kl.item(), rel=1e-12)
    without = objective(model, x, eps, samples=4, beta=0.0).loss.item()
    rec, _ = model.sampled_terms(x, eps)
    assert without == pytest.approx(-np.log(np.exp(-rec.data).mean(axis=1)).mean(), rel=1e-12)


# ---- gradients


@pytest.mark.parametrize("objective", (objectives.sampled_elbo, objectives.iwae))
def test_gradients_against_finite_differences(objective):
    model = Learned(dim=4, latent_dim=2)
    x, eps = model.draw(3), np.random.default_rng(0).normal(size=(3, 4, 2))

    def value(*arrays):
        vars(model).update(zip(Learned.NAMES, arrays, strict=True))
        return objective(model, x, eps, samples=4, beta=0.7).loss

    assert mv.gradcheck(value, [getattr(model, name).data for name in Learned.NAMES])


def test_dreg_has_iwaes_loss_and_decoder_gradient_draw_by_draw():
    model = Learned()
    x, eps = model.draw(4), np.random.default_rng(0).normal(size=(4, 6, 3))
    assert loss(objectives.dreg, model, x, eps) == pytest.approx(
        loss(objectives.iwae, model, x, eps), rel=1e-12
    )
    plain, doubly = (gradients(o, model, x, eps, ("W", "b")) for o in IMPORTANCE_WEIGHTED)
    for name in plain:
        np.testing.assert_allclose(doubly[name], plain[name], rtol=1e-9)


def encoder_gradients_agree(dreg, draws=40):
    """Whether the mean gradient over many draws is IWAE's, within 5 standard errors per element."""
    model = Learned(dim=3, latent_dim=2, width=1.3, shift=0.3)
    x = np.repeat(model.draw(2), 2000, axis=0)
    rng = np.random.default_rng(0)
    differences, doubly = [], []
    for _ in range(draws):
        eps = rng.normal(size=(len(x), 3, 2))
        a, b = (gradients(o, model, x, eps, ("A", "c", "v")) for o in (objectives.iwae, dreg))
        flat_a, flat_b = (np.concatenate([g[n].ravel() for n in "Acv"]) for g in (a, b))
        differences.append(flat_b - flat_a)
        doubly.append(flat_b)
    differences = np.array(differences)
    error = differences.std(axis=0, ddof=1) / math.sqrt(draws)
    assert np.abs(np.mean(doubly, axis=0)).max() > 50 * error.max(), "too noisy to tell"
    return bool((np.abs(differences.mean(axis=0)) < 5 * error).all())


def test_dregs_encoder_gradient_has_iwaes_expectation():
    assert encoder_gradients_agree(objectives.dreg)


def test_one_factor_too_few_is_seen(monkeypatch):
    """With w~ in place of its square the estimate is biased (Tucker et al. 2019)."""
    monkeypatch.setattr(objectives.ScaleGradient, "backward", lambda self, dy: dy)
    assert not encoder_gradients_agree(objectives.dreg)


def test_dregs_encoder_gradient_has_no_noise_where_q_is_the_posterior():
    """If q is the posterior, d ln w / dz = 0 and DReG's gradient is 0; IWAE's still varies."""
    model = Learned(dim=4, latent_dim=1, width=1, shift=0)
    x, eps = model.draw(3), np.random.default_rng(0).normal(size=(3, 5, 1))
    quiet = gradients(objectives.dreg, model, x, eps, "Acv")
    assert max(np.abs(g).max() for g in quiet.values()) < 1e-12
    assert np.abs(gradients(objectives.iwae, model, x, eps, "v")["v"]).max() > 1e-2


# ---- free bits


@pytest.fixture(scope="module")
def small():
    """A small VAE and a batch."""
    x = np.random.default_rng(0).random((6, 784), np.float32)
    return models.MLPVAE(latent_dim=4, hidden=8), x


def test_no_free_bits_are_the_elbo(small):
    model, x = small
    for beta in (1.0, 0.3):
        plain = model.elbo(x, mv.Noise(1, 2), beta)
        free = objectives.free_bits(model, x, mv.Noise(1, 2), beta, nats=0)
        for a, b in zip(plain, free, strict=True):
            assert b.item() == pytest.approx(a.item(), rel=1e-6)


@given(nats=st.floats(0, 3), beta=st.floats(0, 2))
def test_free_bits_charge_each_latent_for_what_exceeds_them(small, nats, beta):
    model, x = small
    out = model.forward(x, mv.Noise(1, 2))
    mu, logvar = out.mu.data.astype(np.float64), out.logvar.data.astype(np.float64)
    kl = (0.5 * (mu**2 + np.exp(logvar) - 1 - logvar)).mean(axis=0)
    found = objectives.free_bits(model, x, mv.Noise(1, 2), beta, nats=nats)
    charged = np.maximum(kl, nats).sum()
    assert found.kl.item() == pytest.approx(kl.sum(), rel=1e-4)
    assert found.loss.item() == pytest.approx(found.rec.item() + beta * charged, rel=1e-5)


def test_free_bits_are_free_of_the_mean_over_the_batch_not_of_each_image():
    """Kingma et al. 2016, eq. 15: an image may use more of a latent where others use less."""
    model = models.MLPVAE(latent_dim=3, hidden=8)
    model.fc21.weight.data *= 20
    x = np.random.default_rng(0).random((6, 784), np.float32)
    out = model.forward(x, mv.Noise(1, 2))
    mu, logvar = out.mu.data.astype(np.float64), out.logvar.data.astype(np.float64)
    kl = 0.5 * (mu**2 + np.exp(logvar) - 1 - logvar)
    nats = float(kl.mean())
    expected = np.maximum(kl.mean(axis=0), nats).sum()
    assert np.maximum(kl, nats).mean(axis=0).sum() > expected + 0.1, "the two must differ here"
    found = objectives.free_bits(model, x, mv.Noise(1, 2), nats=nats)
    assert found.loss.item() - found.rec.item() == pytest.approx(expected, rel=1e-4)


def test_below_the_free_bits_the_kl_does_not_pull(small):
    """With more free nats than any latent uses the gradient is that of rec alone."""
    model, x = small
    grads = []
    for terms in (
        objectives.free_bits(model, x, mv.Noise(1, 2), nats=100.0),
        model.elbo(x, mv.Noise(1, 2), beta=0.0),
    ):
        for p in model.parameters():
            p.grad = None
        terms.loss.backward()
        grads.append([p.grad.copy() for p in model.parameters()])
    for a, b in zip(*grads, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


# ---- arguments


@pytest.mark.parametrize("objective", (objectives.sampled_elbo, *IMPORTANCE_WEIGHTED))
def test_a_noise_is_drawn_for_every_sample(objective, small):
    """Element (n, k, d) of the array is element (n K + k) D + d of the draw."""
    model, x = small
    noise = mv.Noise(3, 4)
    eps = noise.normal((6, 5, 4))
    assert loss(objective, model, x, eps) == objective(model, x, noise, samples=5).loss.item()
    stream = mv.NoiseStream(3, 4)
    assert loss(objective, model, x, eps) == objective(model, x, stream, samples=5).loss.item()
    assert stream.offset == 5


def test_bad_arguments(small):
    model, x = small
    for objective in (objectives.sampled_elbo, *IMPORTANCE_WEIGHTED):
        with pytest.raises(ValueError, match="samples: expected at least 1, got 0"):
            objective(model, x, mv.Noise(0, 0), samples=0)
        with pytest.raises(ValueError, match="x: expected at least one image"):
            objective(model, x[:0], mv.Noise(0, 0), samples=2)
        with pytest.raises(ValueError, match=r"noise: expected shape \(6, 3, 4\), got \(6, 2, 4\)"):
            objective(model, x, np.zeros((6, 2, 4), np.float32), samples=3)
    two = models.TwoLayerVAE((4, 2), ((3,), (3,)))
    for objective in (objectives.dreg, functools.partial(objectives.free_bits, nats=0.1)):
        with pytest.raises(ValueError, match="model: expected one layer of latents, got TwoLayerV"):
            objective(two, x, mv.Noise(0, 0))
    with pytest.raises(ValueError, match="x: expected at least one image"):
        objectives.free_bits(model, x[:0], mv.Noise(0, 0), nats=0.1)
    for nats in (-0.1, math.nan):
        with pytest.raises(ValueError, match="nats: expected at least 0"):
            objectives.free_bits(model, x, mv.Noise(0, 0), nats=nats)
