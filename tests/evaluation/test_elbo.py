"""The ELBO of a set of images against closed forms and written-out sums; its columns in
metrics.csv."""

import math

import numpy as np
import pytest

import minivae as mv
from minivae import evaluation, models
from minivae.noise import EVALUATION, NoiseStream
from minivae.training import metrics
from minivae.training.output_folder import OutputFolder
from tiny_run import trainer


class Known(models.VAE):
    """Posterior means are the images' own first three pixels; variances 1; logits all 0."""

    latent_dim = 3

    def __init__(self):
        self.unused = mv.nn.Parameter(np.zeros(1))

    def encode(self, x):
        mu = x.data[:, :3].copy()
        return mv.Tensor(mu), mv.Tensor(np.zeros_like(mu))

    def decode(self, z):
        return mv.Tensor(np.zeros((len(z), 5)))


def batches(*sizes):
    """Images (B, 5) whose first three pixels vary with standard deviations 1, 0.11 and 0.09."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((sum(sizes), 5))
    x = (x - x.mean(axis=0)) / x.std(axis=0) * [1, 0.11, 0.09, 0, 0]
    return np.split(x, np.cumsum(sizes)[:-1])


def test_terms_are_means_over_images_whatever_the_batches():
    x = batches(7, 7, 1)
    found = evaluation.elbo(Known(), x, NoiseStream(0), beta=0.5)
    mu, terms = found.mu, found.terms
    assert terms.rec == pytest.approx(5 * math.log(2))  # a fair coin for each pixel
    assert terms.kl == pytest.approx(0.5 * (np.concatenate(x)[:, :3] ** 2).sum() / 15)
    assert terms.loss == pytest.approx(terms.rec + 0.5 * terms.kl)
    assert np.array_equal(mu, np.concatenate(x)[:, :3])
    assert np.array_equal(evaluation.posteriors(Known(), x)[0], mu)


def test_a_unit_is_active_when_its_mean_has_a_variance_above_a_hundredth():
    found = evaluation.elbo(Known(), batches(40), NoiseStream(0))
    assert evaluation.active_units(found.mu) == 2  # 0.0081 is not


def test_evaluating_changes_no_mode_and_no_statistics():
    model = models.FaceVAE(2, 16)
    before = model.state_dict()
    x = np.random.default_rng(0).random((3, 3, 16, 16), np.float32)
    stream = NoiseStream(4)
    evaluation.elbo(model, [x[:2], x[2:]], stream, samples=3)
    after = model.state_dict()
    assert model.training and all(before[n].tobytes() == after[n].tobytes() for n in before)
    assert stream.offset == 6  # a draw for each batch and sample


def test_a_run_tests_every_epoch_with_one_noise_apart_from_trainings(tmp_path):
    with OutputFolder(tmp_path) as out:
        made = trainer(out, epochs=2, seed=3)
        (*_, row) = made.run()
        again = evaluation.elbo(made.model, made.test.epoch(0), NoiseStream(3, EVALUATION))
    assert (row["test_loss"], row["test_rec"], row["test_kl"]) == again.terms
    assert row["active_units"] == evaluation.active_units(again.mu)


def test_only_times_that_are_known_are_read_back(tmp_path):
    row = dict.fromkeys(metrics.COLUMNS, 1.5)
    del row["seconds"]
    rows = [row | {"epoch": epoch} for epoch in (1, 2, 3)]
    with OutputFolder(tmp_path) as out:
        assert metrics.read_seconds(out, rows) == {}
        metrics.write(out, rows, {1: 0.25, 3: 2.0})
        assert metrics.read_seconds(out, rows) == {1: 0.25, 3: 2.0}  # the nan of 2 is no time
        rows[2]["test_kl"] = 9.0
        assert metrics.read_seconds(out, rows) == {1: 0.25}  # 3 is of another run
        (tmp_path / "metrics.csv").write_bytes(b"\xff\x00junk")
        assert metrics.read_seconds(out, rows) == {}
