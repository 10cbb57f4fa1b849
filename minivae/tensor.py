"""Tensor, Function and backward: reverse-mode automatic differentiation over plain arrays.

A computation is a directed acyclic graph: tensors are its edges, functions its nodes. ``backward``
walks it once from the result to the leaves, handing every function the gradient of the result
with respect to its outputs and receiving the gradient with respect to its inputs (the
vector-Jacobian product). First order only: ``backward`` works on arrays and builds no graph.
"""

import contextlib
import itertools
import operator
import threading
import weakref
import zlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, Union

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from .backend import Array, array_module, device_of, is_device_array, to_numpy
from .errors import GradientError

_serial = itertools.count()
_mode = threading.local()


class no_grad(contextlib.ContextDecorator):  # noqa: N801  PyTorch's name
    """Record no graph inside: ``with mv.no_grad(): ...`` or ``@mv.no_grad()``. Per thread.

    >>> x = Tensor([1.0], requires_grad=True)
    >>> with no_grad():
    ...     y = x + x
    >>> y.requires_grad
    False
    """

    def _recreate_cm(self) -> "no_grad":
        return no_grad()  # a decorated function may run in several threads at once

    def __enter__(self) -> None:
        self._outer = is_recording()
        _mode.recording = False

    def __exit__(self, *exc_info: object) -> None:
        _mode.recording = self._outer


def is_recording() -> bool:
    """True unless inside ``no_grad``."""
    return getattr(_mode, "recording", True)


class Tensor:
    """An array that remembers how it was computed.

    Args:
        array: anything NumPy makes an array of, or a CuPy array. Not copied. Floating dtypes
            only when ``requires_grad``; a list of Python floats becomes float64.
        requires_grad: whether ``backward`` leaves a gradient in ``.grad``.

    Attributes:
        data: the plain array.
        grad: plain array of the same shape, or None. Gradients accumulate until cleared.

    Raises:
        TypeError: for ``requires_grad`` on a dtype that is not floating point.
    """

    __slots__ = ("__weakref__", "creator", "data", "grad", "index", "requires_grad")
    __array_ufunc__ = None  # ndarray * Tensor is handed to Tensor.__rmul__

    def __init__(self, array: ArrayLike, requires_grad: bool = False) -> None:
        if isinstance(array, Tensor):
            raise TypeError("array: expected an array, got a Tensor; use .data or .detach()")
        self.data: Array = array if is_device_array(array) else np.asarray(array)  # type: ignore[assignment]
        if self.data.dtype.kind not in "fiub":
            raise TypeError(f"array: expected real numbers, got dtype {self.data.dtype}")
        if requires_grad and self.data.dtype.kind != "f":
            raise TypeError(
                f"requires_grad: expected a floating-point array, got dtype {self.data.dtype}"
            )
        self.requires_grad = bool(requires_grad)
        self.grad: Array | None = None
        self.creator: Function | None = None  # what computed this tensor; None for a leaf
        self.index = 0  # which of the creator's outputs this is

    @property
    def shape(self) -> tuple[int, ...]:
        """Tuple of sizes."""
        return self.data.shape

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return self.data.ndim

    @property
    def size(self) -> int:
        """Number of elements."""
        return self.data.size

    @property
    def dtype(self) -> np.dtype[Any]:
        """NumPy dtype of the elements."""
        return self.data.dtype

    def __len__(self) -> int:
        return len(self.data)

    def __repr__(self) -> str:
        body = np.array2string(to_numpy(self.data), precision=4, separator=", ", prefix="Tensor(")
        made_by = f", creator={type(self.creator).__name__}" if self.creator else ""
        wants = ", requires_grad=True" if self.requires_grad and not self.creator else ""
        return f"Tensor({body}, dtype={self.dtype}{made_by}{wants})"

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> Array:
        """The values, for NumPy's functions; without it they would see an array of Tensors."""
        values = to_numpy(self.data)
        values = values if dtype is None else values.astype(dtype, copy=False)
        return values.copy() if copy else values

    def __dlpack__(self, **request: Any) -> Any:
        """The array for another library, which shares its memory: ``torch.from_dlpack(x)``.

        Raises:
            BufferError: the tensor requires a gradient, of which the other library knows nothing.
        """
        return self._without_graph().__dlpack__(**request)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.data.__dlpack_device__()

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        """Address and layout in GPU memory; there is no such attribute on the CPU.

        Raises:
            BufferError: the tensor requires a gradient.
        """
        if not is_device_array(self.data):
            raise AttributeError("__cuda_array_interface__: the tensor is on the CPU")
        array: Any = self._without_graph()
        return array.__cuda_array_interface__

    def _without_graph(self) -> Array:
        """The array; BufferError where what happens to it elsewhere would miss in a gradient."""
        if self.requires_grad:
            raise BufferError(
                "a tensor that requires a gradient cannot be given to another library, which "
                "would not record what it does; give it x.detach()"
            )
        return self.data

    def numpy(self) -> Array:
        """The values as a NumPy array, sharing memory when they live on the CPU."""
        return to_numpy(self.data)

    def item(self) -> Any:
        """The single element as a Python number; ValueError when there is more than one."""
        if self.size != 1:
            raise ValueError(f"item(): expected one element, got shape {self.shape}")
        return to_numpy(self.data).item()

    def detach(self) -> "Tensor":
        """A new leaf over the same array, cut off from the graph."""
        return Tensor(self.data)

    def retain_grad(self) -> "Tensor":
        """Keep the gradient of this intermediate tensor in ``.grad`` too; returns the tensor."""
        if self.creator is not None:
            self.creator.retained[self.index] = weakref.ref(self)
        return self

    def backward(self, grad: "TensorLike | None" = None) -> None:
        """Accumulate d(sum(self * grad))/d(leaf) into ``.grad`` of every leaf it depends on.

        Args:
            grad: cotangent, an array of this tensor's shape and dtype; 1 for a single element.

        Raises:
            GradientError: nothing here requires a gradient; ``grad`` is missing for a tensor of
                several elements; the graph was used by an earlier backward; or an array saved
                for backward was changed in place since.
            ValueError, TypeError: ``grad`` has the wrong shape, or the wrong dtype or device.
        """
        if not self.requires_grad:
            raise GradientError("backward(): this tensor depends on nothing that requires_grad")
        xp = array_module(self.data)
        if grad is None:
            if self.size != 1:
                raise GradientError(
                    f"backward(): a tensor of shape {self.shape} needs a grad of that shape; "
                    "only a single element has the default 1"
                )
            cotangent: Array = xp.ones_like(self.data)
        else:
            given = grad.data if isinstance(grad, Tensor) else grad
            if np.shape(given) != self.shape:
                raise ValueError(f"grad: expected shape {self.shape}, got {np.shape(given)}")
            cotangent = _coerce(given, self.data, "grad")
        if self.creator is None:
            self._accumulate(cotangent)
        else:
            _backpropagate(self.creator, self.index, cotangent)

    def _accumulate(self, grad: Array, fresh: bool = False) -> None:
        """Add to ``.grad``. The first gradient becomes it where it is ``fresh``, held by nobody
        else, and is copied otherwise: a leaf's gradient shares memory with nothing.
        """
        if self.grad is not None:
            self.grad += grad
        elif fresh and grad.flags.c_contiguous:
            self.grad = grad
        else:
            self.grad = array_module(self.data).array(grad, order="C")

    if TYPE_CHECKING:  # what ops.basic attaches

        def __add__(self, other: "TensorLike") -> "Tensor": ...
        def __radd__(self, other: "TensorLike") -> "Tensor": ...
        def __sub__(self, other: "TensorLike") -> "Tensor": ...
        def __rsub__(self, other: "TensorLike") -> "Tensor": ...
        def __mul__(self, other: "TensorLike") -> "Tensor": ...
        def __rmul__(self, other: "TensorLike") -> "Tensor": ...
        def __truediv__(self, other: "TensorLike") -> "Tensor": ...
        def __rtruediv__(self, other: "TensorLike") -> "Tensor": ...
        def __neg__(self) -> "Tensor": ...
        def __pow__(self, exponent: float) -> "Tensor": ...
        def __matmul__(self, other: "TensorLike") -> "Tensor": ...
        def __rmatmul__(self, other: "TensorLike") -> "Tensor": ...
        def __getitem__(self, key: Any) -> "Tensor": ...
        def sum(self, axis: "Axis" = None, keepdims: bool = False) -> "Tensor": ...
        def mean(self, axis: "Axis" = None, keepdims: bool = False) -> "Tensor": ...
        def max(self, axis: "Axis" = None, keepdims: bool = False) -> "Tensor": ...
        def reshape(self, *shape: "int | Sequence[int]") -> "Tensor": ...
        def transpose(self, axes: Sequence[int] | None = None) -> "Tensor": ...
        @property
        def T(self) -> "Tensor": ...  # noqa: N802


TensorLike: TypeAlias = Union[Tensor, ArrayLike]  # noqa: UP007  what operations take
Axis: TypeAlias = Union[int, Sequence[int], None]  # noqa: UP007  all axes for None


class Function:
    """One differentiable operation on arrays: a subclass per operation.

    ``forward(*arrays, **params)`` returns an array (or a tuple of them) and keeps what backward
    needs with ``self.save``; ``backward(*dys)`` returns the gradient with respect to each input,
    None for one that has none or is not in ``self.needs``. It may return gradients of the
    broadcast shape: the engine sums them back to each input's shape.
    """

    # Whether every array that backward returns is new: no saved array, no dy, not returned twice.
    # A leaf then keeps it as its gradient; otherwise it keeps a copy.
    fresh_gradients = False

    forward: Callable[..., Any]
    backward: Callable[..., Any]
    inputs: tuple[Any, ...]  # tensors, or None
    output_like: list[tuple[tuple[int, ...], np.dtype[Any]]]  # of a recorded function

    def __init__(self, inputs: tuple[Tensor | None, ...]) -> None:
        self.serial = next(_serial)
        self.inputs = inputs
        recording = is_recording()
        self.needs = tuple([recording and t is not None and t.requires_grad for t in inputs])
        self.xp = array_module(next(t.data for t in inputs if t is not None))  # all are alike
        # output index -> weak reference to a tensor that keeps its gradient
        self.retained: dict[int, weakref.ref[Tensor]] = {}
        self._saved: Sequence[tuple[Array, int | None]] = ()

    # How two gradients are added; ``ops`` puts a kernel in its place.
    add: Callable[[Any, Any], Any] = staticmethod(operator.add)

    def save(self, *arrays: Any) -> None:
        """Keep arrays for backward, with a fingerprint that shows a change in place."""
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
        """Run ``forward`` on tensors, arrays, numbers or None, and record it when needed."""
        op = cls(inputs if _alike(inputs) else _as_tensors(inputs, cls.__name__))
        result = op.forward(*[None if t is None else t.data for t in op.inputs], **params)
        arrays = result if isinstance(result, tuple) else (result,)
        tensors = tuple(map(Tensor, arrays))
        if True in op.needs:
            op.output_like = [(t.data.shape, t.data.dtype) for t in tensors]
            for index, tensor in enumerate(tensors):
                tensor.requires_grad, tensor.creator, tensor.index = True, op, index
        return tensors if isinstance(result, tuple) else tensors[0]

    def release(self) -> None:
        """Forget inputs and saved arrays: their memory is free as soon as backward passed."""
        self.inputs, self._saved, self.released = (), (), True

    released = False


def _backpropagate(creator: Function, index: int, grad: Array) -> None:
    """The backward pass. Functions were created in an order in which each follows its inputs, so
    descending serial numbers are a topological order: when a function's turn comes, everything
    that used its outputs has already added its share to ``pending``.
    """
    pending = {creator: {index: grad}}
    for op in sorted(_functions_behind(creator), key=lambda op: op.serial, reverse=True):
        received = pending.pop(op)
        for index, reference in op.retained.items():
            tensor = reference()
            if tensor is not None and index in received:
                tensor._accumulate(received[index])
        dys = [
            op.xp.asarray(received[i]) if i in received else op.xp.zeros(shape, dtype)
            for i, (shape, dtype) in enumerate(op.output_like)
        ]
        dxs = op.backward(*dys)
        if not isinstance(dxs, tuple):
            dxs = (dxs,)
        for tensor, needed, dx in zip(op.inputs, op.needs, dxs, strict=True):
            if not needed:
                continue
            if dx is None:
                raise GradientError(f"{type(op).__name__}.backward gave no gradient for an input")
            if dx.shape != tensor.data.shape:
                dx = unbroadcast(dx, tensor.shape)
            if tensor.creator is None:
                tensor._accumulate(dx, op.fresh_gradients)
            else:
                share = pending.setdefault(tensor.creator, {})
                known = share.get(tensor.index)
                if known is not None:
                    dx = Function.add(known, dx)
                share[tensor.index] = dx
        op.release()


def _functions_behind(op: Function) -> set[Function]:
    """Every function that ``op`` depends on through tensors that need a gradient, and itself."""
    seen, stack = {op}, [op]
    while stack:
        current = stack.pop()
        if current.released:
            raise GradientError(
                f"backward(): the graph behind {type(current).__name__} was freed by an earlier "
                "backward; compute the result again, or sum the losses and call backward once"
            )
        for tensor, needed in zip(current.inputs, current.needs, strict=True):
            if needed and tensor.creator is not None and tensor.creator not in seen:
                seen.add(tensor.creator)
                stack.append(tensor.creator)
    return seen


def as_tensor(x: TensorLike) -> Tensor:
    """x itself, or a tensor over the array."""
    return x if isinstance(x, Tensor) else Tensor(x)


def unbroadcast(grad: Array, shape: tuple[int, ...]) -> Array:
    """The adjoint of broadcasting: sum ``grad`` over the axes along which ``shape`` repeats.

    >>> unbroadcast(np.ones((3, 2)), (1, 2))
    array([[3., 3.]])

    Raises:
        GradientError: ``grad`` is not of a shape that ``shape`` broadcasts to.
    """
    if grad.shape == shape:
        return grad
    padded = (1,) * (grad.ndim - len(shape)) + shape
    repeated = tuple(
        i for i, (n, m) in enumerate(zip(padded, grad.shape, strict=False)) if n == 1 != m
    )
    summed = grad.sum(axis=repeated, keepdims=True)
    if summed.shape != padded:
        raise GradientError(f"backward(): a gradient of shape {grad.shape} came for {shape}")
    return summed.reshape(shape)


def fingerprint(array: Any, whole: int = 1024, samples: int = 64) -> int | None:
    """A checksum that changes when the array is written to; None on a GPU, where it would have
    to wait for the device. Up to ``whole`` elements every one counts; in a larger array
    ``samples`` evenly spaced ones do, so that the check costs microseconds: a change of
    ``size // samples`` neighbouring elements or more is always seen, a smaller one perhaps.
    """
    if is_device_array(array):
        return None
    if array.size > whole:
        array = array.flat[:: array.size // samples]
    return zlib.crc32(array.tobytes())


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
            _coerce(x.data, like, f"{name}, input {position}")
            tensors.append(x if x.dtype == like.dtype else Tensor(x.data.astype(like.dtype)))
        else:
            tensors.append(Tensor(_coerce(x, like, f"{name}, input {position}")))
    return tuple(tensors)


def _coerce(x: Any, like: Array, name: str) -> Array:
    """``x`` as an array of ``like``'s dtype: numbers, integers and booleans are converted; another
    float dtype or another device is a TypeError, never a silent up-cast or transfer.
    """
    xp = array_module(like)
    if isinstance(x, (bool, int, float, np.generic)):
        return xp.asarray(x, dtype=like.dtype)
    if not is_device_array(x):
        numbers, x = not hasattr(x, "dtype"), np.asarray(x)
        if numbers and x.dtype.kind == "f":  # a list of them
            x = x.astype(like.dtype)
    if device_of(x) != device_of(like):
        raise TypeError(
            f"{name}: arrays on {device_of(like)} and {device_of(x)} do not mix; move one with .to"
        )
    if x.dtype == like.dtype:
        return x
    if x.dtype.kind in "iub":
        return x.astype(like.dtype)
    raise TypeError(f"{name}: expected dtype {like.dtype}, got {x.dtype}; convert one explicitly")
