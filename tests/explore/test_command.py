"""``python -m minivae explore``: the page it writes, opens or serves, and its refusals."""

import os
import re
import signal
import subprocess
import sys
import urllib.request
import webbrowser

import pytest
import runs

import minivae as mv
from minivae import models
from minivae.__main__ import main
from minivae.explore import export


@pytest.fixture
def folder(tmp_path):
    """A run beside the digits it was trained on."""
    runs.digits(tmp_path)
    return runs.saved(tmp_path, models.MLPVAE(latent_dim=3, hidden=8))


@pytest.fixture
def explore(folder, capsys, monkeypatch):
    """``explore(run, option, ...)``: exit code, what was printed, what was opened."""
    opened = []
    monkeypatch.setattr(webbrowser, "open", opened.append)

    def run(path, *options):
        code = main(["explore", str(path), "--data", str(folder), *map(str, options)])
        printed = capsys.readouterr()
        return code, printed.out, printed.err, opened

    return run


def test_a_run_becomes_a_page_and_is_opened(explore, folder):
    """By default the page is written into the run's folder; a checkpoint may be named instead."""
    code, out, err, opened = explore(folder)
    page = folder / "explorer.html"
    assert (code, out, err) == (0, f"wrote {page}\n", "")
    assert opened == [page.resolve().as_uri()]
    body = page.read_bytes()
    page.unlink()
    assert explore(folder / "checkpoint.safetensors", "--no-browser")[0] == 0
    assert page.read_bytes() == body and len(opened) == 1


def test_a_link_in_the_run_s_folder_is_replaced_and_one_that_is_named_followed(explore, folder):
    """Outside the run's folder only a file that the user named is written."""
    precious, page = folder.parent / "precious.html", folder / "explorer.html"
    precious.write_bytes(b"precious")
    page.symlink_to(precious)
    assert explore(folder, "--no-browser")[0] == 0
    assert precious.read_bytes() == b"precious" and not page.is_symlink()
    (folder / "link.html").symlink_to(precious)
    assert explore(folder, "--out", folder / "link.html", "--no-browser")[0] == 0
    assert precious.read_bytes() == page.read_bytes()


def test_out_and_images(explore, folder):
    """--out names another file, and --images includes pictures of a user's set."""
    out = folder / "elsewhere.html"
    assert explore(folder, "--out", out, "--no-browser")[0] == 0
    assert b'"pictures":null' in out.read_bytes() and not (folder / "explorer.html").exists()
    explore(folder, "--out", out, "--images", 3, "--no-browser")
    assert b'"pictures":{' in out.read_bytes()
    explore(folder, "--out", out, "--images", 10_000, "--no-browser")  # all there are
    assert b'"shape":[40,1,28,28]' in out.read_bytes()


def test_limit_of_the_run_is_kept(explore, folder):
    """A run with --limit is explored on the same first images."""
    runs.saved(folder, models.MLPVAE(latent_dim=3, hidden=8), limit=11)
    explore(folder, "--no-browser")
    assert b'"test_images":11' in (folder / "explorer.html").read_bytes()


def overflowing():
    """A model whose log variance has an exponential above all numbers."""
    model = models.MLPVAE(latent_dim=3, hidden=8)
    model.fc22.bias.data[...] = 1e4
    return model


def one_line(text):
    assert text.count("\n") == 1 and text.endswith("\n") and "Traceback" not in text
    return text


@pytest.mark.parametrize("harm, message", [
    (lambda path: path.write_bytes(path.read_bytes()[:-9]), "not a whole safetensors file"),
    (lambda path: path.write_bytes(path.read_bytes()[:-9] + b"\1" * 9), "damaged"),
    (lambda path: path.unlink(), "no such file"),
    (lambda path: mv.save(path, models.MLPVAE()), "does not say which architecture"),
    (lambda path: runs.saved(path.parent, models.AutoEncoder((784, 4))), "expected a VAE"),
    (lambda path: runs.saved(path.parent, models.TwoLayerVAE()), "the explorer runs MLPVAE"),
    (lambda path: runs.saved(path.parent, overflowing()), "KL of its codes is NaN or infinite"),
])  # fmt: skip
def test_checkpoints_that_cannot_be_explored(explore, folder, harm, message):
    """Each is refused in one line, and no page is written."""
    harm(folder / "checkpoint.safetensors")
    code, _, err, opened = explore(folder)
    assert code == 2 and message in one_line(err)
    assert not opened and not (folder / "explorer.html").exists()


@pytest.mark.parametrize("metrics, message", [
    (None, "no such file; the page has no curves"),
    ("epoch\nx\n", "not the metrics of a run"),
])  # fmt: skip
def test_a_run_without_metrics(explore, folder, metrics, message):
    """One line says that the metrics are missing, and the page has everything else."""
    (folder / "metrics.csv").unlink()
    if metrics:
        (folder / "metrics.csv").write_text(metrics)
    code, _, err, _ = explore(folder)
    assert code == 0 and message in one_line(err)
    assert b'"metrics":[]' in (folder / "explorer.html").read_bytes()


def test_the_checkpoint_of_an_earlier_run(explore, folder):
    """It gets a page of its own, without the curves of the newer run."""
    (folder / "checkpoint.safetensors").rename(folder / "previous.safetensors")
    code, out, err, _ = explore(folder / "previous.safetensors", "--no-browser")
    page = folder / "previous.html"
    assert (code, out) == (0, f"wrote {page}\n")
    assert "of an earlier run than metrics.csv; the page has no curves" in one_line(err)
    assert b'"metrics":[]' in page.read_bytes() and not (folder / "explorer.html").exists()


@pytest.mark.parametrize("options, message", [
    (["--images", "-1"], "a whole number from 0"), (["--serve", "70000"], "from 0 to 65535"),
    (["--sever"], "did you mean --serve?"), (["--out", "/nowhere/page.html"], "cannot be written"),
    (["--data", "/nowhere"], "no such folder"),
])  # fmt: skip
def test_wrong_options(explore, folder, capsys, options, message):
    """Each wrong option is refused in one line."""
    try:
        code, _, err, _ = explore(folder, *options)
    except SystemExit as stop:
        code, err = stop.code, capsys.readouterr().err
    assert code == 2 and message in one_line(err)


def test_a_run_that_is_not_there(explore, folder):
    """The error is one line with the run's name."""
    code, _, err, _ = explore(folder / "nothing")
    assert code == 2 and "nothing: no such folder or file" in one_line(err)


@pytest.mark.slow
@pytest.mark.parametrize("serve", [True, False])
def test_serving(folder, tmp_path, serve):
    """The printed address answers; a large model is served without --serve, after its page is
    written."""
    words = ["--serve"] if serve else []
    small = f"export.MOST_PARAMETERS = {10**9 if serve else 10}"
    heard = "signal.signal(signal.SIGINT, signal.default_int_handler)"  # in the background too
    program = f"import signal, sys; {heard}; from minivae.explore import export; {small}; from " \
              "minivae.__main__ import main; sys.exit(main())"  # fmt: skip
    command = [sys.executable, "-u", "-c", program, "explore", folder, "--data", folder,
               "--no-browser", *words]  # fmt: skip
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as process:
        try:
            lines = []
            while not lines or not lines[-1].startswith("serving"):
                lines.append(process.stdout.readline())
                assert lines[-1], lines
            address = re.search(r"http://127\.0\.0\.1:\d+/\?token=\S+", lines[-1])[0]
            with urllib.request.urlopen(address, timeout=10) as answer:
                assert b"MLPVAE" in answer.read()
            assert lines[0].startswith("wrote ") and (folder / "explorer.html").exists()
            assert serve or "more than the" in lines[1]
        finally:
            process.send_signal(signal.SIGINT)
        try:
            assert process.wait(60) == 0 and process.stdout.read().endswith("stopped\n")
        finally:
            process.kill()


def test_the_limit_of_parameters():
    """A page holds FaceVAE at 64; at 128 and above it is served."""
    counts = [sum(p.size for p in models.FaceVAE(image_size=n).parameters()) for n in (64, 128)]
    assert counts[0] < export.MOST_PARAMETERS < counts[1]
