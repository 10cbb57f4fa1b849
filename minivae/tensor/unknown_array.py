"""UnknownArray: a NumPy array without values, whose operations are recorded.

``training.cpu_tape`` runs a training step on such arrays, records the operations and replays them.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..backend import recording, refuse_values


def _written(function: Any, inputs: Any, options: Any) -> Any:
    """The result of ``recording.write``, which also gets to know of an error."""
    try:
        return recording.write(function, inputs, options)
    except Exception as error:
        recording.refused = f"{type(error).__name__}: {error}"
        raise


class UnknownArray(np.ndarray[Any, np.dtype[Any]]):
    """A NumPy array of a step that is being recorded; it has values only when that is replayed.

    Calls of ufuncs, ``np.where``, ``np.zeros_like`` and ``np.ones_like`` are passed to the
    recording, and a view is an ``UnknownArray`` too. RuntimeError for an operation that needs the
    values, or that changes them without a ufunc.
    """

    is_unknown = True

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        function = getattr(ufunc, method)
        if recording.write:
            return _written(function, inputs, options)
        if out := options.get("out"):
            options["out"] = tuple(map(known, out))
        return function(*map(known, inputs), **options)

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        write = recording.write
        if write and func is np.where and len(args) == 3:
            return _written(where, args, kwargs)
        if write and func in (np.zeros_like, np.ones_like):
            return _written(full_like, (*args, int(func is np.ones_like)), kwargs)
        if write and func not in RECORDED:
            refuse_values(f"NumPy's {func.__name__}")
        result = super().__array_function__(func, types, args, kwargs)
        if type(result) is np.ndarray and np.may_share_memory(result, known(self)):
            return result.view(UnknownArray)  # np.broadcast_to gives a plain view
        return result

    def __getitem__(self, index: Any) -> Any:
        """A view, also of a single element."""
        parts = index if isinstance(index, tuple) else (index,)
        if not any(part is Ellipsis for part in parts):
            parts = (*parts, Ellipsis)
        picked = super().__getitem__(parts)
        if picked.size and not np.may_share_memory(known(picked), known(self)):
            refuse_values("an index by an array")
        return picked

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self)))

    def astype(self, dtype: Any, *_: Any, **options: Any) -> Any:
        """A copy in another dtype, by a ufunc."""
        if not options.get("copy", True) and self.dtype == dtype:
            return self
        return np.positive(self, dtype=dtype, casting="unsafe")

    def copy(self, *_: Any, **__: Any) -> Any:
        """A copy in C order, by a ufunc."""
        return np.positive(self, order="C")

    def reshape(self, *shape: Any, order: Any = "C", **options: Any) -> Any:
        """A view in another shape, or a view of a copy where the memory layout requires it."""
        shaped = known(self).reshape(*shape, order=order, **options)
        if np.may_share_memory(shaped, known(self)):
            return shaped.view(UnknownArray)
        if order != "C":
            refuse_values(f"a copy in order {order!r}")
        return self.copy().reshape(*shape, **options)

    def ravel(self, order: Any = "C") -> Any:
        """A view with one axis, or a view of a copy."""
        return self.reshape(-1, order=order)

    def flatten(self, order: Any = "C") -> Any:
        """A copy with one axis."""
        return self.copy().reshape(-1, order=order)

    @property
    def flat(self) -> Any:
        """Raises RuntimeError during a recording, because the iterator reads values."""
        refuse_values("an array's flat")
        return known(self).flat


def _refusing(name: str) -> Any:
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        refuse_values(f"an array's {name}")
        return getattr(known(self), name)(*args, **kwargs)

    return method


# NumPy's functions that only make views, read shapes or call ufuncs: the recording sees all of it.
RECORDED = {
    np.all, np.any, np.array_split, np.broadcast_to, np.clip, np.empty_like, np.expand_dims,
    np.max, np.may_share_memory, np.mean, np.min, np.moveaxis, np.ndim, np.prod, np.ravel,
    np.reshape, np.result_type, np.round, np.shape, np.size, np.split, np.squeeze, np.std, np.sum,
    np.swapaxes, np.transpose, np.var,
}  # fmt: skip
for _name in (
    "argmax argmin argpartition argsort byteswap choose compress cumprod diagonal dot dump dumps "
    "fill item nonzero partition put repeat resize searchsorted sort take tobytes tofile tolist "
    "trace __bool__ __complex__ __contains__ __copy__ __deepcopy__ __float__ __format__ __index__ "
    "__int__ __reduce_ex__ __repr__ __setitem__ __str__"
).split():
    setattr(UnknownArray, _name, _refusing(_name))


def where(condition: Any, x: Any, y: Any, out: Any = None) -> Any:
    """``np.where``, which has no ``out``."""
    if out is None:
        return np.where(condition, x, y)
    np.copyto(out, y)
    np.copyto(out, x, where=condition)
    return out


def full_like(x: Any, value: Any, dtype: Any = None, out: Any = None) -> Any:
    """``np.full_like``, which has no ``out``."""
    if out is None:
        return np.full_like(x, value, dtype=dtype)
    out.fill(value)
    return out


def known(x: Any) -> Any:
    """The plain array under an ``UnknownArray``; anything else unchanged."""
    return x.view(np.ndarray) if isinstance(x, UnknownArray) else x
