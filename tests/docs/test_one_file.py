"""examples/one_file_vae.py: the library's losses and weights up to rounding, with NumPy alone."""

import ast
import gzip
import importlib.util
import re
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import minivae as mv
from minivae import models, optim

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
FILE = ROOT / "examples" / "one_file_vae.py"


@pytest.fixture(scope="module")
def one_file():
    spec = importlib.util.spec_from_file_location("one_file_vae", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("dtype", "rtol"), [(np.float64, 1e-12), (np.float32, 2e-5)])
def test_losses_and_weights_are_the_librarys(one_file, dtype, rtol):
    """Thirty steps from the same weights, images and noise give the same losses and weights."""
    model = models.MLPVAE().to(dtype=dtype)
    adam = optim.Adam(model.parameters())
    p = {name: one_file.Tensor(array) for name, array in model.state_dict().items()}
    own = one_file.Adam(list(p.values()))
    rng = np.random.default_rng(0)
    for step in range(30):
        x = (rng.random((16, 784)) * (rng.random((16, 784)) < 0.2)).astype(dtype)
        eps = rng.standard_normal((16, 20)).astype(dtype)
        terms = model.elbo(x, eps)
        loss, rec, kl = one_file.elbo(p, x, eps)
        for ours, theirs in zip((loss, rec, kl), terms, strict=True):
            np.testing.assert_allclose(ours.data.mean(), theirs.item(), rtol=rtol, err_msg=step)
        adam.zero_grad()
        terms.loss.backward()
        one_file.backpropagate(loss)
        if step == 0:
            for name, parameter in model.named_parameters():
                np.testing.assert_allclose(
                    p[name].grad, parameter.grad, rtol=100 * rtol, atol=rtol, err_msg=name
                )
        adam.step()
        own.step()
    for name, array in model.state_dict().items():
        assert abs(p[name].data - array).max() < (1e-9 if dtype is np.float64 else 1e-3), name


def test_a_diamond_gets_both_paths(one_file):
    """c = b + b, b = a + a: dc/da = 4, if backward handles b after both of its uses."""

    def double(x):
        return one_file.Node([x, x], lambda dy: (dy, dy), x.data + x.data).outputs[0]

    a = one_file.Tensor(np.float64(3))
    c = double(double(a))
    one_file.backpropagate(c)
    assert (c.data, a.grad) == (12, 4)


def test_the_initial_weights_are_within_the_librarys_bounds(one_file):
    p = one_file.initial_parameters(np.random.default_rng(0))
    wanted = models.MLPVAE().state_dict()
    assert {name: t.data.shape for name, t in p.items()} == {n: a.shape for n, a in wanted.items()}
    for name, (inputs, _) in one_file.LAYERS.items():
        largest = abs(p[f"{name}.weight"].data).max()
        assert 0.9 / inputs**0.5 < largest <= 1 / inputs**0.5


def idx(path, images):
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(gzip.compress(struct.pack(">4I", 2051, *images.shape) + images.tobytes()))


def test_it_trains_and_leaves_a_picture(one_file, tmp_path, capsys):
    rng = np.random.default_rng(0)
    for part, count in (("train", 300), ("t10k", 60)):
        images = (255 * (rng.random((count, 28, 28)) < 0.1)).astype(np.uint8)
        idx(tmp_path / "mnist" / f"{part}-images-idx3-ubyte.gz", images)
        np.testing.assert_array_equal(
            one_file.read_images(tmp_path, part), images.reshape(count, 784) / np.float32(255)
        )
    one_file.main(["--data", str(tmp_path), "--epochs", "3", "--out", str(tmp_path / "out")])
    losses = [float(n) for n in re.findall(r"test (\d+\.\d+)", capsys.readouterr().out)]
    assert losses[0] > losses[1] > losses[2]
    picture = Image.open(tmp_path / "out" / "samples.png")
    assert picture.size == (280, 280) and np.asarray(picture).std() > 1
    with pytest.raises(SystemExit, match=r"expected train-images-idx3-ubyte.gz there"):
        one_file.main(["--data", str(tmp_path / "nowhere")])


def test_it_stands_alone_and_names_twins_that_exist():
    """The file imports NumPy and the standard library only; the paths it names exist."""
    source = FILE.read_text()
    imported = {
        (node.module if isinstance(node, ast.ImportFrom) else alias.name).partition(".")[0]
        for node in ast.walk(ast.parse(source))
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for alias in node.names
    }
    assert imported - set(sys.stdlib_module_names) == {"numpy"}
    twins = re.findall(r"minivae/[\w/]+(?:\.py)?", source)
    assert len(twins) >= 7 and all((ROOT / twin).exists() for twin in twins)
    assert len([line for line in source.splitlines() if line.strip()]) < 220
    assert mv.__name__ not in imported
