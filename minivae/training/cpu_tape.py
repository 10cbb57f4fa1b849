"""A training step as a tape of kernel calls on the CPU.

While a step is recorded, every compiled kernel that it would call is written on the tape
(csrc/cpu/tape.h) with the addresses it would work on, and none runs. Replaying makes the calls, in
compiled code, without Python between them. NumPy's ufuncs are written down in the same way: the
arrays of a recording are ``UnknownArray``s. Results lie in memory of the tape's own, which is used
again within the step where nobody refers to it any more.

A recording holds what compiled kernels and ufuncs do and nothing else: not which elements an index
picked, not which way an ``if`` went. So an array refuses whoever asks for its values while a step
is recorded. Not all can be refused (``np.asarray`` cannot be), so the step is recorded three times,
while images, weights and results are infinite, minus infinite and NaN, and each recording is tried:
it must give the very losses and gradients that the operations give, of another noise and another
weight of the KL term, and give them again.
"""

import contextlib
import math
import zlib
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from ..backend import Array, refuse
from ..errors import NonFiniteError
from ..models.vae import ELBO
from ..noise import Noise
from ..tensor import Tensor
from ..tensor.unknown_array import UnknownArray, known
from .nonfinite import first_nonfinite
from .recorded_step import NOISE, RecordedStep, RecordingError, reported
from .tape_program import Program


class TapedStep(RecordedStep):
    """An ``EagerStep`` as a tape of calls; ``recording`` is a ``Program``."""

    variant = device = "cpu"
    kind = "tape"
    tells_misfits = False  # a step on the CPU is hardly slower without
    xp = np

    _terms: Any  # of the latest step
    _compute: Any  # the calls of its two halves
    _update: Any

    def run_first(self) -> None:
        """The step itself."""
        with reported():
            self._terms = self._eagerly()
        self._require_finite()
        self.update()

    def record(self) -> None:
        """Record the step and try the tape."""
        random = np.random.get_state()
        try:
            with reported():
                self._record()
        except RecordingError:
            np.random.set_state(random)  # the objective is called anew
            raise

    def _record(self) -> None:
        learned = set(self.params())
        if any(p.requires_grad and p not in learned for p in self.model.parameters()):
            raise RecordingError("a parameter that requires a gradient is not the optimiser's")
        before = self._numbers()
        with self._other_numbers():
            expected = self._digests(self._eagerly())
        if self._numbers() != before:
            for attributes, numbers in zip(self._attributes, before, strict=True):
                attributes.update(numbers)
            raise RecordingError("the model or the objective counts in an attribute")
        for value in (np.inf, -np.inf, np.nan):  # so an ``if`` that sees one goes another way
            self.optimizer.zero_grad()  # what was tried before is free again
            program = self._terms = self._compute = self._update = None
            program = self._program(value)
            for _ in range(2):  # twice: what is added up from one replay to the next is wrong
                self._try(expected)
        self.recording = program

    def _numbers(self) -> list[dict[str, float]]:
        """The Python numbers among the attributes of the model's parts and of the objective."""
        return [
            {name: value for name, value in attributes.items() if isinstance(value, int | float)}
            for attributes in self._attributes
        ]

    def _program(self, value: float) -> Program:
        """The step, recorded while all that it reads is ``value``."""
        program = Program(value)
        with self._unknown(value), program.recorded():
            terms = self.gradients()
            self._compute = program.cut()
            self.update()
        self._update = program.cut()
        self._terms = ELBO(*(Tensor(known(term.data)) for term in terms))
        return program

    def _try(self, expected: dict[str, int]) -> None:
        """RecordingError unless the tape gives what is expected."""
        with self._other_numbers():
            self._compute()
            found = self._digests(self._terms)
        different = [name for name, digest in expected.items() if found.get(name) != digest]
        if different:
            raise RecordingError(
                f"{different[0]} depends on something that is neither a compiled kernel nor a ufunc"
            )

    def replay(self) -> None:
        """Make the calls; NonFiniteError before a weight is changed."""
        self._compute()
        self._require_finite()
        self._update()

    def results(self) -> list[Array]:
        """The terms of the step before the next replay overwrites them."""
        return [term.data.copy() for term in self._terms]

    def put(self, counts: Array) -> None:
        """Set the counters."""
        self.counters[...] = counts

    def put_beta(self, beta: float) -> None:
        """Set the weight of the KL term."""
        self._number = beta
        self.beta[...] = beta

    def backward(self, terms: ELBO) -> None:
        """The backward pass of the loss."""
        if isinstance(self.beta, UnknownWeight):
            self.beta.is_number = False
        super().backward(terms)

    def _as_numbers(self) -> tuple[Noise, float]:
        """Noise and weight of the KL term as an ``EagerStep`` is told: numbers, to be read."""
        return Noise(self._like["noise seed"], int(self.counters[NOISE])), self._number

    def _eagerly(self) -> ELBO:
        """``gradients`` with what an ``EagerStep`` is told."""
        return self.gradients(*self._as_numbers())

    def _require_finite(self) -> None:
        if not math.isfinite(self._terms.loss.data):
            terms = self.eager.objective(self.model, self.x, *self._as_numbers())
            raise NonFiniteError(first_nonfinite(self.model, self.x, terms.loss) or "the loss")

    # ------------------------------------------------------------ trying the tape
    @contextlib.contextmanager
    def _other_numbers(self) -> Iterator[None]:
        """Another noise and weight of the KL term inside; then all is as before."""
        with self._as_before(), restored([self.counters]):
            self.counters[NOISE] ^= np.uint64(1)
            beta = self._number
            self.put_beta(0.9 * float(beta) + 1 / 30)  # in [0, 1] where it was
            try:
                yield
            finally:
                self.put_beta(beta)

    @contextlib.contextmanager
    def _unknown(self, value: float) -> Iterator[None]:
        """What a step reads is ``value`` and a recording's inside; then it is as before."""
        x, beta = self.x, self.beta
        with self._as_before() as places, restored([x, beta]):
            for array in (x, beta, *(array for *_, array in places)):
                if array.dtype.kind == "f" and array.flags.writeable:
                    array.fill(value)
            for owner, name, array in places:
                setattr(owner, name, array.view(UnknownArray))
            self.x, self.beta = x.view(UnknownArray), beta.view(UnknownWeight)
            try:
                yield
            finally:
                self.x, self.beta = x, beta
                for p in self.params():
                    p.grad = known(p.grad)

    @contextlib.contextmanager
    def _as_before(self) -> Iterator[list[tuple[Any, str, Array]]]:
        """Give all arrays of the model and the optimiser back as they are, wherever they are held:
        (owner, attribute, array) of each.
        """
        held = [value for part in self.model.modules() for value in vars(part).items()]
        tensors = [value for _, value in held if isinstance(value, Tensor)]
        places: list[tuple[Any, str, Array]]
        places = [(p, "data", p.data) for p in dict.fromkeys([*tensors, *self.params()])]
        for part in self.model.modules():
            arrays = [(name, a) for name, a in vars(part).items() if type(a) is np.ndarray]
            places += [(part, name, array) for name, array in arrays]
        with restored([array for *_, array in places if array.flags.writeable]):
            try:
                yield places
            finally:
                for owner, name, array in places:
                    setattr(owner, name, array)

    def _digests(self, terms: ELBO) -> dict[str, int]:
        """A checksum of each loss, parameter, gradient and buffer, by name."""
        arrays = {f"the term {name}": term.data for name, term in terms._asdict().items()}
        names: dict[Tensor, str] = {p: name for name, p in self.model.named_parameters()}
        for i, p in enumerate(dict.fromkeys([*names, *self.params()])):
            name = names.get(p, f"parameter {i}, outside the model,")
            arrays[f"the parameter {name}"] = p.data
            if p.grad is not None:
                arrays[f"the gradient of {name}"] = p.grad
        arrays |= {f"the buffer {name}": a for name, a in self.model.named_buffers()}
        return {name: zlib.crc32(np.ascontiguousarray(a)) for name, a in arrays.items()}


class UnknownWeight(UnknownArray):
    """The weight of the KL term while a step is recorded. To the objective of an eager step it is a
    Python number, of more digits than an array: what is computed from it alone would differ.
    """

    is_number = True

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        others = [x for x in inputs if isinstance(x, UnknownArray) and x is not self]
        if self.is_number and not others:
            refuse("a number is computed from beta alone")
        return super().__array_ufunc__(ufunc, method, *inputs, **options)


@contextlib.contextmanager
def restored(arrays: Iterable[Array]) -> Iterator[list[tuple[Array, Array]]]:
    """Give arrays back what they hold now when the block ends: (array, copy) of each."""
    before = [(array, array.copy()) for array in arrays]
    try:
        yield before
    finally:
        for array, old in before:
            array[...] = old
