"""``python -m minivae evaluate``: the table and the JSON for checkpoints of the examples."""

import gzip
import json
import math

import numpy as np
import pytest
from cuda_emulation import emulated_device
from evaluations import load_example, saved, trained

from minivae import evaluation, models
from minivae.data import DequantisedBatches, PixelBatches, mnist
from minivae.data.idx import idx_header
from minivae.evaluation.measures import ELBO_SAMPLES
from minivae.noise import NoiseStream


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


def test_one_sample_is_printed_without_an_error(tmp_path, data, evaluate):
    model = models.MLPVAE(latent_dim=3, hidden=8)
    path = saved(tmp_path / "c", model, **mnist.load(data).record(), binarize="static")
    code, text, result = evaluate(path, "--data", data, samples=1)
    found = result["importance_weighted"]
    assert code == 0 and found["standard_error"] is None
    line = next(line for line in text.splitlines() if "-ln p(x)" in line)
    assert f"{found['nats']:.2f}  nats, 1 samples" in line


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


def test_a_squared_error_of_binary_pixels_is_said_to_be_one(tmp_path, data, evaluate):
    path = saved(tmp_path / "c", models.FaceVAE(2, 16))
    words = path, "--data", data / "faces.npz"
    _, grey, _ = evaluate(*words)
    code, text, result = evaluate(*words, "--binarize", "static")
    assert code == 0 and result["binarize"] == "static"
    assert "binarize static" in text and "binarize" not in grey


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
    """On the stand-in for a GPU the numbers are those of the CPU, up to rounding."""
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
    # Measures that compare codes with N(0, I) are omitted for a model with another prior.
    assert ("marginal_kl" in result) == (not isinstance(model, models.TwoLayerVAE))


@pytest.mark.slow
def test_a_set_of_47_classes(tmp_path, evaluate):
    """A set with the file names of EMNIST Balanced: pictures, probes and --frechet work."""
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
