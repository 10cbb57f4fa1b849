"""Weight files: export to PyTorch, import from PyTorch, and refusal of wrong files."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

import minivae as mv
from minivae import models
from minivae.cli.export import imported
from minivae.interop import weights

CONFIG = {"seed": 3, "binarize": "dynamic"}
MODELS = {
    "MLPVAE": {},
    "ConvVAE": {},
    "FaceVAE": {"image_size": 64, "paddings": (1, 1, 0)},
}


def in_torch(torch_models, name):
    """The PyTorch module, which has the published paddings alone."""
    options = {key: value for key, value in MODELS[name].items() if key != "paddings"}
    return getattr(torch_models, name)(**options)


@pytest.fixture(scope="module")
def torch_models():
    """The same three models as a PyTorch user writes them."""
    pytest.importorskip("torch")
    sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
    return pytest.importorskip("torch_models")


def written(folder, model, **config):
    """A folder with the three files."""
    for name, body in weights.to_files(model, {**CONFIG, **config}).items():
        (folder / name).write_bytes(body)
    return folder


def agree(ours, theirs):
    """Check that encoder and decoder of both models agree in evaluation mode."""
    import torch

    rng = np.random.default_rng(0)
    x = rng.random((2, *ours.image_shapes[-1]), np.float32)
    z = rng.standard_normal((2, ours.latent_dim), np.float32)
    theirs.eval()
    with ours.evaluating(), torch.no_grad():
        pairs = [
            *zip(ours.encode(mv.Tensor(x)), theirs.encode(torch.from_numpy(x)), strict=True),
            (ours.decode(z), theirs.decode(torch.from_numpy(z))),
        ]
    for a, b in pairs:
        np.testing.assert_allclose(a.numpy().ravel(), b.numpy().ravel(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_from_pytorch(torch_models, tmp_path, name):
    from safetensors.torch import save_file

    theirs = in_torch(torch_models, name)
    save_file(theirs.state_dict(), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(
        json.dumps({"architecture": {"name": name, **MODELS[name]}})
    )
    ours, config = imported(tmp_path)
    assert type(ours).__name__ == name and config["binarize"] is None
    agree(ours, theirs)


@pytest.mark.parametrize("name", MODELS)
def test_to_pytorch(torch_models, tmp_path, name):
    from safetensors.torch import load_file

    ours = getattr(models, name)(**MODELS[name], seed=7)
    written(tmp_path, ours)
    theirs = in_torch(torch_models, name)
    theirs.load_state_dict(load_file(tmp_path / "model.safetensors"))  # strict: the very names
    agree(ours, theirs)


@pytest.mark.parametrize(
    "model",
    [
        models.MLPVAE(2, 4, seed=5, likelihood="gaussian", sigma=0.5),
        models.ConvVAE(3, "relu", seed=5, likelihood="gaussian"),
        models.DeepVAE(2, (5, 3), seed=5),
        models.FaceVAE(2, 16, 1, seed=5, upsampling="resize"),
        models.ConditionalVAE(2, 4, seed=5),
        models.TwoLayerVAE(seed=5),
    ],
    ids=lambda model: type(model).__name__,
)
def test_there_and_back(tmp_path, model):
    again, config = imported(written(tmp_path, model, epochs=2))
    assert again.config() == model.config() and type(again) is type(model)
    assert {**CONFIG, "epochs": 2}.items() <= config.items()
    for name, a in model.state_dict().items():
        np.testing.assert_array_equal(again.state_dict()[name], a)


def test_the_same_model_gives_the_same_bytes():
    first, second = (weights.to_files(models.MLPVAE(2, 4), CONFIG) for _ in range(2))
    assert first == second


def test_the_card_has_what_is_known():
    results = {"dataset": "MNIST", "epochs": 9, "test_loss": 105.234, "test_rec": "?", "other": 1}
    text = weights.card(models.MLPVAE(), {"limit": None}, results)
    assert text.startswith("---\nlibrary_name: minivae\n")
    for line in ("`MLPVAE`, 20 latents, 652,824 parameters", "dataset | MNIST", "epochs | 9",
                 "test loss, nats per image | 105.23", "likelihood | bernoulli"):  # fmt: skip
        assert line in text
    assert "test rec" not in text and "other" not in text and "license" not in text
    assert "the first" not in text
    text = weights.card(models.MLPVAE(), {"limit": 300}, {}, "mit")
    assert "---\nlicense: mit\n" in text
    assert "images | the first 300 training and 300 test images" in text


def replaced(folder, name, body):
    (folder / name).write_bytes(body)


def tensors_changed(folder, change):
    tensors = safetensors.numpy.load_file(folder / "model.safetensors")
    change(tensors)
    safetensors.numpy.save_file(tensors, folder / "model.safetensors")


FAULTS = {
    "no weights": (lambda f: (f / "model.safetensors").unlink(), r"model\.safetensors: no such"),
    "no config": (lambda f: (f / "config.json").unlink(), r"config\.json: no such file"),
    "cut": (lambda f: replaced(f, "model.safetensors", b"\0" * 50_000), "not a whole"),
    "not JSON": (lambda f: replaced(f, "config.json", b"{"), "not readable as JSON"),
    "deep JSON": (lambda f: replaced(f, "config.json", b"[" * 200_000), "config.json"),
    "not UTF-8": (lambda f: replaced(f, "config.json", b'"\xff"'), "not readable as JSON"),
    "huge": (lambda f: replaced(f, "config.json", b" " * 2**21), "expected an architecture"),
    "a list": (lambda f: replaced(f, "config.json", b"[]"), "expected an architecture, as in {"),
    "unknown": (
        lambda f: replaced(f, "config.json", b'{"architecture": {"name": "GAN"}}'),
        "not an architecture of this version",
    ),
    "no VAE": (
        lambda f: replaced(f, "config.json", b'{"architecture": {"name": "AutoEncoder"}}'),
        "config.json",
    ),
    "enormous": (
        lambda f: replaced(
            f, "config.json", b'{"architecture": {"name": "MLPVAE", "hidden": 1000000000}}'
        ),
        "too small a file for so large an architecture",
    ),
    "another size": (
        lambda f: replaced(f, "config.json", b'{"architecture": {"name": "MLPVAE", "hidden": 5}}'),
        r"model\.fc1\.bias: expected float32 \(5,\), got float32 \(4,\)",
    ),
    "a name less": (lambda f: tensors_changed(f, lambda t: t.pop("fc4.bias")), "fc4.bias: missing"),
    "a name more": (
        lambda f: tensors_changed(f, lambda t: t.update(fc5=np.zeros(1))), "nothing of that name",
    ),
    "half precision": (
        lambda f: tensors_changed(f, lambda t: t.update({"fc4.bias": np.zeros(784, "f2")})),
        "expected float32 .* got float16",
    ),
    "NaN": (
        lambda f: tensors_changed(f, lambda t: t["fc4.bias"].fill(np.nan)), "fc4.bias holds NaN",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_wrong_files_are_refused(tmp_path, fault):
    spoil, message = FAULTS[fault]
    spoil(written(tmp_path, models.MLPVAE(20, 4)))
    with pytest.raises(mv.CheckpointError, match=message):
        imported(tmp_path)


@pytest.mark.parametrize("body", [b"{", b"[1]", b"\xff", b"[" * 100_000])
def test_a_damaged_summary_is_refused(tmp_path, body):
    path = tmp_path / "summary.json"
    assert weights.read_results(path) == {}
    path.write_bytes(body)
    with pytest.raises(mv.DataError, match=r"summary\.json"):
        weights.read_results(path)
