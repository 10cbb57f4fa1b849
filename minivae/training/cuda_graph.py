"""A whole training step as one CUDA graph, launched again for every batch.

At batch 128 the kernels of MLPVAE take microseconds each, and starting them one by one from Python
takes longer than running them. A graph holds all launches of a step, forward, loss, backward, Adam
and the choice of the batch, and one call starts them.

A graph repeats the very same launches on the very same memory, so:

- whatever changes from step to step lies in GPU memory: the offset of the noise, the number of the
  batch in the epoch's order, the step count of Adam (``counters``, which the graph's last launch
  moves on by 1), the learning rate and the weight of the KL term;
- all arrays that a step makes come from a pool of its own, which lives as long as the graph, so
  that nobody else is given memory that the next launch writes to;
- nothing in a step may wait for the GPU or copy to or from the host. Where a model or an objective
  does, the capture fails, the reason is told, and steps run one operation at a time as before.
"""

import contextlib
import operator

import numpy as np

from .. import kernels
from ..backend import device_module, device_of
from ..data.batches import PixelBatches
from ..data.device_batches import ResidentBatches, Selection
from ..models.vae import ELBO
from ..noise import CountedNoise, Noise
from ..optim import Adam
from ..tensor import Tensor


def captured(eager, batches, tell=print):
    """(step, batches) to train with on a GPU: ``eager`` captured, the images resident if they can.

    Takes and gives what ``Trainer`` calls ``step`` and ``train``.
    """
    if type(batches) is PixelBatches:
        free, _ = device_module().cuda.runtime.memGetInfo()
        if batches.images.nbytes < free // 2:
            batches = ResidentBatches(batches)
    return CapturedStep(eager, tell), batches


def learning(group):
    """The parameters of an optimiser's group that are not frozen."""
    return [p for p in group["params"] if p.requires_grad]


# What ``counters`` counts. Each holds the value of the step that comes next.
NOISE, BATCH, DRAW, STEP = range(4)


class CapturedStep:
    """``train.EagerStep``, captured: ``step(x, noise, beta)`` with the same results.

    The first step of a shape runs operation by operation, so that all kernels are loaded and the
    pool has what the step needs; the second is captured. Batches of any other shape than the first
    one, such as the last one of an epoch, go to the eager step.

    Args:
        eager: the ``EagerStep`` that this one stands in for.
        tell: called with a line of text when steps run eagerly, once for each reason.

    Attributes:
        graph: the ``cupy.cuda.Graph``, None before it was captured.
        reasons: why steps ran eagerly, a dict from text to the number of steps.
    """

    def __init__(self, eager, tell=print):
        self.eager, self.tell = eager, tell
        self.model, self.optimizer = eager.model, eager.optimizer
        self.graph, self.reasons = None, {}
        self._refused = self._obstacle()
        self._like = None  # what a batch must share with the first one
        if self._refused:
            return
        self._cupy = cupy = device_module()
        self._stream, self._pool = cupy.cuda.Stream(non_blocking=True), cupy.cuda.MemoryPool()
        groups, dtype = self.optimizer.param_groups, self._params()[0].dtype
        self._counters, self._expected = cupy.zeros(4, np.uint64), None
        self._lrs = [cupy.zeros(1, np.float64) for _ in groups]
        self._beta = cupy.zeros((), dtype)
        self._numbers = {}  # what _lrs and _beta hold
        self._arrays, self._grads, self._options = [], [], []  # what the graph was captured with

    def __call__(self, x, noise, beta):
        """One step on ``x``, a ``Selection`` of resident images or an array (B, ...) on the GPU."""
        reason = self._refused or self._misfit(x, noise)
        if reason is None and self.graph is not None and self._is_stale():
            self.graph = None
        if reason is None and self.graph is None:
            reason = self._warm_or_capture(x, noise, beta)
            if reason is None and self.graph is None:  # it was the warming step
                return self._results()
        if reason is None:
            self._prepare(x, noise, beta)
            self.graph.launch()
            for p, grad in zip(self._params(), self._grads, strict=True):
                p.grad = grad
            self._count()
            return self._results()
        self.reasons[reason] = self.reasons.get(reason, 0) + 1
        if self.reasons[reason] == 1:
            self.tell(f"not in a graph: {reason}")
        return self.eager(x.pixels() if isinstance(x, Selection) else x, noise, beta)

    def _obstacle(self):
        """Why no step of this model and optimiser can be captured, or None."""
        if "cuda" not in kernels.available():
            return f"the cuda kernels are not available: {kernels.reasons()['cuda']}"
        if type(self.optimizer) is not Adam:
            return f"the optimiser is {type(self.optimizer).__name__}, only Adam's steps are"
        if any(device_of(p.data) != "cuda" for p in self._params()):
            return "the parameters are in host memory"
        return None

    def _misfit(self, x, noise):
        """Why this step cannot be one of the graph's, or None. The first one decides."""
        if kernels.active() not in (None, "cuda"):
            return f"the kernel variant {kernels.active()!r} is forced"
        if not isinstance(noise, Noise):
            return "the noise is an array"
        if len(set(self._steps())) > 1:
            return "some parameters have had more updates than others"
        selected = isinstance(x, Selection)
        like = {
            "shape": x.shape,
            "source": id(x.batches) if selected else "an array",
            "noise seed": noise.seed,
            "drawing seed": x.noise.seed if selected and x.noise else None,
            "mode": "training" if self.model.training else "evaluation",
            "kernels": kernels.active(),
        }
        if self._like is None:
            self._like = dict(like)
            if selected:  # a run may go on from the short batch at an epoch's end
                self._like["shape"] = x.batches.batch_shape
        for name, value in like.items():
            if value != self._like[name]:
                return f"the {name} of the batch is {value}, that of the graph {self._like[name]}"
        return None

    def _params(self):
        """The parameters that are not frozen."""
        return [p for group in self.optimizer.param_groups for p in learning(group)]

    def _steps(self):
        """How many updates each parameter has had."""
        return [self.optimizer.state_of(p)["step"] for p in self._params()]

    def _in_use(self):
        """The arrays and the options that a step uses now and a graph cannot be told anew."""
        states = [(p, self.optimizer.state_of(p)) for p in self._params()]
        arrays = [a for p, state in states for a in (p.data, state["m"], state["v"])]
        told = ("params", "lr")
        groups = [
            {name: value for name, value in group.items() if name not in told}
            for group in self.optimizer.param_groups
        ]
        return arrays, groups

    def _is_stale(self):
        """Whether somebody has exchanged an array or changed an option since the capture."""
        arrays, options = self._in_use()
        same = len(arrays) == len(self._arrays) and all(map(operator.is_, arrays, self._arrays))
        return not same or options != self._options

    # ------------------------------------------------------------ the graph
    def _warm_or_capture(self, x, noise, beta):
        """Run the first step, or record the second; the reason when that cannot be done."""
        warm = self._expected is not None
        if not warm:
            self._allocate(x, noise)
        self._prepare(x, noise, beta)
        current = self._cupy.cuda.get_current_stream()
        self._stream.wait_event(current.record())
        try:
            with self._stream, self._cupy.cuda.using_allocator(self._pool.malloc):
                if warm:
                    self._capture()
                else:
                    self._work()
                    self._count()
        except Exception as error:
            self._refused = f"the step cannot be captured: {type(error).__name__}: {error}"
            return self._refused
        finally:
            current.wait_event(self._stream.record())
        return None

    def _capture(self):
        self._stream.begin_capture()
        try:
            self._work()
        except BaseException:
            with contextlib.suppress(Exception):  # the capture is broken, and so is its end
                self._stream.end_capture()
            raise
        self.graph = self._stream.end_capture()
        self._arrays, self._options = self._in_use()
        self._grads = [p.grad for p in self._params()]

    def _allocate(self, x, noise):
        cupy, counters = self._cupy, self._counters
        dtype = self._params()[0].dtype
        self._x = cupy.zeros(x.shape, dtype)
        self._latest = cupy.zeros(3, dtype)
        self._noise = CountedNoise(noise.seed, counters[NOISE : NOISE + 1])
        self._draw = None
        if self._like["drawing seed"] is not None:
            self._draw = CountedNoise(x.noise.seed, counters[DRAW : DRAW + 1])
        self._source = x.batches if isinstance(x, Selection) else None

    def _work(self):
        """The step itself, all of its numbers read from GPU memory."""
        from ..kernels import cuda  # here, because importing it takes a GPU

        optimizer, counters = self.optimizer, self._counters
        if self._source:
            source, batch = self._source, counters[BATCH : BATCH + 1]
            cuda.gather_into(self._x, source.images, source.device_order, self._draw, batch)
        terms = self.eager.objective(self.model, self._x, self._noise, Tensor(self._beta))
        optimizer.zero_grad()
        terms.loss.backward()
        if any(p.grad is None for p in self._params()):
            raise RuntimeError("a parameter got no gradient, so Adam does not move it")
        for group, lr in zip(optimizer.param_groups, self._lrs, strict=True):
            optimizer.update(group, learning(group), (0, counters[STEP : STEP + 1]), lr)
        for i, term in enumerate(terms):
            self._latest[i] = term.data
        cuda.advance(counters)

    # ------------------------------------------------------------ around a launch
    def _prepare(self, x, noise, beta):
        """Put what this step is told by the host where the graph reads it."""
        counts = np.zeros(4, np.uint64)
        counts[NOISE], counts[STEP] = noise.offset, self._steps()[0] + 1
        if isinstance(x, Selection):
            counts[BATCH], counts[DRAW] = x.number, x.noise.offset if x.noise else 0
        else:
            self._x[...] = x
        if self._expected is None or (counts != self._expected)[self._counted(x)].any():
            self._counters.set(counts)
            self._expected = counts
        rates = [group["lr"] for group in self.optimizer.param_groups]
        for i, (array, value) in enumerate(
            zip([*self._lrs, self._beta], [*rates, beta], strict=True)
        ):
            if self._numbers.get(i) != value:
                array.fill(value)
                self._numbers[i] = value

    def _counted(self, x):
        """The counters that a step on x reads."""
        selected = isinstance(x, Selection)
        return [NOISE, STEP, *([BATCH] if selected else []), *([DRAW] if self._draw else [])]

    def _count(self):
        """What a step that ran has moved on, here as it did there."""
        self._expected = self._expected + np.uint64(1)
        for p in self._params():
            self.optimizer.state[p]["step"] += 1

    def _results(self):
        """The terms of the step before the next launch overwrites them."""
        values = self._latest.copy()
        return ELBO(*(Tensor(values[i]) for i in range(3)))
