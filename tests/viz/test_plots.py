"""Plots: sizes, labels and colours, deterministic bytes, and no change of Matplotlib's state."""

import io
import os
import subprocess
import sys

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_hex
from PIL import Image

from minivae.training import metrics
from minivae.viz import latent, plots

RNG = np.random.default_rng(0)
ROWS = [
    {name: float(i + k) for k, name in enumerate(metrics.COLUMNS)} | {"epoch": i} for i in (1, 2, 3)
]


def shown(figure):
    """(pixels, texts) of a plotted page."""
    page = figure.axes[0].images[0].get_array()
    return np.asarray(page), texts(figure)


def texts(figure):
    return [t.get_text() for t in figure.findobj(matplotlib.text.Text)]


TITLE = r"a set called $\frac$"  # which is no formula
PICTURES = {
    "losses": lambda: plots.losses(ROWS, TITLE),
    "reconstructions": lambda: plots.reconstructions(
        RNG.random((20, 1, 28, 28)), RNG.random((20, 784)), TITLE
    ),
    "samples": lambda: plots.samples(RNG.random((30, 3, 16, 16)), TITLE),
    "interpolation": lambda: plots.interpolation(RNG.random((3, 5, 784)), TITLE),
    "manifold": lambda: plots.manifold(RNG.random((400, 784)), np.linspace(0.01, 0.99, 20), TITLE),
    "latent_plane": lambda: plots.latent_plane(
        RNG.standard_normal((200, 2)), RNG.integers(0, 10, 200), TITLE
    ),
}


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_is_a_png_with_its_title_and_no_date(name):
    before = dict(matplotlib.rcParams)
    figure = PICTURES[name]()
    body = plots.png(figure)
    assert body == plots.png(figure)
    with Image.open(io.BytesIO(body)) as image:
        assert image.format == "PNG"
        assert min(image.size) > 200
        assert "Software" not in image.info and not any("ate" in key for key in image.info)
    assert TITLE in texts(figure)
    assert dict(matplotlib.rcParams) == before


def test_a_page_of_few_images_is_no_taller_than_a_screen():
    """One pair of images, one above the other."""
    figure = plots.reconstructions(np.ones((1, 3, 32, 32)), np.ones((1, 3, 32, 32)), "t")
    width, height = figure.get_size_inches()
    assert height < 10 and 2 < width < height


def test_steps_of_a_walk_are_named_as_they_are():
    figure = plots.interpolation(np.ones((1, 9, 784)), "t")
    names = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert names[:3] == ["0", "0.12", "0.25"] and names[-1] == "1"


@pytest.mark.slow
def test_pyplot_is_not_needed():
    code = "import minivae.viz.plots, sys; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_losses_show_every_term_of_both_parts():
    figure = plots.losses(ROWS, "t")
    assert len(figure.axes) == 3
    for axes, term in zip(figure.axes, ("loss", "rec", "kl"), strict=True):
        lines = {line.get_label().split()[0]: line for line in axes.lines}
        for part in ("train", "test"):
            x, y = lines[part].get_data()
            assert list(x) == [1, 2, 3]
            assert list(y) == [row[f"{part}_{term}"] for row in ROWS]


def test_reconstructions_lie_under_their_images():
    originals = np.arange(20).repeat(784).reshape(20, 1, 28, 28) / 40
    figure = plots.reconstructions(originals, originals.reshape(20, 784) + 0.5, "t")
    page, _ = shown(figure)
    for i in range(20):
        top, left = i // 10 * (58 + 6) + 14, i % 10 * 30 + 14
        assert page[top, left] == i / 40
        assert page[top + 30, left] == i / 40 + 0.5
    words = [t.get_text() for t in figure.axes[0].get_yticklabels()]
    assert sorted(words) == ["decoded", "decoded", "image", "image"]


def test_few_images_make_a_small_picture():
    page, _ = shown(plots.reconstructions(np.zeros((3, 784)), np.zeros((3, 784)), "t"))
    assert page.shape == (58, 88)
    page, _ = shown(plots.samples(np.zeros((7, 784)), "t", columns=5))
    assert page.shape == (58, 148)
    assert page[-1, -1] == 1, "places left over are white"


def test_colour_keeps_its_channels():
    images = np.zeros((1, 3, 16, 16))
    images[:, 0] = 0.75
    page, _ = shown(plots.samples(images, "t"))
    np.testing.assert_array_equal(page[0, 0], [0.75, 0, 0])


def test_the_manifold_s_axes_are_the_prior_s_quantiles():
    codes = latent.manifold_grid()
    pixels = np.repeat(codes[:, :1], 784, axis=1)  # brightness is the first latent
    figure = plots.manifold(pixels, np.linspace(0.01, 0.99, 20), "t")
    page, _ = shown(figure)
    assert page.shape == (560, 560)
    assert (np.diff(page[0, ::28]) > 0).all()
    axes = figure.axes[0]
    assert axes.get_xticklabels()[0].get_text().startswith("0.01\n")
    ticks = {
        t.get_text().split()[0]: y
        for t, y in zip(axes.get_yticklabels(), axes.get_yticks(), strict=True)
    }
    assert ticks["0.01"] > ticks["0.99"], "the second latent grows upwards: row 0 is the top"


def test_the_plane_of_codes_has_a_legend_of_the_classes():
    labels = np.repeat([1, 4, 9], 30)
    figure = plots.latent_plane(RNG.standard_normal((90, 2)), labels, "t")
    legend = figure.axes[0].get_legend()
    assert [t.get_text() for t in legend.get_texts()] == ["1", "4", "9"]
    assert sum(len(line.get_xdata()) for line in figure.axes[0].lines) == 90


@pytest.mark.parametrize("classes", [1, 10, 11, 26, 47, 62])
def test_every_class_has_a_colour_of_its_own_and_a_line_of_the_legend(classes):
    labels = np.repeat(np.arange(classes, dtype=np.uint8), 3)
    figure = plots.latent_plane(RNG.standard_normal((len(labels), 2)), labels, "t")
    axes = figure.axes[0]
    colours = {to_hex(line.get_color()) for line in axes.lines}
    assert len(colours) == len(axes.lines) == classes
    assert [t.get_text() for t in axes.get_legend().get_texts()] == [str(c) for c in range(classes)]
    figure.draw_without_rendering()
    legend, page = axes.get_legend().get_window_extent(), figure.bbox
    assert legend.height <= page.height


def test_a_digit_keeps_its_colour_where_others_are_missing():
    some, all_ten = (plots.class_colours(np.array(labels)) for labels in ([3, 9], range(10)))
    assert all(some[label] == all_ten[label] for label in some)


def test_one_code_is_drawn_too():
    plots.png(plots.latent_plane(np.zeros((1, 2)), np.zeros(1, int), "t"))


# ---- what somebody else chose


@pytest.mark.parametrize(
    "name", ["a $b$ c", "$", "a $\\frac$", "\udcff\udcfe", "你好", "x" * 300, ""]
)
def test_every_name_of_a_set_can_be_drawn(name):
    assert plots.png(plots.samples(np.zeros((1, 784)), f"{name}\nfaces"))


@pytest.mark.slow
def test_every_picture_takes_any_name():
    name = "a $b \udcff"
    for draw in (plots.samples, plots.reconstructions, plots.interpolation):
        images = RNG.random((2, 3, 784))
        arrays = [images] if draw is plots.interpolation else [images[0]]
        arrays += [images[1]] if draw is plots.reconstructions else []
        assert plots.png(draw(*arrays, name))
    assert plots.png(plots.latent_plane(RNG.random((9, 2)), np.arange(9) % 3, name))
    assert plots.png(plots.attribute_walks(RNG.random((1, 2, 784)), [0, 1], name, name))


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["module://not_installed.backend", "nonsense", "agg", ""])
def test_no_choice_of_a_backend_matters(backend):
    """$MPLBACKEND has no effect: a child process may inherit Jupyter's backend but lack it."""
    code = (
        "import os; from minivae.viz import plots; import numpy as np; "
        "plots.png(plots.samples(np.zeros((1, 784)), 't')); print(os.environ['MPLBACKEND'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True,
        env={**os.environ, "MPLBACKEND": backend},
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{backend}\n", "")
