"""Antialiased shapes and colours with which face_layers.py draws.

Coordinates: x in [-1, 1] to the right, y in [-1, 1] downwards, over the whole picture; every length
is in these units, every colour in 0 .. 1. A shape is a signed distance d (negative inside); its
coverage of a pixel is computed from that distance and the pixel's width. Arrays are (B, h, w): B
faces, and the rows and columns of the current window; an attribute is (B, 1, 1).
"""

import math
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, TypeAlias

import numpy as np

from ...backend import Array

Colour: TypeAlias = tuple[float, float, float]
Values: TypeAlias = Array | float


def ramp(stops: Sequence[Colour], t: Array) -> Array:
    """Colour at t in [0, 1] along equally spaced stops: t (B, 1, 1) -> (B, 3, 1, 1)."""
    position = np.linspace(0, 1, len(stops))
    channels = [np.interp(t, position, channel) for channel in np.transpose(stops)]
    return np.stack(channels, axis=1).astype(np.float32)


def hue(t: Array, saturation: Values, value: Values) -> Array:
    """Colour of hue t in [0, 1]: t (B, 1, 1) -> (B, 3, 1, 1); cosines avoid saturated colours."""
    phase = t[:, None] - rgb(0, 1 / 3, 2 / 3)
    return value * (1 - saturation * (0.5 - 0.5 * np.cos(math.tau * phase)))


def rgb(*channels: float) -> Array:
    """Three numbers as (3, 1, 1), which broadcasts against pictures (B, 3, h, w)."""
    return np.array(channels, np.float32).reshape(3, 1, 1)


def mix(a: Values, b: Values, t: Values) -> Any:
    """a at t = 0, b at t = 1."""
    return a + t * (b - a)


def step(low: Values, high: Values, value: Values) -> Array:
    """Smooth step from 0 at low to 1 at high (cubic)."""
    t = np.clip((value - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def ellipse(x: Values, y: Values, a: Values, b: Values) -> Array:
    """Distance to an ellipse of half axes a, b: exact on the outline and to first order near it."""
    p, q = x / a, y / b
    k = np.sqrt(p * p + q * q)
    return k * (k - 1) / np.sqrt((p / a) ** 2 + (q / b) ** 2 + np.float32(1e-6))


def blob(x: Values, y: Values, a: Values, b: Values) -> Array:
    """Soft spot: 1 at the centre, 0 at and beyond the ellipse of half axes a, b."""
    t = np.maximum(1 - (x / a) ** 2 - (y / b) ** 2, 0)
    return t * t


def pixels(low: float, high: float, size: int) -> slice:
    """The slice of the pixels that overlap the interval low .. high of an axis."""
    first, last = (low + 1) * size / 2, (high + 1) * size / 2
    return slice(max(0, int(np.floor(first))), min(size, int(np.ceil(last))))


class Canvas:
    """B pictures being drawn; a layer draws in a ``window`` and cannot change other pixels."""

    def __init__(self, faces: int, size: int) -> None:
        self.rgb = np.zeros((faces, 3, size, size), np.float32)
        self.size, self.pixel = size, np.float32(2 / size)
        self.centres = ((2 * np.arange(size) + 1) / size - 1).astype(np.float32)

    def window(self, left: float, top: float, right: float, bottom: float) -> SimpleNamespace:
        rows, columns = pixels(top, bottom, self.size), pixels(left, right, self.size)
        return SimpleNamespace(
            rgb=self.rgb[:, :, rows, columns],
            x=self.centres[None, None, columns],
            y=self.centres[None, rows, None],
        )

    def fill(self, d: Values, soft: float = 0.0) -> Array:
        """Coverage by the shape of distance d: a ramp one pixel wide, or ``soft`` if wider."""
        return np.clip(np.float32(0.5) - d * (1 / max(self.pixel, np.float32(soft))), 0, 1)

    def band(self, d: Values, half_width: Values, soft: float = 0.0) -> Array:
        """Coverage by the stroke |d| < half_width; a thin stroke becomes fainter, not dashed."""
        return self.fill(d - half_width, soft) - self.fill(d + half_width, soft)

    def wave(self, phase: Values, wavenumber: float) -> Array:
        """sin(phase), attenuated as a wave of this wavenumber is by averaging over a pixel."""
        return np.sin(phase) * np.sinc(wavenumber * self.pixel / math.tau)


def paint(view: SimpleNamespace, coverage: Array, colour: Array) -> None:
    """Blend a colour (..., 3, 1, 1) or (B, 3, h, w) over the view by ``coverage``."""
    view.rgb += coverage[:, None] * (colour - view.rgb)


def shade(view: SimpleNamespace, coverage: Array, factor: Colour) -> None:
    """Multiply the view by ``factor``, one number per channel, in proportion to ``coverage``."""
    view.rgb *= 1 + coverage[:, None] * (rgb(*factor) - 1)
