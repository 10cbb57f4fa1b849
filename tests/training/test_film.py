"""The film of a run: frames match the model, training is unaffected, a resumed run has the same."""

import numpy as np
import pytest

import minivae as mv
import oracles
import tiny_run
from minivae.data import PixelBatches
from minivae.models.vae import ELBO
from minivae.noise import EVALUATION
from minivae.training import checkpoint
from minivae.training.film import FILM, Film, is_due
from minivae.training.output_folder import OutputFolder

CODES = np.random.default_rng(3).standard_normal((4, 2)).astype(np.float32)


def filmed(folder, resume=False, crash=None, tell=print, **options):
    """Train with a film; (checkpoint's bytes, film's bytes). ``crash(trainer)`` may spoil it."""
    with OutputFolder(folder) as out:
        trainer = tiny_run.trainer(out, **options)
        images = PixelBatches(tiny_run.IMAGES[:20], 20, train=False)
        trainer.film = Film(trainer.model, images, CODES, out, len(trainer.train), tell)
        if resume:
            trainer.resume()
        if crash:
            crash(trainer)
            with pytest.raises(CrashError):
                trainer.run()
            return None
        trainer.run()
    return (folder / "checkpoint.safetensors").read_bytes(), (folder / FILM).read_bytes()


class CrashError(Exception):
    pass


def test_a_film_changes_nothing_of_the_run(tmp_path):
    body, _ = filmed(tmp_path / "filmed", epochs=3)
    assert body == tiny_run.run(tmp_path / "plain", epochs=3)


def test_frames_are_true(tmp_path):
    """The first and the last frame match the model's outputs as NumPy computes them."""
    filmed(tmp_path, epochs=2, beta=3.0, warmup=2.0)
    film, trained = checkpoint.load(tmp_path / FILM), mv.models.MLPVAE(latent_dim=2, hidden=4)
    assert film["step"].tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert film["beta"].tolist() == [0, 0.5, 1, 1.5, 2, 2.5, 3]
    fresh = mv.models.MLPVAE(latent_dim=2, hidden=4)
    checkpoint.load(tmp_path / "checkpoint.safetensors", trained)
    x = tiny_run.IMAGES[:20].reshape(20, -1) / np.float32(255)
    for i, model in ((0, fresh), (-1, trained)):
        w = model.state_dict()

        def linear(name, a, w=w):
            return a @ w[f"{name}.weight"].T + w[f"{name}.bias"]

        h = np.maximum(linear("fc1", x), 0)
        mu, logvar = linear("fc21", h), linear("fc22", h)
        kl = (mu**2 + np.exp(logvar) - 1 - logvar).mean(axis=0) / 2
        pixels = 1 / (1 + np.exp(-linear("fc4", np.maximum(linear("fc3", CODES), 0))))
        np.testing.assert_allclose(film["mu"][i], mu, atol=1e-6)
        np.testing.assert_allclose(film["kl"][i], kl, atol=1e-6)
        z = mu + np.exp(logvar / 2) * oracles.normal(0, EVALUATION, mu.shape)
        logits = linear("fc4", np.maximum(linear("fc3", z), 0))
        rec = (np.logaddexp(0, logits) - x * logits).sum(axis=1).mean()
        np.testing.assert_allclose(film["rec"][i], rec, rtol=1e-6)
        assert abs(film["pixels"][i] - 255 * pixels).max() < 0.51
        assert film["pixels"].dtype == np.uint8
        assert film["pixels"][i].shape == (4, 784)
    assert film["rec"][-1] < film["rec"][0]


@pytest.mark.parametrize("save_every", [0, 2])
def test_a_run_that_crashes_anywhere_leaves_the_same_film(tmp_path, save_every):
    """The crashes are in a step, and between writing the film and writing its checkpoint."""
    options = {"epochs": 2, "save_every": save_every}
    whole = filmed(tmp_path / "whole", **options)

    def in_step(number):
        def crash(trainer):
            step = trainer.step_function

            def crashing(*args) -> ELBO:
                if trainer.state.step == number:
                    raise CrashError
                return step(*args)

            trainer.step_function = crashing

        return crash

    def in_save(number):
        def crash(trainer):
            save = trainer.files.save

            def crashing(*args):
                if trainer.state.step >= number:
                    raise CrashError
                save(*args)

            trainer.files.save = crashing

        return crash

    for i, crash in enumerate([in_step(n) for n in range(6)] + [in_save(n) for n in (1, 4, 6)]):
        filmed(tmp_path / str(i), crash=crash, **options)
        assert filmed(tmp_path / str(i), resume=True, **options) == whole, i


def test_a_film_that_is_not_of_this_run_is_begun_anew(tmp_path):
    """A missing film, a damaged one, or one of other sizes costs one line; the run continues."""
    whole, _ = filmed(tmp_path / "other", epochs=2)
    tiny_run.run(tmp_path / "none", epochs=1)
    filmed(tmp_path / "damaged", epochs=1)
    filmed(tmp_path / "sizes", epochs=1)
    body = bytearray((tmp_path / "damaged" / FILM).read_bytes())
    body[-1] ^= 1
    (tmp_path / "damaged" / FILM).write_bytes(body)
    film = checkpoint.load(tmp_path / "sizes" / FILM)
    film["mu"] = film["mu"][:, :5]
    (tmp_path / "sizes" / FILM).write_bytes(checkpoint.to_bytes("", None, **film))
    for name, reason in (
        ("none", "no such file"), ("damaged", "the checksum does not fit"),
        ("sizes", "its frames are not of this run"),
    ):  # fmt: skip
        said = []
        body, _ = filmed(tmp_path / name, resume=True, epochs=2, tell=said.append)
        assert body == whole
        (line,) = [line for line in said if "the film begins here" in line]
        assert reason in line
        assert checkpoint.load(tmp_path / name / FILM)["step"].tolist() == [3, 4, 5, 6]


@pytest.mark.parametrize("batches", [1, 2, 3, 4, 5, 79, 469])
def test_epochs_begin_and_end_with_a_frame_and_have_few(batches):
    due = [step for step in range(20 * batches + 1) if is_due(step, batches)]
    assert {0, 1, *(epoch * batches for epoch in range(20))} <= set(due)
    first = [step for step in due if step <= batches]
    assert len(first) <= 6 + np.log2(batches)
    assert len(due) - len(first) == 19 * min(batches, 4)
