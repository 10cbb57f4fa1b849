"""The exported page: its contents, what is left out, and the same bytes for the same run."""

import base64
import dataclasses
import filecmp
import hashlib
import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
import runs

from minivae import evaluation, explore, models
from minivae.__main__ import main
from minivae.data import Part, mnist
from minivae.data.synthetic import digits as synthetic_digits
from minivae.errors import DataError
from minivae.explore import export
from minivae.training import loaded_run
from minivae.viz import latent


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return runs.digits(tmp_path_factory.mktemp("data"))


def as_public(found):
    """A ``TrainedModel`` whose pictures may be shown."""
    return found._replace(data=dataclasses.replace(found.data, public=True))


@pytest.fixture(scope="module")
def subject(data, tmp_path_factory):
    """An MLPVAE with two latents on drawn digits, as if they were MNIST."""
    folder = tmp_path_factory.mktemp("runs") / "mlp"
    runs.saved(folder, models.MLPVAE(latent_dim=2, hidden=16, seed=3))
    found = loaded_run.load(folder / "checkpoint.safetensors", data)
    return as_public(found)


CONFIG = {
    "seed": 3,
    "architecture": {"name": "MLPVAE", "latent_dim": 2},
    "lr": 0.001,
    "limit": None,
}


def unpacked(packed):
    """The NumPy array of an array in the page's JSON."""
    values = np.frombuffer(base64.b64decode(packed["data"]), packed["dtype"])
    return values.reshape(packed["shape"])


def data_of(page):
    """The JSON that a page carries."""
    (found,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page)
    return json.loads(found)


# ---------------------------------------------------------------- contents
def test_weights_are_those_of_the_model_in_float16(subject):
    """Weights are in float16, under the names of the modules."""
    tree = explore.contents(subject, CONFIG, [])["model"]
    assert tree["class"] == "MLPVAE"
    state = subject.model.state_dict()
    for layer in ("fc1", "fc21", "fc22", "fc3", "fc4"):
        for name, packed in tree["parts"][layer]["arrays"].items():
            np.testing.assert_array_equal(
                unpacked(packed), state[f"{layer}.{name}"].astype(np.float16)
            )


def test_kl_codes_and_pictures_are_those_of_the_test_images(subject):
    """KL per latent, the codes in the plane and the pictures match those of the test images."""
    found = explore.contents(subject, CONFIG, [], images=7)
    mu, logvar = evaluation.posteriors(subject.model, subject.batches(subject.data.test))
    assert found["kl_per_latent"] == evaluation.kl_per_latent(mu, logvar).tolist()
    np.testing.assert_allclose(unpacked(found["plane"]["codes"]), mu, atol=2e-3)
    np.testing.assert_array_equal(
        unpacked(found["plane"]["classes"]), subject.data.test.labels["digit"]
    )
    pixels = unpacked(found["pictures"]["pixels"])
    np.testing.assert_array_equal(pixels[:, 0], subject.data.test.images[:7])
    assert found["pictures"]["names"] == [str(n) for n in subject.data.test.labels["digit"][:7]]


def test_vectors_and_mean_codes_are_those_of_minivae_latent(subject):
    """The vectors and mean codes of each class are those of the training images."""
    found = explore.contents(subject, CONFIG, [])
    codes, _ = evaluation.posteriors(subject.model, subject.batches(subject.data.train))
    for digit, one in enumerate(found["vectors"]):
        mask = subject.data.train.labels["digit"] == digit
        assert one["name"] == f"digit {digit}"
        wanted = latent.attribute_vector(codes, mask)
        np.testing.assert_allclose(unpacked(one["code"]), wanted, atol=1e-6)
        rows = latent.exemplars(codes, mask, 3)
        code = unpacked(found["groups"][digit]["code"])
        np.testing.assert_allclose(code, codes[rows].mean(axis=0), atol=1e-6)


def test_binary_pixels_are_binary_in_the_page(subject):
    """The page of a binarised run has binary pixels, as the encoder gets them."""
    binary = subject._replace(binarize="static")
    pixels = unpacked(explore.contents(binary, CONFIG, [])["pictures"]["pixels"])
    assert set(np.unique(pixels)) == {0, 255}


def test_attributes_of_faces(tmp_path):
    """The page has attribute names for each picture and the four groups of the arithmetic."""
    source = runs.faces(tmp_path)
    folder = runs.saved(tmp_path / "run", models.FaceVAE(latent_dim=3, image_size=16))
    found = as_public(loaded_run.load(folder / "checkpoint.safetensors", source))
    shown = explore.contents(found, CONFIG, [])
    assert [v["name"] for v in shown["vectors"]] == ["male", "glasses", "smile"]
    assert [g["name"] for g in shown["groups"]] == [
        "man with glasses", "woman with glasses", "woman without glasses", "man without glasses",
    ]  # fmt: skip
    first = [name for name, values in found.data.test.labels.items() if values[0]]
    assert shown["pictures"]["names"][0] == ", ".join(first)


def test_models_that_the_page_cannot_run(subject):
    """The error is one sentence that names the models that the page can run."""
    with pytest.raises(DataError, match="runs MLPVAE, ConvVAE, DeepVAE, FaceVAE, got TwoLayerVAE"):
        explore.contents(subject._replace(model=models.TwoLayerVAE()), CONFIG, [])


def test_a_large_model_leaves_its_weights_out(subject, monkeypatch):
    """The page of a model with too many parameters has none, and tells the script how many."""
    parameters = sum(p.size for p in subject.model.parameters())
    pages = []
    for most in (parameters, parameters - 1):
        monkeypatch.setattr(export, "MOST_PARAMETERS", most)
        pages.append(explore.explorer_page(subject, CONFIG, []).decode())
    whole, without = map(data_of, pages)
    assert whole.pop("model") and without.pop("model") is None and whole == without
    assert without["about"]["parameters"] == parameters
    assert "parameters are too many for a file" in pages[1]
    assert len(pages[0]) - len(pages[1]) > 2 * parameters  # bytes of float16


# ---------------------------------------------------------------- a user's own pictures
def test_no_picture_of_a_users_own_set_unless_asked_for(tmp_path):
    """The page has no pixels and no codes of single images, and no means over few of them."""
    source = runs.faces(tmp_path)
    folder = runs.saved(tmp_path / "run", models.FaceVAE(latent_dim=2, image_size=16))
    own = loaded_run.load(folder / "checkpoint.safetensors", source)
    assert not own.data.public
    kept = explore.contents(own, CONFIG, [])
    assert kept["pictures"] is None and kept["plane"] is None
    assert kept["groups"] == kept["vectors"] == []
    asked = explore.contents(own, CONFIG, [], images=2)
    assert len(asked["pictures"]["names"]) == 2 and asked["plane"] and asked["groups"]


def test_what_counts_as_a_users_own(data, tmp_path, monkeypatch):
    """Other digits in MNIST's format are a user's set; MNIST, drawn digits and faces are not."""
    folder = runs.saved(tmp_path / "mlp", models.MLPVAE(latent_dim=2, hidden=4))
    checkpoint = folder / "checkpoint.safetensors"
    assert not loaded_run.load(checkpoint, data).data.public
    digits = synthetic_digits.load(20, 10)
    for public in (True, False):
        named = dataclasses.replace(digits, name="anything", public=public)
        monkeypatch.setattr(mnist, "load", lambda folder, named=named: named)
        assert loaded_run.load(checkpoint).data.public == public


# ---------------------------------------------------------------- the file
def test_the_policy_allows_this_script_and_style_alone(subject):
    """The policy has the hashes, computed here, of the page's script and style."""
    text = explore.explorer_page(subject, CONFIG, []).decode()
    (policy,) = re.findall(r'Content-Security-Policy" content="(.*?)"', text)
    for tag, rule in (("script", "script-src"), ("style", "style-src")):
        (inside,) = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert f"{rule} 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'; ")
    assert "connect-src 'none'" in policy and "unsafe" not in policy
    served = explore.page(explore.contents(subject, CONFIG, []), served=True).decode()
    assert "connect-src 'self'" in served


def test_the_page_refers_to_nothing_outside(subject):
    """The page has no address but SVG's namespace, no import and no inline style."""
    text = explore.explorer_page(subject, CONFIG, []).decode()
    assert set(re.findall(r"https?://[^\s\"'`]+", text)) == {"http://www.w3.org/2000/svg"}
    for word in ("@import", "url(", " src=", " href=", " style=", " onclick=", "eval("):
        assert word not in text, word


def test_names_from_the_data_cannot_leave_their_place(subject):
    """The name of a set cannot end the tag or the JSON it is written in."""
    name = '</script><script>alert(1)</script>"&'
    named = subject._replace(data=dataclasses.replace(subject.data, name=name))
    text = explore.explorer_page(named, CONFIG, []).decode()
    assert text.count("<script>") == 1 and "<title>MLPVAE on &lt;/script&gt;" in text
    assert data_of(text)["about"]["dataset"] == name


def test_the_same_run_gives_the_same_bytes(data, tmp_path):
    """Another process, folder, time zone and hash seed give the same bytes for a copy of a run."""
    folder = runs.saved(tmp_path / "a", models.ConvVAE(), seed=5, binarize="dynamic", beta=1.5)
    copy = runs.saved(tmp_path / "b", models.ConvVAE(), seed=5, binarize="dynamic", beta=1.5,
                      metrics=runs.METRICS.replace(",0.5,", ",7.25,"))  # fmt: skip
    command = ["explore", "--no-browser", "--data", str(data)]
    assert main([*command, str(folder)]) == 0
    other = subprocess.run(
        [sys.executable, "-m", "minivae", *command, str(copy), "--out", str(tmp_path / "b.html")],
        env={**os.environ, "PYTHONPATH": ":".join(sys.path), "TZ": "Asia/Tokyo",
             "PYTHONHASHSEED": "5", "COLUMNS": "40"},
    )  # fmt: skip
    assert other.returncode == 0
    # Files are compared, not bytes: pytest's diff of long bytes takes minutes.
    assert filecmp.cmp(folder / "explorer.html", tmp_path / "b.html", shallow=False)


def test_a_page_of_the_full_model_is_small(subject):
    """MLPVAE with 20 latents and 200 pictures within 2.5 MB."""
    model = models.MLPVAE()
    images = np.random.default_rng(0).integers(0, 256, (200, 28, 28), dtype=np.uint8)
    part = Part(images, {"digit": np.arange(200) % 10})
    whole = subject._replace(
        model=model, data=dataclasses.replace(subject.data, test=part, train=part)
    )
    page = explore.explorer_page(whole, CONFIG, [])
    assert len(data_of(page.decode())["pictures"]["names"]) == 200
    assert len(page) < 2_500_000
