"""The registry of data sets, and the loading again of the very set of a run.

To add a kind of set, write a module like mnist.py beside it, with the two functions of
``KindOfSet``, and name it in ``SETS``.
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
        """Whether its images fit a model of such images, (C, H, W) or (pixels,)."""

    def load_again(
        self, record: Mapping[str, Any], source: AnyPath | None, shape: Sequence[int]
    ) -> Dataset:
        """The set that a run's configuration describes, split as it says.

        Args:
            record: the configuration, of which any key may be missing or wrong: it was read from a
                file. ``Dataset.record`` tells what it holds.
            source: where to look, as a user names it; None for where the set is looked for.
            shape: of the images.

        Raises:
            DataError: the set cannot be read, or the record makes no sense.
        """


SETS: dict[str, KindOfSet] = {"digits": mnist, "faces": faces}


def reload(
    record: Mapping[str, Any],
    source: AnyPath | None = None,
    *,
    shapes: Sequence[Sequence[int]],
    other: bool = False,
) -> Dataset:
    """The very images and the very split that a run was trained and tested on.

    A set that was drawn is drawn again, where ``source`` names no other.

    Args:
        record: the run's configuration; it holds what ``Dataset.record`` gave. One without that
            (a checkpoint that no run wrote) takes whatever set serves the model.
        source: where the images are, as for the run itself; None for where they are looked for.
        shapes: of one image, those that the model takes.
        other: allow other images than the run's.

    Raises:
        DataError: the images cannot be read, or are others than the run's, or the record does not
            tell them from others.
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
    """The kind of set that a record names, or else the first that serves one of the shapes."""
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
