"""Output streams that fail (missing characters, full disks, closed pipes) cost no result."""

import io
import json
import os
import subprocess
import sys

import faces_vae
import mnist_vae
import numpy as np
import pytest

import digit_sets
from minivae.__main__ import main as minivae
from minivae.cli.lenient_output import LenientStream
from minivae.data.synthetic import digits as synthetic_digits

pytestmark = pytest.mark.slow

ODD = "n\udcff é $x$ $"  # a folder's name: a byte that is no UTF-8, accents, dollars


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Digits in MNIST's format and a file of faces, with names that few terminals can print."""
    folder = tmp_path_factory.mktemp("data") / ODD
    digit_sets.write(folder / "mnist", synthetic_digits.load(40, 20))
    images = np.random.default_rng(0).integers(0, 256, (40, 16, 16, 3), dtype=np.uint8)
    np.savez(folder / f"{ODD}.npz", images=images, smile=np.arange(40) % 2 == 0)
    return folder


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    """The output folder of a short run."""
    out = tmp_path_factory.mktemp("run")
    assert mnist_vae.main(digits(data, out, "--no-plots")) == 0
    return out


def digits(data, out, *more):
    return ["--data", str(data), "--out", str(out), "--epochs", "1", *more]


def faces(data, out):
    words = ["--size", "16", "--latent-dim", "2", "--batch-size", "20"]
    return digits(data / f"{ODD}.npz", out, *words)


COMMANDS = {  # name -> (program, arguments, the file that holds the result)
    "mnist": lambda data, run, out: (mnist_vae.main, digits(data, out), "summary.json"),
    "faces": lambda data, run, out: (faces_vae.main, faces(data, out), "summary.json"),
    "evaluate": lambda data, run, out: (
        minivae,
        ["evaluate", str(run / "checkpoint.safetensors"), "--data", str(data), "--samples", "2",
         "--json", str(out / "found.json")],
        "found.json",
    ),
    "explore": lambda data, run, out: (
        minivae,
        ["explore", str(run), "--data", str(data), "--no-browser", "--out", str(out / "page.html")],
        "page.html",
    ),
    "info": lambda data, run, out: (minivae, ["info"], None),
}  # fmt: skip


def full(encoding="utf-8"):
    """A stream to a disk without space."""
    return io.TextIOWrapper(io.BufferedWriter(io.FileIO("/dev/full", "w")), encoding)


def pipe_without_reader():
    reader, writer = os.pipe()
    os.close(reader)
    return io.TextIOWrapper(io.BufferedWriter(io.FileIO(writer, "w")), "utf-8")


STREAMS = {  # name -> (stream, exit code of a command that worked)
    "ascii": (lambda: io.TextIOWrapper(io.BytesIO(), "ascii"), 0),
    "latin-1": (lambda: io.TextIOWrapper(io.BytesIO(), "latin-1"), 0),
    "full disk": (full, 2),
    "no reader": (pipe_without_reader, 0),
    "none": (lambda: None, 0),
}


@pytest.mark.parametrize(
    ("command", "stream"),
    [(c, s) for c in COMMANDS for s in STREAMS if c != "faces" or s in ("ascii", "full disk")],
)
def test_no_stdout_costs_a_result(data, run, tmp_path, monkeypatch, capsys, command, stream):
    program, words, result = COMMANDS[command](data, run, tmp_path)
    make, expected = STREAMS[stream]
    stdout = make()
    with monkeypatch.context() as patched:
        patched.setattr(sys, "stdout", stdout)
        code = program(words)
    told = capsys.readouterr().err
    assert code == expected, told
    assert ("error: stdout: cannot be written: No space left" in told) == (stream == "full disk")
    if result:
        assert (tmp_path / result).stat().st_size > 100
        if result.endswith(".json"):
            json.loads((tmp_path / result).read_text())
    if stream in ("ascii", "latin-1"):
        text = stdout.buffer.getvalue()
        assert b"Traceback" not in text and len(text) > 20
        assert command != "evaluate" or (b" +- " if stream == "ascii" else b" \xb1 ") in text
    if stdout is not None:
        stdout.close()


@pytest.mark.parametrize("stream", STREAMS)
def test_no_stderr_costs_a_result(data, run, tmp_path, monkeypatch, stream):
    program, words, result = COMMANDS["evaluate"](data, run, tmp_path)
    stderr = STREAMS[stream][0]()
    with monkeypatch.context() as patched:
        patched.setattr(sys, "stderr", stderr)
        assert program(words) == 0
        assert program(["evaluate", str(tmp_path / ODD)]) == 2
    assert (tmp_path / result).exists()
    if stderr is not None:
        stderr.close()


@pytest.mark.parametrize(("full_disk", "code"), [(True, 2), (False, 0)])
def test_a_process_ends_without_a_traceback(run, data, full_disk, code):
    """No traceback at exit, when Python flushes stdout once more."""
    command = [sys.executable, "-m", "minivae", "evaluate", run / "checkpoint.safetensors",
               "--data", data, "--samples", "2"]  # fmt: skip
    pipes = {"stderr": subprocess.PIPE}
    if full_disk:
        with open("/dev/full", "w") as disk:
            done = subprocess.run(command, stdout=disk, **pipes)
    else:
        reader, writer = os.pipe()
        os.close(reader)
        done = subprocess.run(command, stdout=writer, **pipes)
        os.close(writer)
    assert done.returncode == code, done.stderr
    assert done.stderr.count(b"\n") == full_disk and b"Traceback" not in done.stderr


def test_a_stream_that_works_is_written_to_as_it_is():
    inner = io.StringIO()
    stream = LenientStream(inner)
    print("± é \udcff", file=stream, end="", flush=True)
    assert inner.getvalue() == "± é \\udcff" and stream.error is None and not stream.isatty()
