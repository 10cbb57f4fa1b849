"""An addition to the project takes exactly the edits that CONTRIBUTING.md names.

One operation, kernel version, model and data set are added to a scratch copy; the tests that guard
their tables accept the copy, and refuse it when any one place is left out.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = [
    pytest.mark.minutes,  # many runs of pytest, one after another
    pytest.mark.skipif(not (ROOT / "csrc").is_dir(), reason="csrc is not beside the tests"),
]


def replacing(*pairs):
    """An edit of a file's text: each (old, new) pair replaces the only ``old`` there."""

    def edit(text):
        for old, new in pairs:
            assert text.count(old) == 1, f"{text.count(old)} times: {old}"
            text = text.replace(old, new)
        return text

    return edit


def after(line, new):
    """An edit that inserts ``new`` after the only occurrence of ``line``."""
    return replacing((line, line + new))


def written(new):
    """An edit that makes a file, or adds to its end."""
    return lambda text: text + new


SOFTSIGN = '''

class Softsign(Function):
    """y = x / (1 + |x|).

    dx = dy / (1 + |x|)^2
    """

    def forward(self, x):
        self.save(x)
        return x / (1 + abs(x))

    def backward(self, dy):
        (x,) = self.saved
        return (dy / (1 + abs(x)) ** 2,)


def softsign(x):
    """x / (1 + |x|), element by element; x and the result of any shape.

    >>> softsign(1.0)
    Tensor(0.5)
    """
    return Softsign.apply(as_tensor(x))
'''

MODEL = '''"""A VAE of two affine maps: the smallest there is."""

from .. import functional as F
from .. import nn
from ..arguments import whole
from ..noise import init_stream
from .vae import VAE


class AffineVAE(VAE):
    """784 -> D, D; D -> 784 logits.

    Args:
        latent_dim: D.
        seed: of the initial weights.

    Raises:
        ValueError: a size below 1.
    """

    image_shapes = ((784,), (1, 28, 28))

    def __init__(self, latent_dim=2, seed=0):
        whole("latent_dim", latent_dim, 1)
        rng = init_stream(seed)
        self.latent_dim = latent_dim
        self.mean, self.spread = (nn.Linear(784, latent_dim, rng=rng) for _ in range(2))
        self.outwards = nn.Linear(latent_dim, 784, rng=rng)

    def config(self):
        return {"latent_dim": self.latent_dim}

    def encode(self, x):
        x = F.flatten(x, 1)
        return self.mean(x), self.spread(x)

    def decode(self, z):
        return self.outwards(z)
'''

DATA_SET = '''"""Squares of one grey each: the smallest set there is."""

import numpy as np

from .dataset import Dataset, Part


def load():
    """256 squares to train on and 256 to test on."""
    images = np.broadcast_to(np.arange(256, dtype=np.uint8)[:, None, None], (256, 5, 5))
    return Dataset("squares", Part(images), Part(images), {"set": "squares"}, public=True)


def serves(shape):
    """Whether a model of images of this shape takes squares: see ``sets.KindOfSet``."""
    return tuple(shape) == (1, 5, 5)


def load_again(record, source, shape):
    """The squares of a run: see ``sets.KindOfSet``."""
    return load()
'''


def a_seventh_version(text):
    """Version 7 of reparam_kl, which launches what version 6 does."""
    switched = text.replace("    case 6: return", "    case 6:\n    case 7: return")
    listed = "instructions up to D = 128\n"
    return replacing(
        (listed, f"{listed}//   v7  the same again\n"),
        ("---- v6: whole rows", "---- v6 and v7: whole rows"),
    )(switched)


# kind of addition -> ({place: edit}, the tests that guard the table)
ADDITIONS = {
    "operation": (
        {
            "minivae/ops/activation.py": lambda text: (
                replacing(
                    ('"sigmoid", "softplus"', '"sigmoid", "softplus", "softsign"'),
                    (
                        "import Function, Tensor, TensorLike\n",
                        "import Function, Tensor, TensorLike, as_tensor\n",
                    ),
                )(text)
                + SOFTSIGN
            ),
            "tests/op_specs.py": after(
                "SPECS = {\n",
                '    "softsign": unary(F.softsign, lambda x: x / (1 + np.abs(x)), '
                "activation.Softsign, AWAY_FROM_ZERO),\n",
            ),
            "docs/ops.md": after(
                "|---|---|---|---|---|\n",
                "| `softsign` | [activations](elementwise.md#activations) | "
                "[`Softsign`](../minivae/ops/activation.py) | "
                '[`SPECS["softsign"]`](../tests/op_specs.py) |  |\n',
            ),
        },
        [
            "tests/engine/test_ops.py::test_every_function_is_in_the_table",
            "tests/engine/test_ops.py::test_values[softsign]",
            "tests/engine/test_ops.py::test_gradients[softsign]",
            "tests/docs/test_docs.py::test_every_operation_has_a_row",
            "tests/docs/test_docs.py::test_a_row_leads_from_derivation_to_kernel[softsign]",
        ],
    ),
    "version of a CUDA kernel": (
        {
            "csrc/cuda/reparam_kl.cu": a_seventh_version,
            "csrc/cuda/reparam_kl.h": replacing(
                ("kReparamKlVersions = 6;", "kReparamKlVersions = 7;"),
            ),
        },
        ["tests/kernels/test_kernel_versions.py"],
    ),
    "model": (
        {
            "minivae/models/affine_vae.py": written(MODEL),
            "minivae/models/__init__.py": replacing(
                ("from .autoencoder", "from .affine_vae import AffineVAE\nfrom .autoencoder"),
                ('"AutoEncoder",', '"AffineVAE", "AutoEncoder",'),
            ),
        },
        [
            "tests/models/test_models.py::test_every_model_is_named",
            "tests/models/test_models.py::test_shapes_and_the_sum_of_the_terms[AffineVAE]",
            "tests/models/test_models.py::test_the_config_builds_the_same_model[AffineVAE]",
        ],
    ),
    "data set": (
        {
            "minivae/data/squares.py": written(DATA_SET),
            "minivae/data/sets.py": replacing(
                ("from . import faces, mnist\n", "from . import faces, mnist, squares\n"),
                ('"faces": faces}', '"faces": faces, "squares": squares}'),
            ),
        },
        ["tests/data/test_sets.py::test_every_kind_of_set_is_named"],
    ),
}
ACCEPTED = ["tests/docs/test_layering.py", "tests/kernels/test_registry.py"]  # by every addition


@pytest.fixture
def copy(tmp_path):
    """The project, without what has been built but for the compiled kernels."""
    folder = tmp_path / "copy"
    folder.mkdir()
    ignored = shutil.ignore_patterns("__pycache__", "build", ".hypothesis")
    for path in ROOT.iterdir():
        if path.name in {"minivae", "csrc", "tests", "docs"}:
            shutil.copytree(path, folder / path.name, ignore=ignored)
        elif not path.name.startswith(".") and path.name not in {"build", "runs"}:
            (folder / path.name).symlink_to(path)
    return folder


def run(folder, tests):
    """The finished run of some tests in a copy."""
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTEST_ADDOPTS": ""}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize("kind", ADDITIONS)
def test_an_addition_takes_its_places_and_no_other(kind, copy):
    places, tests = ADDITIONS[kind]
    paths = {place: copy / place for place in places}
    before = {place: p.read_text() if p.exists() else None for place, p in paths.items()}
    for place, edit in places.items():
        paths[place].write_text(edit(before[place] or ""))
    done = run(copy, [*tests, *ACCEPTED])
    assert done.returncode == 0, done.stdout[-3000:]
    for place, path in paths.items():
        added = path.read_text()
        path.unlink() if before[place] is None else path.write_text(before[place])
        done = run(copy, tests)
        assert done.returncode != 0, f"nothing misses {place}"
        path.write_text(added)


def test_contributing_names_the_places():
    """Its numbered lists are the places of ``ADDITIONS``, or the folder of a new file."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    for kind, (places, _) in ADDITIONS.items():
        (section,) = re.findall(rf"^## Add an? {kind}.*?$(.*?)^##? ", text, re.M | re.S)
        steps = re.findall(r"^\d\. (.*?)(?=^\d\. |^$)", section, re.M | re.S)
        assert len(steps) == len(places), kind
        for step, place in zip(steps, places, strict=True):
            named = step.replace("STEM", "reparam_kl")
            assert place in named or f"]({Path(place).parent})" in named, (kind, place)
