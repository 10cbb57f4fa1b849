"""Synthetic faces: colour images drawn from named attributes.

A face is a pure function of its attributes, so one attribute can be changed while all others stay
the same: an edit made in a model's latent space can be compared with the true edited face.

    faces = sample_attributes(1000, seed=0)
    images = render(faces, size=64)                                     # uint8 (1000, 3, 64, 64)
    bare = render(faces | {"glasses": np.zeros(1000, bool)}, size=64)   # the same people without

``sample_attributes`` draws the attributes at random; ``render`` draws the faces, with the layers
of face_layers.py.
"""

from collections.abc import Mapping

import numpy as np

from . import face_layers

# Every continuous attribute is in [0, 1]; the text describes its values from 0 to 1.
CONTINUOUS = {
    "head_width": "narrow .. wide",
    "head_height": "short .. long",
    "skin": "light .. dark",
    "hair_colour": "black, browns, auburn, blond, grey",
    "hair_length": "short .. long; a man's range is shorter",
    "parting": "fringe swept to the left .. to the right",
    "eye_size": "small .. large",
    "eye_spacing": "close .. far apart",
    "eye_colour": "dark brown, hazel, green, blue, grey",
    "brow": "low and flat .. high and arched",
    "nose": "small .. large",
    "mouth_width": "narrow .. wide",
    "beard": "a man's beard: stubble .. full; no effect on a woman",
    "frames": "glasses: angular and dark .. round and brown; no effect without glasses",
    "yaw": "turned to the left of the picture .. to the right; 0.5 looks at the viewer",
    "light": "from the left .. from the right",
    "background": "hue around the colour circle",
    "clothes": "hue around the colour circle",
}
# Each yes/no attribute with the share of faces that have it.
YES_NO = {"glasses": 0.4, "smile": 0.5, "male": 0.5, "hat": 0.1}


def sample_attributes(n: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Random attributes of ``n`` faces.

    Face i is a pure function of (``seed``, i) and does not depend on ``n``. Attributes are
    independent, except that hair and eyes tend to be darker with darker skin.

    Returns:
        Name -> array (n,): float32 in [0, 1] for ``CONTINUOUS``, bool for ``YES_NO``.

    Raises:
        ValueError: a negative ``n`` or ``seed``.
    """
    if n < 0 or seed < 0:
        raise ValueError(f"n, seed: expected at least 0, got {n}, {seed}")
    # One stream fills the rows one after the other, so face i does not depend on n.
    u = np.random.default_rng(seed).random((n, len(CONTINUOUS) + len(YES_NO)))
    columns = dict(zip([*CONTINUOUS, *YES_NO], u.T, strict=True))
    faces = {name: columns[name].astype(np.float32) for name in CONTINUOUS}
    faces["hair_colour"] *= 1 - 0.7 * faces["skin"]
    faces["eye_colour"] *= 1 - 0.7 * faces["skin"]
    return faces | {name: columns[name] < share for name, share in YES_NO.items()}


def render(attributes: Mapping[str, np.ndarray], size: int = 64) -> np.ndarray:
    """Draw faces: uint8 (n, 3, size, size), red, green, blue.

    Edges are antialiased, so a small picture is the large one scaled down, up to a small error.

    Args:
        attributes: as ``sample_attributes`` returns them.
        size: 8 .. 256.

    Raises:
        ValueError: another size, or an attribute that is missing, unknown, out of range or of
            another type or length, which the message names.
    """
    if not 8 <= size <= 256:
        raise ValueError(f"size: expected 8 to 256, got {size}")
    n = _check(attributes)
    images = np.empty((n, 3, size, size), np.uint8)
    batch = max(1, 2**15 // size**2)  # so that the arrays of a batch fit into the L2 cache
    for start in range(0, n, batch):
        rows = slice(start, start + batch)
        part = {
            name: np.asarray(values)[rows].astype(np.float32) for name, values in attributes.items()
        }
        images[rows] = face_layers.draw(part, size)
    return images


def _check(attributes: Mapping[str, np.ndarray]) -> int:
    """Check every array; returns the number of faces."""
    expected = [*CONTINUOUS, *YES_NO]
    for name in expected:
        if name not in attributes:
            raise ValueError(f"attributes: expected {name!r} among them, got none of that name")
    for name in attributes:
        if name not in expected:
            raise ValueError(f"attributes: expected some of {', '.join(expected)}, got {name!r}")
    n = len(np.atleast_1d(attributes[expected[0]]))
    for name in expected:
        values = np.asarray(attributes[name])
        if values.shape != (n,):
            raise ValueError(f"attribute {name!r}: expected shape {(n,)}, got {values.shape}")
        if name in YES_NO and values.dtype != bool:
            raise ValueError(f"attribute {name!r}: expected bool, got {values.dtype}")
        if name in CONTINUOUS and not np.all((values >= 0) & (values <= 1)):  # NaN fails too
            raise ValueError(
                f"attribute {name!r}: expected values in [0, 1], got {values.min()}..{values.max()}"
            )
    return n
