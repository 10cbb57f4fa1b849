"""``minivae train``: one program with the examples, options from a file, any folder of pictures."""

import json
import subprocess
import sys
from pathlib import Path

import faces_vae
import mnist_vae
import numpy as np
import pytest
from PIL import Image

import digit_sets
import minivae as mv
import tiny_run
from event_file import records
from minivae import kernels
from minivae.__main__ import main as minivae
from minivae.cli import config_file, train_faces, train_mnist
from minivae.data.synthetic import digits as synthetic_digits
from minivae.errors import DataError
from minivae.training import checkpoint, tensorboard

FACES = ["--size", "16", "--latent-dim", "2", "--batch-size", "20", "--epochs", "1"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder with few digits, in MNIST's form, and pictures of several sizes in ``pictures``."""
    folder = tmp_path_factory.mktemp("data")
    digit_sets.write(folder / "mnist", synthetic_digits.load(60, 20))
    pictures = folder / "pictures"
    rng = np.random.default_rng(0)
    for i in range(30):
        shape = (20 + i, 45 - i, 3)
        (pictures / f"class {i % 2}").mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8))
        image.save(pictures / f"class {i % 2}" / f"{i}.png")
    return folder


def train(*words):
    """The exit code of ``minivae train``."""
    return minivae(["train", *map(str, words)])


def digits(data, out, *more):
    return ["--data", str(data), "--out", str(out), "--epochs", "1", "--no-plots", *more]


def body(out):
    return (out / "checkpoint.safetensors").read_bytes()


def test_the_command_and_the_examples_are_one_program(data, tmp_path):
    assert mnist_vae.main(digits(data, tmp_path / "script")) == 0
    assert minivae(["train", "mnist", *digits(data, tmp_path / "command")]) == 0
    source = str(data / "pictures")
    for name, run in (
        ("faces", faces_vae.main),
        ("faces 2", lambda w: minivae(["train", "faces", *w])),
    ):
        assert run(["--data", source, "--out", str(tmp_path / name), "--no-plots", *FACES]) == 0
    for first, second in (("script", "command"), ("faces", "faces 2")):
        for file in ("checkpoint.safetensors", "config.toml"):
            bodies = [(tmp_path / run / file).read_bytes() for run in (first, second)]
            assert bodies[0] == bodies[1], file


@pytest.mark.slow
def test_pictures_of_any_folder(data, tmp_path, capsys):
    """Pictures of any size, with or without classes, train a model that can be evaluated."""
    source, out = data / "pictures", tmp_path / "out"
    assert minivae(["train", "images", str(source), "--out", str(out), *FACES]) == 0
    names = {path.name for path in out.iterdir()}
    assert {"loss.png", "samples.png", "summary.json", "explorer.html", "config.toml"} <= names
    summary = json.loads((out / "summary.json").read_text())
    assert (summary["model"], summary["image_size"], summary["dataset"]) == (
        "image",
        16,
        "pictures",
    )
    assert "held-out images" in capsys.readouterr().out
    words = [str(out / "checkpoint.safetensors"), "--data", str(source)]
    assert minivae(["evaluate", *words]) == 0
    with pytest.raises(SystemExit):
        minivae(["train", "images"])
    assert minivae(["train", "images", str(tmp_path / "none"), "--out", str(out)]) == 2


def test_a_program_is_installed():
    import tomllib

    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert project["scripts"] == {"minivae": "minivae.__main__:main"}


@pytest.mark.parametrize("words", [["--help"], ["train", "--help"], ["train", "mnist", "--help"],
                                   ["info", "--help"], ["fetch", "--help"]])  # fmt: skip
def test_every_command_explains_itself(words, capsys):
    with pytest.raises(SystemExit) as stop:
        minivae(words)
    assert stop.value.code == 0
    assert f"usage: minivae {' '.join(words[:-1])}".strip() in capsys.readouterr().out


def test_the_version_is_told(capsys):
    with pytest.raises(SystemExit) as stop:
        minivae(["--version"])
    assert stop.value.code == 0 and capsys.readouterr().out == f"minivae {mv.__version__}\n"


@pytest.mark.parametrize("words", [[], ["trian"], ["train"], ["train", "cats"]])
def test_what_is_no_command_gets_one_line(words, capsys):
    with pytest.raises(SystemExit) as stop:
        minivae(words)
    error = capsys.readouterr().err
    assert stop.value.code == 2 and error.count("\n") == 1 and "error:" in error


@pytest.mark.parametrize("words", [["evaluate", "run", "--json", ""], ["explore", "run", "--out="],
                                   ["train", "faces", "--checkpoint", ""], ["encode", ""],
                                   ["train", "mnist", "--config", ""]])  # fmt: skip
def test_an_empty_text_is_no_option_left_out(words, tmp_path, monkeypatch, capsys):
    """It is what a shell makes of a variable that is not set."""
    monkeypatch.chdir(tmp_path)
    words = [*words, "--out", "codes.npz"] if words[0] == "encode" else words
    with pytest.raises(SystemExit) as stop:
        minivae(words)
    error = capsys.readouterr().err
    assert stop.value.code == 2 and error.count("\n") == 1 and "expected a string, got ''" in error
    assert list(tmp_path.iterdir()) == []


def test_a_model_too_large_for_memory_gets_one_line(monkeypatch, capsys):
    def built(*args, **kwargs):
        raise MemoryError("Unable to allocate 149. GiB")

    monkeypatch.setitem(train_mnist.MODELS, "mlp", built)
    monkeypatch.setattr(train_mnist.mnist, "load", lambda place: synthetic_digits.load(4, 4))
    assert train("mnist") == 2
    assert capsys.readouterr().err == "error: not enough memory: Unable to allocate 149. GiB\n"


# ---- options from a file

OPTIONS = {
    "mnist": (train_mnist.parser, {
        "model": "conv", "latent_dim": 3, "binarize": "static", "objective": "iwae", "samples": 7,
        "free_bits": 0.5, "epochs": 2, "batch_size": 9, "lr": 1e-5, "beta": 0.0, "warmup": 1.5,
        "seed": 2**64 - 1, "device": "cpu", "data": 'a "folder" \\ é', "limit": 3,
        "no_plots": True, "tensorboard": False, "film": False, "parts": 2,
    }),
    "faces": (train_faces.parser, {
        "size": 17, "latent_dim": 3, "likelihood": "gaussian", "upsampling": "resize",
        "weight_decay": 1e-7, "synthetic": 5, "teacher": "t.npz", "checkpoint": "c", "epochs": 2,
        "batch_size": 9, "lr": 1e-5, "beta": 2.0, "warmup": 1.5, "seed": 5, "device": "cpu",
        "data": "x", "limit": 3, "no_plots": True, "tensorboard": True, "parts": 4,
    }),
}  # fmt: skip


def test_the_table_above_names_every_option():
    for make, options in OPTIONS.values():
        assert {a.dest for a in make()._actions} == {*options, *config_file.APART}


@pytest.mark.parametrize("kind", OPTIONS)
def test_every_option_goes_into_a_file_and_comes_back(kind, tmp_path):
    make, options = OPTIONS[kind]
    args = make().parse_args([])
    vars(args).update(options)
    path = tmp_path / "config.toml"
    path.write_text(config_file.as_toml(make(), args, "minivae"), encoding="utf-8")
    assert config_file.read(make(), str(path)) == options
    dashed = path.read_text().replace("_", "-").replace('"squared-error', '"squared_error')
    path.write_text(dashed)
    assert config_file.read(make(), str(path)) == options


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epoch = 3", "epoch: no option of minivae train mnist; did you mean epochs?"),
        ("zzz = 1", "zzz: no option of minivae train mnist"),
        ("[mnist]\nepochs = 3", "mnist: no option"),
        ("epochs = 0", "epochs: expected a whole number of at least 1, got '0'"),
        ("epochs = 1.5", "epochs: expected a whole number of at least 1, got '1.5'"),
        ("epochs = true", "epochs: expected a number or a string, got True"),
        ("epochs = [1]", "epochs: expected a number or a string, got [1]"),
        ("lr = -1", "lr: expected a number above 0, got '-1'"),
        ("lr = nan", "lr: expected a number above 0, got 'nan'"),
        ("beta = inf", "beta: expected a number of at least 0"),
        ('model = "gan"', "model: expected one of mlp, conv, got 'gan'"),
        ("no_plots = 1", "no_plots: expected true or false, got 1"),
        ("data = 3", "data: expected a string, got 3"),
        ('out = "x"', "out: no option"),
        ("resume = true", "resume: no option"),
        ("epochs = ", "not a TOML file"),
        ("epochs = 1\nepochs = 2", "not a TOML file"),
        ("batch_size = 1\nbatch-size = 2", "batch-size: given twice"),
        (b"\xff", "not a TOML file"),
        (None, "cannot be read: No such file"),
    ],
)
def test_what_is_no_option_of_a_file_is_named(tmp_path, text, message, capsys):
    path = tmp_path / "c.toml"
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DataError) as caught:
        config_file.read(train_mnist.parser(), str(path))
    assert f"{path}: " in str(caught.value) and message in str(caught.value)
    with pytest.raises(SystemExit) as stop:
        minivae(["train", "mnist", "--config", str(path), "--out", str(tmp_path / "out")])
    error = capsys.readouterr().err
    assert stop.value.code == 2 and message in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_file_may_begin_as_windows_has_it(tmp_path):
    path = tmp_path / "c.toml"
    path.write_text("epochs = 3", encoding="utf-8-sig")
    assert config_file.read(train_mnist.parser(), str(path)) == {"epochs": 3}


def test_a_run_s_own_file_makes_it_again_and_flags_win(data, tmp_path):
    words = digits(
        data, tmp_path / "a", "--lr", "0.01", "--batch-size", "25", "--binarize", "dynamic"
    )
    assert minivae(["train", "mnist", *words]) == 0
    config = ["--config", str(tmp_path / "a" / "config.toml")]
    assert minivae(["train", "mnist", *config, "--out", str(tmp_path / "b")]) == 0
    assert body(tmp_path / "a") == body(tmp_path / "b")
    assert minivae(["train", "mnist", "--lr", "0.02", *config, "--out", str(tmp_path / "c")]) == 0
    found = checkpoint.load(tmp_path / "c" / "checkpoint.safetensors")["config"]
    assert (found["lr"], found["batch_size"], found["binarize"]) == (0.02, 25, "dynamic")
    assert "lr = 0.02\n" in (tmp_path / "c" / "config.toml").read_text()


def test_the_file_of_a_run_on_pictures_names_their_folder(data, tmp_path):
    pictures, config = data / "pictures", tmp_path / "a" / "config.toml"
    more = "--size", 16, "--latent-dim", 2, "--epochs", 1, "--no-plots"
    assert train("images", pictures, "--out", tmp_path / "a", *more) == 0
    assert train("images", "--config", config, "--out", tmp_path / "b") == 0
    assert body(tmp_path / "a") == body(tmp_path / "b")
    assert train("images", tmp_path / "none", "--config", config, "--out", tmp_path / "c") == 2


def test_a_name_that_toml_cannot_hold_is_left_out(tmp_path):
    args = train_mnist.parser().parse_args(["--data", "\udcff", "--seed", "3"])
    text = config_file.as_toml(train_mnist.parser(), args, "minivae")
    (tmp_path / "c").write_text(text, encoding="utf-8")
    found = config_file.read(train_mnist.parser(), str(tmp_path / "c"))
    assert found["seed"] == 3 and "data" not in found and "# data: " in text


def test_files_beside_a_checkpoint_come_and_go_with_it(tmp_path):
    """A run that has not saved a checkpoint yet leaves the files of the run before it."""
    tiny_run.run(tmp_path, epochs=1, beside={"config.toml": "first"})

    def failing(trainer):
        def step(*_):
            raise KeyError("before the first checkpoint")

        return step

    with pytest.raises(KeyError):
        tiny_run.run(tmp_path, beside={"config.toml": "second"}, step=failing)
    assert (tmp_path / "config.toml").read_text() == "first"
    tiny_run.run(tmp_path, epochs=2, resume=True, beside={"config.toml": "third"})
    assert (tmp_path / "config.toml").read_text() == "third"
    tiny_run.run(tmp_path, epochs=1, resume=True, beside={"config.toml": "of fewer epochs"})
    assert (tmp_path / "config.toml").read_text() == "third"


def test_events_come_and_go_with_a_run(data, tmp_path):
    path = tmp_path / tensorboard.EVENTS
    assert train("mnist", *digits(data, tmp_path, "--tensorboard")) == 0
    assert len(records(path)) == 2
    assert train("mnist", *digits(data, tmp_path)) == 0
    assert not path.exists()


@pytest.mark.slow
@pytest.mark.skipif(
    "cpu" not in kernels.available(), reason="array code leaves the order of its sums to a BLAS"
)
def test_the_module_is_the_program(data, tmp_path):
    command = [sys.executable, "-m", "minivae", "train", "mnist", *digits(data, tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert minivae(["train", "mnist", *digits(data, tmp_path / "again")]) == 0
    assert body(tmp_path) == body(tmp_path / "again")
