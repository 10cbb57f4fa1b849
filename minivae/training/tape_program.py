"""Program: a recorded sequence of calls of compiled kernels (on a tape) and of NumPy's ufuncs."""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, TypeAlias

import numpy as np

from ..backend import Array, values_unknown
from ..tensor.unknown_array import UnknownArray, known
from .recorded_step import RecordingError

Call: TypeAlias = Callable[[], object]


class Program:
    """A recorded sequence of calls: compiled kernels on a tape, NumPy's ufuncs between them.

    Args:
        value: fills the arrays of results until they are computed.

    Attributes:
        tape: a ``minivae._cpu.Tape``, which owns the memory of all results.
    """

    def __init__(self, value: float) -> None:
        from ..kernels.cpu import Tape  # here, because the extension may not be built

        self.tape, self.value = Tape(UnknownArray, value), value
        self._calls: list[Call] = []
        self._taped = 0  # how many of the tape's calls are in _calls already
        self._ufuncs = False  # whether a ufunc was recorded

    @contextlib.contextmanager
    def recorded(self) -> Iterator[None]:
        """A block whose calls of compiled kernels and ufuncs, in this thread, are recorded and not
        executed.
        """
        self._state = {**np.geterr(), "under": "ignore"}
        with values_unknown(self._write):
            self.tape.start()
            try:
                yield
            finally:
                self.tape.stop()

    def cut(self) -> Call:
        """One function that makes the calls recorded since the last cut, in order."""
        self._end_of_tape()
        calls, self._calls = self._calls, []
        return calls[0] if not self._ufuncs and len(calls) == 1 else partial(run, calls)

    def _end_of_tape(self) -> None:
        end = len(self.tape)
        if end > self._taped:
            self._calls.append(partial(self.tape.replay, self._taped, end))
            self._taped = end

    def _write(self, function: Any, inputs: Sequence[Any], options: dict[str, Any]) -> Any:
        """Record a call of a ufunc, ``where`` or ``full_like``; returns its result, unfilled.

        Raises:
            RecordingError: another function, or ``out`` that is not of this recording.
        """
        given = options.pop("out", None)
        ufunc: Any = getattr(function, "__self__", None)
        named = function.__name__ in ("__call__", "reduce", "where", "full_like")
        if not named or getattr(ufunc, "nout", 1) > 1:
            raise RecordingError(
                f"expected a call or a reduce of a ufunc of one result, got NumPy's "
                f"{ufunc.__name__}.{function.__name__}"
            )
        if given is None:
            plain = {name: known(x) for name, x in options.items()}
            with np.errstate(all="ignore"):
                like = function(*map(known, inputs), **plain)
            result = self._empty(np.asarray(like))
        else:
            (result,) = given if isinstance(given, tuple) else (given,)
            if not isinstance(result, UnknownArray):
                raise RecordingError(
                    "out: expected an array of the recording, got one that the step made itself"
                )
        self._end_of_tape()
        # Aliases, not the arrays: they do not keep memory from being reused after its last use.
        used = [self._alias(x) for x in inputs]
        options = {name: self._alias(x) for name, x in options.items()}
        call = partial(function, *used, out=self._alias(result), **options)
        self._ufuncs, state = True, np.geterr()
        self._calls.append(call if state == self._state else partial(in_state, state, call))
        return result

    def _empty(self, like: Array) -> Array:
        """An array of this shape, dtype and order in memory, filled with ``value``.

        Integers get their dtype's largest value, with which an index is an error.
        """
        order = sorted(range(like.ndim), key=lambda axis: -like.strides[axis])
        shape = [like.shape[axis] for axis in order]
        if like.dtype in (np.float32, np.float64):
            array = self.tape.empty(tuple(shape), like.dtype)
        else:
            value: Any = self.value > 0 if like.dtype.kind == "b" else self.value
            if like.dtype.kind in "iu":
                value = np.iinfo(like.dtype).max
            array = np.full(shape, value, like.dtype)
        return array.transpose(np.argsort(order)).view(UnknownArray)

    def _alias(self, x: Any) -> Any:
        return self.tape.alias(x) if isinstance(x, np.ndarray) else x


def run(calls: Iterable[Call]) -> None:
    """Make the calls, in order."""
    with np.errstate(under="ignore"):  # as in ``Function.apply``
        for call in calls:
            call()


def in_state(state: Any, call: Call) -> None:
    """Make a call under ``state``, the ``np.errstate`` at the time of the recording."""
    with np.errstate(**state):
        call()
