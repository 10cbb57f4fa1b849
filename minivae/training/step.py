"""One training step: operation by operation, or recorded and repeated."""

import math

from ..backend import device_of, is_device_array
from ..errors import NonFiniteError
from ..models.vae import ELBO
from .cpu_tape import TapedStep
from .cuda_graph import captured
from .nonfinite import first_nonfinite
from .objectives import elbo


class EagerStep:
    """One training step, operation by operation. A recorded step can stand in for it.

    ``step(x, noise, beta)`` updates the weights and gives ``ELBO(loss, rec, kl)``, scalar tensors,
    means over the batch. On the CPU it raises NonFiniteError before anything is changed.

    Args:
        model, optimizer: what is trained.
        objective: ``objective(model, x, noise, beta)`` gives the terms; see
            ``minivae.training.objectives``.
    """

    def __init__(self, model, optimizer, objective=elbo):
        self.model, self.optimizer, self.objective = model, optimizer, objective

    def __call__(self, x, noise, beta) -> ELBO:
        terms = self.objective(self.model, x, noise, beta)
        if not is_device_array(x) and not math.isfinite(terms.loss.item()):
            raise NonFiniteError(first_nonfinite(self.model, x, terms.loss) or "the loss")
        self.optimizer.zero_grad()
        terms.loss.backward()
        self.optimizer.step()
        return terms


# Parameters above which the kernels of a step on the CPU take so much longer than Python that
# nothing is gained by a tape, which keeps the memory of a whole step.
LARGEST_TAPED = 2_000_000


def recorded(eager, batches, tell=print):
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
