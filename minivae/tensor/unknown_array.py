"""Arrays of a training step that is being recorded: what is done with them is written down.

``training.cpu_tape`` records; here is what NumPy's arrays do meanwhile.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..backend import recording, refuse_values


def _written(function: Any, inputs: Any, options: Any) -> Any:
    """What the recording gives."""
    try:
        return recording.write(function, inputs, options)
    except Exception as error:
        recording.refused = f"{type(error).__name__}: {error}"
        raise


class UnknownArray(np.ndarray[Any, np.dtype[Any]]):
    """A NumPy array of a step that is being recorded: it gets its values when that is replayed.

    What NumPy's ufuncs and ``where`` do with it is handed to the recording, and a view of it is one
    too. What asks for its values, or changes them in another way, gives a RuntimeError.
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
            return result.view(UnknownArray)  # as of broadcast_to
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
        """A view of it, or of a copy."""
        shaped = known(self).reshape(*shape, order=order, **options)
        if np.may_share_memory(shaped, known(self)):
            return shaped.view(UnknownArray)
        if order != "C":
            refuse_values(f"a copy in order {order!r}")
        return self.copy().reshape(*shape, **options)

    def ravel(self, order: Any = "C") -> Any:
        """A view of it, or of a copy."""
        return self.reshape(-1, order=order)

    def flatten(self, order: Any = "C") -> Any:
        """A copy with one axis."""
        return self.copy().reshape(-1, order=order)

    @property
    def flat(self) -> Any:
        """RuntimeError while it is recorded."""
        refuse_values("an array's flat")
        return known(self).flat


def _refusing(name: str) -> Any:
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        refuse_values(f"an array's {name}")
        return getattr(known(self), name)(*args, **kwargs)

    return method


# What NumPy has of views, of shapes and of ufuncs, and of nothing else.
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
    """An ``UnknownArray`` as the plain array that it is otherwise; anything else as it is."""
    return x.view(np.ndarray) if isinstance(x, UnknownArray) else x
