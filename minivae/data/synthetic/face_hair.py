"""Draw hair, hat and glasses.

``f`` holds the measures of ``face_measures.geometry``.
"""

from types import SimpleNamespace

import numpy as np

from ...backend import Array
from .face_measures import FRAMES, REGIONS, head_shape, on_head, turned
from .face_shapes import Canvas, blob, ellipse, hue, mix, paint, ramp, rgb, shade, step


def hair_shape(view: SimpleNamespace, f: SimpleNamespace) -> Array:
    """Distance to the outline of the hair: an ellipse over the head, extended downwards."""
    fall = step(0.25, 1.0, f.length)
    centre = -0.14
    bottom = mix(centre, 0.95, fall) + 0.03 * fall * np.sin(17 * view.x + 20 * f.parting)
    y = view.y - np.clip(view.y, centre, np.maximum(bottom, centre))
    wavy = 0.020 * fall * np.sin(8 * view.y + 6 * f.parting) * step(-0.2, 0.5, view.y)
    x = view.x - f.cx + 0.06 * f.sin
    wide = f.width + mix(0.030, 0.10, step(0.1, 0.6, f.length)) + wavy * np.sign(x)
    tall = np.where(
        view.y > centre, 0.20, f.height + centre + 0.10 + 0.05 * step(0.0, 0.5, f.length)
    )
    return ellipse(x, y, wide, tall)


def hair_colour(canvas: Canvas, view: SimpleNamespace, f: SimpleNamespace) -> Array:
    """Colour of the hair: locks that run down from the parting, and gloss towards the light."""
    x, y = view.x - f.cx - f.part, view.y
    t = x / (np.abs(y + 0.9) + 0.30)
    locks = (
        canvas.wave(30 * t + 2, 28)
        + 0.7 * canvas.wave(53 * t + 6 * y, 48)
        + 0.5 * canvas.wave(90 * t - 5 * y, 80)
    )
    gloss = blob(x + f.part - 0.40 * f.light_x, y + 0.50 - 0.35 * x * x, 0.42, 0.16)
    lit = 1 + 0.11 * locks + 0.30 * f.light_x * x - 0.12 * y
    shine = (0.15 * gloss * (1 + 0.3 * locks))[:, None] * (0.35 + f.hair_rgb)
    return np.maximum(f.hair_rgb * lit[:, None] + shine, 0)


def hair_behind(canvas: Canvas, f: SimpleNamespace) -> None:
    v = canvas.window(-0.85, -1, 0.85, 1)
    paint(v, canvas.fill(hair_shape(v, f)), hair_colour(canvas, v, f) * 0.60)


def hair_in_front(canvas: Canvas, f: SimpleNamespace) -> None:
    v = canvas.window(-0.85, -1, 0.85, 1)
    u = turned(v, f)
    side = np.abs(u) / f.width
    # A woman's hair falls from the parting to both sides and along the cheeks; a man's is short,
    # with sideburns. ``edge`` is the y at which the hair ends and the face begins.
    away = (u - f.part) / f.width
    curtain = (
        -0.84 * f.height
        + 0.46 * away**2 / np.sqrt(away**2 + 0.06)
        + 4.2 * np.maximum(side - 0.76, 0) * f.length
    )
    temples = 0.035 * np.cos(7.5 * u / f.width) - 0.10 * f.part * away
    cropped = -0.69 * f.height + temples + 6 * np.maximum(side - 0.76, 0) ** 1.5
    cropped = np.minimum(cropped, 0.05)
    edge = mix(curtain, cropped, f.male)
    d = np.maximum(hair_shape(v, f), (v.y - edge) * 0.7)
    shadow = canvas.fill(d - 0.02, 0.10) * on_head(canvas, v, f)
    shade(v, 0.8 * shadow, (0.74, 0.64, 0.60))
    paint(v, canvas.fill(d, 0.016), hair_colour(canvas, v, f))


def hat(canvas: Canvas, f: SimpleNamespace) -> None:
    """A knitted cap with a turned-up brim."""
    v = canvas.window(*REGIONS["hat"])
    x = v.x - f.cx + 0.04 * f.sin
    u = turned(v, f)
    wide = f.width + 0.105
    brim = -0.38 + 0.10 * (
        1 - (x / wide) ** 2
    )  # lower edge, bent as a ring seen from a little above
    d = ellipse(x, v.y + 0.22, wide, f.height + 0.0)
    cap = canvas.fill(np.maximum(d, v.y - brim))
    ribs = canvas.wave(42 * u / f.width, 42 / 0.45)
    fold = canvas.fill(brim - 0.17 - v.y, 0.012)
    lit = 0.95 + 0.30 * f.light_x * x - 0.30 * (x / wide) ** 2 + 0.05 * ribs + 0.08 * fold
    lit = lit - 0.18 * blob(v.y - brim + 0.185, 0, 0.03, 1)
    shade(
        v,
        f.hat * canvas.fill(v.y - brim - 0.03, 0.08) * on_head(canvas, v, f),
        (0.72, 0.64, 0.60),
    )
    paint(v, f.hat * cap, hue(f.clothes + 0.4, 0.62, 0.62) * lit[:, None])


def glasses(canvas: Canvas, f: SimpleNamespace) -> None:
    v = canvas.window(*REGIONS["glasses"])
    u = turned(v, f) - 0.04 * f.sin
    side = np.abs(u)
    y = v.y + 0.012
    half_w, half_h = 0.148, mix(0.100, 0.132, f.frames)
    corner = mix(0.045, 0.128, f.frames)
    qx, qy = np.abs(side - f.eye_x - 0.008) - half_w + corner, np.abs(y) - half_h + corner
    d = np.hypot(np.maximum(qx, 0), np.maximum(qy, 0)) + np.minimum(np.maximum(qx, qy), 0) - corner
    rim = canvas.band(d, 0.012)
    bridge = canvas.band(y + 0.04 - 0.6 * side * side, 0.011) * canvas.fill(side - f.eye_x + half_w)
    outside = canvas.fill(f.eye_x + half_w - side) * canvas.fill(head_shape(v, f)[2] - 0.01)
    arm = canvas.band(y + 0.045, 0.011) * outside
    frame = np.maximum(rim, np.maximum(bridge, arm))
    shade(
        v, f.glasses * 0.6 * canvas.band(d - 0.02, 0.015, 0.05), (0.82, 0.76, 0.74)
    )  # its shadow on the skin
    lens = canvas.fill(d)
    glint = lens * canvas.band(side - f.eye_x + 0.8 * y * np.sign(u) + 0.05, 0.02, 0.03)
    paint(v, f.glasses * (0.06 * lens + 0.12 * glint), rgb(0.9, 0.96, 1.0))
    paint(v, f.glasses * frame, ramp(FRAMES, f.frames))
