"""Fixtures: data to evaluate on, and ``evaluate``, which runs the command."""

import json

import numpy as np
import pytest

import digit_sets
from minivae.__main__ import main
from minivae.data.synthetic import digits as synthetic_digits
from minivae.evaluation import probes


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder in MNIST's form with 60 + 20 drawn digits, and 40 pictures of 16 x 16 as faces."""
    folder = tmp_path_factory.mktemp("data")
    digit_sets.write(folder, synthetic_digits.load(60, 20))
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (40, 16, 16, 3), dtype=np.uint8)
    np.savez(folder / "faces.npz", images=images, glasses=rng.random(40) < 0.5)
    return folder


@pytest.fixture
def short_probe(monkeypatch):
    """Fewer steps of the linear probe: test_estimators tests it with all of them."""
    monkeypatch.setattr(probes, "STEPS", 20)


@pytest.fixture
def evaluate(tmp_path, capsys, short_probe):
    """``evaluate(checkpoint, option, ...)``: exit code, printed text, JSON or None."""

    def run(checkpoint, *options, samples=4):
        out = tmp_path / "result.json"
        words = ["evaluate", checkpoint, "--samples", samples, "--json", out, *options]
        code = main([str(word) for word in words])
        printed = capsys.readouterr()
        result = json.loads(out.read_text()) if out.exists() else None
        return code, printed.out + printed.err, result

    return run
