"""Which training steps are recorded, and how."""

from ..backend import device_of
from ..data.batches import Batches
from .cpu_tape import TapedStep
from .cuda_graph import captured
from .progress import Tell
from .recorded_step import RecordedStep
from .step import EagerStep

# Parameters above which the kernels of a step on the CPU take so much longer than Python that
# nothing is gained by a tape, which keeps the memory of a whole step.
LARGEST_TAPED = 2_000_000


def recorded(
    eager: EagerStep, batches: Batches, tell: Tell = print
) -> tuple[EagerStep | RecordedStep, Batches]:
    """(step, batches) to train with: ``eager``, recorded where that is worth while.

    On a GPU the images are resident then, where they fit. Takes and gives what ``Trainer`` calls
    ``step`` and ``train``.
    """
    params = eager.model.parameters()
    if device_of(params[0].data) == "cuda":
        return captured(eager, batches, tell)
    if sum(p.size for p in params) > LARGEST_TAPED:
        return eager, batches
    return TapedStep(eager, tell), batches
