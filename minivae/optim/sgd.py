"""SGD: gradient descent with momentum."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from ..arguments import real
from ..tensor import Tensor
from .optimizer import Optimizer, Options, working


class SGD(Optimizer):
    """Gradient descent with momentum, as PyTorch's.

    With g the gradient plus ``weight_decay * p`` and b the parameter's momentum buffer:

        b = momentum b + (1 - dampening) g    (b = g in the first step)
        p -= lr b                             (lr (g + momentum b) with nesterov)

    Without ``momentum`` p -= lr g. For arguments and errors see also ``Optimizer``.

    Raises:
        ValueError: ``nesterov`` without momentum or with dampening.
    """

    remembered = ("momentum",)

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float = 0,
        nesterov: bool = False,
    ):
        super().__init__(params, {
            "lr": lr, "momentum": momentum, "dampening": dampening,
            "weight_decay": weight_decay, "nesterov": nesterov,
        })  # fmt: skip

    @staticmethod
    def checked(options: Options) -> Options:
        """See ``Optimizer.checked``."""
        numbers = {name: real(name, options[name]) for name in ("lr", "momentum", "weight_decay")}
        dampening, nesterov = real("dampening", options["dampening"], -np.inf), options["nesterov"]
        if nesterov and not (numbers["momentum"] > 0 and dampening == 0):
            raise ValueError("nesterov: expected a momentum > 0 and no dampening with it")
        return {**numbers, "dampening": dampening, "nesterov": bool(nesterov)}

    def update_group(self, group: Options, params: list[Tensor]) -> None:
        """Update ``params`` of one ``group``."""
        for p in params:
            data, g = working(p.data), working(p.grad)
            if group["weight_decay"]:
                g = g + group["weight_decay"] * data
            if group["momentum"]:
                first = p not in self.state
                b = self.state_of(p)["momentum"]
                b[...] = g if first else group["momentum"] * b + (1 - group["dampening"]) * g
                g = g + group["momentum"] * b if group["nesterov"] else b
            data -= group["lr"] * g
            if data is not p.data:
                p.data[...] = data
