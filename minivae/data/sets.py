"""The registry of data sets, and ``reload``, which loads the images and the split of a run again.

To add a kind of set, write a module like mnist.py with the two functions of ``KindOfSet``, and add
it to ``SETS``.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from ..arguments import AnyPath
from ..errors import DataError
from . import faces, mnist
from .dataset import Dataset, difference


class KindOfSet(Protocol):
    """The functions that a module of a data set defines."""

    def serves(self, shape: Sequence[int]) -> bool:
        """Whether the set's images fit a model of images of this shape, (C, H, W) or (pixels,)."""

    def load_again(
        self, record: Mapping[str, Any], source: AnyPath | None, shape: Sequence[int]
    ) -> Dataset:
        """The set that a run's configuration describes, with the same split.

        Args:
            record: the configuration, with the keys of ``Dataset.record``. It was read from a file,
                so any key may be missing or wrong.
            source: a path given by the user; None for the default places.
            shape: of the images.

        Raises:
            DataError: the set cannot be read, or the record is not valid.
        """


SETS: dict[str, KindOfSet] = {"digits": mnist, "faces": faces}


def reload(
    record: Mapping[str, Any],
    source: AnyPath | None = None,
    *,
    shapes: Sequence[Sequence[int]],
    other: bool = False,
) -> Dataset:
    """Load the images that a run was trained and tested on, with the same split.

    A drawn set is drawn again if ``source`` is None.

    Args:
        record: the run's configuration, with the keys of ``Dataset.record``. Without these keys
            (a checkpoint that no run wrote) the first set that fits the model is loaded.
        source: where the images are, as in the run; None for the default places.
        shapes: the shapes of one image that the model takes.
        other: allow other images than the run's.

    Raises:
        DataError: the images cannot be read, are not the run's, or cannot be compared with them
            because the record has no hash.
    """
    shape, kind = _kind_of(record, shapes)
    found = kind.load_again(record, source, shape)
    if not other:
        if reason := difference(record, found.record()):
            raise DataError(reason)
        if "data" in record and "pixels" not in record and not found.public:
            raise DataError(
                f"trained on a set called {record['data']}, without a hash of its pixels: whether "
                "these are its images, and which of them were trained on, cannot be known"
            )
    return found


def _kind_of(
    record: Mapping[str, Any], shapes: Sequence[Sequence[int]]
) -> tuple[Sequence[int], KindOfSet]:
    """(shape, kind) of the set that a record names, else of the first that fits a shape."""
    split = record.get("split")
    name = split.get("set") if isinstance(split, Mapping) else None
    kinds = [SETS[name]] if isinstance(name, str) and name in SETS else list(SETS.values())
    for kind in kinds:
        for shape in shapes:
            if kind.serves(shape):
                return shape, kind
    raise DataError(
        f"no data set has images of shape {' or '.join(map(str, shapes))}; "
        f"there are {', '.join(SETS)}"
    )
