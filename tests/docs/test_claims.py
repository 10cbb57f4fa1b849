"""Claims of the pages of docs/ that no test of the code checks."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

import minivae as mv
from minivae import functional as F
from minivae import optim

ROOT = Path(__file__).parents[2]


def loaded(path):
    """Load a script as a module outside ``sys.modules``: docs/figures and examples share names."""
    spec = importlib.util.spec_from_file_location("loaded", ROOT / path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_step_breaks_reparameterisation_and_not_the_score_function():
    """reparameterisation.md: E f(mu + eps) = P(eps > -mu), whose slope in mu is a density."""
    mu, eps = 0.3, mv.Noise(0, 0).normal((400_000,), np.float64)
    z = mu + eps
    pathwise = np.zeros_like(z)  # the slope of a step, wherever it has one
    score = (z > 0) * eps
    slope = np.exp(-(mu**2) / 2) / np.sqrt(2 * np.pi)
    error = score.std() / np.sqrt(len(z))
    assert pathwise.mean() == 0
    assert abs(score.mean() - slope) < 4 * error < slope / 10


@pytest.mark.parametrize(
    ("gradient", "moved"), [(1e4, 1.0), (-3.0, -1.0), (1e-8, 0.5), (1e-10, 1 / 101), (0.0, 0.0)]
)
def test_the_first_step_of_adam(gradient, moved):
    """optim.Adam: lr |g| / (|g| + eps)."""
    p = mv.Tensor(np.zeros(1), requires_grad=True)
    adam = optim.Adam([p], lr=0.1)
    p.grad = np.array([gradient])
    adam.step()
    np.testing.assert_allclose(p.data, -0.1 * moved, rtol=1e-6)


class OneWrongEntry(mv.tensor.Function):
    """y = x; the gradient of element 0 is wrong by a factor."""

    def forward(self, x, factor):
        self.factor = factor
        return x.copy()

    def backward(self, dy):
        dx = dy.copy()
        dx[0] *= self.factor
        return dx


def test_a_wrong_entry_below_the_tolerance_passes_in_a_large_jacobian():
    """gradient-checking.md: in a large Jacobian an error below about 1e-5 of |dx| passes; in a
    small one every entry is checked."""

    def check(n, factor):
        return mv.gradcheck(lambda x: OneWrongEntry.apply(x, factor=factor), np.ones(n))

    small, large = 1 + 1e-4, 1 + 1e-1
    assert check(100_000, small)
    for n, factor in ((40, small), (100_000, large)):
        with pytest.raises(mv.GradientError):
            check(n, factor)


def test_output_padding_from_the_stride_on():
    """linear-and-convolution.md: with output_padding >= stride, conv2d of the result has more rows
    than x, and the transposed convolution is the adjoint of the first ones."""
    geometry = {"stride": 1, "dilation": 3}
    x, w = (np.random.default_rng(0).normal(size=(1, 1, n, n)) for n in (4, 2))
    out = F.conv_transpose2d(x, w, output_padding=2, **geometry).data
    y = np.random.default_rng(1).normal(size=out.shape)
    there = F.conv2d(y, w, **geometry).data
    assert there.shape[2] == x.shape[2] + 2
    np.testing.assert_allclose((out * y).sum(), (x * there[:, :, :4, :4]).sum())


def test_overlap_at_the_borders():
    """linear-and-convolution.md: for kernels of 3 and 4, fewer inputs reach a border pixel of the
    output."""
    for kernel in (3, 4):
        ones = np.ones((1, 1, 6, 6)), np.ones((1, 1, kernel, kernel))
        reached = F.conv_transpose2d(*ones, stride=2).data[0, 0]
        assert reached[0].max() < reached[2:-2, 2:-2].max()


@pytest.mark.slow
def test_the_page_on_the_kl_and_its_example_say_the_same(tmp_path, capsys):
    loaded("examples/gaussian_kl.py").main(["--out", str(tmp_path)])
    said = json.loads((tmp_path / "numbers.json").read_text())
    page = json.loads((ROOT / "docs" / "figures" / "numbers.json").read_text())
    (naive, negative), (stable, _) = said["float32"].values()
    for found, name in (
        (naive, "gaussian_kl.naive{}_percent"),
        (negative, "gaussian_kl.naive{}_negative_percent"),
        (stable, "gaussian_kl.expm1{}_percent"),
    ):  # NumPy's functions differ between machines; the page has the least and the largest error
        least, most = (page[name.format(which)] / 100 for which in ("", "_numpy"))
        assert 0.999 * least <= found <= 1.001 * most, name
    assert f"{page['gaussian_kl.example_sampled']:.5f}" in capsys.readouterr().out


def test_the_example_has_every_wrong_formula_of_the_page_that_it_names():
    figure, example = loaded("docs/figures/gaussian_kl.py"), loaded("examples/gaussian_kl.py")
    for name, other in {
        "right": "1/2 (mu^2 + s^2 - 1 - ln s^2), right",
        "tutorial": "mu^2 + s^2 - 1/2 - ln s",
        "log_whole": "1/2 (mu^2 + s^2 - 1) - ln s^2",
        "unsquared": "1/2 (mu^2 + s - 1 - ln s^2)",
        "half_head": "1/2 (mu^2 + s - 1 - ln s)",
        "sign": "1/2 (mu^2 + s^2 - 1 + ln s^2)",
    }.items():
        ours, theirs = figure.FORMULAS[name], example.FORMULAS[other]
        assert ours(0.7, 0.4) == pytest.approx(theirs(0.7, 0.4), rel=1e-12), name
