"""Downloads of trained models, from a local server."""

import hashlib
import http.server
import importlib
import json
import threading
import urllib.request

import pytest

import digit_sets
import minivae as mv
from minivae import models
from minivae.__main__ import main
from minivae.cli import fetch
from minivae.cli.export import imported
from minivae.data import download
from minivae.data.synthetic import digits as synthetic_digits
from minivae.interop import pretrained, weights
from minivae.training import loaded_run

FILES = weights.to_files(models.ConvVAE(), {"seed": 0, "binarize": "none"})


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = self.server.files.get(self.path)
        self.send_response(200 if body is not None else 404)
        self.end_headers()
        self.wfile.write(body or b"")

    def log_message(self, *args):
        """Tests are quiet."""


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A host of mnist-conv whose hashes are pinned; the client takes plain http here."""
    host = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    host.files = {f"/mnist-conv/{name}": body for name, body in FILES.items()}
    thread = threading.Thread(target=host.serve_forever, args=(0.02,))
    thread.start()
    known = {
        "address": f"http://127.0.0.1:{host.server_port}/{{name}}/{{file}}",
        "sha256": {"mnist-conv": {n: hashlib.sha256(b).hexdigest() for n, b in FILES.items()}},
    }
    (tmp_path / "pretrained.json").write_text(json.dumps(known))
    monkeypatch.setattr(pretrained, "PINNED", tmp_path / "pretrained.json")
    plain = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    monkeypatch.setattr(download, "https_opener", lambda: plain)
    yield host
    host.shutdown()
    thread.join()
    host.server_close()


def test_a_model_is_fetched(server, tmp_path, capsys):
    out = tmp_path / "model"
    assert "hosted" not in fetch.parser().format_help()
    assert main(["fetch", "mnist-conv", "--out", str(out)]) == 0
    assert "two latents, on MNIST" in capsys.readouterr().out
    assert {name: (out / name).read_bytes() for name in FILES} == FILES
    model, config = loaded_run.load_model(out / "checkpoint.safetensors")
    assert isinstance(model, models.ConvVAE) and config["binarize"] == "none"
    assert main(["fetch", "mnist-conv", "--out", str(out)]) == 2
    assert "model.safetensors: is there already" in capsys.readouterr().err


@pytest.mark.parametrize("file", FILES)
def test_another_file_is_refused(server, tmp_path, capsys, file):
    server.files[f"/mnist-conv/{file}"] += b" "
    assert main(["fetch", "mnist-conv", "--out", str(tmp_path / "model")]) == 2
    assert f"mnist-conv/{file}: " in (told := capsys.readouterr().err)
    assert "wrong content: expected sha256" in told
    assert not (tmp_path / "model").exists()


def test_a_missing_file_is_named(server):
    del server.files["/mnist-conv/config.json"]
    with pytest.raises(mv.DataError, match=r"mnist-conv/config\.json: .*404"):
        pretrained.download("mnist-conv")


def test_without_a_pin_nothing_is_downloaded(server):
    with pytest.raises(mv.DataError, match="no trained models are hosted"):
        pretrained.download("mnist-mlp")


def test_the_address_may_be_missing(tmp_path, monkeypatch, capsys):
    (tmp_path / "none.json").write_text('{"address": null, "sha256": {}}')
    monkeypatch.setattr(pretrained, "PINNED", tmp_path / "none.json")
    monkeypatch.chdir(tmp_path)
    for name in pretrained.MODELS:
        assert main(["fetch", name]) == 2
        assert "`python examples/pretrained.py` in a clone trains them" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["none.json"]
    assert "hosted for this version" in fetch.parser().format_help()


def test_unknown_names_are_refused(capsys):
    with pytest.raises(ValueError, match=r"name: expected one of \['faces-64', "):
        pretrained.download("gan")
    with pytest.raises(SystemExit):
        fetch.main(["gan"])
    assert "invalid choice" in capsys.readouterr().err


def test_what_is_pinned_in_the_package_is_whole():
    known = pretrained.pinned()
    assert set(known) == {"address", "sha256"} and set(known["sha256"]) <= set(pretrained.MODELS)
    for hashes in known["sha256"].values():
        assert set(hashes) == set(pretrained.FILES)
        assert all(len(bytes.fromhex(h)) == 32 for h in hashes.values())


@pytest.mark.slow
def test_the_program_that_trains_them_leaves_what_fetch_takes(tmp_path, monkeypatch):
    """In a short form, and on drawn digits."""
    builder = importlib.import_module("pretrained")
    assert set(builder.RUNS) == set(pretrained.MODELS)
    digits = str(digit_sets.write(tmp_path / "digits", synthetic_digits.load(70, 70)))
    address = "https://example.org/{name}/{file}"
    for name in ("mnist-conv", "faces-64"):
        out = tmp_path / "built"
        arguments = ["--trial", "--only", name, "--out", str(out), "--address", address]
        arguments += ["--data", digits]
        assert builder.main(arguments) == 0
        known = json.loads((out / "pretrained.json").read_text())
        assert known["address"] == address and list(known["sha256"]) == [name]
        for file, expected in known["sha256"][name].items():
            assert hashlib.sha256((out / name / file).read_bytes()).hexdigest() == expected
        model, _ = imported(out / name)
        assert model.latent_dim == {"mnist-conv": 2, "faces-64": 100}[name]
        assert "license: mit" in (out / name / "README.md").read_text()
    monkeypatch.setitem(builder.RUNS, "mnist-conv", (builder.mnist_vae, ["--epochs", "1"], "mnist"))
    with pytest.raises(mv.DataError, match="expected the data set mnist, got idx"):
        builder.trained("mnist-conv", tmp_path / "other", digits)
