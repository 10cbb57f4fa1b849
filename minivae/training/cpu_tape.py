"""TapedStep: a training step as a tape of kernel calls on the CPU.

While a step is recorded, every call of a compiled kernel is written on the tape (csrc/cpu/tape.h)
with the addresses of its arrays, and not executed. A replay makes the calls in compiled code,
without Python between them. Calls of NumPy's ufuncs are recorded too: the arrays of a recording are
``UnknownArray``s. The tape owns the memory of all results and reuses it within the step as soon as
an array is no longer referenced.

A recording holds the calls of compiled kernels and ufuncs and nothing else: not which elements an
index selected, not which branch an ``if`` took. So an array raises an error when its values are
read during a recording. Not every read can be detected (``np.asarray`` cannot), so recordings are
tested: the step is recorded three times, with images, weights and results filled with inf, -inf and
NaN, and each recording is replayed twice, with another noise and another weight of the KL term. It
must give exactly the losses, gradients and buffers of the eager step both times.
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
    tells_misfits = False  # an eager step on the CPU is hardly slower
    xp = np

    _terms: Any  # of the latest step
    _compute: Any  # the calls up to the gradients
    _update: Any  # the calls of the optimiser

    def run_first(self) -> None:
        """Run the step eagerly."""
        with reported():
            self._terms = self._eagerly()
        self._require_finite()
        self.update()

    def record(self) -> None:
        """Record the step and test the recording."""
        random = np.random.get_state()
        try:
            with reported():
                self._record()
        except RecordingError:
            np.random.set_state(random)  # the eager step will call the objective again
            raise

    def _record(self) -> None:
        learned = set(self.params())
        if any(p.requires_grad and p not in learned for p in self.model.parameters()):
            raise RecordingError("a parameter that requires a gradient is not in the optimiser")
        before = self._numbers()
        with self._other_numbers():
            expected = self._digests(self._eagerly())
        if self._numbers() != before:
            for attributes, numbers in zip(self._attributes, before, strict=True):
                attributes.update(numbers)
            raise RecordingError("the model or the objective counts in an attribute")
        for value in (np.inf, -np.inf, np.nan):  # an ``if`` on a value takes different branches
            self.optimizer.zero_grad()  # frees the memory of the recording before
            program = self._terms = self._compute = self._update = None
            program = self._program(value)
            for _ in range(2):  # twice, to detect sums that go on from one replay to the next
                self._try(expected)
        self.recording = program

    def _numbers(self) -> list[dict[str, float]]:
        """The Python numbers among the attributes of the model's modules and of the objective."""
        return [
            {name: value for name, value in attributes.items() if isinstance(value, int | float)}
            for attributes in self._attributes
        ]

    def _program(self, value: float) -> Program:
        """Record the step with every array that it reads filled with ``value``."""
        program = Program(value)
        with self._unknown(value), program.recorded():
            terms = self.gradients()
            self._compute = program.cut()
            self.update()
        self._update = program.cut()
        self._terms = ELBO(*(Tensor(known(term.data)) for term in terms))
        return program

    def _try(self, expected: dict[str, int]) -> None:
        """Replay up to the gradients; RecordingError unless the checksums are ``expected``."""
        with self._other_numbers():
            self._compute()
            found = self._digests(self._terms)
        different = [name for name, digest in expected.items() if found.get(name) != digest]
        if different:
            raise RecordingError(
                f"{different[0]} depends on something that is neither a compiled kernel nor a ufunc"
            )

    def replay(self) -> None:
        """Make the calls; NonFiniteError for a loss that is not finite, before the update."""
        self._compute()
        self._require_finite()
        self._update()

    def results(self) -> list[Array]:
        """The terms of the step, copied because the next replay overwrites them."""
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
        """Noise and KL weight as an ``EagerStep`` receives them: Python objects, not arrays."""
        return Noise(self._like["noise seed"], int(self.counters[NOISE])), self._number

    def _eagerly(self) -> ELBO:
        """``gradients`` with the noise and KL weight that an ``EagerStep`` receives."""
        return self.gradients(*self._as_numbers())

    def _require_finite(self) -> None:
        if not math.isfinite(self._terms.loss.data):
            terms = self.eager.objective(self.model, self.x, *self._as_numbers())
            raise NonFiniteError(first_nonfinite(self.model, self.x, terms.loss) or "the loss")

    # ------------------------------------------------------------ testing a recording
    @contextlib.contextmanager
    def _other_numbers(self) -> Iterator[None]:
        """A block with another noise and KL weight; everything is restored at its end."""
        with self._as_before(), restored([self.counters]):
            self.counters[NOISE] ^= np.uint64(1)
            beta = self._number
            self.put_beta(0.9 * float(beta) + 1 / 30)  # stays in [0, 1]
            try:
                yield
            finally:
                self.put_beta(beta)

    @contextlib.contextmanager
    def _unknown(self, value: float) -> Iterator[None]:
        """A block in which the arrays that a step reads are ``UnknownArray``s filled with
        ``value``; everything is restored at its end.
        """
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
        """Restore all arrays of the model and the optimiser at the end of the block, both their
        values and the attributes that hold them; gives (owner, attribute, array) of each.
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
    """The weight of the KL term while a step is recorded.

    In an eager step beta is a Python number, with more digits than a float32 array, so a number
    computed from beta alone would be rounded differently. A recording refuses such a computation.
    """

    is_number = True

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        others = [x for x in inputs if isinstance(x, UnknownArray) and x is not self]
        if self.is_number and not others:
            refuse("a number is computed from beta alone")
        return super().__array_ufunc__(ufunc, method, *inputs, **options)


@contextlib.contextmanager
def restored(arrays: Iterable[Array]) -> Iterator[list[tuple[Array, Array]]]:
    """Restore the values of arrays at the end of the block; gives (array, copy) of each."""
    before = [(array, array.copy()) for array in arrays]
    try:
        yield before
    finally:
        for array, old in before:
            array[...] = old
