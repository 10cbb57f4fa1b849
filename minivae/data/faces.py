"""Load faces with their attributes: an .npz file, a folder of pictures, or drawn ones."""

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..arguments import AnyPath, whole
from ..errors import DataError
from ..progress_bar import ProgressBar
from .dataset import Dataset, read_only, warn_if_black, whole_number
from .image_folder import Report, read_folder
from .image_npz import PEOPLE, read_npz
from .npz import MAX_BYTES
from .synthetic import faces as synthetic_faces

NAME = "synthetic-faces"
SYNTHETIC_COUNT = 2000
# Known sets below DATA/faces, best first: for pictures up to 64 pixels, and for larger ones. The
# folder glasses256 comes with a table, of which two columns are yes/no attributes.
SMALL = ("celeba64.npz", "olivetti.npz", "glasses256")
LARGE = ("glasses256", "celeba64.npz", "olivetti.npz")
TABLES = {"glasses256": ("glasses256.csv", ("glasses", "dark_lenses"))}


LABELS = ("male", "glasses", "smile")  # the attributes that are predicted from codes
CELEBA = {"eyeglasses": "glasses", "smiling": "smile"}  # CelebA's other names for them


@dataclass(frozen=True, eq=False)
class FaceDataset:
    """Face images with attributes; row i of every array belongs to face i. Arrays are read-only.

    Attributes:
        name: a file's or folder's name, or "synthetic-faces".
        images: uint8 (N, 3, S, S), red, green, blue.
        attributes: yes/no attributes: name -> bool (N,).
        groups: other values known for each face, such as identity: name -> (N,).
        report: where the images were read from, and which files could not be read.
        recipe: for drawn faces the arguments of ``synthetic.faces.render``: name -> (N,); else
            empty. ``render(faces.recipe | {"smile": ...}, size)`` draws the same people with
            another smile.

    Raises:
        ValueError: an array has another dtype or shape.
    """

    name: str
    images: np.ndarray
    attributes: Mapping[str, np.ndarray] = field(default_factory=dict)
    groups: Mapping[str, np.ndarray] = field(default_factory=dict)
    report: Report | None = None
    recipe: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        images, n = self.images, len(self.images)
        square = images.ndim == 4 and images.shape[1] == 3 and images.shape[2] == images.shape[3]
        if images.dtype != np.uint8 or not square:
            raise ValueError(
                f"images: expected uint8 (N, 3, S, S), got {images.dtype} {images.shape}"
            )
        for name, values in self.attributes.items():
            if values.dtype != bool:
                raise ValueError(f"attribute {name!r}: expected bool, got {values.dtype}")
        for kind in ("attributes", "groups", "recipe"):
            for name, values in getattr(self, kind).items():
                if values.shape != (n,):
                    raise ValueError(f"{kind} {name!r}: expected ({n},), got {values.shape}")
            columns = {name: read_only(v) for name, v in getattr(self, kind).items()}
            object.__setattr__(self, kind, columns)
        object.__setattr__(self, "images", read_only(images))

    def __len__(self) -> int:
        return len(self.images)

    @property
    def size(self) -> int:
        """Height and width of the images in pixels."""
        return self.images.shape[-1]

    @property
    def labels(self) -> dict[str, np.ndarray]:
        """The attributes in ``LABELS`` that are known, as 0 and 1: name -> int64 (N,)."""
        known = [name for name in LABELS if name in self.attributes]
        return {name: self.attributes[name].astype(np.int64) for name in known}

    def take(self, index: Any) -> "FaceDataset":
        """A set with the faces at ``index``, a slice, an integer array or a bool mask."""
        return replace(
            self,
            images=self.images[index],
            attributes={name: values[index] for name, values in self.attributes.items()},
            groups={name: values[index] for name, values in self.groups.items()},
            recipe={name: values[index] for name, values in self.recipe.items()},
        )

    def with_attributes(self, more: Mapping[str, np.ndarray]) -> "FaceDataset":
        """The same faces with the attributes ``more`` as well, name -> bool (N,)."""
        return replace(self, attributes={**self.attributes, **more})

    def split(
        self, held_out: float = 0.1, by: str | None = None, seed: int = 0
    ) -> tuple["FaceDataset", "FaceDataset"]:
        """(training, held-out) parts: every face is in one of them, in the order of the rows.

        Which faces are held out depends on their number, so a subset of the set is split
        differently.

        Args:
            held_out: the share of faces to hold out, in (0, 1); each part gets at least one face
                or group.
            by: the name of a group or attribute: faces with the same value stay together, so that
                no person is in both parts.
            seed: of the random choice.

        Raises:
            ValueError: ``held_out`` is out of range, or there is no group or attribute ``by``.
            DataError: there are fewer than two faces or groups.
        """
        if not 0 < held_out < 1:
            raise ValueError(f"held_out: expected a share in (0, 1), got {held_out}")
        if by is None:
            member = np.arange(len(self))
        else:
            known = {**self.groups, **self.attributes, **self.groups}
            if by not in known:
                names = ", ".join(known) or "none"
                raise ValueError(f"by: expected a group or attribute ({names}), got {by!r}")
            _, member = np.unique(known[by], return_inverse=True)
        sizes = np.bincount(member)
        if len(sizes) < 2:
            raise DataError(
                f"{self.name}: cannot split {len(self)} image(s) in {len(sizes)} group(s) in two "
                "parts"
            )
        order = np.random.default_rng(seed).permutation(len(sizes))
        filled = np.cumsum(sizes[order])
        # The number of whole groups whose share of faces is nearest to held_out.
        count = np.argmin(np.abs(filled - held_out * len(self))) + 1
        held = np.isin(member, order[: min(count, len(sizes) - 1)])
        return self.take(np.flatnonzero(~held)), self.take(np.flatnonzero(held))


def split_faces(faces: FaceDataset, seed: int = 0, limit: int | None = None) -> Dataset:
    """A ``Dataset`` of training and held-out faces, with no person in both if identity is known.

    Args:
        faces: the faces to split.
        seed: of the split.
        limit: use only this many faces of each part; None for all.

    Raises:
        DataError: the faces are too few to be split.
    """
    person = next((name for name in PEOPLE if name in faces.groups), None)
    train, test = faces.split(by=person, seed=seed)
    split = {"set": "faces", "seed": seed, "count": len(faces)}
    return Dataset(faces.name, train, test, split, public=bool(faces.recipe)).limited(limit)


def serves(shape: Sequence[int]) -> bool:
    """Whether images of this shape are square colour images; see ``sets.KindOfSet``."""
    return len(shape) == 3 and shape[0] == 3 and shape[1] == shape[2]


def load_again(record: Mapping[str, Any], source: AnyPath | None, shape: Sequence[int]) -> Dataset:
    """The faces of a run, with the same split; see ``sets.KindOfSet``."""
    size = shape[-1]
    count = whole_number(record, "count", SYNTHETIC_COUNT, most=MAX_BYTES // (3 * size * size))
    if source is None and record.get("data") == NAME:
        faces = draw_faces(count, size)
    else:
        faces = load_faces(source, size, synthetic_count=count)
    limit = whole_number(record, "limit", 0) or None
    return split_faces(faces, whole_number(record, "seed", 0), limit)


def load_faces(
    source: AnyPath | None = None,
    size: int = 64,
    *,
    attributes: AnyPath | None = None,
    columns: Iterable[str] | None = None,
    strict: bool = False,
    cache_dir: AnyPath | None = None,
    progress: bool | None = None,
    synthetic_count: int = SYNTHETIC_COUNT,
    seed: int = 0,
) -> FaceDataset:
    """Load faces as ``size`` x ``size`` pictures.

    From a data folder's ``faces/`` it takes the first set of ``SMALL`` that exists for sizes up to
    64, and the first of ``LARGE`` for larger ones. Attributes named as in ``LABELS`` but in
    capitals, or as in CelebA, are found under the names of ``LABELS`` too. A line on stderr warns
    of pixels that are all 0 or 1.

    Args:
        source: an .npz file (image_npz.py), a folder of images, a data folder with ``faces/`` in
            it, or None: ``$MINIVAE_DATA`` if it has faces, else drawn faces, which a line on stderr
            announces.
        size: height and width of the images.
        attributes, columns, strict, cache_dir, progress: as in ``image_folder.read_folder``.
        synthetic_count, seed: the number of faces to draw, and the seed.

    Raises:
        DataError: the source cannot be read.
        TypeError: the size is no whole number. ValueError: it is below 1.
    """
    whole("size", size, 1)
    options = {
        "attributes": attributes,
        "columns": columns,
        "strict": strict,
        "cache_dir": cache_dir,
        "progress": progress,
    }
    if source is not None:
        path = Path(os.fspath(source))
        return _read(_known_set(path / "faces", size) or path, size, options)
    data = os.environ.get("MINIVAE_DATA")
    if data and (known := _known_set(Path(data) / "faces", size)):
        return _read(known, size, options)
    print(
        f"minivae: no face data; drawing {synthetic_count} synthetic faces. For real ones point "
        "MINIVAE_DATA at a folder with faces/, or name a folder of images or an .npz file.",
        file=sys.stderr,
    )
    return draw_faces(synthetic_count, size, seed, progress)


def draw_faces(n: int, size: int = 64, seed: int = 0, progress: bool | None = None) -> FaceDataset:
    """Draw ``n`` synthetic faces; face i depends on ``seed`` and i, not on ``n``.

    Args:
        n: how many.
        size: height and width.
        seed: of the attributes.
        progress: whether to show a bar; None shows it on a terminal only.
    """
    recipe = synthetic_faces.sample_attributes(n, seed)
    images = np.empty((n, 3, size, size), np.uint8)
    with ProgressBar(
        total=n, desc="drawing faces", unit="image", leave=False, show=progress
    ) as bar:
        for start in range(0, n, 100):
            rows = slice(start, start + 100)
            part = {name: values[rows] for name, values in recipe.items()}
            images[rows] = synthetic_faces.render(part, size)
            bar.update(len(images[rows]))
    return FaceDataset(
        NAME,
        images,
        attributes={name: recipe[name] for name in synthetic_faces.YES_NO},
        report=Report(f"synthetic faces, seed {seed}"),
        recipe=recipe,
    )


def _printable(name: str) -> str:
    """A file name with unprintable characters replaced, for terminals and titles."""
    text = os.fsencode(name).decode("utf-8", "replace")
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def _known_set(folder: Path, size: int) -> Path | None:
    """The first known set in ``folder`` for this size, or None."""
    names = SMALL if size <= 64 else LARGE
    return next((folder / name for name in names if (folder / name).exists()), None)


def _read(path: Path, size: int, options: dict[str, Any]) -> FaceDataset:
    groups: Mapping[str, np.ndarray] = {}
    if path.is_dir():
        table, columns = TABLES.get(path.name, ("", None))
        if options["attributes"] is None and table and (path.parent / table).is_file():
            options = options | {"attributes": path.parent / table, "columns": columns}
        images, attributes, report = read_folder(path, size, **options)
        if report.skipped:
            print(f"minivae: {report.told()}", file=sys.stderr)
        name = path.resolve().name
    elif path.exists():
        images, attributes, groups = read_npz(path, size)
        name, report = path.stem, Report(str(path))
    else:
        raise DataError(f"{path}: no such file or folder")
    warn_if_black(path, images)
    return FaceDataset(_printable(name), images, _with_labels(attributes), groups, report)


def _with_labels(attributes: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Attributes called ``LABELS`` in capitals, or as CelebA has them, also under these names,
    where they are free.
    """
    found = dict(attributes)
    for name, values in attributes.items():
        ours = CELEBA.get(name.lower(), name.lower())
        if ours in LABELS:
            found.setdefault(ours, values)
    return found
