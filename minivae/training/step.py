"""EagerStep: one training step, executed operation by operation."""

import math

from ..backend import Array, is_device_array
from ..errors import NonFiniteError
from ..models.vae import ELBO, VAE, NoiseLike
from ..optim import Optimizer
from .nonfinite import first_nonfinite
from .objectives import Objective, elbo


class EagerStep:
    """One training step, executed operation by operation; a ``RecordedStep`` can replace it.

    ``step(x, noise, beta)`` updates the weights and returns ``ELBO(loss, rec, kl)``, scalar
    tensors, means over the batch. On the CPU it raises NonFiniteError for a loss that is not
    finite, before any weight is changed.

    Args:
        model, optimizer: the model to train and the optimiser of its parameters.
        objective: ``objective(model, x, noise, beta)`` returns the terms; see
            ``minivae.training.objectives``.
    """

    def __init__(self, model: VAE, optimizer: Optimizer, objective: Objective = elbo) -> None:
        self.model, self.optimizer, self.objective = model, optimizer, objective

    def __call__(self, x: Array, noise: NoiseLike, beta: float) -> ELBO:
        terms = self.objective(self.model, x, noise, beta)
        if not is_device_array(x) and not math.isfinite(terms.loss.item()):
            raise NonFiniteError(first_nonfinite(self.model, x, terms.loss) or "the loss")
        self.optimizer.zero_grad()
        terms.loss.backward()
        self.optimizer.step()
        return terms
