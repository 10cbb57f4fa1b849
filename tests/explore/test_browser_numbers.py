"""The numbers that the page shows in a real browser match those that Python computes."""

import re

import numpy as np
import pytest
from browser_page import CHROMIUM, NAMES, SEVEN, canvas, draw_strokes

from minivae import Noise, evaluation, explore
from minivae.data import mnist
from minivae.evaluation.classify import fit_digit_classifier
from minivae.noise import SAMPLING
from minivae.viz import latent

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed"),
]


@pytest.mark.parametrize("name", NAMES)
def test_pixels_are_pythons(opened, subject, name):
    """Pixels are within 2e-3 of model.pixels, within 1e-5 of it with float16 weights, and are
    drawn on the canvas."""
    model = subject(name)[0].model
    z = np.concatenate(
        [np.zeros((1, model.latent_dim)), Noise(4, 0).normal((19, model.latent_dim))]
    )
    z = z.astype(np.float32)
    one = opened(name)
    logits = one.run("""(codes) => Promise.all(codes.map(
        async (z) => Array.from(await explorer.model().decode(z))))""", z.tolist())  # fmt: skip
    found = 1 / (1 + np.exp(-np.array(logits)))
    pixels = model.pixels(z).numpy().reshape(found.shape)
    assert np.abs(found - pixels).max() < 2e-3
    state = model.state_dict()
    try:
        model.load_state_dict({
            n: a.astype(np.float16).astype(a.dtype) if a.dtype.kind == "f" else a
            for n, a in state.items()
        })  # fmt: skip
        assert np.abs(found - model.pixels(z).numpy().reshape(found.shape)).max() < 1e-5
    finally:
        model.load_state_dict(state)
    one.page.click("#zero")
    one.settle()
    shown = canvas(one, "decoded")
    channels = model.image_shapes[-1][0]
    want = pixels[0].reshape(model.image_shapes[-1])
    for c in range(3):
        assert (
            np.abs(shown[..., c] / 255 - want[c if channels == 3 else 0]).max() < 2e-3 + 0.5 / 255
        )


@pytest.mark.parametrize("name", NAMES)
def test_sliders_come_in_the_order_of_kl(opened, subject, name):
    """The sliders list each latent once, the one of the largest KL first, with its nats."""
    found = subject(name)[0]
    kl = evaluation.kl_per_latent(
        *evaluation.posteriors(found.model, found.batches(found.data.test))
    )
    one = opened(name)
    rows = one.run("""() => [...document.querySelectorAll("#latents .slider")].map(
        (row) => [...row.querySelectorAll("span")].slice(0, 2).map((part) => part.textContent))""")
    order = np.argsort(-kl, kind="stable")
    assert [name for name, _ in rows] == [f"z{d}" for d in order]
    assert [nats for _, nats in rows] == [f"{kl[d]:.2f} nats" for d in order]


def elbo_terms(model, x, eps):
    """(rec, KL) from Python for one image and one sample."""
    with model.evaluating():
        return [term.item() for term in model.elbo(x, eps)[1:]]


def test_terms_of_a_drawn_digit_are_pythons(opened, subject):
    """rec, KL and ELBO are within 1 % for the same pixels and noise, for several draws."""
    found, config, _ = subject("mlp")
    one = opened("mlp", view="pictures")
    draw_strokes(one, SEVEN)
    x = np.array(one.run("Array.from(explorer.state.picture.x)"), np.float32)
    assert x.max() > 0.9 and 30 < np.count_nonzero(x) < 250
    for draw in range(3):
        eps = Noise(config["seed"], SAMPLING + draw).normal((1, 20))
        rec, kl = elbo_terms(found.model, x[None], eps)
        assert one.number("rec") == pytest.approx(rec, rel=0.01)
        assert one.number("kl") == pytest.approx(kl, rel=0.01)
        assert one.number("elbo") == pytest.approx(-rec - kl, rel=0.01)
        assert one.number("bits") == pytest.approx((rec + kl) / (784 * np.log(2)), rel=0.01)
        one.page.click("#resample")
        one.settle()
    assert len(one.run("explorer.state.history")) == 4
    one.page.click("#take-mean")
    one.settle()
    assert one.text("elbo") == "z is no sample"


@pytest.mark.parametrize("name", ["conv", "face"])
def test_terms_of_a_chosen_picture_are_pythons(opened, subject, name):
    """rec, KL and ELBO match for a picture of the set, and for the other models."""
    found, config, _ = subject(name)
    one = opened(name, view="pictures")
    one.page.locator("#gallery input").nth(2).click()
    one.settle()
    x = (found.data.test.images[2].astype(np.float32) / 255).reshape(
        1, *found.model.image_shapes[-1]
    )
    eps = Noise(config["seed"], SAMPLING).normal((1, found.model.latent_dim))
    rec, kl = elbo_terms(found.model, x, eps)
    assert one.number("rec") == pytest.approx(rec, rel=0.01)
    assert one.number("kl") == pytest.approx(kl, rel=0.01)


def strip_codes(one, name):
    """The codes behind the pictures of a strip."""
    script = "(name) => [...document.getElementById(name).children].map((b) => Array.from(b.code))"
    return np.array(one.run(script, name))


@pytest.mark.parametrize("name", ["mlp", "face"])
def test_arithmetic_interpolation_and_attributes_are_those_of_minivae_latent(opened, subject, name):
    """Codes are within 1e-3 of those from mean codes and vectors that Python computes."""
    found = subject(name)[0]
    part = found.data.train.take(slice(explore.export.CODES))
    codes, _ = evaluation.posteriors(found.model, found.batches(part))
    if name == "mlp":
        masks = [part.labels["digit"] == d for d in (7, 1, 4)]
        attribute, mask = "digit 3", part.labels["digit"] == 3
    else:
        man, glasses = part.labels["male"] > 0, part.labels["glasses"] > 0
        masks = [man & glasses, ~man & glasses, ~man & ~glasses]
        attribute, mask = "glasses", glasses
    a, b, c = (codes[latent.exemplars(codes, m, 3)].mean(axis=0) for m in masks)
    one = opened(name, view="pictures")
    np.testing.assert_allclose(strip_codes(one, "line"), latent.lerp(a, b, 6), atol=1e-3)
    np.testing.assert_allclose(strip_codes(one, "circle"), latent.slerp(a, b, 6), atol=1e-3)
    wanted = [a, b, c, latent.arithmetic(a, b, c)]
    np.testing.assert_allclose(strip_codes(one, "arithmetic"), wanted, atol=1e-3)
    z = np.array(one.run("Array.from(explorer.state.z)"))
    values = [-3.0, -2, -1, 0, 1, 2, 3]
    dim = int(one.page.input_value("#dim"))
    np.testing.assert_allclose(
        strip_codes(one, "traversal"), latent.traverse(z, dim, values), atol=1e-6
    )
    row = one.page.locator("#attributes .slider", has_text=re.compile(rf"^{attribute}")).locator(
        "input"
    )
    row.evaluate("(input) => { input.value = 1.5; input.dispatchEvent(new Event('input')); }")
    one.settle()
    moved = np.array(one.run("Array.from(explorer.state.z)"))
    np.testing.assert_allclose(moved - z, 1.5 * latent.attribute_vector(codes, mask), atol=1e-3)


def test_pictures_as_choices(opened, subject):
    """A and B from the gallery are mu of those pictures, up to float16."""
    found = subject("mlp")[0]
    one = opened("mlp", view="pictures")
    for letter, value in (("A", "p3"), ("B", "p8"), ("C", "z")):
        one.page.select_option(f"#choice-{letter}", value)
    one.settle()
    x = found.data.test.images[[3, 8]].reshape(2, 784).astype(np.float32) / 255
    a, b = found.model.encode(x)[0].data
    np.testing.assert_allclose(strip_codes(one, "line"), latent.lerp(a, b, 6), atol=2e-2)
    z = one.run("Array.from(explorer.state.z)")
    np.testing.assert_allclose(strip_codes(one, "arithmetic")[2], z, atol=1e-9)


def sevens():
    """Strokes of ten differently written sevens: leaning, wide, small, with a hook, a bar, in a
    corner."""
    return [
        [[(0.25, 0.25), (0.72, 0.24), (0.45, 0.85)]],
        [[(0.30, 0.20), (0.75, 0.20), (0.55, 0.80)]],
        [[(0.20, 0.30), (0.70, 0.28), (0.35, 0.90)]],
        [[(0.25, 0.35), (0.25, 0.25), (0.70, 0.25), (0.48, 0.85)]],
        [[(0.28, 0.25), (0.74, 0.22)], [(0.74, 0.22), (0.50, 0.82)]],
        [[(0.10, 0.10), (0.35, 0.10), (0.22, 0.42)]],
        [[(0.55, 0.55), (0.90, 0.54), (0.70, 0.95)]],
        [[(0.22, 0.22), (0.50, 0.20), (0.74, 0.22), (0.62, 0.45), (0.52, 0.65), (0.46, 0.88)]],
        [[(0.20, 0.24), (0.78, 0.24), (0.58, 0.60), (0.50, 0.90)]],
        [[(0.26, 0.28), (0.70, 0.26), (0.50, 0.80)]],
    ]


def test_ten_sevens_are_decoded_as_sevens(opened):
    """Of ten sevens drawn with the mouse, the classifier labels at least nine reconstructions 7."""
    digits = mnist.load(download=False)
    if digits.name != "mnist":
        pytest.skip("MNIST is not at hand")
    classifier = fit_digit_classifier(
        digits.train.images[:30000], digits.train.labels["digit"][:30000], progress=False
    )
    test = digits.test.images[:1000, None].astype(np.float32) / 255
    assert (classifier.predict(test) == digits.test.labels["digit"][:1000]).mean() > 0.95
    one = opened("mlp", view="pictures")
    pictures = []
    for strokes in sevens():
        draw_strokes(one, strokes)
        pictures.append(canvas(one, "reconstruction")[..., 0] / 255)
    said = classifier.predict(np.array(pictures, np.float32)[:, None])
    assert (said == 7).sum() >= 9, said


def test_evidence_is_elbo_and_gap(opened):
    """ELBO and gap add up to the evidence for every q; at the posterior the gap is 0."""
    one = opened("mlp", view="loss")
    for mu, sigma in ((0, 1), (-1.5, 0.3), (2, 2.5)):
        one.set_slider("#q-sliders .slider:nth-child(2) input", mu)
        one.set_slider("#q-sliders .slider:nth-child(3) input", sigma)
        assert one.text("evidence") == "-1.9487 nats"
        assert one.number("elbo1") + one.number("gap") == pytest.approx(-1.9487, abs=2e-4)
        left, right = one.run("""[...document.querySelectorAll("#bar rect")].map(
            (r) => ["x", "width"].map((name) => +r.getAttribute(name)))""")
        assert left[0] == 10 and right[0] + right[1] == pytest.approx(410)
        assert left[0] + left[1] == pytest.approx(right[0])
    one.set_slider("#q-sliders .slider:nth-child(1) input", 0)
    assert one.number("gap") == pytest.approx(0, abs=1e-4)
    one.set_slider("#q-sliders .slider:nth-child(1) input", 1)
    assert one.number("elbo1") == pytest.approx(-4.0439, abs=1e-4)
    one.set_slider("#q-sliders .slider:nth-child(5) input", 9)  # K = 1000
    assert -4.0439 < one.number("bound") <= -1.9487 + 0.01


def test_a_wrong_formula_moves_the_optimum(opened):
    """Each wrong formula has another optimal q, whose ELBO is below that of the right one."""
    one = opened("mlp", view="loss")
    assert one.text("optimal-q") == "N(0.600, 0.447²)" and one.number("optimal-elbo") == -1.9487
    for name, least in (("tutorial", "0.707"), ("unsquared", "2.000"), ("sign", "minus infinity")):
        one.page.check(f"#formulas input[value={name}]")
        one.settle()
        assert least in one.text("least")
        assert one.text("optimal-elbo") == "minus infinity" or one.number("optimal-elbo") < -1.9487
    one.page.check("#formulas input[value=tutorial]")
    one.page.click("#take-optimum")
    one.settle()
    assert one.number("elbo1") == one.number("optimal-elbo")


def test_curves_and_options(opened, subject):
    """The page shows the last row of metrics.csv and the options of the run."""
    _, config, rows = subject("mlp")
    one = opened("mlp", view="loss")
    label = one.page.get_attribute("#curve-loss", "aria-label")
    assert f"{rows[-1]['test_loss']:.2f} in testing" in label
    one.page.click("text=Numbers of each epoch")
    table = one.text("metrics")
    assert table.count("\n") == len(rows) and f"{rows[0]['train_kl']:.2f}" in table
    assert f"lr\n{config['lr']}" in one.text("options")
