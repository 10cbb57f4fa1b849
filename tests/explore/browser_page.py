"""The explorer's page in a real browser: Debian's chromium, driven by playwright."""

import base64
import io
import re
import shutil

import numpy as np
from PIL import Image

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


VIEWS = ("latents", "pictures", "loss")
NAMES = ("mlp", "conv", "face")


def drawn_faces(path):
    """Drawn faces with their attributes, in a file."""
    from minivae.data.faces import draw_faces

    found = draw_faces(300, 64, 0, progress=False)
    np.savez(path, images=np.moveaxis(found.images, 1, -1),
             **{name: found.attributes[name] for name in ("male", "glasses", "smile")})  # fmt: skip


class Opened:
    """A page in the browser, with the list of its requests and of its errors and warnings."""

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
        """Wait until the page has drawn the current state."""
        self.page.evaluate("explorer.settled().then(() => explorer.settled())")

    def run(self, script, value=None):
        return self.page.evaluate(script, value)

    def text(self, name):
        return self.page.inner_text(f"#{name}")

    def number(self, name):
        return float(re.match(r"-?[\d.]+", self.text(name))[0])

    def wait_for(self, condition):
        """Wait until a condition holds (playwright's wait needs eval, which the policy forbids)."""
        while not self.run(condition):
            self.page.wait_for_timeout(50)

    def set_slider(self, selector, value):
        """Set a slider's value and dispatch its input event."""
        self.run("""([selector, value]) => {
            const input = document.querySelector(selector);
            input.value = value;
            input.dispatchEvent(new Event("input"));
        }""", [selector, value])  # fmt: skip
        self.settle()


def canvas(one, name):
    """The pixels of a canvas, uint8 (H, W, 3)."""
    address = one.run("(name) => document.getElementById(name).toDataURL()", name)
    with Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def draw_strokes(one, strokes):
    """Draw with the mouse on the drawing area; coordinates are fractions of its side."""
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


SEVEN = [[(0.25, 0.25), (0.72, 0.24), (0.45, 0.85)]]
