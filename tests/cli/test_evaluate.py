"""``python -m minivae evaluate``: checkpoints of the examples in, a table and JSON out."""

import gzip
import importlib.util
import json
import math
from pathlib import Path

import numpy as np
import pytest
from cuda_emulation import emulated_device

import digit_sets
import minivae as mv
from minivae import evaluation, models
from minivae.__main__ import main
from minivae.data import DequantisedBatches, PixelBatches, draw_faces, mnist, split_faces
from minivae.data.idx import idx_header
from minivae.data.synthetic import digits as synthetic_digits
from minivae.evaluation import probes
from minivae.evaluation.measures import ELBO_SAMPLES
from minivae.noise import NoiseStream
from minivae.training import loaded_run

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder in MNIST's form with 60 + 20 drawn digits, and 40 pictures of 16 x 16 as faces."""
    folder = tmp_path_factory.mktemp("data")
    digit_sets.write(folder, synthetic_digits.load(60, 20))
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (40, 16, 16, 3), dtype=np.uint8)
    np.savez(folder / "faces.npz", images=images, glasses=rng.random(40) < 0.5)
    return folder


@pytest.fixture(autouse=True)
def short_probe(monkeypatch):
    """What the probe finds is the affair of test_estimators, in all of its steps."""
    monkeypatch.setattr(probes, "STEPS", 20)


def load_example(script):
    """An example as a module."""
    spec = importlib.util.spec_from_file_location(script, EXAMPLES / f"{script}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def trained(folder, script, *options):
    """The checkpoint of an example's short run."""
    module = load_example(script)
    words = ["--out", folder, "--epochs", 1, "--no-plots", *options]
    assert module.main([str(word) for word in words]) == 0
    return folder / "checkpoint.safetensors"


def saved(path, model, **config):
    """A checkpoint with untrained weights."""
    architecture = {"name": type(model).__name__, **model.config()}
    mv.save(path, model, config={"architecture": architecture, **config})
    return path


@pytest.fixture
def evaluate(tmp_path, capsys):
    """``evaluate(checkpoint, option, ...)``: exit code, printed text, JSON or None."""

    def run(checkpoint, *options, samples=4):
        out = tmp_path / "result.json"
        words = ["evaluate", checkpoint, "--samples", samples, "--json", out, *options]
        code = main([str(word) for word in words])
        printed = capsys.readouterr()
        result = json.loads(out.read_text()) if out.exists() else None
        return code, printed.out + printed.err, result

    return run


@pytest.mark.parametrize("model", ["mlp", "conv"])
def test_checkpoints_of_the_digit_example(tmp_path, data, evaluate, model):
    path = trained(tmp_path, "mnist_vae", "--data", data, "--model", model, "--binarize", "static")
    code, text, result = evaluate(path, "--data", data, "--frechet")
    assert code == 0 and result["is_likelihood"] and result["binarize"] == "static"
    assert result["images"] == 20 and result["dataset"] == "idx"
    for words in ("-ELBO", "-ln p(x)", "bits per dimension", "digit from codes"):
        assert words in text
    found = result["importance_weighted"]
    assert f"{found['nats']:.2f} ± {found['standard_error']:.2f}" in text
    assert found["bits_per_dimension"] == pytest.approx(found["nats"] / 784 / math.log(2))
    assert 1 <= found["effective_samples_median"] <= 4
    for name in ("kl_per_latent", "aggregate_mean", "aggregate_variance"):
        assert f"{min(result[name]):.2f} to {max(result[name]):.2f}" in text
    assert result["mutual_information"] + result["marginal_kl"] == pytest.approx(
        result["elbo"]["kl"], rel=1e-5
    )
    assert len(result["kl_per_latent"]) == result["latent_dim"]
    assert result["classifier_frechet"]["samples"] > 0


def test_checkpoints_of_the_face_example(tmp_path, data, evaluate):
    faces = data / "faces.npz"
    path = trained(tmp_path, "faces_vae", "--data", faces, "--size", 16, "--latent-dim", 3,
                   "--batch-size", 8, "--likelihood", "gaussian")  # fmt: skip
    code, text, result = evaluate(path, "--data", faces)
    assert code == 0 and result["is_likelihood"] and "glasses from codes" in text
    nats, bits = (result["importance_weighted"][k] for k in ("nats", "bits_per_dimension"))
    assert bits == pytest.approx(nats / 768 / math.log(2) + 8)
    assert "Gaussian density of dequantised pixels" in text


def test_the_numbers_are_those_of_the_estimators(tmp_path, data, evaluate):
    model = models.MLPVAE(latent_dim=3, hidden=8)
    digits = mnist.load(data)
    path = saved(tmp_path / "c", model, **digits.record(), binarize="dynamic")
    code, _, result = evaluate(path, "--data", data, "--seed", 5)
    test = PixelBatches(digits.test.images, 20, binarize="static", train=False)
    noise = 5, evaluation.IMPORTANCE
    nll = evaluation.importance_weighted_nll(model, test.epoch(0), NoiseStream(*noise), 4)
    elbo = evaluation.elbo(model, test.epoch(0), NoiseStream(*noise), ELBO_SAMPLES)
    mu, _ = evaluation.posteriors(model, test.epoch(0))
    train = PixelBatches(digits.train.images, 9, binarize="static", train=False)
    codes, _ = evaluation.posteriors(model, train.epoch(0))
    labelled = codes, digits.train.labels["digit"], mu, digits.test.labels["digit"]
    assert code == 0
    assert result["importance_weighted"]["nats"] == nll.nll
    assert result["elbo"]["loss"] == elbo.terms.loss
    assert result["active_units"] == evaluation.active_units(mu)
    assert result["probes"]["digit"]["linear"] == evaluation.linear_probe(*labelled)
    assert result["probes"]["digit"]["nearest_neighbours"] == (
        evaluation.nearest_neighbour_accuracy(*labelled)
    )


@pytest.mark.parametrize(
    ("trained", "option", "used", "words"),
    [
        ("static", None, "static", "binarize static, as in training"),
        ("dynamic", None, "dynamic", "binarize dynamic, as in training"),
        ("static", "none", "none", "binarize none, trained with static"),
        (None, None, "none", "binarize none; the checkpoint does not say"),
        (None, "static", "static", "binarize static; the checkpoint does not say"),
    ],
)
def test_which_pixels_were_used_is_said(tmp_path, data, evaluate, trained, option, used, words):
    config = {"binarize": trained} if trained else {}
    path = saved(tmp_path / "c", models.MLPVAE(latent_dim=2, hidden=4), **config)
    options = ("--binarize", option) if option else ()
    code, text, result = evaluate(path, "--data", data, *options)
    assert code == 0 and words in text
    assert (result["binarize"], result["trained_binarize"]) == (used, trained)


def test_a_density_is_of_dequantised_pixels(tmp_path, data, evaluate):
    model = models.MLPVAE(latent_dim=3, hidden=8, likelihood="gaussian")
    _, _, result = evaluate(saved(tmp_path / "c", model), "--data", data)
    batches = DequantisedBatches(mnist.load(data).test.images, 3).epoch(0)
    noise = NoiseStream(0, evaluation.IMPORTANCE)
    nll = evaluation.importance_weighted_nll(model, batches, noise, 4)
    assert result["importance_weighted"]["nats"] == nll.nll


def test_the_same_command_writes_the_same_bytes(tmp_path, data, evaluate):
    path = saved(tmp_path / "c", models.MLPVAE(latent_dim=2, hidden=4))
    first, again, other = (
        evaluate(path, "--data", data, "--limit", 8, "--seed", seed)[2] for seed in (1, 1, 2)
    )
    assert json.dumps(first) == json.dumps(again)
    assert first["elbo"]["loss"] != other["elbo"]["loss"]
    assert first["images"] == 8


@pytest.mark.slow
def test_on_a_gpu(tmp_path, data, evaluate):
    """On the stand-in for one: the same numbers to rounding."""
    path = saved(tmp_path / "c", models.ConvVAE(latent_dim=2))
    options = "--data", data, "--limit", 6, "--binarize", "static", "--frechet"
    _, _, expected = evaluate(path, *options)
    with emulated_device(None):
        code, text, found = evaluate(path, *options, "--device", "cuda")
    assert code == 0, text
    for kind, name in (("elbo", "loss"), ("importance_weighted", "nats")):
        assert found[kind][name] == pytest.approx(expected[kind][name], rel=1e-5)
    assert found["device"] == "cuda"


@pytest.mark.parametrize(
    ("config", "binarize", "meaning", "exact"),
    [
        ({}, "none", "cross-entropy of grey pixels: not a likelihood", False),
        ({}, "static", "Bernoulli probability of pixels that are 0 or 1", True),
        ({}, "dynamic", "Bernoulli probability of pixels that are 0 or 1", True),
        ({"likelihood": "gaussian"}, "none", "Gaussian density of dequantised pixels", True),
        ({"likelihood": "squared-error"}, "none", "squared error of pixels: not", False),
    ],
)
def test_only_a_likelihood_is_called_one(
    tmp_path, data, evaluate, config, binarize, meaning, exact
):
    path = saved(tmp_path / "c", models.MLPVAE(latent_dim=2, hidden=4, **config))
    code, text, result = evaluate(path, "--data", data, "--binarize", binarize)
    assert code == 0 and meaning in text
    for words in ("ELBO", "ln p(x)", "bits per dimension"):
        assert (words in text) == exact
    assert result["is_likelihood"] == exact
    weighted = result.get("importance_weighted")
    assert (weighted is None) == (result["likelihood"] == "squared-error")
    assert ("bits_per_dimension" in (weighted or {})) == exact


@pytest.mark.parametrize(
    "model",
    [
        models.ConditionalVAE(2, 4),
        models.TwoLayerVAE((3, 2), ((4,), (4,))),
        models.DeepVAE(2, (4,)),
    ],
    ids=lambda model: type(model).__name__,
)
def test_other_models_of_digits(tmp_path, data, evaluate, model):
    path = saved(tmp_path / "c", model, binarize="static")
    code, text, result = evaluate(path, "--data", data)
    assert code == 0 and math.isfinite(result["importance_weighted"]["nats"]), text
    # What compares with N(0, I) is left out where the prior of the codes is another.
    assert ("marginal_kl" in result) == (not isinstance(model, models.TwoLayerVAE))


# ---- what cannot be evaluated


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


@pytest.mark.slow
def test_a_set_of_47_classes(tmp_path, evaluate):
    """EMNIST Balanced, by the names of its files: pictures, probes and --frechet."""
    rng = np.random.default_rng(0)
    for part, count in (("train", 94), ("test", 60)):
        for kind, array in (
            ("images-idx3", rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)),
            ("labels-idx1", (np.arange(count) % 47).astype(np.uint8)),
        ):
            body = gzip.compress(idx_header(array.shape) + array.tobytes())
            (tmp_path / f"emnist-balanced-{part}-{kind}-ubyte.gz").write_bytes(body)
    words = ["--data", tmp_path, "--out", tmp_path / "run", "--epochs", 1, "--latent-dim", 2]
    assert load_example("mnist_vae").main([str(word) for word in words]) == 0
    assert (tmp_path / "run" / "latent.png").exists()
    path = tmp_path / "run" / "checkpoint.safetensors"
    code, text, result = evaluate(path, "--data", tmp_path, "--frechet")
    assert code == 0 and "digit from codes" in text, text
    assert result["classifier_frechet"]["samples"] > 0


# ---- the very images and the very split of the run


def test_other_digits_of_the_same_name_are_refused(tmp_path, data, evaluate):
    """Any set in MNIST's form is called idx."""
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
