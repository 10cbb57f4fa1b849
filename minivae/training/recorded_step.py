"""RecordedStep: a training step that is recorded once and replayed for every batch.

A step of a small model spends more time in Python than in its kernels. The kernels of a step and
the memory they work on are the same for every batch of one shape, so they are recorded once and
replayed by one call: as a CUDA graph on a GPU (``cuda_graph``), as a tape of calls made by compiled
code on the CPU (``cpu_tape``). The inputs of a step (batch, noise, step count, learning rate and
weight of the KL term) are written to arrays that the recorded kernels read. The results are those
of ``EagerStep``, which runs a step that cannot be recorded; the reason is reported once.
"""

import contextlib
import itertools
import operator
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np

from .. import kernels
from ..backend import Array, device_of, is_out_of_memory
from ..data.device_batches import Selection
from ..models.vae import ELBO, NoiseLike
from ..noise import CountedNoise, Noise
from ..optim import Adam
from ..optim.optimizer import Options
from ..tensor import Tensor
from .progress import Tell
from .step import EagerStep

Batch: TypeAlias = Array | Selection  # images (B, ...)
States: TypeAlias = list[tuple[Tensor, dict[str, Any]]]  # parameters and what Adam keeps of each

# Positions in ``counters``: the noise offset, the batch number, the offset of the binarisation's
# draw and Adam's step count, each with its value for the next step.
NOISE, BATCH, DRAW, STEP = range(4)


class RecordedStep:
    """``step(x, noise, beta)`` with the results of an ``EagerStep``, which it replaces.

    The first step runs operation by operation, so that everything that is created at a first call
    exists; the second step is recorded. Batches of another shape than the first one, such as the
    last one of an epoch, go to the eager step.

    Args:
        eager: the ``EagerStep``.
        tell: called with a line of text when steps run eagerly, once for each reason.

    Attributes:
        recording: the recorded step; None before it is recorded.
        reasons: why steps ran eagerly: a dict from reason to number of steps.
        replays: how many steps were replays of a recording.
    """

    variant: str
    device: str
    xp: Any
    recording: Any = None
    kind = "recording"  # the noun for a recording in messages
    tells_misfits = True  # report why a single step ran eagerly, not only why all of them do
    together = 1  # how many steps ``several`` takes at once

    # Defined by a subclass:
    run_first: Callable[[], None]  # run the first step without a recording
    record: Callable[[], None]
    replay: Callable[[], None]
    results: Callable[[], list[Array]]  # the terms of the latest step
    put: Callable[[Array], None]  # set the counters
    put_beta: Callable[[Any], None]

    def __init__(self, eager: EagerStep, tell: Tell = print) -> None:
        self.eager, self.tell = eager, tell
        self.model = eager.model
        self.optimizer: Any = eager.optimizer  # an Adam, or every step is refused
        self.reasons: dict[str, int] = {}
        self.replays = self._first_replay = 0
        self._short_lived = 0  # recordings in a row that served one step each
        self.refused = self._obstacle()
        self._attributes: list[dict[str, Any]] = []  # of the model's modules and the objective
        self._like: dict[str, Any] = {}  # properties that a batch must share with the first one
        self._told: dict[int, float] = {}  # the learning rates in ``rates``, by group
        self._arrays: list[Any] = []  # used by the recording, as the gradients and options below
        self._grads: list[Array | None] = []
        self._options: list[Options] = []

    def __call__(self, x: Batch, noise: NoiseLike, beta: float) -> ELBO:
        """One step on ``x``, an array (B, ...) or a ``Selection`` of resident images."""
        states = [] if self.refused else self._states()
        reason = self.refused or self._misfit(x, noise, states)
        if reason is not None:
            return self._run_eagerly(reason, x, noise, beta)
        if self.recording is not None and self._is_stale(states):
            self.recording = None
            self._short_lived = self._short_lived + 1 if self.replays == self._first_replay else 0
            if self._short_lived == 3:
                self.refused = "the model's arrays or attributes are replaced at each step"
                return self._run_eagerly(self.refused, x, noise, beta)
        assert isinstance(noise, Noise)  # or it is a misfit
        first = not self._told
        if first:
            self._allocate(x, noise)
        self._prepare(x, noise, beta, states)
        try:
            if first:
                self.run_first()
            elif self.recording is None:
                self._attributes = self._held()
                self.record()
                self._arrays, self._options = self._in_use(states)
                self._grads = [p.grad for p, _ in states]
                self._first_replay = self.replays + 1
        except RecordingError as error:
            self.refused = f"the step cannot be recorded: {error}"
            return self._run_eagerly(self.refused, x, noise, beta)
        if not first:
            self.replay()
            self.replays += 1
            for (p, _), grad in zip(states, self._grads, strict=True):
                p.grad = grad
        for _, state in states:
            state["step"] += 1
        return ELBO(*map(Tensor, self.results()))

    def several(
        self, xs: Sequence[Batch], noises: Sequence[Noise], betas: list[float]
    ) -> list[ELBO]:
        """Steps on consecutive batches: a list of their terms."""
        return [self(*step) for step in zip(xs, noises, betas, strict=True)]

    def _run_eagerly(self, reason: str, x: Batch, noise: NoiseLike, beta: float) -> ELBO:
        self.reasons[reason] = self.reasons.get(reason, 0) + 1
        if self.reasons[reason] == 1 and (self.tells_misfits or reason is self.refused):
            self.tell(f"not in a {self.kind}: {reason}")
        return self.eager(x.pixels() if isinstance(x, Selection) else x, noise, beta)

    # ------------------------------------------------------------ which steps can be recorded
    def _obstacle(self) -> str | None:
        """Why no step of this model and optimiser can be recorded, or None."""
        if why := kernels.unavailable(self.variant):
            return f"the {self.variant} kernels are not available: {why}"
        if type(self.optimizer) is not Adam:
            return f"expected the optimiser Adam, got {type(self.optimizer).__name__}"
        if any(device_of(p.data) != self.device for p in self.params()):
            return f"the parameters are in {'host' if self.device == 'cuda' else 'GPU'} memory"
        return None

    def _misfit(self, x: Batch, noise: NoiseLike, states: States) -> str | None:
        """Why the recording does not fit this step, or None. The first step decides."""
        if kernels.active() not in (None, self.variant):
            return f"the kernel variant {kernels.active()!r} is forced"
        if not isinstance(noise, Noise):
            return "the noise is an array"
        if len({state["step"] for _, state in states}) > 1:
            return "some parameters have had more updates than others"
        if noise.first:
            return f"the noise begins at row {noise.first}, expected 0"
        source, draw = (x.batches, x.noise) if isinstance(x, Selection) else (None, None)
        like = {
            "shape": x.shape,
            "source": "an array" if source is None else id(source),
            "noise seed": noise.seed,
            "drawing seed": draw.seed if draw else None,
            "mode": "training" if self.model.training else "evaluation",
            "kernels": kernels.active(),
        }
        if not isinstance(x, Selection):  # the rounding of NumPy's sums depends on memory order
            like |= {"dtype": x.dtype, "order": "C" if x.flags.c_contiguous else "another"}
        if not self._like:
            self._like = {**like, "dtype": states[0][0].dtype, "order": "C"}
            if source is not None:  # a resumed run may begin with the short last batch of an epoch
                self._like["shape"] = source.batch_shape
        for name, value in like.items():
            if value != (recorded := self._like[name]):
                return f"the {name} of the batch is {value}, that of the {self.kind} {recorded}"
        return None

    def params(self) -> list[Tensor]:
        """The parameters that are not frozen."""
        return [p for group in self.optimizer.param_groups for p in learning(group)]

    def _states(self) -> States:
        """The parameters that are not frozen, each with its optimiser state."""
        return [(p, self.optimizer.state_of(p)) for p in self.params()]

    def _held(self) -> list[dict[str, Any]]:
        """The attributes of the model's modules and of the objective."""
        parts = [*self.model.modules(), self.eager.objective]
        return [getattr(part, "__dict__", {}) for part in parts]

    def _in_use(self, states: States) -> tuple[list[Any], list[Options]]:
        """(arrays and attributes, options of each group) that a recording holds fixed: if one is
        replaced, the step must be recorded again.
        """
        arrays = [a for p, state in states for a in (p.data, state["m"], state["v"])]
        held = itertools.chain.from_iterable(map(dict.values, self._attributes))
        told = ("params", "lr")
        groups = [
            {name: value for name, value in group.items() if name not in told}
            for group in self.optimizer.param_groups
        ]
        return [*arrays, *held, self.eager.objective], groups

    def _is_stale(self, states: States) -> bool:
        """Whether an array or another attribute was replaced, or an option changed, since the
        recording.
        """
        arrays, options = self._in_use(states)
        same = len(arrays) == len(self._arrays) and all(map(operator.is_, arrays, self._arrays))
        return not same or options != self._options

    # ------------------------------------------------------------ the step and its inputs
    def _allocate(self, x: Batch, noise: Noise) -> None:
        """Allocate the arrays from which the recorded kernels read the inputs of each step."""
        xp, dtype = self.xp, self.params()[0].dtype
        self.x, self.beta = xp.zeros(x.shape, dtype), xp.zeros((), dtype)
        self.counters = xp.zeros(4, np.uint64)
        self.rates = [xp.zeros(1, np.float64) for _ in self.optimizer.param_groups]
        self.noise = CountedNoise(noise.seed, self.counters[NOISE : NOISE + 1])
        seed = self._like["drawing seed"]
        self.draw = None if seed is None else CountedNoise(seed, self.counters[DRAW : DRAW + 1])
        self.source = x.batches if isinstance(x, Selection) else None

    def _prepare(self, x: Batch, noise: Noise, beta: float | list[float], states: States) -> None:
        """Write the inputs of this step to the arrays of ``_allocate``."""
        counts = np.zeros(4, np.uint64)
        counts[NOISE] = noise.offset
        counts[STEP] = states[0][1]["step"] + 1  # the same for all parameters
        if isinstance(x, Selection):
            counts[BATCH], counts[DRAW] = x.number, x.noise.offset if x.noise else 0
        else:
            self.x[...] = x
        self.put(counts)
        for i, (array, group) in enumerate(
            zip(self.rates, self.optimizer.param_groups, strict=True)
        ):
            if self._told.get(i) != group["lr"]:
                array.fill(group["lr"])
                self._told[i] = group["lr"]
        self.put_beta(beta)

    def gradients(self, *inputs: Any) -> ELBO:
        """Forward and backward pass; returns the terms. ``inputs`` are (noise, beta), or none for
        the noise and the KL weight in the arrays.
        """
        noise, beta = inputs or (self.noise, Tensor(self.beta))
        terms = self.eager.objective(self.model, self.x, noise, beta)
        if not all(isinstance(term, Tensor) for term in terms):
            raise RecordingError("expected each term to be a Tensor")
        self.optimizer.zero_grad()
        self.backward(terms)
        if any(p.grad is None for p in self.params()):
            raise RecordingError("a parameter got no gradient, so Adam does not update it")
        return terms

    def backward(self, terms: ELBO) -> None:
        """The backward pass of the loss."""
        terms.loss.backward()

    def update(self, moved_on: int = 0) -> None:
        """Run Adam with the step count and learning rates from the arrays. ``moved_on``: by how
        much the counters were already increased in this step.
        """
        step = -moved_on, self.counters[STEP : STEP + 1]
        for group, lr in zip(self.optimizer.param_groups, self.rates, strict=True):
            self.optimizer.update(group, learning(group), step, lr)


class RecordingError(Exception):
    """A step cannot be recorded; the message says why."""


@contextlib.contextmanager
def reported() -> Iterator[None]:
    """Turn an exception in the block into a ``RecordingError``, unless memory ran out."""
    try:
        yield
    except RecordingError:
        raise
    except Exception as error:
        if is_out_of_memory(error):  # an eager step would run out of memory too
            raise
        raise RecordingError(f"{type(error).__name__}: {error}") from error


def learning(group: Options) -> list[Tensor]:
    """The parameters of an optimiser's group that are not frozen."""
    return [p for p in group["params"] if p.requires_grad]
