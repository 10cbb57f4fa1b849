"""Tests for planted errors that all other tests once missed (tests/reliability/mutation.py), by
area: ends of ranges, other scales, larger sets, conditional models.
"""

import functools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minivae as mv
from linear_gaussian import LinearGaussian
from minivae import evaluation, models
from minivae import functional as F
from minivae.evaluation import bounds, probes
from minivae.noise import NoiseStream
from minivae.ops.conv import conv_output_size
from minivae.training import objectives

MODEL = LinearGaussian()
X = MODEL.draw(40)


# ---- operations


@pytest.mark.parametrize("axis", [2, -3, (0, 2)])
@pytest.mark.parametrize("reduce", [F.sum, F.mean, F.max])
def test_an_axis_past_the_last_is_told_by_name(reduce, axis):
    with pytest.raises(ValueError, match=r"axis: expected an axis of shape \(2, 3\), got -?\d"):
        reduce(mv.Tensor(np.ones((2, 3))), axis=axis)


@given(*(st.integers(low, 4) for low in (1, 0, 1, 1, 1)))
def test_the_output_size_counts_the_places_of_the_kernel(n, padding, kernel, dilation, stride):
    """The output size is the number of places where the kernel fits, counted; 0 is refused."""
    taps = [dilation * tap for tap in range(kernel)]
    places = [p for p in range(0, n + 2 * padding, stride) if p + taps[-1] < n + 2 * padding]
    arguments = (n, kernel, stride, padding, dilation)
    if places:
        assert conv_output_size(*arguments) == len(places)
    else:
        with pytest.raises(ValueError, match="expected at least the kernel's reach"):
            conv_output_size(*arguments)


# ---- bounds


def test_two_draws_have_a_spread():
    found = evaluation.elbo(MODEL, [X], NoiseStream(0), samples=2)
    assert 0 < found.standard_error < 1


def test_a_bar_counts_every_image_once(monkeypatch):
    class Bar:
        def __init__(self, total, show, **_):
            self.total, self.show, self.count = total, show, 0
            bars.append(self)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def update(self, n):
            self.count += n

    bars = []
    monkeypatch.setattr(bounds, "ProgressBar", Bar)
    for total in (40, None):
        evaluation.elbo(MODEL, [X[:7], X[7:]], NoiseStream(0), total=total)
    assert [(bar.total, bar.count) for bar in bars] == [(40, 40), (None, 40)]
    assert bars[0].show is None and bars[1].show is False  # None: drawn where there is a terminal


@pytest.mark.parametrize("shape, most", [((784,), 512), ((3, 256, 256), 21)])
def test_so_many_images_are_decoded_at_a_time_and_no_more(shape, most):
    x, eps = mv.Tensor(np.zeros((1, *shape), np.float32)), np.zeros((1, 1000, 2), np.float32)
    (rows,), noise = next(bounds._blocks(eps, x))
    assert most // 2 < len(rows.data) == len(noise) <= most


# ---- codes and pictures


def test_a_variance_at_the_threshold_is_not_beyond_it():
    mu = np.array([[0.0, 0.0], [1.0, 1.5]])  # variances of 1/4 and 9/16
    assert evaluation.active_units(mu, threshold=0.25) == 1


def test_the_set_without_a_covariance_is_named():
    for name, sets in (("a", (X[:1], X)), ("b", (X, X[:1]))):
        with pytest.raises(ValueError, match=f"^{name}: expected"):
            evaluation.frechet_distance(*sets)


# ---- probes


def test_a_probe_sees_codes_of_mean_0_and_deviation_1(monkeypatch):
    """Training codes are standardised by their own moments; a constant latent becomes 0."""
    rng = np.random.default_rng(0)
    scale, shift = np.array([1e-3, 1, 1e3, 0]), np.array([5, -3, 1e5, 7.0])
    seen = []
    monkeypatch.setattr(
        probes, "fit_softmax", lambda *given: seen.append(given) or (np.zeros((4, 3)), np.zeros(3))
    )
    labels = rng.integers(0, 3, 50)
    codes = rng.normal(size=(50, 4)) * scale + shift
    evaluation.linear_probe(codes, labels, codes[:5], labels[:5])
    ((standardised, given),) = seen
    np.testing.assert_allclose(standardised.mean(axis=0), 0, atol=1e-8)
    np.testing.assert_allclose(standardised.std(axis=0), [1, 1, 1, 0], rtol=1e-6)
    assert given.tolist() == labels.tolist()


@pytest.mark.parametrize("k", [1, 2, 5, 30])
def test_neighbours_among_many_codes_by_sorting(k):
    rng = np.random.default_rng(k)
    train, test = rng.normal(size=(500, 2)), rng.normal(size=(300, 2))
    labels, expected = rng.integers(0, 4, 500), rng.integers(0, 4, 300)
    distances = ((test[:, None] - train) ** 2).sum(axis=2)
    votes = np.eye(4)[labels[np.argsort(distances, axis=1)[:, :k]]].sum(axis=1)
    found = evaluation.nearest_neighbour_accuracy(train, labels, test, expected, k)
    assert found == np.mean(votes.argmax(axis=1) == expected)


def test_five_neighbours_vote_unless_told_otherwise():
    codes, labels = np.arange(6.0)[:, None], np.array([1, 1, 1, 0, 0, 0])
    found = evaluation.nearest_neighbour_accuracy(codes, labels, np.zeros((1, 1)), np.array([1]))
    assert found == 1  # of six it is a draw, which the smaller label wins


def test_all_training_codes_may_vote():
    codes, labels = np.arange(5.0)[:, None], np.array([0, 1, 1, 0, 1])
    found = evaluation.nearest_neighbour_accuracy(codes, labels, codes, labels, k=5)
    assert found == 3 / 5


def test_one_code_is_enough_and_none_is_not():
    one, label = np.ones((1, 2)), np.zeros(1, int)
    neighbour = functools.partial(evaluation.nearest_neighbour_accuracy, k=1)
    for probe in (evaluation.linear_probe, neighbour):
        assert probe(one, label, one, label) == 1
        with pytest.raises(ValueError, match=r"codes, labels: expected \(N, D\)"):
            probe(one, label, one[:0], label[:0])


# ---- objectives


def test_free_bits_tell_the_decoder_what_the_model_knows():
    """For a model that is given the class, free bits of 0 nats give the ELBO, as for any model."""
    model = models.ConditionalVAE(latent_dim=2, hidden=8)
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.random((3, 784)), np.eye(10)[[1, 4, 4]]], axis=1).astype(np.float32)
    found, expected = (
        objective(model, x, mv.Noise(1, 2), **options)
        for objective, options in ((objectives.free_bits, {"nats": 0}), (objectives.elbo, {}))
    )
    for a, b in zip(found, expected, strict=True):
        assert a.item() == pytest.approx(b.item(), rel=1e-6)
    assert math.isfinite(found.loss.item())
