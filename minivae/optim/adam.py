"""Adam: adaptive steps from running means of each gradient and of its square."""

from collections.abc import Iterable
from typing import Any

from .. import kernels
from ..arguments import real
from ..backend import device_of
from ..tensor import Tensor
from .optimizer import Optimizer, Options, working, works_in_place


class Adam(Optimizer):
    """Adam (Kingma & Ba 2015, arXiv:1412.6980, algorithm 1), as PyTorch's.

    With g the gradient plus ``weight_decay * p`` (an L2 term, not decoupled) and t the step:

        m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g^2
        p -= lr (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps)

    with (beta1, beta2) = ``betas``. Parameters without a gradient keep their value, moments and
    step count, as in PyTorch. For arguments and errors see also ``Optimizer``.

    The first step moves an element by lr |g| / (|g| + eps), which is about lr unless |g| is as
    small as eps.

    >>> p = Tensor([3.0], requires_grad=True)
    >>> adam = Adam([p], lr=0.1)
    >>> (p * p).sum().backward()
    >>> adam.step()
    >>> p.data.round(6)
    array([2.9])
    """

    remembered = ("step", "m", "v")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
    ):
        super().__init__(
            params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        )

    @staticmethod
    def checked(options: Options) -> Options:
        """See ``Optimizer.checked``."""
        betas = tuple(options["betas"])
        if len(betas) != 2:
            raise ValueError(f"betas: expected two numbers, got {betas}")
        return {
            "lr": real("lr", options["lr"]),
            "betas": tuple(real("betas", b, below=1) for b in betas),
            "eps": real("eps", options["eps"]),
            "weight_decay": real("weight_decay", options["weight_decay"]),
        }

    def update_group(self, group: Options, params: list[Tensor]) -> None:
        """Update ``params`` of one ``group``: one kernel call for all of equal step count."""
        in_step: dict[tuple[Any, ...], list[Tensor]] = {}
        for p in params:
            kind = self.state_of(p)["step"], p.dtype, device_of(p.data)
            in_step.setdefault(kind, []).append(p)
        for (count, *_), same in in_step.items():
            self.update(group, same, count + 1, group["lr"])
            for p in same:
                self.state[p]["step"] = count + 1

    def update(self, group: Options, params: list[Tensor], step: Any, lr: Any) -> None:
        """Run the kernel on ``params`` of one dtype and device, with a ``group``'s options.

        ``step`` and ``lr`` are numbers, or as a recorded step gives them (``kernels.cpu.adam``).
        """
        together: list[Tensor] = []
        alone: list[Tensor] = []
        for p in params:
            (together if works_in_place(p.data) else alone).append(p)
        options = step, lr, *group["betas"], group["eps"], group["weight_decay"]
        if together:
            self._run(together, [p.data for p in together], options)
        for p in alone:  # one by one: it may share memory with another parameter
            copied = working(p.data)
            self._run([p], [copied], options)
            p.data[...] = copied

    def _run(self, params: list[Tensor], arrays: list[Any], options: tuple[Any, ...]) -> None:
        """The kernel on the parameters' arrays or copies of them."""
        grads = [working(p.grad) for p in params]
        ms, vs = ([self.state[p][name] for p in params] for name in "mv")
        kernels.get("adam", *arrays, *grads)(arrays, grads, ms, vs, *options)
