"""``minivae export``: a run as PyTorch weights or ONNX, and a checkpoint from such weights."""

import json

import numpy as np
import pytest

import minivae as mv
from minivae import models
from minivae.__main__ import main
from minivae.training import checkpoint, loaded_run


def run_of(folder, model, **config):
    """A run's folder with an untrained model."""
    folder.mkdir()
    architecture = {"name": type(model).__name__, **model.config()}
    config = {"seed": 0, "binarize": "none", "architecture": architecture, **config}
    mv.save(folder / "checkpoint.safetensors", model, config=config)
    return folder


@pytest.fixture
def run(tmp_path):
    return run_of(tmp_path / "run", models.MLPVAE(3, 5, seed=4))


@pytest.mark.parametrize("named", ["run", "run/checkpoint.safetensors"])
def test_to_pytorch_and_back(tmp_path, run, named):
    (run / "summary.json").write_text(json.dumps({"dataset": "MNIST", "test_loss": 99.5}))
    source, there, back = (str(tmp_path / name) for name in (named, "there", "back"))
    assert main(["export", source, "--format", "pytorch", "--out", there]) == 0
    assert "99.50" in (tmp_path / "there" / "README.md").read_text()
    assert main(["export", there, "--format", "checkpoint", "--out", back]) == 0
    (before, config), (after, again) = (
        loaded_run.load_model(folder / "checkpoint.safetensors")
        for folder in (run, tmp_path / "back")
    )
    assert again == config
    for name, a in before.state_dict().items():
        np.testing.assert_array_equal(after.state_dict()[name], a)


@pytest.mark.parametrize(
    "name, state",
    [("checkpoint", {"epoch": 3}), ("checkpoint", {"epoch": 2, "shuffle": {"batch": 1}}),
     ("previous", {"epoch": 2})],
)  # fmt: skip
def test_a_summary_of_other_weights_is_not_on_the_card(tmp_path, run, capsys, name, state):
    """From before the run was resumed and stopped again, or of the run after."""
    model, config = loaded_run.load_model(run / "checkpoint.safetensors")
    mv.save(run / f"{name}.safetensors", model, config=config, **state)
    (run / "summary.json").write_text(json.dumps({"epochs": 2, "test_loss": 99.5}))
    words = "export", run / f"{name}.safetensors", "--format", "pytorch", "--out", tmp_path / "out"
    assert main([str(word) for word in words]) == 0
    assert "99.50" not in (tmp_path / "out" / "README.md").read_text()
    assert f"of other weights than {name}.safetensors" in capsys.readouterr().err


def test_to_onnx(tmp_path, run, capsys):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    assert main(["export", str(run), "--format", "onnx", "--out", str(tmp_path / "there")]) == 0
    assert "onnxruntime and the model differ by at most" in capsys.readouterr().out
    for name in ("encoder", "decoder"):
        onnx.checker.check_model(onnx.load(tmp_path / "there" / f"{name}.onnx"))


def test_a_class_that_onnx_has_no_translation_for(tmp_path, capsys):
    run = run_of(tmp_path / "run", models.ConditionalVAE(2, 4))
    assert main(["export", str(run), "--format", "onnx", "--out", str(tmp_path / "there")]) == 2
    assert "got ConditionalVAE" in capsys.readouterr().err


def test_no_file_is_replaced(tmp_path, run, capsys):
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "README.md").write_text("mine")
    assert main(["export", str(run), "--format", "pytorch", "--out", str(tmp_path / "there")]) == 2
    assert "README.md: is there already" in capsys.readouterr().err
    assert (tmp_path / "there" / "README.md").read_text() == "mine"
    assert not (tmp_path / "there" / "config.json").exists()


def test_a_missing_run_is_named(tmp_path, capsys):
    out = ["--out", str(tmp_path / "there")]
    assert main(["export", str(tmp_path / "none"), "--format", "pytorch", *out]) == 2
    assert "none: no such folder or file" in capsys.readouterr().err
    assert not (tmp_path / "there").exists()


def test_a_checkpoint_from_weights_cannot_be_resumed(tmp_path):
    """Weights lack Adam's moments and the position in the data: --resume raises an error."""
    import tiny_run

    tiny_run.run(tmp_path / "run")
    for source, form, out in [("run", "pytorch", "there"), ("there", "checkpoint", "back")]:
        paths = str(tmp_path / source), "--format", form, "--out", str(tmp_path / out)
        assert main(["export", *paths]) == 0
    assert checkpoint.load(tmp_path / "back" / "checkpoint.safetensors")["config"]
    with pytest.raises(mv.CheckpointError, match="training run: it holds a model only"):
        tiny_run.run(tmp_path / "back", resume=True)
