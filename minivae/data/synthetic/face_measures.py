"""Measures and colours of a drawn face that several layers share.

Units and shapes are those of face_shapes.py. To turn the head, features are drawn in (u, y), where
u is the x coordinate on the surface of a cylinder turned by the yaw, so that features move sideways
and become narrower. The numeric constants are measures chosen by eye.
"""

from types import SimpleNamespace

import numpy as np

from ...backend import Array
from .face_shapes import Canvas, ellipse, mix, ramp, step

# Colours along a ramp, for attribute values 0 .. 1.
SKIN = [
    (0.98, 0.85, 0.76),
    (0.94, 0.76, 0.64),
    (0.83, 0.62, 0.47),
    (0.62, 0.42, 0.29),
    (0.40, 0.26, 0.18),
]
HAIR = [
    (0.09, 0.07, 0.07),
    (0.22, 0.14, 0.10),
    (0.40, 0.24, 0.14),
    (0.58, 0.27, 0.12),
    (0.85, 0.66, 0.36),
    (0.72, 0.71, 0.70),
]
EYES = [
    (0.22, 0.12, 0.06),
    (0.42, 0.27, 0.10),
    (0.36, 0.45, 0.22),
    (0.25, 0.48, 0.70),
    (0.50, 0.58, 0.62),
]
FRAMES = [(0.05, 0.05, 0.07), (0.12, 0.07, 0.06), (0.40, 0.19, 0.09)]

# The region in which changing an attribute can affect the picture: left, top, right, bottom.
REGIONS = {
    "glasses": (-0.7, -0.2, 0.7, 0.2),
    "smile": (-0.62, 0.03, 0.62, 0.66),
    "hat": (-0.75, -1.0, 0.75, -0.2),
}


def geometry(a: SimpleNamespace) -> SimpleNamespace:
    """Measures that several layers share, from the attributes: (B, 1, 1), or a colour."""
    f = SimpleNamespace(**vars(a))
    turn = (f.yaw - 0.5) * 0.54  # radians
    f.sin, f.cos = np.sin(turn), np.cos(turn)
    f.cx = 0.12 * f.sin  # the head moves a little with the turn
    f.width = mix(0.425, 0.485, f.head_width) + 0.012 * f.male
    f.height = mix(0.61, 0.68, f.head_height)
    f.taper = mix(0.27, 0.15, f.male)  # how much the jaw is narrower than the cheekbones
    f.eye_x = mix(0.175, 0.215, f.eye_spacing)
    f.eye_w = mix(0.090, 0.112, f.eye_size)
    f.mouth_y = 0.64 * f.height
    f.nose_y = mix(0.19, 0.235, f.nose)
    f.length = mix(mix(0.35, 1.0, f.hair_length), 0.22 * f.hair_length, f.male)
    f.bare_ears = 1 - step(0.25, 0.34, f.length)  # all of a man's, none of a woman's
    f.part = (f.parting - 0.5) * 0.24
    f.light_x = (f.light - 0.5) * 1.5
    f.skin_rgb = ramp(SKIN, f.skin)
    f.hair_rgb = ramp(HAIR, f.hair_colour)
    f.eye_rgb = ramp(EYES, f.eye_colour)
    return f


def axis(view: SimpleNamespace, f: SimpleNamespace) -> Array:
    """x of the middle of the head at each height: the chin moves further than the crown."""
    t = np.clip(view.y / f.height, 0, 1)
    return f.cx + 0.26 * f.sin * t * t


def turned(view: SimpleNamespace, f: SimpleNamespace) -> Array:
    """u: x on a cylinder a little wider than the head, turned back by the yaw."""
    t = np.clip(view.y / f.height, 0, 1)
    radius = 1.30 * f.width * (1 - 0.7 * f.taper * t * t)
    s = np.clip((view.x - axis(view, f)) / radius, -1, 1)
    return radius * (s * f.cos - np.sqrt(1 - s * s) * f.sin)


def head_shape(view: SimpleNamespace, f: SimpleNamespace) -> tuple[Array, Array, Array]:
    """Coordinates (p, q) in which the head is the unit disc, and its distance d."""
    t = np.clip(view.y / f.height, 0, 1)
    x = view.x - axis(view, f)
    narrow = f.width * (1 - f.taper * t * t * t)
    return x / narrow, view.y / f.height, ellipse(x, view.y, narrow, f.height)


def on_head(canvas: Canvas, view: SimpleNamespace, f: SimpleNamespace) -> Array:
    """Coverage by the head, which confines shading to it."""
    return canvas.fill(head_shape(view, f)[2])
