"""Evaluation of codes and images (ELBO, KL, mutual information, probes, Fréchet distance, bits per
dimension) against closed forms, written-out sums and SciPy."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minivae as mv
from linear_gaussian import LinearGaussian
from minivae import evaluation, models
from minivae.evaluation import classify, frechet, latents, probes
from minivae.noise import NoiseStream
from strategies import seeds

MODEL = LinearGaussian()
X = MODEL.draw(60)
NOISE = mv.Noise(5, 0)


def gaussians(n=40, d=3, seed=0):
    """mu, logvar of n posteriors."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)), rng.normal(-1, 0.7, size=(n, d))


# ---- the ELBO


def is_exact(found, beta=1.0):
    rec, kl = MODEL.exact_elbo(X)
    exact = (rec + beta * kl).mean()
    close = abs(found.terms.loss - exact) < 4 * found.standard_error
    return close and found.terms.kl == pytest.approx(kl.mean(), rel=1e-9)


def elbo(model=MODEL, samples=200, **options):
    return evaluation.elbo(model, [X[:7], X[7:]], NoiseStream(1), samples, **options)


def test_elbo_with_many_samples_is_the_closed_form():
    assert is_exact(elbo()) and is_exact(elbo(beta=0.25), beta=0.25)
    found = elbo(beta=0.25)
    assert found.terms.loss == pytest.approx(found.terms.rec + 0.25 * found.terms.kl)
    assert found.terms.loss == pytest.approx(found.per_image.mean())


def test_standard_error_of_the_elbo_is_that_of_repetitions():
    found = [
        evaluation.elbo(MODEL, [X], NoiseStream(seed), samples=10) for seed in range(60)
    ]  # fmt: skip
    spread = np.std([f.terms.loss for f in found], ddof=1)
    assert 0.7 < spread / np.mean([f.standard_error for f in found]) < 1.4
    assert math.isnan(elbo(samples=1).standard_error)


def test_standard_error_of_the_elbo_by_hand():
    """From the same noise: sum_n s_n^2 / K, s_n^2 the unbiased variance of image n's draws."""
    k, stream = 4, NoiseStream(1)
    mu, std = X @ MODEL.A.T + MODEL.c, np.exp(MODEL.v / 2)
    draws = [
        [stream.draw().normal(part.shape, np.float64) for _ in range(k)]
        for part in (mu[:7], mu[7:])
    ]  # k for each batch
    z = mu + std * np.concatenate(draws, axis=1)  # (k, N, D)
    loss = ((X - z @ MODEL.W.T - MODEL.b) ** 2).sum(axis=2) / (2 * MODEL.s**2)
    expected = math.sqrt((loss.var(axis=0, ddof=1) / k).sum()) / len(X)
    for beta in (1.0, 0.25):  # this KL is in closed form: it adds no error
        assert elbo(samples=k, beta=beta).standard_error == pytest.approx(expected, rel=1e-6)


def test_more_samples_do_not_tighten_the_elbo():
    """More samples leave the ELBO's mean as it is, unlike an average inside the logarithm."""
    one = evaluation.elbo(MODEL, [np.tile(X, (50, 1))], NoiseStream(2), samples=1)
    error = one.per_image.std() / math.sqrt(len(one.per_image))
    assert abs(one.terms.loss - elbo(samples=2000).terms.loss) < 4 * error


class MeanInPlaceOfSample(LinearGaussian):
    """Planted error: decodes mu instead of z, which makes rec too small."""

    def forward(self, x, noise):
        return super().forward(x, np.zeros((len(x), self.noise_dim)))


class NoBeta(LinearGaussian):
    """Planted error: the model multiplies its KL by 0.25."""

    def forward(self, x, noise):
        out = super().forward(x, noise)
        return out._replace(kl=0.25 * out.kl)


@pytest.mark.parametrize("wrong", [MeanInPlaceOfSample, NoBeta])
def test_planted_errors_in_the_elbo_are_seen(wrong):
    assert not is_exact(elbo(wrong()))


def test_a_forgotten_beta_is_seen():
    assert not is_exact(elbo(), beta=0.25)


@pytest.mark.parametrize("sizes", [(11,), (10, 1), (1,) * 11])
def test_bits_do_not_depend_on_the_batches(sizes):
    model = models.ConvVAE()
    x = np.random.default_rng(0).random((11, 1, 28, 28), np.float32)
    parts = np.split(x, np.cumsum(sizes)[:-1])
    for estimate in (
        lambda batches: (
            evaluation.importance_weighted_nll(model, batches, NoiseStream(3), 3).per_image
        ),
        lambda batches: np.stack(evaluation.posteriors(model, batches)),
        lambda batches: frechet.features(models.ImageClassifier("ab", 28, 1), batches),
    ):
        assert estimate(parts).tobytes() == estimate([x]).tobytes()


# ---- codes


def test_kl_per_latent_is_the_closed_form_and_adds_up_to_the_kl_term():
    mu, logvar = evaluation.posteriors(MODEL, [X])
    np.testing.assert_allclose(mu, X @ MODEL.A.T + MODEL.c, rtol=1e-12)
    found = evaluation.kl_per_latent(mu, logvar)
    np.testing.assert_allclose(found, MODEL.exact_kl(X).mean(axis=0), rtol=1e-12)
    assert found.sum() == pytest.approx(elbo(samples=1).terms.kl)


def test_kl_per_latent_by_sampling():
    """The KL matches a Monte Carlo oracle without a closed form: the mean of ln q - ln p."""
    mu, logvar = gaussians(2)
    rng, s = np.random.default_rng(0), np.exp(logvar / 2)
    eps = rng.normal(size=(200_000, *mu.shape))
    ln_ratio = -0.5 * eps**2 - np.log(s) + 0.5 * (mu + s * eps) ** 2
    sampled = ln_ratio.mean(axis=0)
    error = (ln_ratio.std(axis=0) / math.sqrt(len(eps))).max()
    np.testing.assert_allclose(
        evaluation.kl_per_latent(mu, logvar), sampled.mean(axis=0), atol=4 * error
    )


def test_a_unit_is_active_when_its_mean_varies():
    rng = np.random.default_rng(0)
    mu = rng.normal(size=(1000, 4))
    mu = 3 + (mu - mu.mean(axis=0)) / mu.std(axis=0) * np.sqrt([1, 0.0101, 0.0099, 0])
    assert evaluation.active_units(mu) == 2
    assert evaluation.active_units(mu, threshold=0.5) == 1


def test_the_density_of_the_mixture_is_the_sum_over_its_parts():
    (mu, logvar), (z, _) = gaussians(30), gaussians(300, seed=1)
    expected = [
        math.log(
            math.fsum(
                math.prod(
                    math.exp(-0.5 * (a - m) ** 2 / math.exp(v))
                    / math.sqrt(2 * math.pi * math.exp(v))
                    for a, m, v in zip(code, *part, strict=True)
                )
                for part in zip(mu, logvar, strict=True)
            )
            / len(mu)
        )
        for code in z
    ]
    np.testing.assert_allclose(latents.log_mixture_density(z, mu, logvar), expected, rtol=1e-9)


def test_posteriors_that_are_the_prior_say_nothing():
    found = evaluation.aggregate_posterior(np.zeros((50, 2)), np.zeros((50, 2)), NOISE)
    assert abs(found.mutual_information) < 1e-9 and abs(found.marginal_kl) < 1e-9
    np.testing.assert_allclose(found.covariance, np.eye(2))


def test_posteriors_far_apart_tell_every_image():
    """Each code names its image: the information is ln N nats."""
    n = 64
    mu = 100.0 * np.arange(n)[:, None]
    found = evaluation.aggregate_posterior(mu, np.zeros((n, 1)), NOISE)
    assert found.mutual_information == pytest.approx(math.log(n))
    assert found.mean[0] == pytest.approx(50 * (n - 1))
    assert found.covariance[0, 0] == pytest.approx(1e4 * (n * n - 1) / 12 + 1)


def mixes_to(mean, spread, variance, n=4000):
    """Whether the estimates agree with their closed forms, within 4 standard errors, for posteriors
    N(m, variance) with m ~ N(mean, spread), whose mixture is N(mean, spread + variance).
    """
    mu = mean + math.sqrt(spread) * np.random.default_rng(0).normal(size=(n, 1))
    found = evaluation.aggregate_posterior(mu, np.full((n, 1), math.log(variance)), NOISE)
    total = spread + variance
    kl = 0.5 * (mean**2 + total - 1 - math.log(total))
    information = 0.5 * math.log(total / variance)
    return (
        abs(found.marginal_kl - kl) < 4 * found.standard_error
        and abs(found.mutual_information - information) < 4 * found.standard_error
        and 0 < found.standard_error < 0.05
    )


def test_a_gaussian_aggregate():
    assert mixes_to(2, 0.75, 0.25) and mixes_to(0, 3, 1)


def test_mean_codes_in_place_of_samples_are_seen(monkeypatch):
    monkeypatch.setattr(mv.Noise, "normal", lambda self, shape, dtype: np.zeros(shape, dtype))
    assert not mixes_to(0, 3, 1)


@given(seeds)
def test_the_kl_splits_into_information_and_marginal_kl(seed):
    mu, logvar = gaussians(20, seed=seed)
    found = evaluation.aggregate_posterior(mu, logvar, NOISE)
    total = found.mutual_information + found.marginal_kl
    assert total == pytest.approx(evaluation.kl_per_latent(mu, logvar).sum())
    slack = 5 * found.standard_error
    assert -slack <= found.mutual_information <= math.log(len(mu)) + 1e-9
    assert found.marginal_kl >= -slack


# ---- probes


def clouds(n=300, seed=0, spread=1.0):
    """Codes of three classes around the corners of a triangle, and a latent of noise."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, n)
    corners = 3 * np.array([[0, 1, 0], [1, -1, 0], [-1, -1, 0]])
    return corners[labels] + spread * rng.normal(size=(n, 3)), labels.astype(np.uint8)


def test_probes_find_classes_that_are_apart_and_none_in_noise():
    for probe in (evaluation.linear_probe, evaluation.nearest_neighbour_accuracy):
        assert probe(*clouds(), *clouds(seed=1)) > 0.98
        codes, labels = clouds()
        shuffled = np.random.default_rng(2).permutation(labels)
        assert probe(codes, shuffled, *clouds(seed=1)) < 0.6


def test_classes_of_one_mean_are_found_by_neighbours_alone():
    """Two concentric rings: no plane separates them."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 800)
    angle = rng.uniform(0, 2 * math.pi, 800)
    codes = (1 + 3 * labels)[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    halves = codes[:400], labels[:400], codes[400:], labels[400:]
    assert evaluation.nearest_neighbour_accuracy(*halves) > 0.99
    assert evaluation.linear_probe(*halves) < 0.7


def test_the_scale_of_a_latent_does_not_matter_to_the_probe():
    (codes, labels), (test, expected) = clouds(), clouds(seed=1)
    scale, shift = np.array([1e3, 1, 1e-3]), np.array([1e5, -3, 1])
    plain, moved = (
        evaluation.linear_probe(to(codes), labels, to(test), expected)
        for to in (lambda x: x, lambda x: x * scale + shift)
    )
    assert plain == moved > 0.95


def test_a_test_code_is_judged_by_itself():
    """The class of a test code does not depend on the other test codes: only training codes set
    the standardisation."""
    (codes, labels), (test, expected) = clouds(spread=2.5), clouds(seed=1, spread=2.5)
    near = abs(test[:, 0]) < 0.5
    for probe in (evaluation.linear_probe, evaluation.nearest_neighbour_accuracy):
        right = [
            probe(codes, labels, test[rows], expected[rows]) * rows.sum()
            for rows in (near, ~near, near | ~near)
        ]
        assert right[0] + right[1] == pytest.approx(right[2])


def test_the_probe_ends_where_the_gradient_vanishes():
    """The gradient, X^T (softmax - one-hot) / N + 2 L2 W, is computed here without the package."""
    codes, labels = clouds(spread=2.5)
    weight, bias = probes.fit_softmax(codes, labels.astype(int))
    e = np.exp(codes @ weight + bias)
    difference = (e / e.sum(axis=1, keepdims=True) - np.eye(3)[labels]) / len(codes)
    assert abs(codes.T @ difference + 2e-4 * weight).max() < 1e-4  # 2e-4 without the penalty
    assert abs(difference.sum(axis=0)).max() < 1e-4


@given(st.integers(1, 7), seeds)
def test_neighbours_by_sorting(k, seed):
    rng = np.random.default_rng(seed)
    train, test = rng.normal(size=(20, 2)), rng.normal(size=(9, 2))
    labels, expected = rng.integers(0, 3, 20), rng.integers(0, 3, 9)
    right = 0
    for code, label in zip(test, expected, strict=True):
        order = sorted(range(20), key=lambda i: math.dist(train[i], code))[:k]
        near = [int(labels[i]) for i in order]
        right += label == min(set(near), key=lambda c: (-near.count(c), c))
    found = evaluation.nearest_neighbour_accuracy(train, labels, test, expected, k)
    assert found == pytest.approx(right / 9)


def test_probes_refuse_what_does_not_fit():
    codes, labels = clouds(10)
    with pytest.raises(ValueError, match=r"codes, labels: expected \(N, D\)"):
        evaluation.linear_probe(codes, labels[:9], codes, labels)
    with pytest.raises(ValueError, match="k: expected 1 to 10"):
        evaluation.nearest_neighbour_accuracy(codes, labels, codes, labels, k=11)


@pytest.mark.parametrize("probe", [evaluation.linear_probe, evaluation.nearest_neighbour_accuracy])
def test_probes_refuse_labels_and_codes_that_are_no_numbers_of_classes(probe):
    """An index of -1 is the last class, a half is cut off, and NaN is next to everything."""
    codes, labels = clouds(10)
    for wrong in (labels.astype(int) - 1, labels + 0.5):
        with pytest.raises(ValueError, match="labels: expected whole numbers from 0"):
            probe(codes, wrong, codes, wrong)
    with pytest.raises(ValueError, match="codes: expected finite numbers"):
        probe(codes, labels, codes * np.nan, labels)
    assert probe(codes, labels > 1, codes, labels > 1) == probe(codes, 1.0 * (labels > 1), codes,
                                                                1 * (labels > 1))  # fmt: skip


# ---- pictures


def test_frechet_distance_of_two_gaussians():
    """On a line: (m - n)^2 + (s - t)^2; with diagonal covariances each axis by itself."""
    a, b = clouds()[0], clouds(seed=1)[0]
    one = (a[:, 0].mean() - b[:, 0].mean()) ** 2 + (a[:, 0].std(ddof=1) - b[:, 0].std(ddof=1)) ** 2
    assert evaluation.frechet_distance(a[:, :1], b[:, :1]) == pytest.approx(one)
    assert evaluation.frechet_distance(a, a) == pytest.approx(0, abs=1e-9)
    shift = np.array([1.0, 2.0, -1.0])
    assert evaluation.frechet_distance(a, a + shift) == pytest.approx(6)
    assert evaluation.frechet_distance(a, 3 * a) == pytest.approx(
        4 * ((a.mean(axis=0) ** 2).sum() + a.var(axis=0, ddof=1).sum())
    )


@given(seeds)
def test_frechet_distance_by_another_square_root(seed):
    scipy_linalg = pytest.importorskip("scipy.linalg")
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(30, 5)) @ rng.normal(size=(5, 5)), rng.normal(size=(20, 5))
    c, d = np.cov(a.T), np.cov(b.T)
    root = np.real(scipy_linalg.sqrtm(c @ d))
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(c + d - 2 * root)
    assert evaluation.frechet_distance(a, b) == pytest.approx(expected, rel=1e-6)
    assert evaluation.frechet_distance(b, a) == pytest.approx(expected, rel=1e-6)


def bars(n=256, seed=0):
    """uint8 pictures with a bar at the height that the label says, and the labels."""
    rng = np.random.default_rng(seed)
    labels, images = rng.integers(0, 10, n), rng.integers(0, 60, (n, 28, 28), dtype=np.uint8)
    for image, label in zip(images, labels, strict=True):
        left = rng.integers(0, 12)
        image[2 * label + 4 : 2 * label + 7, left : left + 16] = 250
    return images, labels


@pytest.mark.slow
def test_pictures_of_another_kind_are_further_away():
    images, labels = bars()
    classifier = classify.fit_digit_classifier(images, labels, epochs=25, progress=False)
    other, wanted = bars(seed=1)
    x, y = (part[:, None].astype(np.float32) / 255 for part in (images, other))
    assert (classifier.predict(y) == wanted).mean() > 0.9
    distance = evaluation.classifier_frechet_distance
    assert 0 <= distance(classifier, [x], [y]) < 0.1 * distance(classifier, [x], [1 - y])


def test_frechet_distance_refuses_what_has_no_covariance():
    with pytest.raises(ValueError, match="b: expected"):
        evaluation.frechet_distance(np.zeros((3, 2)), np.zeros((1, 2)))
    with pytest.raises(ValueError, match="b: expected"):
        evaluation.frechet_distance(np.zeros((3, 2)), np.zeros((3, 4)))


# ---- units


def test_bits_per_dimension():
    assert evaluation.bits_per_dimension(784 * math.log(2), 784) == pytest.approx(1)
    # Grey values that are all one, p = 1/256 each under a uniform density: 8 bits a pixel.
    assert evaluation.bits_per_dimension(0, 10, dequantised=True) == 8
    # A density of 256 on the cell of the right grey value: no bits at all.
    right = -10 * math.log(256)
    assert evaluation.bits_per_dimension(right, 10, dequantised=True) == pytest.approx(0)


def test_dequantised_density_bounds_the_bits_of_grey_values():
    """Theis et al. 2016, section 3.1: on pixels whose exact probability is that of their cell."""
    mean, sigma = 0.4, 0.1
    images = np.random.default_rng(0).integers(60, 150, (4, 28, 28), dtype=np.uint8)

    def below(value):
        return (1 + math.erf((value - mean) / sigma / math.sqrt(2))) / 2

    cells = {v: -math.log2(below((v + 1) / 256) - below(v / 256)) for v in range(256)}
    exact = np.mean([cells[int(v)] for v in images.ravel()])
    model = models.MLPVAE(likelihood="gaussian", sigma=sigma)
    logits = np.full((4, 784), math.log(mean / (1 - mean)), np.float32)
    (x,) = mv.data.DequantisedBatches(images, 4).epoch(0)
    nats = model.reconstruction_loss(mv.Tensor(logits), mv.Tensor(x)).data.mean()
    bits = evaluation.bits_per_dimension(float(nats), 784, dequantised=True)
    assert exact < bits + 1e-3 and bits == pytest.approx(exact, abs=0.01)
