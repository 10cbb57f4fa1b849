"""``minivae sample``, ``reconstruct`` and ``encode``: their output files and refusals."""

import numpy as np
import pytest
from PIL import Image

import digit_sets
import minivae as mv
from minivae import evaluation, models
from minivae.__main__ import main
from minivae.cli.image_output import write_npz
from minivae.data import PixelBatches, load_faces, mnist, split_faces
from minivae.data.synthetic import digits as synthetic_digits
from minivae.noise import SAMPLING

MODELS = {
    "mlp": (lambda: models.MLPVAE(3, 8), (28, 28)),
    "conv": (lambda: models.ConvVAE(2), (28, 28)),
    "labelled": (lambda: models.ConditionalVAE(2, 8), (28, 28)),
    "two layers": (lambda: models.TwoLayerVAE((3, 2), ((4,), (4,))), (28, 28)),
    "face": (lambda: models.FaceVAE(3, 16), (16, 16, 3)),
    "density": (lambda: models.FaceVAE(3, 16, likelihood="gaussian"), (16, 16, 3)),
    "grey": (lambda: models.FaceVAE(3, 16, channels=1), (16, 16)),
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """60 + 20 drawn digits in MNIST's form, and 40 faces in ``faces.npz``."""
    folder = tmp_path_factory.mktemp("data")
    digit_sets.write(folder, synthetic_digits.load(60, 20))
    images = np.random.default_rng(0).integers(0, 256, (40, 16, 16, 3), dtype=np.uint8)
    np.savez(folder / "faces.npz", images=images, smile=np.arange(40) % 3 == 0)
    return folder


@pytest.fixture
def made(tmp_path, data):
    """``made(kind)``: the model, its run's folder, and its data."""

    def make(kind):
        model = MODELS[kind][0]()
        run = tmp_path / "run"
        run.mkdir()
        config = {"architecture": {"name": type(model).__name__, **model.config()}, "seed": 0}
        mv.save(run / "checkpoint.safetensors", model, config=config)
        face = isinstance(model, models.FaceVAE)
        return model, run, data / "faces.npz" if face else data

    return make


def call(*words):
    return main([str(word) for word in words])


def levels(pixels, shape):
    """uint8 images of pixels (N, ...) in [0, 1]."""
    images = np.rint(255 * np.asarray(pixels, np.float64)).astype(np.uint8)
    if len(shape) == 3:
        return images.reshape(-1, shape[2], *shape[:2]).transpose(0, 2, 3, 1)
    return images.reshape(-1, *shape)


@pytest.mark.parametrize("kind", MODELS)
def test_samples_are_those_of_the_model(made, tmp_path, kind):
    model, run, _ = made(kind)
    out, shape = tmp_path / "samples.npz", MODELS[kind][1]
    words = "sample", run, "--count", 7, "--seed", 5
    assert call(*words, "--out", out) == 0
    with np.load(out) as file:
        images = file["images"]
    assert images.shape == (7, *shape) and images.dtype == np.uint8
    expected = levels(model.sample(7, mv.Noise(5, SAMPLING)).numpy(), shape)
    np.testing.assert_array_equal(images, expected)
    folder = tmp_path / "pictures"
    assert call(*words, "--out", folder) == 0
    names = sorted(path.name for path in folder.glob("*.png"))
    assert names == [f"{i:05}.png" for i in range(7)]
    read = [np.asarray(Image.open(folder / name)) for name in names]
    np.testing.assert_array_equal(read, images)


def test_the_same_command_writes_the_same_bytes(made, tmp_path):
    _, run, _ = made("mlp")
    bodies = []
    for seed in (1, 1, 2):
        assert call("sample", run, "--out", tmp_path / "a.npz", "--seed", seed) == 0
        bodies.append((tmp_path / "a.npz").read_bytes())
    assert bodies[0] == bodies[1] != bodies[2]


def test_samples_of_faces_are_a_set_of_faces(made, tmp_path):
    """Samples of faces are written as a face data set that training can read."""
    _, run, _ = made("face")
    assert call("sample", run, "--out", tmp_path / "a.npz", "--count", 5) == 0
    with np.load(tmp_path / "a.npz") as file:
        expected = np.moveaxis(file["images"], -1, 1)
    np.testing.assert_array_equal(load_faces(tmp_path / "a.npz", 16).images, expected)


@pytest.mark.parametrize("kind", ["mlp", "conv", "labelled", "two layers", "face"])
def test_reconstructions_are_those_of_the_model(made, tmp_path, kind):
    model, run, data = made(kind)
    out, shape = tmp_path / "pairs.npz", MODELS[kind][1]
    words = "reconstruct", run, "--data", data, "--limit", 3, "--part", "train"
    assert call(*words, "--out", out) == 0
    with np.load(out) as file:
        images, decoded = file["images"], file["reconstructions"]
    assert images.shape == decoded.shape == (3, *shape)
    found = split_faces(load_faces(data, 16), 0) if kind == "face" else mnist.load(data)
    originals = found.train.images[:3]
    np.testing.assert_array_equal(images, levels(originals / 255, shape))
    x = next(PixelBatches(originals, 3, train=False).epoch(0))
    if kind == "labelled":
        labels = np.eye(10, dtype=np.float32)[found.train.labels["digit"][:3]]
        x = np.concatenate([x.reshape(3, -1), labels], axis=1)
    np.testing.assert_array_equal(decoded, levels(model.reconstruct(x).numpy(), shape))
    assert call(*words, "--out", tmp_path / "pictures") == 0
    names = {path.name for path in (tmp_path / "pictures").glob("*.png")}
    assert names == {f"{i:05}_{n}.png" for i in range(3) for n in ("images", "reconstructions")}


@pytest.mark.parametrize("part", ["train", "test"])
def test_static_pixels_are_those_of_the_training(made, tmp_path, part):
    """Training and test images are binarised with draws of their own."""
    model, run, data = made("mlp")
    words = "--data", data, "--binarize", "static", "--part", part, "--limit", 5
    assert call("reconstruct", run, "--out", tmp_path / "pairs.npz", *words) == 0
    assert call("encode", run, "--out", tmp_path / "codes.npz", *words) == 0
    images = getattr(mnist.load(data), part).images
    seen = PixelBatches(images, len(images), binarize="static", train=part == "train").images[:5]
    x = next(PixelBatches(seen, 5, train=False).epoch(0))
    with np.load(tmp_path / "pairs.npz") as pairs, np.load(tmp_path / "codes.npz") as codes:
        np.testing.assert_array_equal(pairs["images"], seen[:, 0])
        np.testing.assert_array_equal(codes["mu"], evaluation.posteriors(model, [x])[0])


def test_a_density_s_images_are_the_dequantised_ones(made, tmp_path):
    _, run, data = made("density")
    assert call("reconstruct", run, "--data", data, "--out", tmp_path / "a.npz") == 0
    with np.load(tmp_path / "a.npz") as file:
        images = file["images"].astype(int)
    originals = split_faces(load_faces(data, 16), 0).test.images
    assert abs(images - originals.transpose(0, 2, 3, 1)).max() <= 1


@pytest.mark.parametrize("kind", ["mlp", "two layers", "face"])
def test_codes_are_the_posteriors(made, tmp_path, kind):
    model, run, data = made(kind)
    out = tmp_path / "codes.npz"
    assert call("encode", run, "--data", data, "--out", out) == 0
    found = split_faces(load_faces(data, 16), 0) if kind == "face" else mnist.load(data)
    x = PixelBatches(found.test.images, 512, train=False).epoch(0)
    mu, logvar = evaluation.posteriors(model, x)
    with np.load(out) as file:
        np.testing.assert_array_equal(file["mu"], mu)
        np.testing.assert_array_equal(file["logvar"], logvar)
        name = "label_smile" if kind == "face" else "label_digit"
        (labels,) = found.test.labels.values()
        np.testing.assert_array_equal(file[name], labels)
    assert call("encode", run, "--data", data, "--out", out, "--limit", 2) == 0
    with np.load(out) as file:
        assert file["mu"].shape == (2, model.latent_dim)
        np.testing.assert_allclose(file["mu"], mu[:2], rtol=1e-4, atol=1e-6)


def test_every_name_of_an_array_is_kept(tmp_path):
    arrays = {name: np.arange(3) for name in ("file", "allow_pickle", "compressed", "mu")}
    write_npz(str(tmp_path / "a.npz"), arrays)
    with np.load(tmp_path / "a.npz") as file:
        assert set(file.files) == set(arrays)


# ---- what is refused, and before any work


def test_no_picture_is_replaced(made, tmp_path, capsys):
    _, run, _ = made("mlp")
    folder = tmp_path / "pictures"
    assert call("sample", run, "--out", folder, "--count", 2) == 0
    before = {path.name: path.read_bytes() for path in folder.glob("*.png")}
    assert call("sample", run, "--out", folder, "--count", 3, "--seed", 9) == 2
    assert "00000.png: is there already" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in folder.glob("*.png")} == before


@pytest.mark.parametrize("command", ["sample", "reconstruct", "encode"])
def test_wrong_places_are_told_before_anything_is_read(tmp_path, capsys, command):
    assert call(command, "no run", "--out", tmp_path / "none" / "a.npz") == 2
    assert "a.npz: cannot be written: there is no such folder" in capsys.readouterr().err
    assert call(command, tmp_path / "no run", "--out", tmp_path / "a.npz") == 2
    assert "no run: no such folder or file" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert call(command, tmp_path / "empty", "--out", tmp_path / "a.npz") == 2
    assert "checkpoint.safetensors: no such file" in capsys.readouterr().err


def test_codes_go_into_a_file(made, tmp_path, capsys):
    _, run, data = made("mlp")
    assert call("encode", run, "--data", data, "--out", tmp_path / "folder") == 2
    assert "--out: expected FILE.npz, got " in capsys.readouterr().err


def test_other_images_than_the_run_s_are_refused(made, tmp_path, data, capsys):
    model, run, _ = made("mlp")
    config = {
        "architecture": {"name": "MLPVAE", **model.config()},
        **synthetic_digits.load(60, 20, seed=1).record(),
    }
    mv.save(run / "checkpoint.safetensors", model, config=config)
    words = "reconstruct", run, "--data", data, "--out", tmp_path / "a.npz"
    assert call(*words) == 2 and "expected pixels of SHA-256" in capsys.readouterr().err
    assert call(*words, "--other-data") == 0


@pytest.mark.parametrize("command", ["sample", "reconstruct", "encode"])
def test_help_and_missing_options(command, capsys):
    with pytest.raises(SystemExit) as stop:
        call(command, "--help")
    assert stop.value.code == 0 and f"usage: minivae {command}" in capsys.readouterr().out
    with pytest.raises(SystemExit) as stop:
        call(command, "run")
    error = capsys.readouterr().err
    assert stop.value.code == 2 and "--out" in error and error.count("\n") == 1
