"""The explorer's page in a real browser: Debian's chromium, driven by playwright.

The tests are skipped where either is missing; ``.ci/run`` installs both, and axe-core, whose file
$MINIVAE_AXE names. Runs are short trainings of the examples, on MNIST if it is installed.
"""

import contextlib
import json
import os
import socket
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import runs
from browser_page import CHROMIUM, NAMES, SEVEN, VIEWS, Opened, canvas, draw_strokes

from minivae import evaluation, explore, models
from minivae.cli.explore import loaded
from minivae.training import metrics

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed"),
]


# ---------------------------------------------------------------- the page is alone
@pytest.mark.parametrize("name", NAMES)
def test_from_a_file_nothing_is_asked_for(opened, page_file, name):
    """Using every view makes no request but for the page itself, and logs no error."""
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
    """The content security policy blocks injected scripts, styles, frames and requests."""
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
    """The page of MLPVAE, with encoder and 200 pictures, is below 2.5 MB."""
    assert page_file("mlp").stat().st_size < 2_500_000


# ---------------------------------------------------------------- keyboard, mouse, accessibility
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
    """Tab reaches every control once around the page; in groups of radio buttons and tabs it
    reaches the selected one, and arrows choose the others."""
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
    """Arrows move sliders, lists and tabs, space toggles boxes, and Enter presses buttons."""
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
    """One key press moves one latent by one step, and no other latent."""
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
    """Arrows choose in the gallery and among the formulas."""
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
    """Space starts a stroke, arrows move the pen, Delete clears the drawing."""
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
    """A drag sets both latents; the test digits' codes are drawn at the positions Python gives."""
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
    mu, _ = evaluation.posteriors(found.model, found.batches(found.data.test))
    extent = one.run("plane.extent")
    for digit, points in enumerate(dots):
        mine = mu[:2000][found.data.test.labels["digit"][:2000] == digit]
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
    """The colour scheme is the system's, unless another is chosen."""
    ground = "getComputedStyle(document.body).backgroundColor"
    light, dark = (opened("mlp", color_scheme=scheme) for scheme in ("light", "dark"))
    white, black = light.run(ground), dark.run(ground)
    assert white != black
    light.page.select_option("#theme", "dark")
    dark.page.select_option("#theme", "light")
    assert (light.run(ground), dark.run(ground)) == (black, white)


# ---------------------------------------------------------------- pages with less in them
def test_a_page_without_pictures_metrics_and_weights(opened, subject, tmp_path):
    """Such a page says what is missing and how to get it, and logs no error."""
    found, config, _ = subject("mlp")
    private = found._replace(data=replace(found.data, public=False))
    bare = explore.contents(private, config, [], images=0)
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
    """The page updates metrics, weights and samples by itself; the chosen code stays."""
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
    """The page has no weights, and its pixels are those that Python computes."""
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
