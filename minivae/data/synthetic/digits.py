"""Synthetic digits: ten classes in MNIST's format, for machines without MNIST.

A digit is a few strokes in the unit square. Each image bends them by smooth waves, changes their
aspect, slant and angle, fits them to MNIST's 20 x 20 box and puts their centre of mass in the
middle of 28 x 28.

A pixel's distance d to the strokes is computed as follows. The strokes are cut into short pieces;
each piece adds a Gaussian of standard deviation s whose weight is the piece's length. Along a
straight stroke the sum is exp(-d^2 / 2 s^2), which is solved for d. A Gaussian is separable, so the
sum over all pieces is one matrix product per image.
"""

import functools
import math

import numpy as np

from ...noise import DRAWING, Noise
from ..dataset import Dataset, Part

NAME = "synthetic-digits"
SIZE = 28
BOX = 20.0  # longer side of a digit with its stroke width, pixels
PIECES = 64  # short pieces that the strokes of one digit are cut into
WAVES = 2  # waves that bend a digit
PARAMETERS = 2 + 5 + 4 * WAVES  # uniform numbers per image: class, variant, placement, waves
BLOCK = 1000  # images drawn at a time, each block from its own noise offset
TEST_START = BLOCK << 32  # number of the first test image; the training images lie below


@functools.cache
def load(train_count: int = 60_000, test_count: int = 10_000, seed: int = 0) -> Dataset:
    """A ``Dataset`` of drawn digits, by default as many as MNIST has.

    Image i of either part is a function of ``seed`` and i and does not depend on ``train_count``
    or ``test_count``.
    """

    def part(count: int, start: int) -> Part:
        images, labels = draw(count, seed, start)
        return Part(images, {"digit": labels})

    train, test = part(train_count, 0), part(test_count, TEST_START)
    return Dataset(NAME, train, test, split={"set": "digits"}, public=True)


def draw(count: int, seed: int = 0, start: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Draw digits ``start`` to ``start + count - 1``, each a function of (seed, number) alone.

    Returns:
        Images uint8 (count, 28, 28) and labels uint8 (count,).

    Raises:
        ValueError: a negative count or start.
    """
    if count < 0 or start < 0:
        raise ValueError(f"count and start: expected at least 0, got {count} and {start}")
    images = np.empty((count, SIZE, SIZE), np.uint8)
    labels = np.empty(count, np.uint8)
    strokes, variants_before, variant_count = _templates()
    done = 0
    while done < count:
        block, skip = divmod(start + done, BLOCK)
        rows = min(BLOCK - skip, count - done)
        u = Noise(seed, DRAWING + block).uniform((skip + rows, PARAMETERS), np.float64)[skip:]
        label = (10 * u[:, 0]).astype(np.int64)
        template = variants_before[label] + (variant_count[label] * u[:, 1]).astype(np.int64)
        part = slice(done, done + rows)
        labels[part] = label
        images[part] = _ink(*_place(strokes[template], u[:, 2:]))
        done += rows
    return images, labels


def _place(ends: np.ndarray, u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bend and place strokes, given as the ends of their pieces in the unit square.

    ``ends`` is (N, P, 2, 2), where the last two axes are the two ends of a piece and (x, y); ``u``
    holds uniform numbers (N, 5 + 4 * WAVES). Returns the ends, in pixels from the centre, and the
    half widths (N,).
    """

    def between(column: int, low: float, high: float) -> np.ndarray:
        return (low + (high - low) * u[:, column])[:, None, None]

    half_width = between(0, 0.95, 1.7)
    aspect = np.exp(between(1, -0.2, 0.3))
    slant = between(2, -0.12, 0.42)
    angle = between(3, -0.15, 0.15)
    size = between(4, 0.93, 1.0)

    x, y = ends[..., 0] - 0.5, ends[..., 1] - 0.5
    for wave in range(WAVES):
        column = 5 + 4 * wave
        amplitude = between(column, 0.02, 0.07)
        heading = between(column + 1, 0, math.tau)
        phase = between(column + 2, 0, math.tau)
        direction = between(column + 3, 0, math.tau)  # in which the wave displaces
        along = x * np.cos(heading) + y * np.sin(heading)
        bend = amplitude * np.sin(math.tau * (1 + 0.5 * wave) * along + phase)
        x, y = x + bend * np.cos(direction), y + bend * np.sin(direction)
    x = aspect * x - slant * y
    x, y = x * np.cos(angle) - y * np.sin(angle), x * np.sin(angle) + y * np.cos(angle)

    extent = np.maximum(np.ptp(x, axis=(1, 2)), np.ptp(y, axis=(1, 2)))[:, None, None]
    scale = (size * BOX - 2 * half_width) / extent
    ends = np.stack((x, y), axis=-1) * scale[..., None]
    length = _lengths(ends)[..., None]
    centre = (ends.mean(axis=2) * length).sum(axis=1) / length.sum(axis=1)
    return ends - centre[:, None, None, :], half_width[:, 0, 0]


def _ink(ends: np.ndarray, half_width: np.ndarray) -> np.ndarray:
    """Paint the strokes: piece ends (N, P, 2, 2) in pixels from the centre -> uint8 (N, 28, 28)."""
    half_width = half_width.astype(np.float32)[:, None, None]
    s = 0.6 * half_width  # small, so that neighbouring strokes stay apart
    pixel = np.arange(SIZE, dtype=np.float32) - (SIZE - 1) / 2
    middle = ends.mean(axis=2).astype(np.float32)
    weight = _lengths(ends).astype(np.float32)[..., None] / (math.sqrt(math.tau) * s)
    spread = np.exp(-0.5 * ((pixel - middle[..., None]) / s[..., None]) ** 2)  # (N, P, 2, 28)
    ink = np.swapaxes(spread[:, :, 1] * weight, 1, 2) @ spread[:, :, 0]  # rows y, columns x
    distance = s * np.sqrt(np.maximum(-2 * np.log(np.maximum(ink, 1e-30)), 0))
    # Full ink up to half a stroke width from the middle line, with a soft edge of 1.4 pixels.
    cover = np.clip((half_width - distance) / 1.4 + 0.5, 0, 1)
    return np.rint(255 * cover).astype(np.uint8)


def _lengths(ends: np.ndarray) -> np.ndarray:
    return np.hypot(*np.moveaxis(ends[..., 1, :] - ends[..., 0, :], -1, 0))


# --- the strokes --------------------------------------------------------------------------------

# The variants of each class, strokes in hundredths, x to the right and y down:
# L straight from point to point, C a smooth curve through the points, O an ellipse: centre, radii.
DIGITS = [
    [  # 0: round, narrow, with the pen's overlap
        "O 50,50 38,50",
        "O 50,50 27,50",
        "C 60,3 35,4 16,40 25,85 50,100 78,80 84,40 65,6 42,10",
    ],
    [  # 1: a stick, with a flag, with a flag and a foot
        "L 50,0 50,100",
        "L 30,24 52,0 52,100",
        "L 28,22 52,0 52,100 | L 26,100 78,100",
    ],
    [  # 2: with a flat base, with a loop, with a wavy base
        "C 16,25 28,6 52,0 76,10 78,32 58,60 14,100 | L 14,100 86,100",
        "C 18,20 46,0 76,16 68,48 38,86 18,95 16,80 36,78 62,96 90,90",
        "C 20,20 45,0 75,12 70,40 45,70 16,96 | C 16,96 40,88 65,100 90,94",
    ],
    [  # 3: round, with a flat top, with a knot in the middle
        "C 20,14 45,0 74,14 68,38 40,47 | C 40,47 74,56 80,80 50,100 15,88",
        "L 20,0 78,0 44,40 | C 44,40 78,52 78,85 45,100 14,88",
        "C 18,10 50,0 75,18 60,42 42,50 42,42 62,48 82,72 60,97 20,95",
    ],
    [  # 4: open, closed, open and round
        "L 24,0 16,55 86,55 | L 70,12 68,100",
        "L 62,100 64,0 12,66 90,66",
        "C 22,2 17,38 34,56 76,48 | L 78,0 72,100",
    ],
    [  # 5: angular, round
        "L 80,0 30,0 24,44 | C 24,44 50,36 78,50 78,82 50,100 16,90",
        "L 84,2 36,4 | C 36,4 24,24 36,42 68,54 76,80 50,100 18,94",
    ],
    [  # 6: with a curved stem, with a straight stem, with a small loop
        "C 72,0 42,20 22,55 24,86 50,100 76,85 74,62 50,52 24,70",
        "C 42,0 26,42 22,78 42,100 72,90 74,66 54,54 24,72",
        "C 66,0 34,36 22,75 34,98 62,98 70,78 54,66 26,84",
    ],
    [  # 7: plain, with a bar, with a hook and a curved stem
        "L 14,0 82,0 40,100",
        "L 14,0 82,0 40,100 | L 34,50 80,50",
        "C 14,20 16,4 50,5 84,2 | C 84,2 58,42 46,100",
    ],
    [  # 8: in one stroke, of two rings
        "C 74,16 50,0 27,16 40,40 68,62 74,86 48,100 22,84 34,60 64,38 74,16",
        "O 50,24 24,24 | O 50,74 30,26",
    ],
    [  # 9: with a straight stem, with a curved tail, in one stroke
        "O 48,26 27,26 | L 75,20 70,100",
        "O 50,27 27,27 | C 77,27 76,60 60,92 26,98",
        "C 74,10 45,0 22,24 36,50 64,42 76,10 72,50 58,100",
    ],
]


def _stroke(text: str) -> np.ndarray:
    """One stroke of the table as a fine polyline (K, 2) in the unit square."""
    kind, *words = text.split()
    points = np.array([[float(x) for x in word.split(",")] for word in words]) / 100
    if kind == "L":
        return points
    if kind == "O":
        t = np.linspace(0, math.tau, 80)[:, None]
        return points[0] + points[1] * np.concatenate((np.cos(t), np.sin(t)), axis=1)
    return _smooth(points)


def _smooth(points: np.ndarray) -> np.ndarray:
    """The uniform Catmull-Rom spline through the points (K, 2), as a fine polyline."""
    p = np.concatenate((2 * points[:1] - points[1:2], points, 2 * points[-1:] - points[-2:-1]))
    a, b, c, d = p[:-3, None], p[1:-2, None], p[2:-1, None], p[3:, None]
    t = np.linspace(0, 1, 20, endpoint=False)[None, :, None]
    spans = b + t / 2 * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a)))
    return np.concatenate((spans.reshape(-1, 2), points[-1:]))


def _templates() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Piece ends of all variants (V, P, 2, 2); for each class the index of its first variant, and
    the number of its variants.
    """
    counts = np.array([len(variants) for variants in DIGITS])
    pieces = [
        _pieces([_stroke(text) for text in strokes.split("|")])
        for variants in DIGITS
        for strokes in variants
    ]
    return np.stack(pieces), np.cumsum(counts) - counts, counts


def _pieces(strokes: list[np.ndarray]) -> np.ndarray:
    """Cut polylines into PIECES short pieces of about equal length -> ends (P, 2, 2)."""
    travelled = [np.concatenate(([0], np.cumsum(np.hypot(*np.diff(s, axis=0).T)))) for s in strokes]
    lengths = np.array([t[-1] for t in travelled])
    borders = np.rint(PIECES * np.concatenate(([0], np.cumsum(lengths))) / lengths.sum()).astype(
        int
    )
    pieces = []
    for stroke, t, count in zip(strokes, travelled, np.diff(borders), strict=True):
        at = np.linspace(0, t[-1], count + 1)
        ends = np.stack([np.interp(at, t, coordinate) for coordinate in stroke.T], axis=1)
        pieces.append(np.stack((ends[:-1], ends[1:]), axis=1))
    return np.concatenate(pieces)
