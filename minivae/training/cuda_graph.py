"""CapturedStep: a training step as one CUDA graph.

At batch 128 the kernels of MLPVAE take microseconds each, and launching them one by one from Python
takes longer than running them. A graph holds all launches of a step (forward, loss, backward, Adam
and the gathering of the batch), and one call starts them.

A graph repeats the same launches on the same memory. So all arrays that a step allocates come from
a memory pool that lives as long as the graph, and no other array gets memory that the next launch
writes to. A kernel after the backward pass adds 1 to the counters. Nothing in a step may wait for
the GPU or copy to or from the host: the capture would fail.
"""

import collections
import contextlib
import functools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..backend import Array, device_module
from ..data.batches import Batches, PixelBatches
from ..data.device_batches import ResidentBatches, Selection
from ..models.vae import ELBO
from ..noise import Noise
from ..tensor import Tensor
from .progress import Tell
from .recorded_step import BATCH, DRAW, NOISE, STEP, Batch, RecordedStep, reported
from .step import EagerStep


def captured(
    eager: EagerStep, batches: Batches, tell: Tell = print
) -> tuple["CapturedStep", Batches]:
    """(step, batches) to train with on a GPU: ``eager`` as a ``CapturedStep``, and the images in
    GPU memory if they fill less than half of what is free.

    The arguments and results are what ``Trainer`` calls ``step`` and ``train``.
    """
    if type(batches) is PixelBatches:
        free, _ = device_module().cuda.runtime.memGetInfo()
        if batches.images.nbytes < free // 2:
            batches = ResidentBatches(batches)
    return CapturedStep(eager, tell), batches


TOGETHER = 8  # steps in one launch of ``CapturedStep.several``


@functools.cache
def own_streams(xp: Any) -> tuple[Any, Any]:
    """The two streams that all captured steps share, since kernels keep memory for each stream."""
    return tuple(xp.cuda.Stream(non_blocking=True) for _ in range(2))


class CapturedStep(RecordedStep):
    """An ``EagerStep`` as a CUDA graph; ``recording`` is the ``cupy.cuda.Graph``.

    Gradients of parameters, which are not read before Adam, are computed on a second stream in
    parallel with the backward pass. ``several`` launches one graph of ``TOGETHER`` steps, because
    a launch takes longer than a step of a small model.
    """

    variant = device = "cuda"
    kind = "graph"
    together = TOGETHER

    def __init__(self, eager: EagerStep, tell: Tell = print) -> None:
        super().__init__(eager, tell)
        if self.refused is None:
            self.xp = device_module()
            self._stream, self._side = own_streams(self.xp)
            self._pool = self.xp.cuda.MemoryPool()
            self._expected = np.zeros(4, np.uint64)  # the values of the counters on the GPU
            self._betas = [0.0] * TOGETHER  # the values of _device_betas
            dtype = self.params()[0].dtype
            self._latest = self.xp.zeros((TOGETHER, 3), dtype)
            self._device_betas = self.xp.zeros(TOGETHER, dtype)
            # The graph of several steps, and the gradients of its last one.
            self._long: tuple[Any, list[Array | None]] | None = None

    def several(
        self, xs: Sequence[Batch], noises: Sequence[Noise], betas: list[float]
    ) -> list[ELBO]:
        """``TOGETHER`` steps in one launch if all match the captured step; else one by one."""
        steps = list(zip(xs, noises, strict=True))
        fit = len(steps) == TOGETHER and not self.refused and self.recording is not None
        states = self._states() if fit else []
        fit = fit and self._misfit(*steps[0], states) is None and not self._is_stale(states)
        if not fit or not all(self._follows(i, *step, *steps[0]) for i, step in enumerate(steps)):
            return super().several(xs, noises, betas)
        self._prepare(xs[0], noises[0], betas, states)
        if self._long is None:
            self._long = self._capture(TOGETHER), [p.grad for p in self.params()]
        graph, grads = self._long
        graph.launch()
        self._expected += np.uint64(TOGETHER)
        self.replays += TOGETHER
        for p, grad in zip(self.params(), grads, strict=True):
            p.grad = grad
            self.optimizer.state[p]["step"] += TOGETHER
        values = self._latest.copy()
        return [ELBO(*(Tensor(values[k, i]) for i in range(3))) for k in range(TOGETHER)]

    def _follows(self, i: int, x: Batch, noise: Noise, x0: Batch, noise0: Noise) -> bool:
        """Whether a step has the batch and noise of step ``i`` in a graph whose step 0 is given."""
        if not (isinstance(x, Selection) and isinstance(x0, Selection)):
            return False
        if x.batches is not x0.batches or x.shape != x0.shape:
            return False
        if not isinstance(noise, Noise) or noise.seed != noise0.seed or noise.first:
            return False
        drawn = x.noise == (x0.noise and Noise(x0.noise.seed, x0.noise.offset + i))
        return drawn and x.number - x0.number == noise.offset - noise0.offset == i

    def run_first(self) -> None:
        """Run the step without a graph, in the memory pool that the graph will use."""
        with self._own_stream():
            self._work(0)
        self._expected += np.uint64(1)

    def record(self) -> None:
        """Capture the step."""
        self.recording, self._long = self._capture(1), None

    def _capture(self, steps: int) -> Any:
        """Capture a graph of this many steps."""
        with self._own_stream():
            self._stream.begin_capture()
            try:
                for slot in range(steps):
                    self._work(slot)
            except BaseException:
                with contextlib.suppress(Exception):  # ending a broken capture is an error too
                    self._stream.end_capture()
                raise
            return self._stream.end_capture()

    @contextlib.contextmanager
    def _own_stream(self) -> Iterator[None]:
        current = self.xp.cuda.get_current_stream()
        self._stream.wait_event(current.record())
        try:
            with reported(), self._stream, self.xp.cuda.using_allocator(self._pool.malloc):
                yield
        finally:
            current.wait_event(self._stream.record())

    def _work(self, slot: int) -> None:
        from ..kernels import cuda  # here, because importing it requires a GPU

        self.beta, self._slot = self._device_betas[slot, ...], slot
        if self.source:
            source, batch = self.source, self.counters[BATCH : BATCH + 1]
            cuda.gather_into(self.x, source.images, source.device_order, self.draw, batch)
        self.gradients()
        self.update(moved_on=1)

    def backward(self, terms: ELBO) -> None:
        """The backward pass, and in parallel with its last part ``cuda.finish``, which adds 1 to
        the counters: only Adam reads them afterwards, and it takes that into account.
        """
        from ..kernels import cuda

        once = each_used_once(terms.loss, self.params())
        with cuda.beside(self._side) if once else contextlib.nullcontext():
            terms.loss.backward()
            cuda.finish(self.counters, [t.data for t in terms], self._latest[self._slot])

    def replay(self) -> None:
        """Launch the graph."""
        self.recording.launch()
        self._expected += np.uint64(1)

    def results(self) -> list[Array]:
        """The terms of the step, copied because the next launch overwrites them."""
        values = self._latest[0].copy()
        return [values[i] for i in range(3)]

    def put(self, counts: Array) -> None:
        """Set the counters, unless those that are read have these values already."""
        read = [NOISE, STEP, *([BATCH] if self.source else []), *([DRAW] if self.draw else [])]
        if (counts != self._expected)[read].any():
            self.counters.set(counts)
            self._expected = counts

    def put_beta(self, beta: float | list[float]) -> None:
        """Set the weights of the KL term, of one step or of several."""
        betas = beta if isinstance(beta, list) else [beta]
        betas = [*betas, *self._betas[len(betas) :]]
        if betas != self._betas:
            self._device_betas.set(np.array(betas, self._device_betas.dtype))
            self._betas = betas


def each_used_once(loss: Tensor, params: Sequence[Tensor]) -> bool:
    """Whether each parameter is an input of exactly one operation, so that no gradient is a sum."""
    uses = collections.Counter(
        id(tensor)
        for op in (loss.creator.reachable() if loss.creator else ())
        for tensor, needed in zip(op.inputs, op.needs, strict=True)
        if needed and tensor.creator is None
    )
    return all(uses[id(p)] == 1 for p in params)
