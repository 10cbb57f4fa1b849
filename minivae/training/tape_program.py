"""What a recorded step on the CPU consists of: calls of kernels on a tape, and of ufuncs."""

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
    """What was recorded: calls of compiled kernels, on a tape, and of NumPy's ufuncs between them.

    Args:
        value: of the results until they are computed.

    Attributes:
        tape: a ``minivae._cpu.Tape``, in whose memory all results lie.
    """

    def __init__(self, value: float) -> None:
        from ..kernels.cpu import Tape  # here, because the extension may not be built

        self.tape, self.value = Tape(UnknownArray, value), value
        self._calls: list[Call] = []
        self._taped = 0  # calls on the tape that `_calls` has
        self._ufuncs = False  # whether there are any

    @contextlib.contextmanager
    def recorded(self) -> Iterator[None]:
        """Write down what this thread's kernels and ufuncs do inside, and do nothing of it."""
        self._state = {**np.geterr(), "under": "ignore"}
        with values_unknown(self._write):
            self.tape.start()
            try:
                yield
            finally:
                self.tape.stop()

    def cut(self) -> Call:
        """The calls since the last cut, in their order, as one."""
        self._end_of_tape()
        calls, self._calls = self._calls, []
        return calls[0] if not self._ufuncs and len(calls) == 1 else partial(run, calls)

    def _end_of_tape(self) -> None:
        end = len(self.tape)
        if end > self._taped:
            self._calls.append(partial(self.tape.replay, self._taped, end))
            self._taped = end

    def _write(self, function: Any, inputs: Sequence[Any], options: dict[str, Any]) -> Any:
        """The result of a ufunc, or of what looks like one, that is called at each replay."""
        given = options.pop("out", None)
        ufunc: Any = getattr(function, "__self__", None)
        named = function.__name__ in ("__call__", "reduce", "where", "full_like")
        if not named or getattr(ufunc, "nout", 1) > 1:
            raise RecordingError(f"NumPy's {ufunc.__name__}.{function.__name__} cannot be")
        if given is None:
            plain = {name: known(x) for name, x in options.items()}
            with np.errstate(all="ignore"):
                like = function(*map(known, inputs), **plain)
            result = self._empty(np.asarray(like))
        else:
            (result,) = given if isinstance(given, tuple) else (given,)
            if not isinstance(result, UnknownArray):
                raise RecordingError("a ufunc's result is written to an array of the step's own")
        self._end_of_tape()
        # Aliases do not keep the memory of what is used here for the last time.
        used = [self._alias(x) for x in inputs]
        options = {name: self._alias(x) for name, x in options.items()}
        call = partial(function, *used, out=self._alias(result), **options)
        self._ufuncs, state = True, np.geterr()
        self._calls.append(call if state == self._state else partial(in_state, state, call))
        return result

    def _empty(self, like: Array) -> Array:
        """An array of this shape, dtype and order in memory; whole numbers are no index."""
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
    """Make the calls, in their order."""
    with np.errstate(under="ignore"):  # as ``Function`` has it
        for call in calls:
            call()


def in_state(state: Any, call: Call) -> None:
    """Make a call with what NumPy does at an error set as it was when the call was recorded."""
    with np.errstate(**state):
        call()
