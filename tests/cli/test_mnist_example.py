"""examples/mnist_vae.py from its command line to its files, on a few images."""

import csv
import dataclasses
import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import safetensors.numpy
from PIL import Image

import digit_sets
from minivae.__main__ import main as minivae
from minivae.cli import train_mnist
from minivae.data import mnist
from minivae.data.synthetic import digits as synthetic_digits
from minivae.training import checkpoint, metrics
from minivae.training.output_folder import OutputFolder

SCRIPT = Path(__file__).parents[2] / "examples" / "mnist_vae.py"
SUMMARY = (
    "dataset model parameters epochs batch_size seed device kernels "
    "test_loss test_rec test_kl seconds images_per_second"
).split()
PICTURES = {"loss.png", "reconstructions.png", "samples.png", "interpolation.png"}


@pytest.fixture(scope="module")
def example():
    spec = importlib.util.spec_from_file_location("mnist_vae", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder in MNIST's form with 120 + 40 drawn digits."""
    folder = tmp_path_factory.mktemp("data")
    digit_sets.write(folder / "mnist", synthetic_digits.load(120, 40), zipped=True)
    return folder


@pytest.fixture
def train(example, data):
    """``train(out, option, ...)``: the exit code of a short run."""

    def run(out, *options):
        words = ["--data", data, "--out", out, "--epochs", 2, "--batch-size", 50, *options]
        return example.main([str(word) for word in words])

    return run


def test_a_run_leaves_everything(train, tmp_path, capsys):
    assert train(tmp_path) == 0
    names = {path.name for path in tmp_path.iterdir()}
    files = {".lock", "metrics.csv", "summary.json", "backup.safetensors", "checkpoint.safetensors"}
    assert names == files | PICTURES | {"explorer.html", "config.toml"}
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert list(summary) == SUMMARY
    with open(tmp_path / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == list(metrics.COLUMNS) and len(rows) == 2
    assert summary | {"kernels": "", "seconds": 0, "images_per_second": 0} == {
        "dataset": "idx", "model": "mlp", "parameters": 652_824, "epochs": 2, "batch_size": 50,
        "seed": 0, "device": "cpu", "kernels": "",
        **{name: float(rows[-1][name]) for name in ("test_loss", "test_rec", "test_kl")},
        "seconds": 0, "images_per_second": 0,
    }  # fmt: skip
    assert summary["seconds"] == pytest.approx(sum(float(r["seconds"]) for r in rows), abs=2e-3)
    assert 240 / summary["images_per_second"] == pytest.approx(summary["seconds"], abs=2e-3)
    for name in PICTURES:
        with Image.open(tmp_path / name) as image:
            image.verify()
    output = capsys.readouterr()
    assert "epoch 2/2: train" in output.out
    assert "it/s" not in output.err and "img/s" not in output.err, "no bar without a terminal"


@pytest.mark.parametrize("objective", ["free-bits", "iwae", "dreg"])
def test_every_objective_trains_and_differs(train, tmp_path, objective):
    # Several steps: Adam's first depends on signs alone, which two objectives may share.
    options = ("--no-plots", "--limit", 40, "--batch-size", 8, "--epochs", 1, "--samples", 3)
    assert train(tmp_path / "elbo", *options) == 0
    assert train(tmp_path / "other", *options, "--objective", objective) == 0
    weights = [
        safetensors.numpy.load_file(tmp_path / run / "checkpoint.safetensors")["model.fc22.bias"]
        for run in ("elbo", "other")
    ]
    assert np.isfinite(weights[1]).all() and not np.array_equal(*weights)


@pytest.mark.parametrize(
    "options, unused",
    [(("--samples", 50), ["--samples"]), (("--samples", 3, "--objective", "dreg"), []),
     (("--free-bits", 1, "--objective", "iwae"), ["--free-bits"]), ((), [])],
)  # fmt: skip
def test_an_option_of_another_objective_is_said_to_be_unused(
    train, tmp_path, capsys, options, unused
):
    assert train(tmp_path, "--no-plots", "--limit", 9, "--epochs", 1, *options) == 0
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[1] for line in lines] == unused


@pytest.mark.slow
def test_two_latents_are_drawn_as_a_plane(train, tmp_path):
    options = ["--limit", 40, "--model", "conv", "--binarize", "dynamic", "--warmup", 1]
    assert train(tmp_path, *options) == 0
    names = {path.name for path in tmp_path.iterdir() if path.suffix == ".png"}
    assert names == PICTURES | {"manifold.png", "latent.png"}
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert (summary["model"], summary["parameters"]) == ("conv", 69_076 + 65_089)


def test_pictures_have_one_style_whatever_the_user_s(train, tmp_path):
    options = "--limit", 20, "--epochs", 1
    assert train(tmp_path / "a", *options) == 0
    with matplotlib.rc_context({"text.usetex": True, "savefig.facecolor": "black"}):
        assert train(tmp_path / "b", *options) == 0
    for name in PICTURES:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_no_plots_and_few_images(train, tmp_path):
    assert train(tmp_path, "--no-plots", "--limit", 3, "--binarize", "static") == 0
    assert not list(tmp_path.glob("*.png"))
    assert train(tmp_path, "--limit", 1) == 0
    assert {path.name for path in tmp_path.glob("*.png")} == PICTURES


@pytest.mark.slow
def test_resume_ends_as_a_run_never_stopped(train, tmp_path, capsys):
    assert train(tmp_path / "whole", "--no-plots", "--epochs", 3) == 0
    assert train(tmp_path / "parts", "--no-plots", "--epochs", 1, "--resume") == 0
    assert "nothing to resume" in capsys.readouterr().out
    assert train(tmp_path / "parts", "--epochs", 3, "--resume") == 0
    assert "resuming after step 3, 1 of 3 epochs done" in capsys.readouterr().out
    whole, parts = (
        (tmp_path / part / "checkpoint.safetensors").read_bytes() for part in ("whole", "parts")
    )
    assert whole == parts
    assert train(tmp_path / "parts", "--no-plots", "--epochs", 2, "--resume") == 0
    assert re.search("nothing left to train: .* has 3 epochs, --epochs asks for 2",
                     capsys.readouterr().out)  # fmt: skip
    assert (tmp_path / "parts" / "checkpoint.safetensors").read_bytes() == whole


@pytest.mark.parametrize(
    ("name", "value"),
    [("lr", 0.01), ("seed", 1), ("beta", 2), ("batch-size", 40), ("model", "conv"),
     ("latent-dim", 3), ("binarize", "static"), ("limit", 100), ("warmup", 1),
     ("objective", "dreg"), ("samples", 3), ("free-bits", 1)],
)  # fmt: skip
def test_resume_with_another_option_names_it(train, tmp_path, capsys, name, value):
    assert train(tmp_path, "--no-plots", "--epochs", 1) == 0
    body = (tmp_path / "checkpoint.safetensors").read_bytes()
    capsys.readouterr()
    assert train(tmp_path, "--resume", f"--{name}", value) == 2
    error = capsys.readouterr().err
    assert f"made with {name.replace('-', '_')} " in error and error.count("\n") == 1
    assert (tmp_path / "checkpoint.safetensors").read_bytes() == body


def test_resume_with_other_images_is_refused(train, tmp_path, capsys, example, monkeypatch):
    assert train(tmp_path, "--no-plots", "--epochs", 1) == 0
    other = synthetic_digits.load(120, 40, seed=1)
    monkeypatch.setattr(mnist, "load", lambda folder: other)
    assert train(tmp_path, "--resume") == 2
    error = capsys.readouterr().err
    assert "trained on idx, but the data are synthetic-digits: expected pixels of SHA-256" in error
    assert error.count("\n") == 1


def test_resume_knows_its_images_under_any_name(train, tmp_path, example, monkeypatch):
    """A renamed folder is accepted: the pixels identify the images."""
    whole = train(tmp_path / "whole", "--no-plots")
    assert train(tmp_path / "parts", "--no-plots", "--epochs", 1) == whole == 0
    load = mnist.load
    monkeypatch.setattr(
        mnist, "load", lambda folder: dataclasses.replace(load(folder), name="renamed")
    )
    assert train(tmp_path / "parts", "--no-plots", "--resume") == 0
    weights = [
        safetensors.numpy.load_file(tmp_path / run / "checkpoint.safetensors")
        for run in ("whole", "parts")
    ]
    assert all((weights[0][name] == weights[1][name]).all() for name in weights[0])


def test_synthetic_digits_are_announced(example, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(mnist, "load", lambda folder: synthetic_digits.load(60, 20))
    titles = []
    from minivae.viz import plots

    monkeypatch.setattr(plots, "png", lambda figure: titles.append(title_of(figure)) or b"")
    options = ["--out", str(tmp_path), "--epochs", "1", "--latent-dim", "2"]
    assert example.main(options) == 0
    assert "synthetic-digits" in capsys.readouterr().out
    assert json.loads((tmp_path / "summary.json").read_text())["dataset"] == "synthetic-digits"
    assert len(titles) == 6
    for title in titles:
        assert "synthetic-digits" in title and "MLPVAE" in title and "epoch 1" in title


def title_of(figure):
    return figure.get_suptitle() or figure.axes[0].get_title()


@pytest.mark.slow
def test_a_new_run_over_an_old_one_leaves_no_mixture(train, tmp_path, capsys):
    assert train(tmp_path, "--latent-dim", 2, "--epochs", 1) == 0
    old = (tmp_path / "checkpoint.safetensors").read_bytes()
    assert train(tmp_path, "--no-plots", "--epochs", 1) == 0
    assert "is of an earlier run" in capsys.readouterr().out
    assert not list(tmp_path.glob("*.png"))
    assert (tmp_path / "previous.safetensors").read_bytes() == old
    assert checkpoint.load(tmp_path / "checkpoint.safetensors")["config"]["latent_dim"] == 20


def test_a_second_run_in_one_folder_is_refused(train, tmp_path, capsys):
    with OutputFolder(tmp_path):
        assert train(tmp_path) == 2
    error = capsys.readouterr().err
    assert "in use by another process" in error and error.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_divergence_stops_with_one_line(train, tmp_path, capsys):
    assert train(tmp_path, "--lr", 1e30) == 1
    error = capsys.readouterr().err
    assert "is NaN or infinite" in error and error.count("\n") == 1


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--epochs", "0"], "--epochs: expected a whole number of at least 1, got '0'"),
        (["--epochs", "many"], "--epochs: expected a whole number"),
        (["--lr", "-1"], "--lr: expected a number above 0, got '-1'"),
        (["--lr", "nan"], "--lr: expected a number above 0"),
        (["--lr=--"], "argument --lr: expected"),
        (["--beta", "-0.5"], "--beta: expected a number of at least 0"),
        (["--batch-size", "0"], "--batch-size"),
        (["--latent-dim", "0"], "--latent-dim"),
        (["--limit", "-5"], "--limit"),
        (["--seed", "-1"], "--seed: expected a whole number from 0 to 2**64 - 1"),
        (["--warmup", "inf"], "--warmup"),
        (["--model", "gan"], "--model: invalid choice"),
        (["--binarize", "often"], "--binarize: invalid choice"),
        (["--objective", "gan"], "--objective: invalid choice"),
        (["--samples", "0"], "--samples: expected a whole number of at least 1"),
        (["--free-bits", "-1"], "--free-bits: expected a number of at least 0"),
        (["--epoch", "3"], "unrecognized arguments: --epoch 3; did you mean --epochs?"),
        (["--zzz"], "unrecognized arguments: --zzz ("),
        (["--data", "/nonexistent/folder"], "/nonexistent/folder"),
    ],
)
def test_wrong_options_get_one_line_and_code_2(example, tmp_path, capsys, options, named):
    try:
        code = example.main(["--out", str(tmp_path), *options])
    except SystemExit as stop:
        code = stop.code
    error = capsys.readouterr().err
    assert code == 2
    assert named in error and error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_an_output_that_is_a_file_is_refused(train, tmp_path, capsys):
    (tmp_path / "file").write_bytes(b"")
    assert train(tmp_path / "file") == 2
    assert "cannot be written" in capsys.readouterr().err


def test_a_damaged_checkpoint_is_refused_and_kept(train, tmp_path, capsys):
    assert train(tmp_path, "--no-plots", "--epochs", 1) == 0
    path = tmp_path / "checkpoint.safetensors"
    body = bytearray(path.read_bytes())
    body[-100] ^= 1
    path.write_bytes(body)
    assert train(tmp_path, "--resume") == 2
    assert "checksum" in capsys.readouterr().err
    assert path.read_bytes() == body


def test_help_explains_every_option(example, capsys):
    with pytest.raises(SystemExit) as stop:
        example.main(["--help"])
    assert stop.value.code == 0
    shown = capsys.readouterr().out
    for action in train_mnist.parser()._actions:
        assert action.help and action.option_strings[0] in shown
    names = "model latent-dim epochs batch-size lr beta binarize seed device data out resume limit"
    names += " objective samples free-bits"
    assert {f"--{name}" for name in [*names.split(), "no-plots", "warmup"]} <= set(shown.split())


@pytest.mark.slow
def test_the_script_runs_by_itself_and_importing_it_does_nothing(data, tmp_path):
    done = subprocess.run(
        [sys.executable, SCRIPT, "--data", data, "--out", tmp_path / "out", "--epochs", "1",
         "--no-plots", "--limit", "50"],
        capture_output=True, text=True, cwd=tmp_path,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "out" / "summary.json").exists()
    code = "import runpy, sys; runpy.run_path(sys.argv[1]); sys.exit('matplotlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, SCRIPT], capture_output=True, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_pixels_are_shown_as_the_model_saw_them(example, train, tmp_path, monkeypatch):
    from minivae.viz import plots

    seen = []
    monkeypatch.setattr(
        plots, "reconstructions", lambda originals, *rest: seen.append(originals) or rest
    )
    monkeypatch.setattr(plots, "png", lambda figure: b"")
    assert train(tmp_path, "--binarize", "static", "--limit", 20, "--epochs", 1) == 0
    assert set(np.unique(seen[0])) == {0.0, 1.0}


@pytest.mark.slow
@pytest.mark.parametrize("options", [[], ["--limit", 30, "--binarize", "dynamic"]])
def test_the_page_is_the_one_that_the_command_writes(train, data, tmp_path, options):
    """explorer.html has the bytes that ``minivae explore`` makes from the files of the run."""
    assert train(tmp_path, *options) == 0
    written = (tmp_path / "explorer.html").read_bytes()
    words = ["explore", tmp_path, "--data", data, "--no-browser"]
    assert minivae([str(word) for word in words]) == 0
    assert (tmp_path / "explorer.html").read_bytes() == written


@pytest.mark.slow
@pytest.mark.parametrize("model", ["mlp", "conv"])
def test_a_film_of_a_run(train, tmp_path, capsys, model):
    """The GIF shows the plane of two latents, or samples; a resumed run ends with the same film,
    and the next run without a film removes it."""
    options = ["--film", "--model", model, "--limit", 40, "--batch-size", 10]
    assert train(tmp_path / "whole", *options) == 0
    with Image.open(tmp_path / "whole" / "film.gif") as image:
        assert image.format == "GIF" and image.n_frames == 9  # two epochs of four steps
    assert train(tmp_path / "parts", *options, "--epochs", 1) == 0
    assert train(tmp_path / "parts", *options, "--resume") == 0
    for name in ("film.safetensors", "film.gif"):
        assert len({(tmp_path / run / name).read_bytes() for run in ("whole", "parts")}) == 1
    assert train(tmp_path / "whole", "--no-plots", "--limit", 3) == 0
    assert not list((tmp_path / "whole").glob("film.*"))
    with pytest.raises(SystemExit):
        train(tmp_path / "whole", "--no-plots", "--film")
    assert "--film: not allowed with argument --no-plots" in capsys.readouterr().err
