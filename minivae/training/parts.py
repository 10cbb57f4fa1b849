"""PartsStep: a training step on a batch cut into parts, which several processes may share.

With rows_p of the rows in part p, and L_p the mean loss of its rows,

    L = sum_p (rows_p / rows) L_p,   and its gradient is the same weighted sum of gradients.

The results of a part (gradients, running statistics and losses) form one vector, weighted by its
rows; the vectors are added in the order of a binary tree (``parallel.Ranks.sum``). Derivation:
docs/several-processes.md.
"""

import math
from typing import Any, NoReturn

from .. import nn
from ..backend import Array, array_module, device_of, is_device_array, to_device
from ..data.batches import Batches, BatchPart, CutBatch
from ..errors import NonFiniteError, ParallelError
from ..models.vae import ELBO
from ..noise import Noise
from ..tensor import Tensor
from .nonfinite import first_nonfinite
from .parallel import Ranks
from .step import EagerStep


class PartsStep:
    """One training step, operation by operation, on the parts of a batch.

    ``step(batch, noise, beta)`` takes a ``CutBatch``, updates the weights, and returns and raises
    as an ``EagerStep``. Batch normalisation uses the statistics of each part; running statistics
    become the weighted mean of those that the parts would give.

    Args:
        eager: the ``EagerStep`` whose objective is minimised.
        ranks: the processes that share the parts.
    """

    def __init__(self, eager: EagerStep, ranks: Ranks) -> None:
        self.model, self.optimizer, self.objective = eager.model, eager.optimizer, eager.objective
        self.ranks = ranks
        self.device = device_of(self.model.parameters()[0].data)

    def __call__(self, batch: CutBatch, noise: Noise, beta: float) -> ELBO:
        self._before = [(buffer, buffer.copy()) for _, buffer in self.model.named_buffers()]
        self._nonfinite = ""
        weighted = (
            self._vector(part, len(part.x) / len(batch), noise, beta) for part in batch.parts
        )
        terms = self._take(self.ranks.sum(weighted))
        if not is_device_array(terms.loss) and not math.isfinite(terms.loss):
            self._raise_nonfinite()
        self.optimizer.step()
        return ELBO(*map(Tensor, terms))

    def _vector(self, part: BatchPart, weight: float, noise: Noise, beta: float) -> Any:
        """The results of a part as one weighted vector, its size a multiple of the ranks."""
        for buffer, before in self._before:
            buffer[...] = before
        x = to_device(part.x, self.device)
        terms = self.objective(self.model, x, noise.rows(part.first), beta)
        if self.device == "cpu" and not math.isfinite(terms.loss.data):
            self._nonfinite = first_nonfinite(self.model, x, terms.loss) or "the loss"
        self.optimizer.zero_grad()
        terms.loss.backward()
        self._grads = {p: p.grad for p in self._params() if p.grad is not None}
        given = [*self._grads.values(), *self._statistics(), *(term.data for term in terms)]
        xp, dtype, size = array_module(x), given[0].dtype, sum(a.size for a in given)
        vector, end = xp.zeros(size + -size % self.ranks.size, dtype), 0
        for a in given:
            xp.multiply(a.reshape(-1), dtype.type(weight), out=vector[end : end + a.size])
            end += a.size
        return vector

    def _take(self, vector: Any) -> ELBO:
        """Copy gradients and running statistics from the summed vector; returns the terms."""
        end = 0

        def next_like(a: Array) -> Array:
            nonlocal end
            end += a.size
            return vector[end - a.size : end].reshape(a.shape).astype(a.dtype, copy=False)

        for p, grad in self._grads.items():
            p.grad = next_like(grad)
        for buffer in self._statistics():
            buffer[...] = next_like(buffer)
        return ELBO(*vector[end : end + 3])

    def _params(self) -> list[Tensor]:
        return [p for group in self.optimizer.param_groups for p in group["params"]]

    def _statistics(self) -> list[Array]:
        """The floating-point buffers; the others are counts, which are equal in every part."""
        return [buffer for buffer, _ in self._before if buffer.dtype.kind == "f"]

    def _raise_nonfinite(self) -> NoReturn:
        found = self.ranks.gather(self._nonfinite)
        where = [f"rank {rank}: {what}" for rank, what in enumerate(found) if what]
        raise NonFiniteError(where[0] if where else "the sum over the parts")


def require_divisible(model: nn.Module, batches: Batches, parts: int, ranks: Ranks) -> None:
    """ParallelError unless each batch has rows for ``parts`` parts and ``ranks`` can share them."""
    for name, count in (("parts", parts), ("processes", ranks.size)):
        if count < 1 or count & (count - 1):
            raise ParallelError(f"{name}: expected a power of two, got {count}")
    if parts % ranks.size:
        raise ParallelError(
            f"parts: expected a multiple of the {ranks.size} processes, got {parts}"
        )
    if parts == 1:
        return
    normalised = any(isinstance(module, nn.BatchNorm2d) for module in model.modules())
    least, why = (2, ", two for batch normalisation") if normalised else (1, "")
    rows = batches.count - (len(batches) - 1) * batches.batch_size
    if rows < parts * least:
        raise ParallelError(
            f"parts: expected at most {max(1, rows // least)} for the {rows} images of an epoch's "
            f"last batch{why}, got {parts}"
        )
