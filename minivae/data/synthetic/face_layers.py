"""Draw faces in layers, back to front: the order, background, shoulders, neck, ears and head.

``f`` holds the measures of ``face_measures.geometry``.
"""

from collections.abc import Mapping
from types import SimpleNamespace

import numpy as np

from ...backend import Array
from .face_features import beard, brows, cheeks, eyes, mouth, nose, relief
from .face_hair import glasses, hair_behind, hair_in_front, hat
from .face_measures import geometry, head_shape
from .face_shapes import Canvas, blob, ellipse, hue, mix, paint, rgb, shade, step


def draw(attributes: Mapping[str, Array], size: int) -> Array:
    """Draw B faces from float32 attributes (B,) in [0, 1]: uint8 (B, 3, size, size)."""
    face = geometry(SimpleNamespace(**{k: v[:, None, None] for k, v in attributes.items()}))
    canvas = Canvas(len(attributes["yaw"]), size)
    for layer in (
        background,
        shoulders,
        hair_behind,
        neck,
        ears,
        head,
        relief,
        cheeks,
        nose,
        beard,
        mouth,
        eyes,
        brows,
        glasses,
        hair_in_front,
        hat,
    ):
        layer(canvas, face)
    return (np.clip(canvas.rgb, 0, 1) * 255 + np.float32(0.5)).astype(np.uint8)


def background(canvas: Canvas, f: SimpleNamespace) -> None:
    v = canvas.window(-1, -1, 1, 1)
    base = hue(f.background, 0.30, 0.84)
    glow = 1.10 - 0.26 * np.minimum((v.x - 0.4 * f.light_x) ** 2 + (v.y + 0.25) ** 2, 1.6)
    v.rgb[...] = base * glow[:, None]


def shoulders(canvas: Canvas, f: SimpleNamespace) -> None:
    v = canvas.window(-1, 0.5, 1, 1)
    x = v.x - 0.5 * f.cx
    side = np.abs(x)
    # Trapezius from the neck, then the round of the shoulder.
    slope = mix(0.72, 0.68, f.male) + 0.30 * step(0.15, mix(0.85, 1.05, f.male), side)
    d = (slope - v.y) * 0.9
    cloth = (
        hue(f.clothes, 0.62, 0.66)
        * (1.02 + 0.25 * f.light_x * x - 0.22 * step(0.35, 1, side))[:, None]
    )
    paint(v, canvas.fill(d), cloth)


def neck(canvas: Canvas, f: SimpleNamespace) -> None:
    v = canvas.window(-0.5, 0.3, 0.5, 1)
    x = v.x - 0.6 * f.cx
    half = mix(0.175, 0.225, f.male) + 0.9 * np.maximum(v.y - 0.66, 0) ** 2
    opening = ellipse(x, v.y - 0.70, half + 0.02, mix(0.24, 0.16, f.male))  # the neckline
    collar = canvas.band(opening - 0.012, 0.014) * canvas.fill(0.74 - v.y, 0.05)
    shade(v, collar, (0.72, 0.72, 0.74))
    cover = canvas.fill(np.maximum(np.abs(x) - half, opening))
    lit = 0.90 + 0.8 * f.light_x * x * (1 - step(0.6, 1.0, v.y))
    paint(v, cover, f.skin_rgb * lit[:, None] * rgb(0.97, 0.93, 0.90))
    shade(
        v,
        cover * blob(v.x - f.cx + 0.12 * f.light_x, v.y - f.height + 0.10, 0.46, 0.36),
        (0.60, 0.50, 0.46),
    )


def ears(canvas: Canvas, f: SimpleNamespace) -> None:
    v = canvas.window(-0.75, -0.2, 0.75, 0.3)
    for side in (-1, 1):
        x = v.x - f.cx - side * (f.width + 0.005) + 0.05 * f.sin
        cover = canvas.fill(ellipse(x, v.y - 0.04, 0.070, 0.125)) * f.bare_ears
        lit = np.clip(0.84 + 0.2 * side * f.light_x, 0.6, 1)
        paint(v, cover, f.skin_rgb * lit[:, None] * rgb(1, 0.92, 0.9))
        shade(v, blob(x, v.y - 0.04, 0.05, 0.09) * cover, (0.80, 0.70, 0.66))


def head(canvas: Canvas, f: SimpleNamespace) -> None:
    v = canvas.window(-0.75, -0.75, 0.75, 0.8)
    p, q, d = head_shape(v, f)
    # Lambert's law on an ellipsoid; nz is bounded below so that the outline does not turn black.
    nz = np.sqrt(np.maximum(1 - 0.9 * (p * p + q * q), 0.02))
    lit = 0.70 + 0.36 * np.clip(0.55 * f.light_x * p - 0.30 * q + 0.80 * nz, -0.2, 1)
    warm = rgb(0.92, 1.10, 1.22)  # shadows on skin turn red
    skin = f.skin_rgb * (1 - (1 - lit)[:, None] * warm)
    paint(v, canvas.fill(d), np.minimum(skin, 1))
