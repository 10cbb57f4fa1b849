"""A training step as a tape of kernel calls on the CPU.

While a step is recorded, every compiled kernel that it would call is written on the tape
(csrc/cpu/tape.h) with the addresses it would work on, and none runs. Replaying makes the calls, in
compiled code, without Python between them. The tape's results lie in memory of its own, which is
used again within the step where nobody refers to it any more.

A tape holds what the compiled kernels do and nothing else: not what NumPy computes between them,
not which way an ``if`` went. So no value can be read while a step is recorded, images and weights
are NaN meanwhile, and the tape is tried before it is used: it must give the very losses and
gradients that the operations give, of another noise and another weight of the KL term.
"""

import contextlib
import math
import zlib
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from ..backend import Array, values_unknown
from ..errors import NonFiniteError
from ..models.vae import ELBO
from .nonfinite import first_nonfinite
from .recorded_step import NOISE, RecordedStep, RecordingError, reported


class TapedStep(RecordedStep):
    """An ``EagerStep`` as a tape of calls; ``recording`` is a ``minivae._cpu.Tape``."""

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
        from ..kernels.cpu import Tape  # here, because the extension may not be built

        expected = self._tried()
        tape = Tape()
        weights = [p.data for p in self.model.parameters()]
        arrays = [self.x, self.beta, *weights, *self._buffers()]
        with reported(), restored(arrays), values_unknown(), np.errstate(all="ignore"):
            for array in arrays:
                if array.dtype.kind == "f":
                    array.fill(np.nan)
            tape.start()
            try:
                self._terms = self.gradients()
                self._gradient_calls = len(tape)
                self.update()
            finally:
                tape.stop()
        with self._other_numbers():
            tape.replay(0, self._gradient_calls)
            found = self._digests(self._terms)
        different = [name for name, digest in expected.items() if found[name] != digest]
        if different:
            raise RecordingError(
                f"{different[0]} depends on something outside the compiled kernels"
            )
        self.recording = tape

    def replay(self) -> None:
        """Make the calls; NonFiniteError before a weight is changed."""
        self.recording.replay(0, self._gradient_calls)
        self._require_finite()
        self.recording.replay(self._gradient_calls, len(self.recording))
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


@contextlib.contextmanager
def restored(arrays: Iterable[Array]) -> Iterator[list[tuple[Array, Array]]]:
    """Give arrays back what they hold now when the block ends: (array, copy) of each."""
    before = [(array, array.copy()) for array in arrays]
    try:
        yield before
    finally:
        for array, old in before:
            array[...] = old
