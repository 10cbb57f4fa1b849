"""Trainer: repeatable runs, correct metrics, schedules, and stops that name a NaN or infinity."""

import functools
import os
from pathlib import Path

import numpy as np
import pytest

import minivae as mv
import tiny_run
from minivae.data import PixelBatches
from minivae.errors import NonFiniteError
from minivae.evaluation import active_units, elbo, posteriors
from minivae.noise import EVALUATION
from minivae.training import checkpoint, metrics, objectives
from minivae.training.output_folder import OutputFolder
from minivae.training.run_state import RunState
from minivae.training.step import EagerStep

HERE = Path(__file__).parent


def test_two_runs_are_the_same_bytes_and_another_seed_is_not(tmp_path):
    first = tiny_run.run(tmp_path / "a")
    assert first == tiny_run.run(tmp_path / "b")
    assert first != tiny_run.run(tmp_path / "c", seed=1)


def test_metrics_have_one_row_an_epoch_that_agrees_with_the_checkpoint(tmp_path):
    tiny_run.run(tmp_path, epochs=3)
    rows = tiny_run.table(tmp_path)
    kept = checkpoint.load(tmp_path / "checkpoint.safetensors")["metrics"]
    assert list(rows[0]) == list(metrics.COLUMNS)
    assert [int(row["epoch"]) for row in rows] == [1, 2, 3]
    assert [int(row["step"]) for row in rows] == [3, 6, 9]
    for row, same in zip(rows, kept, strict=True):
        assert float(row["seconds"]) > 0
        assert {name: float(row[name]) for name in same} == {k: float(v) for k, v in same.items()}


def test_training_means_weigh_every_image_alike(tmp_path):
    """With a learning rate of 0 the means are those of one pass over all the images."""
    with OutputFolder(tmp_path) as out:
        trainer = tiny_run.trainer(out, epochs=1, lr=0.0, beta=3.0)
        (row,) = trainer.run()
        rec = kl = 0.0
        for step, x in enumerate(trainer.train.epoch(0)):  # 24, 24 and 2 images
            terms = trainer.model.elbo(x, mv.Noise(0, step))
            rec, kl = rec + len(x) * terms.rec.item(), kl + len(x) * terms.kl.item()
    assert row["train_rec"] == pytest.approx(rec / 50, rel=1e-12)
    assert row["train_kl"] == pytest.approx(kl / 50, rel=1e-12)
    assert row["train_loss"] == row["train_rec"] + 3.0 * row["train_kl"]
    assert row["test_loss"] == row["test_rec"] + 3.0 * row["test_kl"]


@pytest.mark.parametrize("batches", [0, 2, 4])
def test_an_epoch_of_another_length_is_refused(tmp_path, batches):
    """Its checkpoint would contradict the number of batches, and no run could go on from it."""
    with OutputFolder(tmp_path) as out:
        trainer = tiny_run.trainer(out)
        images = np.zeros((24, 1, 28, 28), np.float32)
        trainer.train.epoch = lambda epoch, start=0: iter([images] * batches)
        with pytest.raises(ValueError, match=f"expected 3 batches in an epoch, .* got {batches}"):
            trainer.run()
    assert not (tmp_path / "checkpoint.safetensors").exists()


def test_options_that_no_checkpoint_can_hold_are_refused_before_training():
    with pytest.raises(ValueError, match="not JSON compliant"):
        RunState(0, {"temperature": float("nan")})


def test_kl_weight_grows_linearly_over_the_warmup(tmp_path):
    seen = []

    def recording(trainer):
        step = EagerStep(trainer.model, trainer.optimizer)
        return lambda x, noise, beta: (seen.append(beta), step(x, noise, beta))[1]

    tiny_run.run(tmp_path, epochs=3, beta=6.0, warmup=2.0, step=recording)
    assert seen == [0, 1, 2, 3, 4, 5, 6, 6, 6]


SCHEDULE = ((0, 1e-3), (1, 1e-2), (3, 0.0))  # (first epoch, learning rate)


def test_the_learning_rate_follows_the_schedule(tmp_path):
    seen = []

    def recording(trainer):
        step = EagerStep(trainer.model, trainer.optimizer)
        return lambda *args: (seen.append(trainer.optimizer.lr), step(*args))[1]

    tiny_run.run(tmp_path, epochs=5, schedule=SCHEDULE, step=recording)
    assert seen == [1e-3] * 3 + [1e-2] * 6 + [0.0] * 6


def test_the_best_weights_are_those_of_the_lowest_test_loss(tmp_path):
    """The first epoch lowers the test loss, and the large rate of the second raises it again."""
    tiny_run.run(tmp_path / "one", epochs=1)
    tiny_run.run(tmp_path, epochs=3, schedule=((0, 1e-3), (1, 1.0)), keep_best=True)
    losses = [float(row["test_loss"]) for row in tiny_run.table(tmp_path)]
    assert losses[0] == min(losses)
    best = mv.models.MLPVAE(latent_dim=2, hidden=4)
    assert checkpoint.load(tmp_path / "best.safetensors", best)["epoch"] == 1
    first = mv.models.MLPVAE(latent_dim=2, hidden=4)
    checkpoint.load(tmp_path / "one" / "checkpoint.safetensors", first)
    for a, b in zip(best.parameters(), first.parameters(), strict=True):
        np.testing.assert_array_equal(a.data, b.data)


@pytest.mark.parametrize("wrong", [((1, 1e-3), (0, 1e-2)), ((0, 1e-3), (0, 1e-2)), ((0, -1.0),)])
def test_a_schedule_that_makes_no_sense_is_refused(tmp_path, wrong):
    with pytest.raises(ValueError, match="schedule: expected rising epochs and rates >= 0"):
        tiny_run.run(tmp_path, schedule=wrong)


def test_a_step_minimises_the_objective_it_is_given(tmp_path):
    """Free bits beyond reach leave the gradient of the reconstruction alone, beta 0."""
    objective = functools.partial(objectives.free_bits, nats=1e3)
    bodies = [
        tiny_run.run(
            tmp_path / name, beta=beta, schedule=((0, 1e-3),),
            step=lambda t, o=o: EagerStep(t.model, t.optimizer, o),
        )
        for name, beta, o in (("free", 1.0, objective), ("none", 0.0, objectives.elbo))
    ]  # fmt: skip
    assert bodies[0] != bodies[1], "the reported losses differ"
    models = [mv.models.MLPVAE(latent_dim=2, hidden=4) for _ in bodies]
    for model, name in zip(models, ("free", "none"), strict=True):
        checkpoint.load(tmp_path / name / "checkpoint.safetensors", model)
    for a, b in zip(*(m.parameters() for m in models), strict=True):
        np.testing.assert_allclose(a.data, b.data, atol=1e-6)


def test_evaluation_is_the_mean_over_images_whatever_the_batches():
    rng = np.random.default_rng(1)
    model = mv.models.MLPVAE(latent_dim=3, hidden=5, seed=2)
    images = rng.random((11, 784), dtype=np.float32)
    batches = [images[:7], images[7:]]
    found = elbo(model, batches, mv.NoiseStream(0, EVALUATION), beta=0.5).terms
    parts = [model.elbo(x, mv.Noise(0, EVALUATION + i)) for i, x in enumerate(batches)]
    rec, kl = (
        (7 * getattr(parts[0], term).item() + 4 * getattr(parts[1], term).item()) / 11
        for term in ("rec", "kl")
    )
    assert found.rec == pytest.approx(rec, rel=1e-6)
    assert found.kl == pytest.approx(kl, rel=1e-5)
    assert found.loss == pytest.approx(rec + 0.5 * kl, rel=1e-6)
    assert model.training


def test_active_units_are_those_whose_mean_code_varies():
    model = mv.models.MLPVAE(latent_dim=4, hidden=5, seed=2)
    images = np.random.default_rng(1).random((40, 784), dtype=np.float32)
    for wanted in range(5):
        model.fc21.weight.data[...] = 0
        model.fc21.weight.data[:wanted] = 5 * np.random.default_rng(2).standard_normal((wanted, 5))
        variances = posteriors(model, [images])[0].var(axis=0)
        assert ((variances > 0.02) | (variances < 0.005)).all(), "too close to the threshold"
        found = elbo(model, [images[:30], images[30:]], mv.NoiseStream(0))
        assert active_units(found.mu) == (variances > 0.01).sum() == wanted


def plant(where):
    """A step function that makes a number NaN or too large in step 5, the second of epoch 2."""

    def make(trainer):
        model, step = trainer.model, EagerStep(trainer.model, trainer.optimizer)

        def wrapped(x, noise, beta):
            if trainer.state.step == 4:
                if where == "input":
                    x = x.copy()
                    x[0, 0, 3, 3] = np.nan
                elif where == "gradient":
                    update = trainer.optimizer.step

                    def spoiled():
                        model.fc3.weight.grad[1, 1] = np.nan
                        update()

                    trainer.optimizer.step = spoiled
                elif where == "weight":
                    model.fc21.bias.data[1] = np.inf
                elif where == "activation":
                    model.fc22.bias.data[0] = 3e38  # finite, but not exp() of it
                elif where == "linear":
                    model.fc3.weight.data[...] = 3e38
            return step(x, noise, beta)

        return wrapped

    return make


@pytest.mark.parametrize(
    ("where", "named"),
    [
        ("input", "the input batch is NaN or infinite"),
        ("gradient", r"epoch 2, step 6: the gradient of fc3.weight \(one step earlier\)"),
        ("weight", "epoch 2, step 5: the weight fc21.bias"),
        ("activation", r"the output of ReparameterizeKL \(after fc21, fc22\)"),
        ("linear", r"the output of LinearReLU \(fc3\)"),
    ],
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_training_stops_with_the_name_of_the_first_bad_tensor(tmp_path, where, named):
    good = tiny_run.run(tmp_path / "good", epochs=1)
    with pytest.raises(NonFiniteError, match=named) as caught:
        tiny_run.run(tmp_path / "bad", step=plant(where))
    assert "checkpoint.safetensors is kept" in str(caught.value)
    assert (tmp_path / "bad/checkpoint.safetensors").read_bytes() == good


def test_a_last_step_that_spoils_the_weights_is_noticed_before_saving(tmp_path):
    def spoiling(trainer):
        step = EagerStep(trainer.model, trainer.optimizer)

        def wrapped(x, noise, beta):
            terms = step(x, noise, beta)
            if trainer.state.step == 5:
                trainer.model.fc4.bias.data[7] = np.nan
            return terms

        return wrapped

    good = tiny_run.run(tmp_path / "good", epochs=1)
    with pytest.raises(NonFiniteError, match=r"the weight fc4\.bias"):
        tiny_run.run(tmp_path / "bad", step=spoiling)
    assert (tmp_path / "bad/checkpoint.safetensors").read_bytes() == good


def test_a_moment_that_overflows_is_noticed_before_saving(tmp_path):
    """A weight whose second moment is infinite stops moving, and no other check notices that."""

    def spoiling(trainer):
        step = EagerStep(trainer.model, trainer.optimizer)

        def wrapped(x, noise, beta):
            if trainer.state.step == 4:
                trainer.optimizer.state[trainer.model.fc3.bias]["v"][3] = np.inf
            return step(x, noise, beta)

        return wrapped

    good = tiny_run.run(tmp_path / "good", epochs=1)
    with pytest.raises(NonFiniteError, match=r"the optimiser's v of fc3\.bias is NaN"):
        tiny_run.run(tmp_path / "bad", step=spoiling)
    assert (tmp_path / "bad/checkpoint.safetensors").read_bytes() == good
    assert (tmp_path / "bad/metrics.csv").read_text().count("\n") == 2


@pytest.mark.parametrize("part", ["train", "test"])
@pytest.mark.parametrize("wrong", [255.0, -0.5, np.nan, np.inf])
def test_pixels_that_are_none_are_refused_before_the_first_step(tmp_path, part, wrong):
    class Spoiled(PixelBatches):
        def epoch(self, epoch, start=0):
            for x in super().epoch(epoch, start):
                x[-1, 0, 3, 3] = wrong
                yield x

    with OutputFolder(tmp_path) as out:
        trainer = tiny_run.trainer(out)
        setattr(trainer, part, Spoiled(tiny_run.IMAGES, 24, train=part == "train"))
        before = trainer.model.state_dict()["fc1.weight"].copy()
        with pytest.raises(ValueError, match=rf"{part}: expected pixels from 0 to 1, got "):
            trainer.run()
        np.testing.assert_array_equal(trainer.model.state_dict()["fc1.weight"], before)
    assert os.listdir(tmp_path) == [".lock"]


@pytest.mark.parametrize(
    "wrong",
    [{"epochs": 0}, {"beta": -1.0}, {"beta": float("nan")}, {"warmup": -1.0}, {"save_every": -1},
     {"images": tiny_run.IMAGES[:0]}],
)  # fmt: skip
def test_wrong_arguments_are_named(tmp_path, wrong):
    with OutputFolder(tmp_path) as out, pytest.raises(ValueError) as caught:
        tiny_run.trainer(out, **wrong)
    name = {"images": "train"}.get(next(iter(wrong)), next(iter(wrong)))
    assert str(caught.value).startswith(f"{name}: expected ")
