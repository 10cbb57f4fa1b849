"""Find the first tensor that is NaN or infinite when training has to stop."""

from ..backend import Array, array_module
from ..nn import Module, Parameter
from ..optim import Optimizer
from ..tensor import Function, Tensor


def first_nonfinite(
    model: Module, x: Array | None = None, loss: Tensor | None = None
) -> str | None:
    """Name the first tensor that is NaN or infinite, in the order in which they were computed.

    Call it after forward and before the next backward, while gradients are still those of the
    previous step, whose update may have made weights non-finite.

    Args:
        model: the module.
        x: the batch, an array, if there is one.
        loss: a tensor with its graph, if there is one.

    Returns:
        str: such as "the gradient of fc1.weight (one step earlier)" or "the output of Linear
        (fc21)"; None when everything is finite.
    """
    if x is not None and not finite(x):
        return "the input batch"
    named = list(model.named_parameters())
    for name, p in reversed(named):  # backward goes from the last layer to the first
        if not finite(p.data) and p.grad is not None and not finite(p.grad):
            return f"the gradient of {name} (one step earlier)"
    for name, p in named:
        if not finite(p.data):
            return f"the weight {name}"
    for name, array in model.state_dict().items():
        if not finite(array):
            return f"the buffer {name}"
    layers = {id(p): name.rpartition(".")[0] or name for name, p in named}
    for tensor in _intermediates(loss) if loss is not None else ():
        if not finite(tensor.data):
            return f"the output of {_describe(tensor.creator, layers)}"
    return None


def first_nonfinite_moment(model: Module, optimizer: Optimizer) -> str | None:
    """Name the first moment that is NaN or infinite, as a finite gradient's square can overflow.

    Returns:
        str: such as "the optimiser's v of fc3.bias"; None when everything is finite.
    """
    names: dict[Tensor, str] = {p: name for name, p in model.named_parameters()}
    for p, state in optimizer.state.items():
        for moment, array in state.items():
            if moment != "step" and not finite(array):
                return f"the optimiser's {moment} of {names.get(p, 'a parameter')}"
    return None


def finite(array: Array) -> bool:
    """True when no element is NaN or infinite."""
    return array.dtype.kind != "f" or bool(array_module(array).isfinite(array).all())


def _intermediates(loss: Tensor) -> list[Tensor]:
    """The tensors from which a loss was computed, and the loss itself, in order of computation."""
    found, stack = {}, [loss]
    while stack:
        tensor = stack.pop()
        if tensor is not None and tensor.creator is not None and id(tensor) not in found:
            found[id(tensor)] = tensor
            stack.extend(tensor.creator.inputs)
    return sorted(found.values(), key=lambda tensor: tensor.creator.serial)


def _describe(op: Function, layers: dict[int, str]) -> str:
    """An operation's name with the layer whose parameters it uses, or the nearest layers before."""
    own = [layers[id(t)] for t in op.inputs if isinstance(t, Parameter)]
    if own:
        return f"{type(op).__name__} ({own[0]})"
    before, stack = [], list(reversed(op.inputs))
    while stack:
        tensor = stack.pop()
        if isinstance(tensor, Parameter):
            before.append(layers[id(tensor)])
        elif tensor is not None and tensor.creator is not None:
            inputs = tensor.creator.inputs
            known = [t for t in inputs if isinstance(t, Parameter)]
            stack.extend(reversed(known or inputs))
    names = ", ".join(dict.fromkeys(before))
    return f"{type(op).__name__} (after {names})" if names else type(op).__name__
