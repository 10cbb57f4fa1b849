"""A training step as a tape of kernel calls on the CPU.

While a step is recorded, every compiled kernel that it would call is written on the tape
(csrc/cpu/tape.h) with the addresses it would work on, and none runs. Replaying makes the calls, in
compiled code, without Python between them. NumPy's ufuncs are written down in the same way: the
arrays of a recording are ``UnknownArray``s. Results lie in memory of the tape's own, which is used
again within the step where nobody refers to it any more.

A recording holds what compiled kernels and ufuncs do and nothing else: not which elements an index
picked, not which way an ``if`` went. So no value can be read while a step is recorded, images and
weights are NaN meanwhile, and so is every result; and the recording is tried before it is used: it
must give the very losses and gradients that the operations give, of another noise and another
weight of the KL term, and give them again.
"""

import contextlib
import math
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, TypeAlias

import numpy as np

from ..backend import Array, UnknownArray, known, values_unknown
from ..errors import NonFiniteError
from ..models.vae import ELBO
from ..tensor import Tensor
from .nonfinite import first_nonfinite
from .recorded_step import NOISE, RecordedStep, RecordingError, reported

Call: TypeAlias = Callable[[], object]


class TapedStep(RecordedStep):
    """An ``EagerStep`` as a tape of calls; ``recording`` is a ``Program``."""

    variant = device = "cpu"
    kind = "tape"
    tells_misfits = False  # a step on the CPU is hardly slower without
    xp = np

    def run_first(self) -> None:
        """The step itself."""
        with reported():
            self._terms = self.gradients()
        self._require_finite()
        self.update()

    def record(self) -> None:
        """Record the step and try the tape."""
        expected = self._tried()
        program = Program()
        with reported(), self._unknown(), program.recorded():
            self._terms = self.gradients()
            compute = program.cut()
            self.update()
        self._terms = ELBO(*(Tensor(known(term.data)) for term in self._terms))
        for p in self.params():
            p.grad = known(p.grad)
        for _ in range(2):  # twice: what is added up from one replay to the next is wrong
            with self._other_numbers():
                run(compute)
                found = self._digests(self._terms)
        different = [name for name, digest in expected.items() if found[name] != digest]
        if different:
            raise RecordingError(
                f"{different[0]} depends on something that is neither a compiled kernel nor a ufunc"
            )
        self.recording, self._compute, self._update = program, compute, program.cut()

    def replay(self) -> None:
        """Make the calls; NonFiniteError before a weight is changed."""
        run(self._compute)
        self._require_finite()
        run(self._update)
        for buffer, change in self._counts:
            buffer += change

    def results(self) -> list[Array]:
        """The terms of the step before the next replay overwrites them."""
        return [term.data.copy() for term in self._terms]

    def put(self, counts: Array) -> None:
        """Set the counters."""
        self.counters[...] = counts

    def put_beta(self, beta: float) -> None:
        """Set the weight of the KL term."""
        self.beta[...] = beta

    def _require_finite(self) -> None:
        if not math.isfinite(self._terms.loss.data):
            terms = self.eager.objective(self.model, self.x, self.noise, self.beta)
            raise NonFiniteError(first_nonfinite(self.model, self.x, terms.loss) or "the loss")

    # ------------------------------------------------------------ trying the tape
    def _tried(self) -> dict[str, int]:
        """What the operations give on numbers of its own; their memory is free again."""
        with self._other_numbers() as before:
            expected = self._digests(self.gradients())
            self._counts = [
                (buffer, buffer - old) for buffer, old in before if buffer.dtype.kind != "f"
            ]
        self.optimizer.zero_grad()
        return expected

    @contextlib.contextmanager
    def _other_numbers(self) -> Iterator[list[tuple[Array, Array]]]:
        """Another noise and weight of the KL term inside; then all is as before, buffers too."""
        with restored([self.counters, self.beta]), restored(self._buffers()) as before:
            self.counters[NOISE] ^= np.uint64(1)
            self.beta += 1
            yield before

    @contextlib.contextmanager
    def _unknown(self) -> Iterator[None]:
        """What a step reads is NaN and a recording's inside; then it is as before."""
        tensors = self.model.parameters()
        arrays = [self.x, self.beta, *(p.data for p in tensors)]
        read = [*arrays, *self._buffers()]
        with restored(read):
            for array in read:
                if array.dtype.kind == "f":
                    array.fill(np.nan)
            self.x, self.beta, *views = (a.view(UnknownArray) for a in arrays)
            for p, view in zip(tensors, views, strict=True):
                p.data = view
            try:
                yield
            finally:
                self.x, self.beta, *data = arrays
                for p, array in zip(tensors, data, strict=True):
                    p.data = array

    def _digests(self, terms: ELBO) -> dict[str, int]:
        """A checksum of each loss, gradient and floating-point buffer, by name."""
        arrays = {f"the term {name}": term.data for name, term in terms._asdict().items()}
        for name, p in self.model.named_parameters():
            if p.grad is not None:
                arrays[f"the gradient of {name}"] = p.grad
        for name, buffer in self.model.named_buffers():
            if buffer.dtype.kind == "f":
                arrays[f"the buffer {name}"] = buffer
        return {name: zlib.crc32(np.ascontiguousarray(a)) for name, a in arrays.items()}

    def _buffers(self) -> list[Array]:
        return [buffer for _, buffer in self.model.named_buffers()]


class Program:
    """What was recorded: calls of compiled kernels, on a tape, and of NumPy's ufuncs between them.

    Attributes:
        tape: a ``minivae._cpu.Tape``, in whose memory all results lie.
    """

    def __init__(self) -> None:
        from ..kernels.cpu import Tape  # here, because the extension may not be built

        self.tape = Tape(UnknownArray)
        self._calls: list[Call] = []
        self._taped = 0  # calls on the tape that `_calls` has

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

    def cut(self) -> list[Call]:
        """The calls since the last cut."""
        self._end_of_tape()
        calls, self._calls = self._calls, []
        return calls

    def _end_of_tape(self) -> None:
        end = len(self.tape)
        if end > self._taped:
            self._calls.append(partial(self.tape.replay, self._taped, end))
            self._taped = end

    def _write(self, function: Any, inputs: Sequence[Any], options: dict[str, Any]) -> Any:
        """The result of a ufunc, or of what looks like one, that is called at each replay."""
        given = options.pop("out", None)
        if function.__name__ not in ("__call__", "reduce", "where"):
            raise RecordingError(f"NumPy's {function.__self__.__name__}.{function.__name__} cannot")
        if given is None:
            like = np.asarray(function(*map(known, inputs), **options))  # for shape and dtype
            of_tape = like.dtype in (np.float32, np.float64)
            result = (self.tape.empty if of_tape else np.empty)(like.shape, like.dtype)
            result = result.view(UnknownArray)
        else:
            (result,) = given if isinstance(given, tuple) else (given,)
        self._end_of_tape()
        # Aliases do not keep the memory of what is used here for the last time.
        used = [self._alias(x) for x in inputs]
        options = {name: self._alias(x) for name, x in options.items()}
        call = partial(function, *used, out=self._alias(result), **options)
        state = np.geterr()
        self._calls.append(call if state == self._state else partial(in_state, state, call))
        return result

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


@contextlib.contextmanager
def restored(arrays: Iterable[Array]) -> Iterator[list[tuple[Array, Array]]]:
    """Give arrays back what they hold now when the block ends: (array, copy) of each."""
    before = [(array, array.copy()) for array in arrays]
    try:
        yield before
    finally:
        for array, old in before:
            array[...] = old
