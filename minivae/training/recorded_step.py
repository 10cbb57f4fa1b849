"""A whole training step, recorded once and repeated for every batch.

A step of a small model takes longer in Python than in its kernels. The kernels of a step, with the
memory they work on, are the same for every batch of one shape, so they are recorded once and then
started together: as a CUDA graph on a GPU (``cuda_graph``), as a tape of calls that compiled code
makes on the CPU (``cpu_tape``). What a step is told, batch, noise, step count, learning rate and
weight of the KL term, lies in arrays that the recorded kernels read. The results are those of
``EagerStep``; a step that cannot be recorded runs there, and the reason is told once.
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

# What ``counters`` counts. Each holds the value of the step that comes next.
NOISE, BATCH, DRAW, STEP = range(4)


class RecordedStep:
    """``step(x, noise, beta)`` with the results of an ``EagerStep``, which it stands in for.

    The first step of a shape runs operation by operation, so that everything that is made at a
    first call is there; at the second one the step is recorded. Batches of any other shape than
    the first one, such as the last one of an epoch, go to the eager step.

    Args:
        eager: the ``EagerStep``.
        tell: called with a line of text when steps run eagerly, once for each reason.

    Attributes:
        recording: what was recorded, None before.
        reasons: why steps ran eagerly, a dict from text to the number of steps.
        replays: how many steps were repetitions of a recording.
    """

    variant: str
    device: str
    xp: Any
    recording: Any = None
    kind = "recording"  # the word for it
    tells_misfits = True  # or only why no step can be recorded
    together = 1  # steps that are better given to ``several`` than one by one

    run_first: Callable[[], None]  # the first step, which makes what a recording needs
    record: Callable[[], None]
    replay: Callable[[], None]
    results: Callable[[], list[Array]]  # the terms of the step that was made
    put: Callable[[Array], None]  # the counters
    put_beta: Callable[[Any], None]

    def __init__(self, eager: EagerStep, tell: Tell = print) -> None:
        self.eager, self.tell = eager, tell
        self.model = eager.model
        self.optimizer: Any = eager.optimizer  # an Adam, or every step is refused
        self.reasons: dict[str, int] = {}
        self.replays = self._first_replay = 0
        self._short_lived = 0  # recordings in a row that served one step each
        self.refused = self._obstacle()
        self._attributes: list[dict[str, Any]] = []  # of the model's parts and the objective
        self._like: dict[str, Any] = {}  # what a batch must share with the first one
        self._told: dict[int, float] = {}  # the learning rates that the arrays hold
        self._arrays: list[Any] = []  # what was recorded, as the next two
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
                self.refused = "what the model holds is another at each step"
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
        """Steps on some batches that follow each other: a list of their terms."""
        return [self(*step) for step in zip(xs, noises, betas, strict=True)]

    def _run_eagerly(self, reason: str, x: Batch, noise: NoiseLike, beta: float) -> ELBO:
        self.reasons[reason] = self.reasons.get(reason, 0) + 1
        if self.reasons[reason] == 1 and (self.tells_misfits or reason is self.refused):
            self.tell(f"not in a {self.kind}: {reason}")
        return self.eager(x.pixels() if isinstance(x, Selection) else x, noise, beta)

    # ------------------------------------------------------------ what can be recorded
    def _obstacle(self) -> str | None:
        """Why no step of this model and optimiser can be recorded, or None."""
        if why := kernels.unavailable(self.variant):
            return f"the {self.variant} kernels are not available: {why}"
        if type(self.optimizer) is not Adam:
            return f"the optimiser is {type(self.optimizer).__name__}, only Adam's steps are"
        if any(device_of(p.data) != self.device for p in self.params()):
            return f"the parameters are in {'host' if self.device == 'cuda' else 'GPU'} memory"
        return None

    def _misfit(self, x: Batch, noise: NoiseLike, states: States) -> str | None:
        """Why this step is not the one that was recorded, or None. The first one decides."""
        if kernels.active() not in (None, self.variant):
            return f"the kernel variant {kernels.active()!r} is forced"
        if not isinstance(noise, Noise):
            return "the noise is an array"
        if len({state["step"] for _, state in states}) > 1:
            return "some parameters have had more updates than others"
        if noise.first:
            return "the noise begins at another row than the first"
        source, draw = (x.batches, x.noise) if isinstance(x, Selection) else (None, None)
        like = {
            "shape": x.shape,
            "source": "an array" if source is None else id(source),
            "noise seed": noise.seed,
            "drawing seed": draw.seed if draw else None,
            "mode": "training" if self.model.training else "evaluation",
            "kernels": kernels.active(),
        }
        if not isinstance(x, Selection):  # NumPy's sums depend on the order in memory
            like |= {"dtype": x.dtype, "order": "C" if x.flags.c_contiguous else "another"}
        if not self._like:
            self._like = {**like, "dtype": states[0][0].dtype, "order": "C"}
            if source is not None:  # a run may go on from the short batch at an epoch's end
                self._like["shape"] = source.batch_shape
        for name, value in like.items():
            if value != (recorded := self._like[name]):
                return f"the {name} of the batch is {value}, that of the {self.kind} {recorded}"
        return None

    def params(self) -> list[Tensor]:
        """The parameters that are not frozen."""
        return [p for group in self.optimizer.param_groups for p in learning(group)]

    def _states(self) -> States:
        """The parameters that are not frozen, each with what the optimiser keeps of it."""
        return [(p, self.optimizer.state_of(p)) for p in self.params()]

    def _held(self) -> list[dict[str, Any]]:
        """The attributes of the model's parts and of the objective."""
        parts = [*self.model.modules(), self.eager.objective]
        return [getattr(part, "__dict__", {}) for part in parts]

    def _in_use(self, states: States) -> tuple[list[Any], list[Options]]:
        """The arrays, attributes and options that a step uses now and a recording cannot be told
        anew.
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
        """Whether somebody has exchanged an array or another attribute, or changed an option, since
        the recording.
        """
        arrays, options = self._in_use(states)
        same = len(arrays) == len(self._arrays) and all(map(operator.is_, arrays, self._arrays))
        return not same or options != self._options

    # ------------------------------------------------------------ the step and what it is told
    def _allocate(self, x: Batch, noise: Noise) -> None:
        """The arrays from which the recorded kernels read what changes from step to step."""
        xp, dtype = self.xp, self.params()[0].dtype
        self.x, self.beta = xp.zeros(x.shape, dtype), xp.zeros((), dtype)
        self.counters = xp.zeros(4, np.uint64)
        self.rates = [xp.zeros(1, np.float64) for _ in self.optimizer.param_groups]
        self.noise = CountedNoise(noise.seed, self.counters[NOISE : NOISE + 1])
        seed = self._like["drawing seed"]
        self.draw = None if seed is None else CountedNoise(seed, self.counters[DRAW : DRAW + 1])
        self.source = x.batches if isinstance(x, Selection) else None

    def _prepare(self, x: Batch, noise: Noise, beta: float | list[float], states: States) -> None:
        """Put what this step is told into those arrays."""
        counts = np.zeros(4, np.uint64)
        counts[NOISE] = noise.offset
        counts[STEP] = states[0][1]["step"] + 1  # of all
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

    def gradients(self, *told: Any) -> ELBO:
        """Losses, forward and backward; all numbers are read from the arrays, but for the noise and
        the weight of the KL term where they are ``told``. The terms.
        """
        noise, beta = told or (self.noise, Tensor(self.beta))
        terms = self.eager.objective(self.model, self.x, noise, beta)
        if not all(isinstance(term, Tensor) for term in terms):
            raise RecordingError("a term is no tensor")
        self.optimizer.zero_grad()
        self.backward(terms)
        if any(p.grad is None for p in self.params()):
            raise RecordingError("a parameter got no gradient, so Adam does not move it")
        return terms

    def backward(self, terms: ELBO) -> None:
        """The backward pass of the loss."""
        terms.loss.backward()

    def update(self, moved_on: int = 0) -> None:
        """Adam, whose step count and learning rates are read from the arrays; the counters are at
        ``moved_on`` steps after this one.
        """
        step = -moved_on, self.counters[STEP : STEP + 1]
        for group, lr in zip(self.optimizer.param_groups, self.rates, strict=True):
            self.optimizer.update(group, learning(group), step, lr)


class RecordingError(Exception):
    """Why a step cannot be recorded."""


@contextlib.contextmanager
def reported() -> Iterator[None]:
    """Turn what goes wrong in the block into a ``RecordingError``."""
    try:
        yield
    except RecordingError:
        raise
    except Exception as error:
        if is_out_of_memory(error):  # step by step there would be no more
            raise
        raise RecordingError(f"{type(error).__name__}: {error}") from error


def learning(group: Options) -> list[Tensor]:
    """The parameters of an optimiser's group that are not frozen."""
    return [p for p in group["params"] if p.requires_grad]
