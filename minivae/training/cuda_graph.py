"""A training step as one CUDA graph.

At batch 128 the kernels of MLPVAE take microseconds each, and starting them one by one from Python
takes longer than running them. A graph holds all launches of a step, forward, loss, backward, Adam
and the choice of the batch, and one call starts them.

A graph repeats the very same launches on the very same memory, so all arrays that a step makes
come from a pool of its own, which lives as long as the graph: nobody else is given memory that the
next launch writes to. Its last launch moves the counters on by 1. Nothing in a step may wait for
the GPU or copy to or from the host: there a capture fails.
"""

import contextlib
import functools

import numpy as np

from ..backend import device_module
from ..data.batches import PixelBatches
from ..data.device_batches import ResidentBatches
from .recorded_step import BATCH, DRAW, NOISE, STEP, RecordedStep, reported


def captured(eager, batches, tell=print):
    """(step, batches) to train with on a GPU: ``eager`` captured, the images resident if they can.

    Takes and gives what ``Trainer`` calls ``step`` and ``train``.
    """
    if type(batches) is PixelBatches:
        free, _ = device_module().cuda.runtime.memGetInfo()
        if batches.images.nbytes < free // 2:
            batches = ResidentBatches(batches)
    return CapturedStep(eager, tell), batches


@functools.cache
def own_stream(xp):
    """The stream of all captured steps: what the kernels keep for a stream is there but once."""
    return xp.cuda.Stream(non_blocking=True)


class CapturedStep(RecordedStep):
    """An ``EagerStep`` as a CUDA graph; ``recording`` is the ``cupy.cuda.Graph``."""

    variant = device = "cuda"
    kind = "graph"

    def __init__(self, eager, tell=print):
        super().__init__(eager, tell)
        if self.refused is None:
            self.xp = device_module()
            self._stream = own_stream(self.xp)
            self._pool = self.xp.cuda.MemoryPool()
            self._expected = None  # what the counters on the GPU hold
            self._latest = self.xp.zeros(3, self.params()[0].dtype)

    def run_first(self):
        """The step itself, in the pool that the graph will use."""
        with self._own_stream():
            self._work()
        self._expected += np.uint64(1)

    def record(self):
        """Capture the step."""
        with self._own_stream():
            self._stream.begin_capture()
            try:
                self._work()
            except BaseException:
                with contextlib.suppress(Exception):  # the capture is broken, and so is its end
                    self._stream.end_capture()
                raise
            self.recording = self._stream.end_capture()

    @contextlib.contextmanager
    def _own_stream(self):
        current = self.xp.cuda.get_current_stream()
        self._stream.wait_event(current.record())
        try:
            with reported(), self._stream, self.xp.cuda.using_allocator(self._pool.malloc):
                yield
        finally:
            current.wait_event(self._stream.record())

    def _work(self):
        from ..kernels import cuda  # here, because importing it takes a GPU

        if self.source:
            source, batch = self.source, self.counters[BATCH : BATCH + 1]
            cuda.gather_into(self.x, source.images, source.device_order, self.draw, batch)
        terms = self.gradients()
        self.update()
        for i, term in enumerate(terms):
            self._latest[i] = term.data
        cuda.advance(self.counters)

    def replay(self):
        """Launch the graph."""
        self.recording.launch()
        self._expected += np.uint64(1)

    def results(self):
        """The terms of the step before the next launch overwrites them."""
        values = self._latest.copy()
        return [values[i] for i in range(3)]

    def put(self, counts):
        """Set the counters where they do not have these values already."""
        read = [NOISE, STEP, *([BATCH] if self.source else []), *([DRAW] if self.draw else [])]
        if self._expected is None or (counts != self._expected)[read].any():
            self.counters.set(counts)
            self._expected = counts
