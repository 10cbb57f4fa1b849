"""examples/faces_vae.py from its command line to its files, on a few small pictures."""

import csv
import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import minivae as mv
from minivae import models
from minivae.__main__ import main as minivae
from minivae.data import Dataset, FaceDataset
from minivae.evaluation import face_edits

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).parents[2] / "examples" / "faces_vae.py"
ALWAYS = {"loss.png", "reconstructions.png", "samples.png"}
PAIRED = {"interpolation.png", "morph.png"}
ATTRIBUTED = {"arithmetic.png", "glasses_vector.png", "smile_vector.png"}


@pytest.fixture(scope="module")
def example():
    spec = importlib.util.spec_from_file_location("faces_vae", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def train(example, tmp_path, monkeypatch):
    """``train(data, option, ...)``: the exit code of a short run into tmp_path / "out"."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("MINIVAE_DATA", raising=False)

    def run(data, *options):
        words = ["--data", data, "--out", tmp_path / "out", "--size", 16,
                 "--batch-size", 8, "--latent-dim", 3, *options]  # fmt: skip
        words += [] if {"--checkpoint", "--epochs"} & set(options) else ["--epochs", 1]
        return example.main([str(word) for word in words])

    return run


def pictures(folder):
    return {path.name for path in folder.glob("*.png")}


def folder_of(path, count, mode="RGB"):
    """A folder of random pictures, larger than the model's."""
    path.mkdir()
    rng = np.random.default_rng(0)
    shape = (24, 20, len(mode)) if len(mode) > 1 else (24, 20)
    for i in range(count):
        Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8), mode).save(path / f"{i}.png")
    return path


def npz(path, n=40, **attributes):
    images = np.random.default_rng(0).integers(0, 256, (n, 16, 16, 3), dtype=np.uint8)
    np.savez(path, images=images, **attributes)
    return path


def labelled(path, n=40):
    i = np.arange(n)
    return npz(path, n, male=i % 2 == 0, glasses=i % 3 == 0, smile=i % 5 < 2)


def test_a_run_leaves_everything(train, tmp_path):
    assert train(labelled(tmp_path / "few.npz")) == 0
    out = tmp_path / "out"
    assert pictures(out) == ALWAYS | PAIRED | ATTRIBUTED
    summary = json.loads((out / "summary.json").read_text())
    assert (summary["dataset"], summary["model"], summary["epochs"]) == ("few", "face", 1)
    assert set(summary["edits"]) == {"classifier_accuracy", "glasses", "smile"}
    (row,) = csv.DictReader((out / "metrics.csv").read_text().splitlines())
    for name in ("test_loss", "test_rec", "test_kl"):
        assert summary[name] == float(row[name])


def test_the_page_is_the_one_that_the_command_writes(train, tmp_path):
    """explorer.html has the bytes that ``minivae explore`` writes, and no picture of the set."""
    data, out = labelled(tmp_path / "few.npz"), tmp_path / "out"
    assert train(data) == 0
    written = (out / "explorer.html").read_bytes()
    assert b'"pictures":null' in written
    assert minivae(["explore", str(out), "--data", str(data), "--no-browser"]) == 0
    assert (out / "explorer.html").read_bytes() == written


def test_synthetic_faces_are_scored_against_the_truth(train, example, tmp_path):
    out = tmp_path / "out"
    options = ["--out", out, "--synthetic", 60, "--epochs", 1, "--size", 16, "--no-plots"]
    assert example.main(list(map(str, options))) == 0
    summary = json.loads((out / "summary.json").read_text(), parse_constant=pytest.fail)
    assert summary["dataset"] == "synthetic-faces" and not pictures(out)
    scored = [name for name in ("glasses", "smile") if name in summary["edits"]]
    assert scored and all("counterfactual" in summary["edits"][name] for name in scored)


@pytest.mark.parametrize("count", [2, 3, 11])
def test_one_held_out_face_leaves_the_pictures_of_one(train, tmp_path, count):
    assert train(folder_of(tmp_path / "faces", count, "RGBA")) == 0
    assert pictures(tmp_path / "out") == ALWAYS


def test_one_face_cannot_be_split(train, tmp_path, capsys):
    assert train(folder_of(tmp_path / "faces", 1)) == 2
    assert "faces: cannot split 1 image(s)" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("options", [("--latent-dim", 1), ("--size", 17, "--limit", 2)])
def test_odd_sizes(train, tmp_path, options):
    assert train(labelled(tmp_path / "few.npz"), *options) == 0
    assert pictures(tmp_path / "out") >= ALWAYS | PAIRED


def test_equal_pictures_have_no_great_circle_and_a_morph_all_the_same(train, tmp_path):
    np.savez(tmp_path / "same.npz", images=np.full((40, 16, 16, 3), 90, np.uint8))
    assert train(tmp_path / "same.npz") == 0
    assert pictures(tmp_path / "out") == ALWAYS | PAIRED


def test_no_arithmetic_without_a_woman_with_glasses(train, tmp_path):
    i = np.arange(40)
    assert train(npz(tmp_path / "few.npz", male=i % 2 == 0, glasses=i % 4 == 0)) == 0
    assert pictures(tmp_path / "out") == ALWAYS | PAIRED | {"glasses_vector.png"}


def test_weights_from_a_file_are_tested_and_their_run_is_kept(train, tmp_path, capsys):
    data = npz(tmp_path / "few.npz")
    assert train(data, "--no-plots") == 0
    run, again = tmp_path / "out", tmp_path / "again"
    before = (run / "summary.json").read_bytes()
    checkpoint = run / "checkpoint.safetensors"
    assert train(data, "--checkpoint", checkpoint, "--out", again) == 0
    assert pictures(again) == ALWAYS - {"loss.png"} | PAIRED
    first, second = json.loads(before), json.loads((again / "summary.json").read_text())
    assert first.keys() == second.keys() and second["epochs"] == 0
    assert all(first[name] == second[name] for name in ("test_loss", "test_rec", "test_kl"))
    assert capsys.readouterr().err == ""
    assert train(data, "--checkpoint", checkpoint, "--out", again, "--seed", 1, "--no-plots") == 0
    assert "faces held out here may be among those it was trained on" in capsys.readouterr().err
    another = tmp_path / "another run"
    another.mkdir()
    (another / "checkpoint.safetensors").write_bytes(checkpoint.read_bytes())
    for wrong, message in (
        (("--out", run), "argument --out"),
        (("--out", another), "argument --out"),
        (("--resume",), "argument --resume"),
        (("--epochs", 2), "argument --epochs: not allowed with argument --checkpoint"),
        (("--lr", 0.1), "argument --lr"),
        (("--weight-decay", 0), "argument --weight-decay"),
        (("--warmup", 2), "argument --warmup"),
    ):
        with pytest.raises(SystemExit) as caught:
            train(data, "--checkpoint", checkpoint, *wrong)
        assert caught.value.code == 2
        assert message in capsys.readouterr().err.splitlines()[-1]
    assert (run / "summary.json").read_bytes() == before
    assert train(data, "--checkpoint", checkpoint, "--out", again, "--size", 20) == 2
    assert "expected float32" in capsys.readouterr().err.splitlines()[-1]


def pictures_of(seed):
    return np.random.default_rng(seed).integers(0, 256, (24, 20, 3), dtype=np.uint8)


def replaced(folder):
    for i, path in enumerate(sorted(folder.iterdir())):
        Image.fromarray(pictures_of(100 + i)).save(path)


def one_pixel(folder):
    path = min(folder.iterdir())
    pixels = np.array(Image.open(path))
    pixels[12, 10] ^= 128
    Image.fromarray(pixels).save(path)


def swapped(folder):
    first, second = sorted(folder.iterdir())[:2]
    first.rename(folder / "aside")
    second.rename(first)
    (folder / "aside").rename(second)


def one_more(folder):
    Image.fromarray(pictures_of(0)).save(folder / "more.png")


@pytest.mark.parametrize("change", [replaced, one_pixel, swapped, one_more])
def test_a_run_on_other_pictures_is_not_resumed(train, tmp_path, capsys, change):
    """The pixels are compared; names of files and folders are the same here."""
    faces = folder_of(tmp_path / "faces", 12)
    assert train(faces, "--no-plots") == 0
    assert train(faces, "--no-plots", "--resume", "--epochs", 2) == 0
    body = (tmp_path / "out" / "checkpoint.safetensors").read_bytes()
    change(faces)
    capsys.readouterr()
    assert train(faces, "--no-plots", "--resume", "--epochs", 3) == 2
    (error,) = capsys.readouterr().err.splitlines()
    assert "trained on faces, but the data are faces: expected pixels of SHA-256" in error
    assert (tmp_path / "out" / "checkpoint.safetensors").read_bytes() == body


def test_a_face_run_of_version_0_1_goes_on_and_says_what_it_cannot_check(
    train, tmp_path, capsys, monkeypatch
):
    data, path = npz(tmp_path / "faces.npz"), tmp_path / "out" / "checkpoint.safetensors"
    for faces, code in ((36, 0), (35, 2)):
        with monkeypatch.context() as old:
            old.setattr(
                Dataset, "record", lambda self, faces=faces: {"data": self.name, "faces": faces}
            )
            assert train(data, "--no-plots") == 0
        assert "pixels" not in mv.load(path)["config"]
        capsys.readouterr()
        assert train(data, "--no-plots", "--resume", "--epochs", 2) == code
        printed = capsys.readouterr()
        if code:
            assert "expected 35 images in the train part, got 36" in printed.err
        else:
            assert "without a hash of its images" in printed.out
            assert "pixels" in mv.load(path)["config"]


@pytest.mark.parametrize("size", ["8", "15", "4097", "x"])
def test_sizes_that_the_model_cannot_have(train, capsys, size):
    with pytest.raises(SystemExit) as caught:
        train("nowhere", "--size", size)
    assert caught.value.code == 2
    assert "--size: expected a whole number from 16 to 4096" in capsys.readouterr().err


def test_a_teacher_guesses_what_the_set_lacks(train, tmp_path, capsys):
    faces = folder_of(tmp_path / "faces", 12)
    assert train(faces, "--teacher", labelled(tmp_path / "teacher.npz")) == 0
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["attributes_guessed"] == ["glasses", "male", "smile"]
    assert train(faces, "--teacher", npz(tmp_path / "none.npz")) == 2
    assert "no attribute male, glasses, smile" in capsys.readouterr().err.splitlines()[-1]


def test_a_teacher_that_sees_brightness_guesses_it():
    images = np.repeat(np.array([30, 220], np.uint8), 100)[:, None, None, None]
    images = np.broadcast_to(images, (200, 3, 32, 32)).copy()
    bright = FaceDataset("bright", images, {"bright": images[:, 0, 0, 0] > 100})
    guess = face_edits.guess_attributes
    unknown = FaceDataset("unknown", images[::40])
    assert guess(bright, ["bright"], "nowhere") == {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(face_edits, "load_faces", lambda source, size: bright)
        found = guess(unknown, ["bright"], "bright", size=32)
    assert (found["bright"] == bright.attributes["bright"][::40]).all()


@pytest.fixture
def older_version():
    """A model as of version 0.1: the same paddings for all sizes, not recorded in its config."""

    def config(model, config=models.FaceVAE.config):
        new = ("paddings", "upsampling")
        return {name: value for name, value in config(model).items() if name not in new}

    patch = pytest.MonkeyPatch()
    patch.setattr(models.face_vae, "PADDINGS", models.face_vae.SOURCE_PADDINGS)
    patch.setattr(models.FaceVAE, "config", config)
    yield patch
    patch.undo()


def test_a_run_of_an_older_version_goes_on_and_its_weights_are_read(
    train, tmp_path, older_version, capsys
):
    """Its checkpoint has the published network's paddings at every size, and keeps them."""
    data = npz(tmp_path / "faces.npz")
    assert train(data) == 0
    older_version.undo()
    out = tmp_path / "out"
    assert "paddings" not in mv.load(out / "checkpoint.safetensors")["config"]["architecture"]
    words = ["--no-plots", "--resume"]
    assert train(data, *words, "--upsampling", "resize") == 2
    assert "architecture" in capsys.readouterr().err
    assert train(data, *words) == 0
    assert "nothing left to train" in capsys.readouterr().out
    elsewhere = ["--checkpoint", out / "checkpoint.safetensors", "--out", tmp_path / "there"]
    assert train(data, *elsewhere) == 0
    assert train(data) == 0  # a new run has the new paddings
    architecture = mv.load(out / "checkpoint.safetensors")["config"]["architecture"]
    assert architecture["paddings"] == [1, 1, 1]


def test_faces_can_be_resized_and_convolved(train, tmp_path, capsys):
    data = npz(tmp_path / "faces.npz")
    assert train(data, "--no-plots", "--upsampling", "resize") == 0
    architecture = mv.load(tmp_path / "out" / "checkpoint.safetensors")["config"]["architecture"]
    assert architecture["upsampling"] == "resize"
    assert train(data, "--no-plots", "--resume") == 0  # as the weights have it
    assert "nothing left to train" in capsys.readouterr().out
