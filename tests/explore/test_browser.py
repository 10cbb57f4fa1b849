"""The whole page in a real browser: Debian's chromium, driven by playwright.

They are skipped where either is missing; ``.ci/run`` installs both, and axe-core, whose file
$MINIVAE_AXE names. Runs are short trainings of the examples, on MNIST where it is at hand.
"""

import base64
import contextlib
import io
import json
import os
import re
import shutil
import socket
import threading
from pathlib import Path

import faces_vae
import mnist_vae
import numpy as np
import pytest
import runs
from PIL import Image

from minivae import Noise, evaluation, explore, models
from minivae.cli.explore import loaded
from minivae.data import mnist
from minivae.evaluation.classify import fit_digit_classifier
from minivae.noise import SAMPLING
from minivae.training import metrics
from minivae.viz import latent

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed"),
]
VIEWS = ("latents", "pictures", "loss")
NAMES = ("mlp", "conv", "face")


@pytest.fixture(scope="session")
def browser():
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """``trained(name)``: the output folder of a short training, made once."""
    root, made = tmp_path_factory.mktemp("trained"), {}
    options = {
        "mlp": (mnist_vae, ["--epochs", "5"]),
        "conv": (
            mnist_vae,
            ["--model", "conv", "--epochs", "2", "--limit", "6000", "--lr", "3e-3"],
        ),
        "face": (
            faces_vae,
            ["--epochs", "2", "--synthetic", "300", "--data", str(root / "faces.npz")],
        ),
    }

    def run(name):
        if name not in made:
            example, words = options[name]
            if name == "face":
                drawn_faces(root / "faces.npz")
            assert example.main([*words, "--no-plots", "--out", str(root / name)]) == 0
            made[name] = root / name
        return made[name]

    return run


def drawn_faces(path):
    """Drawn faces with their attributes, in a file."""
    from minivae.data.faces import draw_faces

    found = draw_faces(300, 64, 0, progress=False)
    np.savez(path, images=np.moveaxis(found.images, 1, -1),
             **{name: found.attributes[name] for name in ("male", "glasses", "smile")})  # fmt: skip


@pytest.fixture(scope="session")
def subject(trained):
    """``subject(name)``: model and images of a run, as Python has them."""

    def load(name):
        folder = trained(name)
        data = folder.parent / "faces.npz" if name == "face" else None
        found, config = loaded(folder / "checkpoint.safetensors", data)
        return found._replace(public=True), config, metrics.read(folder)

    return load


@pytest.fixture(scope="session")
def page_file(subject, tmp_path_factory):
    """``page_file(name)``: the page of a run."""
    root, made = tmp_path_factory.mktemp("pages"), {}

    def write(name):
        if name not in made:
            made[name] = root / f"{name}.html"
            made[name].write_bytes(explore.explorer_page(*subject(name)))
        return made[name]

    return write


class Opened:
    """A page in the browser, with everything it asked for and complained of."""

    def __init__(self, browser, address, view="latents", **options):
        self.context = browser.new_context(
            **{"viewport": {"width": 1280, "height": 900}, **options}
        )
        self.page, self.requests, self.complaints = self.context.new_page(), [], []
        self.context.on("request", lambda request: self.requests.append(request.url))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.goto(address)
        self.show(view)

    def show(self, view):
        self.page.click(f"#tab-{view}")
        self.settle()

    def settle(self):
        """Wait until what was asked for is drawn."""
        self.page.evaluate("explorer.settled().then(() => explorer.settled())")

    def run(self, script, value=None):
        return self.page.evaluate(script, value)

    def text(self, name):
        return self.page.inner_text(f"#{name}")

    def number(self, name):
        return float(re.match(r"-?[\d.]+", self.text(name))[0])

    def wait_for(self, condition):
        """Until it is true (playwright's own wait needs eval, which the policy forbids)."""
        while not self.run(condition):
            self.page.wait_for_timeout(50)

    def set_slider(self, selector, value):
        """As a drag would end."""
        self.run("""([selector, value]) => {
            const input = document.querySelector(selector);
            input.value = value;
            input.dispatchEvent(new Event("input"));
        }""", [selector, value])  # fmt: skip
        self.settle()


@pytest.fixture
def opened(browser, page_file):
    """``opened(name, ...)``: an ``Opened`` page from its file; it must not have complained."""
    pages = []

    def open_page(name, **options):
        address = name.as_uri() if isinstance(name, Path) else page_file(name).as_uri()
        pages.append(Opened(browser, address, **options))
        return pages[-1]

    yield open_page
    for one in pages:
        one.context.close()
        assert one.complaints == []


# ---------------------------------------------------------------- the page is alone
@pytest.mark.parametrize("name", NAMES)
def test_from_a_file_nothing_is_asked_for(opened, page_file, name):
    """No request but the page itself, no complaint, whatever is used."""
    one = opened(name)
    for view in VIEWS:
        one.show(view)
        for button in one.page.query_selector_all(f"#{view} button"):
            if button.is_visible():
                button.click()
        one.settle()
    assert one.requests == [page_file(name).as_uri()]


@pytest.mark.parametrize("attempt", [
    "fetch(address)", "navigator.sendBeacon(address)", "new WebSocket(address)",
    "added('img', { src: address })", "added('iframe', { src: address })",
    "added('link', { rel: 'stylesheet', href: address })", "added('video', { src: address })",
    "added('script', { src: address })", "added('script', { text: 'window.ran = 1' })",
    "added('style', { textContent: 'body { background: red }' })", "new Worker('data:text/js,1')",
    "document.body.setAttribute('style', 'background: red')",
    "document.body.setAttribute('onclick', 'window.ran = 1')",
    "added('form', { action: address }).submit()", "added('base', { href: address })",
])  # fmt: skip
def test_the_policy_forbids_all_others(browser, page_file, attempt):
    """Whatever else came to be in the page could run no script and ask nobody for anything."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0)
        one = Opened(browser, page_file("mlp").as_uri())
        one.run("""() => {
            window.seen = [];
            const note = (event) => seen.push(event.effectiveDirective);
            document.addEventListener("securitypolicyviolation", note);
            window.added = (name, fields) => {
              const made = Object.assign(document.createElement(name), fields);
              document.body.append(made);
              return made;
            };
        }""")
        address = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        one.run(f"(address) => {{ try {{ ({attempt})?.catch?.(() => 0); }} catch {{}} }}", address)
        one.wait_for("seen.length > 0")
        one.page.wait_for_timeout(100)
        assert one.run("window.ran ?? null") is None
        one.context.close()
        with contextlib.suppress(BlockingIOError):  # a browser may connect before it refuses to ask
            while True:
                connection, _ = listener.accept()
                with connection:
                    assert connection.recv(1000) == b""


def test_the_page_of_the_default_model_is_small(page_file):
    """MLPVAE with encoder and 200 pictures."""
    assert page_file("mlp").stat().st_size < 2_500_000


# ---------------------------------------------------------------- the numbers are Python's
@pytest.mark.parametrize("name", NAMES)
def test_pixels_are_pythons(opened, subject, name):
    """Within 2e-3 of model.pixels, and within 1e-5 of float16 weights; on the canvas too."""
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


def canvas(one, name):
    """The pixels of a canvas, uint8 (H, W, 3)."""
    address = one.run("(name) => document.getElementById(name).toDataURL()", name)
    with Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))) as image:
        return np.asarray(image.convert("RGB")).astype(int)


@pytest.mark.parametrize("name", NAMES)
def test_sliders_come_in_the_order_of_kl(opened, subject, name):
    """Every latent once, the most informative first, nats beside it."""
    found = subject(name)[0]
    kl = evaluation.kl_per_latent(*evaluation.posteriors(found.model, found.batches(found.test)))
    one = opened(name)
    rows = one.run("""() => [...document.querySelectorAll("#latents .slider")].map(
        (row) => [...row.querySelectorAll("span")].slice(0, 2).map((part) => part.textContent))""")
    order = np.argsort(-kl, kind="stable")
    assert [name for name, _ in rows] == [f"z{d}" for d in order]
    assert [nats for _, nats in rows] == [f"{kl[d]:.2f} nats" for d in order]


def draw_strokes(one, strokes):
    """With the mouse, on the drawing area; points are shares of its side."""
    one.page.click("#clear")
    box = one.page.locator("#drawing").bounding_box()
    for stroke in strokes:
        points = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in stroke]
        one.page.mouse.move(*points[0])
        one.page.mouse.down()
        for point in points[1:]:
            one.page.mouse.move(*point, steps=8)
        one.page.mouse.up()
    one.settle()


def elbo_terms(model, x, eps):
    """rec and KL as Python has them, one image and one sample."""
    with model.evaluating():
        return [term.item() for term in model.elbo(x, eps)[1:]]


SEVEN = [[(0.25, 0.25), (0.72, 0.24), (0.45, 0.85)]]


def test_terms_of_a_drawn_digit_are_pythons(opened, subject):
    """rec, KL and ELBO within 1 % for the same pixels and the same noise, draw after draw."""
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
    """The same for the other models and for a picture of the set."""
    found, config, _ = subject(name)
    one = opened(name, view="pictures")
    one.page.locator("#gallery input").nth(2).click()
    one.settle()
    x = (found.test.images[2].astype(np.float32) / 255).reshape(1, *found.model.image_shapes[-1])
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
    """Codes within 1e-3, from mean codes and vectors that Python computes anew."""
    found = subject(name)[0]
    part = found.train.take(slice(explore.export.CODES))
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
    x = found.test.images[[3, 8]].reshape(2, 784).astype(np.float32) / 255
    a, b = found.model.encode(x)[0].data
    np.testing.assert_allclose(strip_codes(one, "line"), latent.lerp(a, b, 6), atol=2e-2)
    z = one.run("Array.from(explorer.state.z)")
    np.testing.assert_allclose(strip_codes(one, "arithmetic")[2], z, atol=1e-9)


# ---------------------------------------------------------------- a seven is a seven
def sevens():
    """Ten ways to write it: leaning, wide, small, with a hook, with a bar, in a corner."""
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
    """Drawn with the mouse; the project's classifier calls at least nine of them a seven."""
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


# ---------------------------------------------------------------- hands, eyes, ears
CONTROLS = "button, input, select, summary, [tabindex='0']"


@pytest.mark.parametrize(
    "name, view",
    [
        ("conv", "latents"),
        ("mlp", "latents"),
        ("mlp", "pictures"),
        ("face", "pictures"),
        ("mlp", "loss"),
    ],
)
def test_tab_reaches_every_control(opened, name, view):
    """In one round, but for tabs and radio buttons, of which arrows choose within the group."""
    one = opened(name, view=view)
    wanted = one.run("""(controls) => [...document.querySelectorAll(controls)].filter((c) =>
        c.checkVisibility() && c.tabIndex >= 0 && !(c.type === "radio" && !c.checked)
    ).map((c, i) => (c.dataset.number = i))""", CONTROLS)  # fmt: skip
    reached = set()
    for _ in range(len(wanted) + 5):
        one.page.keyboard.press("Tab")
        reached.add(one.run("+(document.activeElement.dataset.number ?? -1)"))
    assert set(wanted) <= reached


@pytest.mark.parametrize("name", ["conv", "mlp"])
def test_the_keyboard_moves_every_control(opened, name):
    """Sliders and lists by arrows, boxes by space, buttons by Enter, tabs by arrows."""
    one = opened(name)
    for view in VIEWS:
        one.show(view)
        for kind, key in (("input[type=range]", "ArrowRight"), ("select", "ArrowDown"),
                          ("input[type=checkbox]", "Space")):  # fmt: skip
            for control in one.page.query_selector_all(f"#{view} {kind}"):
                if not control.is_visible():
                    continue
                value = "(c) => c.type === 'checkbox' ? c.checked : c.value"
                before = control.evaluate(value)
                last = control.evaluate("(c) => c.selectedIndex === c.options?.length - 1")
                control.focus()
                one.page.keyboard.press("ArrowUp" if kind == "select" and last else key)
                if control.evaluate(value) == before:  # it was at its upper end
                    one.page.keyboard.press("ArrowLeft")
                assert control.evaluate(value) != before, control.evaluate("(c) => c.outerHTML")
        for button in one.page.query_selector_all(f"#{view} button"):
            if button.is_visible():
                button.evaluate("(b) => b.addEventListener('click', () => (window.pressed = b))")
                button.focus()
                one.page.keyboard.press("Enter")
                assert button.evaluate("(b) => window.pressed === b")
                one.settle()
    one.page.focus("#tab-loss")
    one.page.keyboard.press("ArrowRight")
    assert one.run("explorer.state.view") == "latents"
    one.page.keyboard.press("ArrowLeft")
    assert one.run("explorer.state.view") == "loss"


def test_sliders_move_the_code(opened):
    """One press is one step of that latent and of no other."""
    one = opened("mlp")
    z = np.array(one.run("Array.from(explorer.state.z)"))
    slider = one.page.locator("#sliders input").first
    d = int(one.page.locator("#sliders .slider span").first.inner_text()[1:])
    before = canvas(one, "decoded")
    slider.focus()
    for _ in range(100):
        one.page.keyboard.press("ArrowLeft")
    one.settle()
    moved = np.array(one.run("Array.from(explorer.state.z)")) - z
    assert moved[d] == pytest.approx(-1, abs=0.02) or z[d] + moved[d] == -4
    assert np.count_nonzero(np.delete(moved, d)) == 0
    assert np.abs(canvas(one, "decoded") - before).max() > 20


def test_radio_buttons_by_arrows(opened):
    """The gallery and the formulas."""
    one = opened("mlp", view="pictures")
    one.page.focus("#gallery input:checked")
    one.page.keyboard.press("ArrowRight")
    one.settle()
    assert one.run("explorer.state.picture.name").startswith("picture 2")
    one.show("loss")
    one.page.focus("#formulas input:checked")
    one.page.keyboard.press("ArrowDown")
    one.settle()
    assert "0.707" in one.text("least")


def test_a_digit_drawn_with_keys(opened):
    """Space sets the pen down, arrows move it, Delete clears."""
    one = opened("mlp", view="pictures")
    one.page.focus("#drawing")
    one.page.keyboard.press("Space")
    for key in ["ArrowRight"] * 6 + ["ArrowDown"] * 9:
        one.page.keyboard.press(key)
    one.settle()
    assert one.run("explorer.state.picture.name") == "your drawing"
    assert sum(one.run("Array.from(explorer.state.picture.x)")) > 20
    one.page.keyboard.press("Delete")
    assert np.count_nonzero(canvas(one, "drawing")[..., 0] > 250) == 0


def test_the_plane_by_mouse_and_keys(opened, subject):
    """A drag sets both latents; the codes of the test digits lie where Python has them."""
    found = subject("conv")[0]
    one = opened("conv")
    box = one.page.locator("#plane").bounding_box()
    one.page.mouse.move(box["x"] + 100, box["y"] + 100)
    one.page.mouse.down()
    one.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    one.page.mouse.up()
    one.settle()
    np.testing.assert_allclose(one.run("Array.from(explorer.state.z)"), [0, 0], atol=0.02)
    one.page.focus("#plane")
    one.page.keyboard.press("ArrowUp")
    one.page.keyboard.press("Shift+ArrowRight")
    np.testing.assert_allclose(one.run("Array.from(explorer.state.z)"), [0.5, 0.1], atol=0.02)
    dots = one.run("""() => [...document.querySelectorAll("#codes path")].map((path) =>
        path.getAttribute("d").split("M").slice(1).map((d) => d.split(" ").map(parseFloat)))""")
    mu, _ = evaluation.posteriors(found.model, found.batches(found.test))
    extent = one.run("plane.extent")
    for digit, points in enumerate(dots):
        mine = mu[:2000][found.test.labels["digit"][:2000] == digit]
        wanted = np.stack([mine[:, 0] + extent, extent - mine[:, 1]], axis=1) * 200 / extent
        np.testing.assert_allclose(points, wanted, atol=0.4)


def test_quantiles_of_the_prior(opened):
    """With evenly spaced quantiles the middle is 0, and a quarter of the way the first quartile."""
    one = opened("conv")
    one.page.select_option("#plane-scale", "quantile")
    one.settle()
    box = one.page.locator("#plane").bounding_box()
    one.page.mouse.click(box["x"] + box["width"] / 4, box["y"] + box["height"] / 2)
    one.settle()
    np.testing.assert_allclose(one.run("Array.from(explorer.state.z)"), [-0.6745, 0], atol=0.02)


AXE = os.environ.get("MINIVAE_AXE")


@pytest.mark.skipif(not AXE, reason="MINIVAE_AXE does not name axe-core's axe.min.js")
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", NAMES)
def test_axe_reports_nothing(opened, name, scheme):
    """Names, roles, contrast, order of headings: all rules, in all views, wide and on a phone."""
    one = opened(name, color_scheme=scheme)
    one.run(Path(AXE).read_text(encoding="utf-8"))
    for width in (1280, 390):
        one.page.set_viewport_size({"width": width, "height": 900})
        for view in VIEWS:
            one.show(view)
            for closed in one.page.query_selector_all(f"#{view} details:not([open]) > summary"):
                if closed.is_visible():
                    closed.click()
            found = one.run("""axe.run().then(({ violations }) => violations.map(
                (v) => [v.id, v.nodes.map((n) => n.html + n.failureSummary)]))""")
            assert found == [], (view, width)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("width", [320, 390, 800])
def test_nothing_sticks_out_of_a_narrow_screen(opened, name, width):
    """No view scrolls sideways, and no text is smaller than 9 pixels."""
    one = opened(name, viewport={"width": width, "height": 700}, has_touch=True)
    for view in VIEWS:
        one.show(view)
        assert one.run("document.documentElement.scrollWidth <= innerWidth"), view
        smallest = one.run("""(view) => {
            const sizes = [...document.querySelectorAll(`#${view} text`)].map((text) => {
              const svg = text.closest("svg.chart, #plane");
              const scale = svg.getBoundingClientRect().width / svg.viewBox.baseVal.width;
              const size = parseFloat(getComputedStyle(text).fontSize);
              return text.checkVisibility() ? scale * size : 99;
            });
            return Math.min(...sizes, 99);
        }""", view)  # fmt: skip
        assert smallest >= 9, (view, smallest)


def test_schemes(opened):
    """As the system has it, unless another is chosen."""
    ground = "getComputedStyle(document.body).backgroundColor"
    light, dark = (opened("mlp", color_scheme=scheme) for scheme in ("light", "dark"))
    white, black = light.run(ground), dark.run(ground)
    assert white != black
    light.page.select_option("#theme", "dark")
    dark.page.select_option("#theme", "light")
    assert (light.run(ground), dark.run(ground)) == (black, white)


# ---------------------------------------------------------------- the loss
def test_evidence_is_elbo_and_gap(opened):
    """The bar's ends stay while q moves; at the posterior the gap is gone."""
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
    """The forgotten square: too wide; its q has a worse ELBO than the right one's."""
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
    """The last numbers of metrics.csv, and what the run was started with."""
    _, config, rows = subject("mlp")
    one = opened("mlp", view="loss")
    label = one.page.get_attribute("#curve-loss", "aria-label")
    assert f"{rows[-1]['test_loss']:.2f} in testing" in label
    one.page.click("text=Numbers of each epoch")
    table = one.text("metrics")
    assert table.count("\n") == len(rows) and f"{rows[0]['train_kl']:.2f}" in table
    assert f"lr\n{config['lr']}" in one.text("options")


# ---------------------------------------------------------------- time
@pytest.mark.parametrize("name, milliseconds", [("mlp", 2), ("conv", 25)])
def test_decoding_is_quick(opened, name, milliseconds):
    """Processor time of the page's thread, which other processes do not lengthen."""
    one = opened(name, view="loss")
    devtools = one.context.new_cdp_session(one.page)
    devtools.send("Performance.enable", {"timeDomain": "threadTicks"})

    def seconds():
        metrics = devtools.send("Performance.getMetrics")["metrics"]
        return next(m["value"] for m in metrics if m["name"] == "TaskDuration")

    decode = """async (n) => {
        const z = new Float64Array(explorer.run().latent_dim).fill(0.5);
        for (let i = 0; i < n; i++) await explorer.model().decode(z);
    }"""
    one.run(decode, 20)
    before = seconds()
    one.run(decode, 50)
    each = 1000 * (seconds() - before) / 50
    assert 0 < each < milliseconds, each


# ---------------------------------------------------------------- pages with less in them
def test_a_page_without_pictures_metrics_and_weights(opened, subject, tmp_path):
    """It says what is missing and how to have it, and complains of nothing."""
    found, config, _ = subject("mlp")
    bare = explore.contents(found._replace(public=False), config, [], images=0)
    (tmp_path / "bare.html").write_bytes(explore.page({**bare, "model": None, "groups": []}))
    one = opened(tmp_path / "bare.html", view="pictures")
    assert one.page.is_visible("#no-pictures") and "minivae explore RUN" in one.text("notice")
    draw_strokes(one, SEVEN)
    one.show("loss")
    assert one.page.is_visible("#no-metrics")


# ---------------------------------------------------------------- served
@pytest.fixture
def served(browser, tmp_path):
    """A running server of a tiny run, its folder and its page."""
    runs.digits(tmp_path)
    folder = runs.saved(tmp_path, models.MLPVAE(latent_dim=2, hidden=8, seed=1))

    def read():
        found, config = loaded(folder / "checkpoint.safetensors", folder)
        return found, explore.contents(found, config, metrics.read(folder), images=5)

    files = [folder / "checkpoint.safetensors", folder / "metrics.csv"]
    with explore.RunServer(explore.LiveRun(files, read)) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        one = Opened(browser, server.url)
        yield server, folder, one
        one.context.close()
        server.shutdown()
        thread.join()
        assert one.complaints == []


def test_training_is_watched(served):
    """New metrics, new weights, other samples, without a touch; the code stays."""
    server, folder, one = served
    sample = "document.querySelector('#samples canvas').toDataURL()"
    before, z = one.run(sample), one.run("Array.from(explorer.state.z)")
    row = runs.METRICS.splitlines()[1]
    (folder / "metrics.csv").write_text(runs.METRICS + "2" + row[1:] + "\n")
    runs.saved(folder, models.MLPVAE(latent_dim=2, hidden=8, seed=2), metrics=None)
    one.wait_for("explorer.run().metrics.length === 2")
    one.settle()
    one.settle()
    assert "2 epochs" in one.text("about")
    assert one.run(sample) != before
    assert all(
        url.startswith(f"http://127.0.0.1:{server.server_address[1]}/") for url in one.requests
    )
    assert len(z) == 2


def test_a_large_model_is_decoded_by_the_server(browser, tmp_path, monkeypatch):
    """Pixels are Python's, without weights in the page."""
    monkeypatch.setattr(explore.export, "MOST_PARAMETERS", 10)
    source = runs.faces(tmp_path, size=16)
    model = models.FaceVAE(latent_dim=3, image_size=16, seed=1)
    folder = runs.saved(tmp_path / "run", model)

    def read():
        found, config = loaded(folder / "checkpoint.safetensors", source)
        return found, explore.contents(found, config, [], images=4)

    with explore.RunServer(explore.LiveRun([folder / "checkpoint.safetensors"], read)) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        one = Opened(browser, server.url)
        assert one.run("explorer.run().model") is None
        for view in VIEWS:
            one.show(view)
        logits = one.run(
            "(z) => explorer.model().decode(z).then((l) => Array.from(l))", [0.5, -1, 1]
        )
        z = np.array([[0.5, -1, 1]], np.float32)
        with model.evaluating():
            np.testing.assert_allclose(logits, model.decode(z).data.ravel(), atol=1e-5)
        one.page.goto("about:blank")
        assert one.complaints == [], json.dumps(one.complaints)
        one.context.close()
        server.shutdown()
        thread.join()
