"""Function: one differentiable operation on arrays, and the backward pass through a graph."""

import itertools
import operator
import weakref
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, TypeAlias

import numpy as np

from ..backend import Array, array_module, is_device_array
from ..errors import GradientError
from .arrays import coerce, filled, fingerprint, unbroadcast
from .grad_mode import is_recording
from .tensor import Tensor

_serial = itertools.count()

Grads: TypeAlias = tuple[Array | float | None, ...]  # with respect to each input
Received: TypeAlias = dict[int, Array | float]  # output index -> its gradient so far


class Function:
    """One differentiable operation on arrays: a subclass per operation.

    ``forward(*arrays, **params)`` returns an array (or a tuple of them) and keeps what backward
    needs with ``self.save``; ``backward(*dys)`` returns the gradient with respect to each input,
    or None for an input whose entry in ``self.needs`` is False. It may return gradients of the
    broadcast shape: the engine sums them back to each input's shape.
    """

    # Whether every array that backward returns is newly allocated and returned once, so that no
    # other object holds it. A leaf then keeps the array itself as its gradient, else a copy.
    fresh_gradients: ClassVar[bool] = False
    # Whether backward accepts, and may return, a Python float in place of an array filled with it:
    # 1.0 for the loss itself, 0.0 for an unused output. Otherwise backward receives arrays only.
    takes_numbers: ClassVar[bool] = False
    # Whether a backward pass has freed this function; set by ``release``.
    released = False

    forward: Callable[..., Any]
    backward: Callable[..., Any]
    inputs: tuple[Any, ...]  # tensors, or None
    output_like: list[tuple[tuple[int, ...], np.dtype[Any]]]  # shapes and dtypes, if recorded

    # Adds two contributions to one gradient; the package ``ops`` replaces it by a kernel.
    add: Callable[[Any, Any], Any] = staticmethod(operator.add)

    def __init__(self, inputs: tuple[Tensor | None, ...]) -> None:
        self.serial = next(_serial)
        self.inputs = inputs
        recording = is_recording()
        self.needs = tuple([recording and t is not None and t.requires_grad for t in inputs])
        self.xp = array_module(next(t.data for t in inputs if t is not None))  # one device
        # output index -> weak reference to a tensor that keeps its gradient
        self.retained: dict[int, weakref.ref[Tensor]] = {}
        self._saved: Sequence[tuple[Array, int | None]] = ()

    def save(self, *arrays: Any) -> None:
        """Keep arrays for backward, with checksums by which ``saved`` detects in-place changes."""
        if True in self.needs:
            self._saved = [(a, fingerprint(a)) for a in arrays]

    @property
    def saved(self) -> list[Any]:
        """The arrays given to ``save``; GradientError when one was changed since."""
        for position, (array, mark) in enumerate(self._saved):
            if fingerprint(array) != mark:
                raise GradientError(
                    f"backward(): array {position} saved by {type(self).__name__} (shape "
                    f"{array.shape}) was changed in place after forward; work on a copy, or "
                    "call backward before changing it"
                )
        return [array for array, _ in self._saved]

    @classmethod
    def apply(cls, *inputs: Any, **params: Any) -> Any:
        """Run ``forward`` on tensors, arrays, numbers or None, and record it when needed.

        NumPy's scalars among ``params`` become Python's, which do not change a result's dtype.
        """
        op = cls(inputs if _alike(inputs) else _as_tensors(inputs, cls.__name__))
        params = {k: v.item() if isinstance(v, np.generic) else v for k, v in params.items()}
        # exp(-200) = 0 is intended: no error, even if the program set np.seterr(under="raise").
        with np.errstate(under="ignore"):
            result = op.forward(*[None if t is None else t.data for t in op.inputs], **params)
        arrays = result if isinstance(result, tuple) else (result,)
        tensors = tuple(map(Tensor, arrays))
        if True in op.needs:
            op.output_like = [(t.data.shape, t.data.dtype) for t in tensors]
            for index, tensor in enumerate(tensors):
                tensor.requires_grad, tensor.creator, tensor.index = True, op, index
        return tensors if isinstance(result, tuple) else tensors[0]

    def backpropagate(self, index: int, grad: Array | float) -> None:
        """The backward pass from output ``index``, whose gradient is ``grad``, to the leaves.

        A function is created after the functions that computed its inputs, so descending serial
        numbers are a topological order: when a function's turn comes, every function that used its
        outputs has already added its contribution to ``pending``.

        Raises GradientError as ``Tensor.backward``.
        """
        pending: dict[Function, Received] = {self: {index: grad}}
        for op in sorted(self.reachable(), key=lambda op: op.serial, reverse=True):
            received = pending.pop(op)
            for position, reference in op.retained.items():
                tensor = reference()
                if tensor is not None and position in received:
                    tensor.accumulate(filled(op.xp, received[position], tensor.shape, tensor.dtype))
            dys = [received.get(i, 0.0) for i in range(len(op.output_like))]
            dys = [
                dy if op.takes_numbers and type(dy) is float else filled(op.xp, dy, shape, dtype)
                for dy, (shape, dtype) in zip(dys, op.output_like, strict=True)
            ]
            with np.errstate(under="ignore"):
                dxs = op.backward(*dys)
            if not isinstance(dxs, tuple):
                dxs = (dxs,)
            for tensor, needed, dx in zip(op.inputs, op.needs, dxs, strict=True):
                if needed:
                    op._pass_on(tensor, dx, pending)
            op.release()

    def _pass_on(self, tensor: Tensor, dx: Any, pending: "dict[Function, Received]") -> None:
        """Add ``dx``, what backward returned for an input, to ``pending`` or to a leaf's ``grad``.

        Raises GradientError if it is None.
        """
        if dx is None:
            raise GradientError(
                f"{type(self).__name__}.backward: expected a gradient for each input that needs "
                "one, got None"
            )
        received = pending.setdefault(tensor.creator, {}) if tensor.creator else {}
        earlier = received.get(tensor.index)
        if tensor.creator is None or earlier is not None:
            dx = filled(self.xp, dx, tensor.shape, tensor.dtype)
        if type(dx) is not float and dx.shape != tensor.data.shape:
            dx = unbroadcast(dx, tensor.shape)
        if tensor.creator is None:
            tensor.accumulate(dx, self.fresh_gradients)
            return
        if earlier is not None:
            dx = Function.add(filled(self.xp, earlier, tensor.shape, tensor.dtype), dx)
        received[tensor.index] = dx

    def reachable(self) -> "set[Function]":
        """This function and all that it depends on through tensors that require a gradient.

        Raises GradientError if one of them was freed by an earlier backward.
        """
        seen, stack = {self}, [self]
        while stack:
            current = stack.pop()
            if current.released:
                raise GradientError(
                    f"backward(): the graph behind {type(current).__name__} was freed by an "
                    "earlier backward; compute the result again, or sum the losses and call "
                    "backward once"
                )
            for tensor, needed in zip(current.inputs, current.needs, strict=True):
                if needed and tensor.creator is not None and tensor.creator not in seen:
                    seen.add(tensor.creator)
                    stack.append(tensor.creator)
        return seen

    def release(self) -> None:
        """Drop inputs and saved arrays, so that their memory is freed during the backward pass."""
        self.inputs, self._saved, self.released = (), (), True


def _alike(inputs: Sequence[Any]) -> bool:
    """Whether all inputs are tensors of one float dtype and device, or None: the common case."""
    first = inputs[0] if inputs else None
    if not isinstance(first, Tensor) or first.data.dtype.kind != "f":
        return False
    kind, dtype = type(first.data), first.data.dtype
    for x in inputs:
        if x is not None and not (
            isinstance(x, Tensor) and type(x.data) is kind and x.data.dtype == dtype
        ):
            return False
    return True


def _as_tensors(inputs: Sequence[Any], name: str) -> tuple[Tensor | None, ...]:
    """Tensors for an op's inputs, all of one dtype and device; numbers take the arrays' dtype."""
    arrays = [x.data for x in inputs if isinstance(x, Tensor)]
    like = next((a for a in arrays if a.dtype.kind == "f"), arrays[0] if arrays else None)
    if like is None:
        like = next((a for a in inputs if is_device_array(a) or np.ndim(a) > 0), None)
        like = np.asarray(inputs[0]) if like is None else like
        like = like if hasattr(like, "dtype") else np.asarray(like)
    if like.dtype.kind != "f":
        raise TypeError(f"{name}: expected a floating-point array, got dtype {like.dtype}")
    tensors = []
    for position, x in enumerate(inputs):
        if x is None or (
            isinstance(x, Tensor) and type(x.data) is type(like) and x.data.dtype == like.dtype
        ):
            tensors.append(x)
        elif isinstance(x, Tensor):
            converted = coerce(x.data, like, f"{name}, input {position}")
            if x.requires_grad and x.dtype != like.dtype:
                raise TypeError(
                    f"{name}, input {position}: a tensor of dtype {x.dtype} has no gradient, and "
                    "its requires_grad was set to True"
                )
            tensors.append(x if x.dtype == like.dtype else Tensor(converted))
        else:
            tensors.append(Tensor(coerce(x, like, f"{name}, input {position}")))
    return tuple(tensors)
