"""Dataset: a training and a test part of labelled images, identified by a hash of the pixels."""

import functools
import hashlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np

from ..arguments import whole
from ..errors import DataError


class LabelledImages(Protocol):
    """One part of a data set. Row i of every array belongs to image i; arrays are read-only."""

    @property
    def images(self) -> np.ndarray:
        """uint8 (N, H, W) or (N, C, H, W)."""

    @property
    def labels(self) -> Mapping[str, np.ndarray]:
        """The labels of the images: name -> whole numbers from 0, (N,)."""

    def take(self, index: Any) -> "LabelledImages":
        """The part with the images at ``index``, a slice, an integer array or a mask (N,)."""


@dataclass(frozen=True, eq=False)
class Part:
    """Images with labels: the plain implementation of ``LabelledImages``.

    Raises:
        ValueError: images or labels have another dtype or shape.
    """

    images: np.ndarray
    labels: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        images = self.images
        if images.dtype != np.uint8 or images.ndim not in (3, 4):
            raise ValueError(
                f"images: expected uint8 (N, H, W) or (N, C, H, W), "
                f"got {images.dtype} {images.shape}"
            )
        for name, values in self.labels.items():
            if values.dtype.kind not in "iu" or values.shape != images.shape[:1]:
                raise ValueError(
                    f"labels {name!r}: expected whole numbers ({len(images)},), "
                    f"got {values.dtype} {values.shape}"
                )
        object.__setattr__(self, "images", read_only(images))
        labels = {name: read_only(values) for name, values in self.labels.items()}
        object.__setattr__(self, "labels", labels)

    def take(self, index: Any) -> "Part":
        """A part with the images at ``index``."""
        return Part(self.images[index], {name: v[index] for name, v in self.labels.items()})


def read_only(array: np.ndarray) -> np.ndarray:
    """A view of an array that cannot be written to."""
    view = array.view()
    view.flags.writeable = False
    return view


def warn_if_black(name: object, images: np.ndarray) -> None:
    """Print a line on stderr if no pixel is above 1 of 255: pixels of 0 and 1 are all black."""
    if images[:100].max(initial=0) <= 1 and images.max(initial=0) == 1:
        print(
            f"minivae: {name}: no pixel is above 1 of 255: all pictures are black. Where 1 stands "
            "for white, multiply by 255.",
            file=sys.stderr,
        )


@dataclass(frozen=True, eq=False)
class Dataset:
    """A training and a test part of labelled images.

    Attributes:
        name: its name for users; different sets may share one.
        train, test: the parts.
        split: how the parts were made, for ``data.reload``: JSON, with the key ``set``, the name
            of the kind of set in ``data.sets.SETS``.
        public: whether its pictures may be shown: True for MNIST and drawn sets, False for a
            user's own pictures.
    """

    name: str
    train: LabelledImages
    test: LabelledImages
    split: Mapping[str, Any] = field(default_factory=dict)
    public: bool = False

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the labels that both parts have."""
        return tuple(name for name in self.train.labels if name in self.test.labels)

    @functools.cached_property
    def pixels(self) -> str:
        """SHA-256 in hex of all pixels, training part first."""
        digest = hashlib.sha256()
        for part in (self.train, self.test):
            digest.update(np.ascontiguousarray(part.images).data)
        return digest.hexdigest()

    def limited(self, count: int | None) -> "Dataset":
        """The first ``count`` images of each part; all of them for None.

        Raises:
            TypeError: it is no whole number. ValueError: it is negative.
        """
        if count is None:
            return self
        whole("count", count, 0)
        parts = {name: getattr(self, name).take(slice(count)) for name in ("train", "test")}
        return replace(self, **parts, split={**self.split, "limit": count})

    def record(self) -> dict[str, Any]:
        """The description of the data in a run's configuration, by which they are reloaded and
        checked.
        """
        counts = {"train": len(self.train.images), "test": len(self.test.images)}
        return {"data": self.name, "pixels": self.pixels, "split": {**self.split, **counts}}


# The keys of ``Dataset.record``; version 0.1 had the number of training faces under "faces".
RECORDED = ("data", "pixels", "split", "faces")


def difference(recorded: Mapping[str, Any], found: Mapping[str, Any]) -> str | None:
    """How the images of two ``Dataset.record``s differ, as a message; None if they are the same.

    Images are the same if their pixels and the sizes of the parts are, whatever the names. Names
    are compared only if ``recorded`` has no hash of its pixels, as in some files of version 0.1.
    """
    was, now = recorded.get("data"), found.get("data")
    names = f"trained on {was}, but the data are {now}"
    if "pixels" in recorded and "pixels" in found:
        if recorded["pixels"] != found["pixels"]:
            pixels = [str(record["pixels"])[:16] for record in (recorded, found)]
            return f"{names}: expected pixels of SHA-256 {pixels[0]}..., got {pixels[1]}..."
    elif "data" in recorded and was != now:
        return names
    for part in ("train", "test"):
        counts = _count(recorded, part), _count(found, part)
        if None not in counts and counts[0] != counts[1]:
            return f"{names}: expected {counts[0]} images in the {part} part, got {counts[1]}"
    return None


def _count(record: Mapping[str, Any], part: str) -> Any:
    split = record.get("split")
    if isinstance(split, Mapping):
        return split.get(part)
    return record.get("faces") if part == "train" else None


def whole_number(
    record: Mapping[str, Any], key: str, default: int, most: int = (1 << 64) - 1
) -> int:
    """The whole number ``key`` of a record's split, else of the record itself, else ``default``.

    Raises:
        DataError: the value is no whole number in [0, ``most``].
    """
    split = record.get("split")
    split = split if isinstance(split, Mapping) else {}
    value = split.get(key, record.get(key))
    value = default if value is None else value
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        raise DataError(f"{key}: expected a whole number from 0 to {most}, got {value!r}")
    return value
