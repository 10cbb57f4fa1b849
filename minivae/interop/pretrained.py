"""Download trained models: their names, and the hashes that their files must have.

``pretrained.json`` holds the hashes and the address, with ``{name}`` and ``{file}`` in it. For a
release examples/pretrained.py trains the models and writes this file before the package is built;
an address of null means that no models are hosted.
"""

import json
import urllib.request
from pathlib import Path
from typing import Any

from ..data.download import fetch_exactly
from ..errors import DataError
from .weights import CARD, CONFIG, WEIGHTS

MODELS = {
    "mnist-mlp": "MLPVAE, 20 latents, on MNIST",
    "mnist-conv": "ConvVAE, two latents, on MNIST",
    "faces-64": "FaceVAE at 64 x 64, on drawn faces: no real person",
}
FILES = (WEIGHTS, CONFIG, CARD)
PINNED = Path(__file__).with_name("pretrained.json")
LARGEST = 2**28  # bytes of a file
BUILD = "python examples/pretrained.py"


def pinned() -> dict[str, Any]:
    """The contents of ``pretrained.json``: ``address`` (or None), and ``sha256[name][file]``."""
    return json.loads(PINNED.read_bytes())


def hosted() -> tuple[str, ...]:
    """The names of the models that can be downloaded."""
    known = pinned()
    return tuple(name for name in MODELS if known["address"] and name in known["sha256"])


def download(name: str, opener: urllib.request.OpenerDirector | None = None) -> dict[str, bytes]:
    """Download the three files of a model and check their hashes: a dict from name to bytes.

    Args:
        name: one of ``MODELS``.
        opener: opens the addresses; by default one for https only.

    Raises:
        ValueError: an unknown name.
        DataError: no models are hosted, a download fails, or a file has another hash.
    """
    if name not in MODELS:
        raise ValueError(f"name: expected one of {sorted(MODELS)}, got {name!r}")
    if name not in hosted():
        raise DataError(
            f"{name}: no trained models are hosted for this version; "
            f"`{BUILD}` in a clone trains them"
        )
    known = pinned()
    return {
        file: fetch_exactly(
            known["address"].format(name=name, file=file), f"{name}/{file}",
            known["sha256"][name][file], max_bytes=LARGEST, opener=opener,
        )
        for file in FILES
    }  # fmt: skip
