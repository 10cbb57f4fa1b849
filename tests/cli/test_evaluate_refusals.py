"""``python -m minivae evaluate`` refuses bad checkpoints and options, and other images than the
run's."""

import numpy as np
import pytest
from evaluations import saved, trained

import digit_sets
import minivae as mv
from minivae import models
from minivae.__main__ import main
from minivae.data import draw_faces, split_faces
from minivae.data.synthetic import digits as synthetic_digits
from minivae.training import loaded_run


def damaged(path):
    body = bytearray(path.read_bytes())
    body[-5] ^= 1
    path.write_bytes(body)


def test_a_damaged_checkpoint(tmp_path, data, evaluate):
    path = saved(tmp_path / "c", models.MLPVAE(latent_dim=2, hidden=4))
    damaged(path)
    code, text, result = evaluate(path, "--data", data)
    assert code == 2 and "damaged: the checksum" in text and result is None


def test_a_run_may_be_named_by_its_folder(tmp_path, data, evaluate):
    code, text, _ = evaluate(tmp_path)
    assert code == 2 and "checkpoint.safetensors: no such file" in text
    code, text, _ = evaluate(tmp_path / "nothing")
    assert code == 2 and "no such folder or file" in text
    saved(tmp_path / "checkpoint.safetensors", models.MLPVAE(latent_dim=2, hidden=4))
    code, _, result = evaluate(tmp_path, "--data", data)
    assert code == 0 and result["checkpoint"] == str(tmp_path / "checkpoint.safetensors")


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({}, "does not say which architecture it holds"),
        ({"config": 3}, "does not say which architecture it holds"),
        ({"config": {"architecture": "MLPVAE"}}, "does not say which architecture"),
        ({"config": {"architecture": {}}}, "not an architecture of this version"),
        ({"config": {"architecture": {"name": ["x"]}}}, "not an architecture of this version"),
        ({"config": {"architecture": {"name": "Gan"}}}, "not an architecture of this version"),
        (
            {"config": {"architecture": {"name": "MLPVAE", "hidden": 10**5, "latent_dim": 10**5}}},
            "too small a file for so large an architecture",
        ),
        ({"config": {"architecture": {"name": "FaceVAE", "image_size": 5000}}}, "too small a file"),
        ({"config": {"architecture": {"name": "DeepVAE", "hidden": [1] * 99999}}}, "too small a"),
        ({"config": {"architecture": {"name": "MLPVAE", "depth": 3}}}, "not an architecture"),
        ({"config": {"architecture": {"name": "MLPVAE", "hidden": "x"}}}, "not an architecture"),
        ({"config": {"architecture": {"name": "AutoEncoder", "dims": [784, 2]}}}, "expected a VAE"),
        ({"config": {"architecture": {"name": "MLPVAE"}, "binarize": "no"}}, "configuration"),
        ({"config": {"architecture": {"name": "MLPVAE"}, "seed": [1]}}, "configuration"),
        ({"config": {"architecture": {"name": "MLPVAE"}, "seed": -1}}, "configuration"),
        ({"config": {"architecture": {"name": "MLPVAE"}}}, "expected float32"),  # other sizes
    ],
)
def test_a_checkpoint_of_something_else(tmp_path, data, evaluate, state, message):
    mv.save(tmp_path / "c", models.MLPVAE(latent_dim=2, hidden=4), **state)
    code, text, _ = evaluate(tmp_path / "c", "--data", data)
    assert code == 2 and message in text and "Traceback" not in text


def test_data_of_another_kind(tmp_path, data, evaluate):
    path = saved(tmp_path / "c", models.MLPVAE(latent_dim=2, hidden=4), data="mnist")
    code, text, _ = evaluate(path, "--data", data)
    assert code == 2 and "trained on mnist, but the data are idx" in text
    code, text, result = evaluate(path, "--data", data, "--other-data")
    assert code == 0 and "not the images of its run" in text
    assert result["images_of_the_run"] is False
    code, text, _ = evaluate(path, "--data", tmp_path / "nowhere")
    assert code == 2 and "no such folder" in text
    grey = saved(tmp_path / "f", models.FaceVAE(2, 16, channels=1))
    code, text, _ = evaluate(grey, "--data", data / "faces.npz")
    assert code == 2 and "no data set has images of shape (1, 16, 16)" in text


# ---- the very images and the very split of the run


def test_other_digits_of_the_same_name_are_refused(tmp_path, data, evaluate):
    """Every unknown set in MNIST's format is called idx, so the pixels decide."""
    path = trained(tmp_path / "run", "mnist_vae", "--data", data)
    code, text, result = evaluate(path, "--data", data)
    assert code == 0 and result["images_of_the_run"] is True and "run" not in text.split("\n")[1]
    digits = synthetic_digits.load(60, 20, seed=1)
    other = digit_sets.write(tmp_path / "other", digits)
    code, text, _ = evaluate(path, "--data", other)
    assert code == 2 and "but the data are idx: expected pixels of SHA-256" in text
    code, _, result = evaluate(path, "--data", other, "--other-data")
    assert code == 0 and result["images_of_the_run"] is False


def test_a_limited_run_is_measured_on_its_own_images(tmp_path, data, evaluate):
    path = trained(tmp_path / "run", "mnist_vae", "--data", data, "--limit", 9)
    assert evaluate(path, "--data", data)[2]["images"] == 9
    assert evaluate(path, "--data", data, "--limit", 4)[2]["images"] == 4


FACES = ("--size", 16, "--latent-dim", 2, "--batch-size", 16)


@pytest.mark.parametrize("options", [(), ("--limit", 5), ("--seed", 3)])
def test_the_faces_held_out_from_a_run_are_measured(tmp_path, monkeypatch, evaluate, options):
    """The example draws another number of faces than ``load_faces`` does by itself."""
    monkeypatch.delenv("MINIVAE_DATA", raising=False)
    path = trained(tmp_path / "run", "faces_vae", "--synthetic", 70, *FACES, *options)
    config = mv.load(path)["config"]
    run = split_faces(draw_faces(70, 16), config["seed"], config["limit"])
    code, text, result = evaluate(path)
    assert code == 0, text
    assert result["images"] == len(run.test) and result["images_of_the_run"] is True
    measured = loaded_run.load(path).data
    for part in ("train", "test"):
        images = getattr(measured, part).images
        np.testing.assert_array_equal(images, getattr(run, part).images)
    trained_on = {image.tobytes() for image in run.train.images}
    assert not trained_on & {image.tobytes() for image in measured.test.images}


def test_faces_that_were_replaced_are_refused(tmp_path, data, evaluate):
    path = trained(tmp_path / "run", "faces_vae", "--data", data / "faces.npz", *FACES)
    code, text, result = evaluate(path, "--data", data / "faces.npz")
    assert code == 0 and result["images_of_the_run"] is True, text
    images = np.random.default_rng(1).integers(0, 256, (40, 16, 16, 3), dtype=np.uint8)
    np.savez(tmp_path / "faces.npz", images=images)
    code, text, _ = evaluate(path, "--data", tmp_path / "faces.npz")
    assert code == 2 and "but the data are faces: expected pixels of SHA-256" in text


def test_a_checkpoint_that_does_not_say_what_it_was_trained_on(tmp_path, data, evaluate):
    path = saved(tmp_path / "c", models.MLPVAE(latent_dim=2, hidden=4))
    code, text, result = evaluate(path, "--data", data)
    assert code == 0 and result["images_of_the_run"] is None
    assert "the checkpoint does not say which images it was trained on" in text


def test_a_loss_that_is_not_finite(tmp_path, data, evaluate):
    model = models.MLPVAE(latent_dim=2, hidden=4)
    model.fc22.bias.data[...] = 1e4  # a log variance whose exponential overflows
    with np.errstate(over="ignore", invalid="ignore"):
        code, text, result = evaluate(saved(tmp_path / "c", model), "--data", data)
    assert code == 1 and "NaN or infinite" in text and result is None


def test_a_single_image(tmp_path, data, evaluate):
    path = saved(tmp_path / "c", models.MLPVAE(latent_dim=2, hidden=4))
    code, text, result = evaluate(path, "--data", data, "--limit", 1)
    assert code == 0 and result["mutual_information"] == pytest.approx(0, abs=1e-9)
    assert result["importance_weighted"]["standard_error_of_images"] is None
    assert "by the choice of images" not in text
    code, text, _ = evaluate(path, "--data", data, "--limit", 1, "--frechet")
    assert code == 2 and "at least two images" in text


def test_wrong_options(tmp_path, data, evaluate):
    face = saved(tmp_path / "f", models.FaceVAE(2, 16))
    path = saved(tmp_path / "c", models.MLPVAE(latent_dim=2, hidden=4, likelihood="gaussian"))
    code, text, _ = evaluate(path, "--data", data, "--binarize", "static")
    assert code == 2 and "a density of grey pixels, which static pixels are not" in text
    for options in (("--binarize", "grey"), ("--samples", "0"), ("--device", "tpu")):
        with pytest.raises(SystemExit) as caught:
            evaluate(face, "--data", data / "faces.npz", *options)
        assert caught.value.code == 2
    for place in (tmp_path / "no" / "folder.json", tmp_path):
        code, text, _ = evaluate(path, "--data", data, "--limit", 4, "--json", place)
        assert code == 2 and "cannot be written" in text


def test_help(capsys):
    for words in (["--help"], ["evaluate", "--help"]):
        with pytest.raises(SystemExit) as caught:
            main(words)
        assert caught.value.code == 0 and "evaluate" in capsys.readouterr().out
