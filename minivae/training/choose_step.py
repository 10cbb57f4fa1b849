"""Choose how a training step runs: as a CUDA graph, as a tape on the CPU, or eagerly."""

from ..backend import device_of
from ..data.batches import Batches
from .cpu_tape import TapedStep
from .cuda_graph import captured
from .progress import Tell
from .recorded_step import RecordedStep
from .step import EagerStep

# Above this number of parameters a step on the CPU spends so little of its time in Python that a
# tape, which holds the memory of a whole step, gains nothing.
LARGEST_TAPED = 2_000_000


def recorded(
    eager: EagerStep, batches: Batches, tell: Tell = print
) -> tuple[EagerStep | RecordedStep, Batches]:
    """(step, batches) to train with: ``eager`` as a recorded step, or itself if large on the CPU.

    On a GPU the images are kept in GPU memory if they fit. The arguments and results are what
    ``Trainer`` calls ``step`` and ``train``.
    """
    params = eager.model.parameters()
    if device_of(params[0].data) == "cuda":
        return captured(eager, batches, tell)
    if sum(p.size for p in params) > LARGEST_TAPED:
        return eager, batches
    return TapedStep(eager, tell), batches
