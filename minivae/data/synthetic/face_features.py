"""Draw the features of a face: nose, mouth, eyes, brows, beard.

``f`` holds the measures of ``face_measures.geometry``.
"""

from types import SimpleNamespace

import numpy as np

from .face_measures import REGIONS, head_shape, on_head, turned
from .face_shapes import Canvas, blob, ellipse, mix, paint, rgb, shade, step


def relief(canvas: Canvas, f: SimpleNamespace) -> None:
    """Shading of the eye sockets, the forehead and the chin."""
    v = canvas.window(-0.62, -0.6, 0.62, 0.68)
    u = turned(v, f)
    socket = blob(np.abs(u) - f.eye_x + 0.02, v.y + 0.03, 0.19, 0.14)
    shade(v, socket * on_head(canvas, v, f), (0.86, 0.79, 0.77))
    shade(v, blob(u + 0.1 * f.light_x, v.y + 0.33, 0.34, 0.20), (1.05, 1.05, 1.05))
    shade(v, blob(u, v.y - 0.90 * f.height, 0.16, 0.10), (1.05, 1.04, 1.04))
    shade(v, blob(u, v.y - f.mouth_y - 0.105, 0.16, 0.045), (0.87, 0.82, 0.80))


def cheeks(canvas: Canvas, f: SimpleNamespace) -> None:
    v = canvas.window(*REGIONS["smile"])
    rosy = (mix(0.55, 0.40, f.male) + 0.3 * f.smile) * on_head(canvas, v, f)
    shade(v, rosy * blob(np.abs(turned(v, f)) - 0.30, v.y - 0.20, 0.19, 0.16), (1.01, 0.86, 0.86))


def nose(canvas: Canvas, f: SimpleNamespace) -> None:
    v = canvas.window(-0.5, -0.25, 0.5, 0.4)
    u = turned(v, f) - 0.20 * f.sin * step(-0.15, 0.25, v.y)  # the nose stands out from the face
    y = v.y - f.nose_y
    wide = mix(0.062, 0.086, f.nose) + 0.006 * f.male
    down = step(-0.1, 1, (v.y + 0.1) / (f.nose_y + 0.1))
    ridge = mix(0.034, 0.8 * wide, down)
    along = step(-0.16, 0.0, v.y) * canvas.fill(y, 0.10)
    sides = blob(np.abs(u) - ridge - 0.012, 0, 0.055, 1)
    towards = np.clip(
        0.5 - 1.2 * np.sign(u) * f.light_x, 0.15, 1.2
    )  # the side away from the light is darker
    shade(v, towards * along * sides, (0.85, 0.77, 0.74))
    shade(v, along * blob(u - 0.15 * ridge * f.light_x, 0, 0.032, 1), (1.08, 1.07, 1.06))
    shade(v, blob(u, y - 0.035, wide + 0.05, 0.06), (0.84, 0.74, 0.71))
    shade(v, blob(np.abs(u) - wide - 0.004, y + 0.010, 0.024, 0.050), (0.80, 0.69, 0.66))
    shade(
        v,
        canvas.fill(
            ellipse(np.abs(u) - 0.50 * wide, y - 0.022 + 0.1 * np.abs(u), 0.024, 0.012), 0.02
        ),
        (0.45, 0.31, 0.29),
    )
    shade(v, blob(u - 0.03 * f.light_x, y + 0.035, 0.055, 0.05), (1.11, 1.10, 1.10))


def beard(canvas: Canvas, f: SimpleNamespace) -> None:
    v = canvas.window(-0.65, -0.15, 0.65, 0.8)
    _, _, d = head_shape(v, f)
    u = turned(v, f)
    side = np.abs(u) / f.width
    # Upper edge: below the nose in the middle, low on the cheek, up to the ear at the side.
    edge = f.nose_y + 0.085 + 0.09 * step(0.20, 0.42, side) - 0.60 * step(0.55, 1.15, side)
    full = step(0.30, 0.80, f.beard)
    strength = (
        f.male * (0.13 + 0.75 * full) * canvas.fill(edge - v.y, 0.2) * canvas.fill(d + 0.01, 0.05)
    )
    strength = strength * (1 - 0.7 * blob(u, v.y - f.mouth_y - 0.07, 0.07, 0.035))
    paint(v, strength, f.hair_rgb * 0.85 + 0.02)


def mouth(canvas: Canvas, f: SimpleNamespace) -> None:
    v = canvas.window(*REGIONS["smile"])
    u = turned(v, f) - 0.06 * f.sin
    w = mix(0.115, 0.150, f.mouth_width) + 0.040 * f.smile
    s = u / w
    s2 = np.minimum(s * s, 1.3)
    rise = mix(0.012, 0.060, f.smile)  # corners rise in a smile
    y = v.y - f.mouth_y + rise * (s2 - 0.35)
    arch = np.maximum(1 - s2, 0)
    lip = mix(0.042, 0.030, f.male)
    bow = 1 - 0.24 * blob(s, 0, 0.30, 1)  # the dip in the middle of the upper lip
    gap = 0.058 * f.smile * arch
    top, low = -0.25 * gap, 0.75 * gap  # the edges of the opening
    upper, lower = top - lip * bow * arch**0.75, low + 1.30 * lip * np.sqrt(arch)
    inside = canvas.fill(np.abs(u) - w, 0.03)
    lips = inside * canvas.fill(np.maximum(upper - y, y - lower), 0.014)
    woman, man = np.array([[0.88, 0.55, 0.56], [0.86, 0.62, 0.59]], np.float32)
    tint = mix(woman, man, f.male[:, 0, 0, None])
    tone = (
        0.98
        + 0.12 * np.clip((y - low) / lip, -1, 0.6)
        + 0.16 * blob(u - 0.05 * f.light_x, y - low - 0.55 * lip, 0.09, 0.022)
    )
    paint(v, 0.92 * lips, f.skin_rgb * tint[..., None, None] * tone[:, None])
    # Between the lips: teeth in a smile, else the line where the lips meet.
    opening = f.smile * inside * canvas.fill(np.maximum(top - y, y - low), 0.012)
    bright = 1 - 0.45 * s2 * s2 - 0.22 * step(0.3, 1.0, (y - top) / (gap + 0.01))
    paint(v, opening, rgb(0.96, 0.94, 0.91) * bright[:, None])
    line = inside * np.maximum(
        canvas.band(y - top, 0.004, 0.013), f.smile * canvas.band(y - low, 0.003, 0.013)
    )
    shade(v, 0.9 * line, (0.50, 0.34, 0.34))
    shade(v, blob(np.abs(u) - w - 0.004, y + 0.2 * rise, 0.030, 0.026), (0.74, 0.64, 0.62))
    # Folds from the wings of the nose past the corners of a smiling mouth.
    run = step(f.nose_y - 0.02, f.nose_y + 0.08, v.y) * (
        1 - step(f.mouth_y - 0.06, f.mouth_y + 0.05, v.y)
    )
    fold = np.abs(u) - mix(0.10, w + 0.055, np.sqrt(np.clip((v.y - f.nose_y + 0.03) / 0.2, 0, 1)))
    fold = run * blob(fold, 0, 0.034, 1) * on_head(canvas, v, f)
    shade(v, f.smile * fold, (0.87, 0.80, 0.78))


def eyes(canvas: Canvas, f: SimpleNamespace) -> None:
    v = canvas.window(-0.6, -0.2, 0.6, 0.16)
    u = turned(v, f)
    w = f.eye_w
    offset = np.abs(u) - f.eye_x
    e = offset / w  # -1 inner corner .. 1 outer corner
    y = v.y + 0.02 + 0.010 * e  # outer corners a little higher
    arch = 1 - e * e
    open_ = w * mix(0.42, 0.52, f.eye_size)
    slope = 1 / np.sqrt(1 + (1.4 * e * open_ / w) ** 2)  # vertical distance -> distance to the lid
    d_top, d_bottom = (
        (-open_ * arch * (1 + 0.12 * e) - y) * slope,
        (y - 0.66 * open_ * arch) * slope,
    )
    ball = canvas.fill(np.maximum(d_top, d_bottom))
    white = 1 - 0.28 * canvas.fill(-d_top - 0.018, 0.045) - 0.14 * e * e
    paint(v, ball, rgb(0.95, 0.93, 0.92) * white[:, None])
    # Iris: dark at the rim and under the lid, lighter below; a glint on the side of the light.
    r = np.sqrt(offset**2 + (y + 0.08 * w) ** 2)
    size = 0.45 * w
    glow = 1.15 - 0.70 * step(0.60 * size, size, r) + 7 * np.clip(y, -0.05, 0.05)
    paint(v, ball * canvas.fill(r - size, 0.012), f.eye_rgb * glow[:, None])
    paint(v, ball * canvas.fill(r - 0.19 * w, 0.012), rgb(0.03, 0.03, 0.04))
    towards = np.where(f.light_x > 0, 0.17, -0.17) * w * np.sign(u)
    paint(
        v,
        ball * 0.95 * canvas.fill(np.hypot(offset - towards, y + 0.22 * w) - 0.085 * w),
        rgb(1, 1, 1),
    )
    # Lids: lashes above (stronger on a woman), crease, a faint line below.
    within = canvas.fill(np.abs(offset) - w * 1.05, 0.025)
    lash = canvas.band(d_top - 0.005, mix(0.012, 0.007, f.male) * (1 + 0.35 * e), 0.012)
    shade(v, within * lash, (0.20, 0.15, 0.14))
    shade(v, within * canvas.band(d_top - 0.036, 0.005, 0.024) * 0.8, (0.66, 0.54, 0.51))
    shade(v, within * canvas.band(d_bottom - 0.004, 0.004, 0.016) * 0.6, (0.66, 0.52, 0.50))
    shade(v, blob(offset, y - 0.085, 1.2 * w, 0.035), (0.93, 0.89, 0.88))


def brows(canvas: Canvas, f: SimpleNamespace) -> None:
    v = canvas.window(-0.62, -0.4, 0.62, -0.05)
    u = turned(v, f)
    e = (np.abs(u) - f.eye_x - 0.012) / (1.32 * f.eye_w)
    high = mix(0.115, 0.155, f.brow) - 0.015 * f.male
    arch = mix(0.016, 0.040, f.brow) * mix(1.0, 0.7, f.male)
    y = v.y + high + arch * (1 - 0.75 * (e - 0.12) ** 2)
    thick = mix(0.014, 0.024, f.male) * (1 - 0.6 * np.clip(e, 0, 1))
    cover = canvas.band(y, thick, 0.022) * canvas.fill((np.abs(e) - 1) * 0.13, 0.06)
    paint(v, 0.85 * cover, f.hair_rgb * 0.72)
