"""Tensor: an array with a gradient and a link to the operation that computed it."""

import copy
import weakref
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, Union

import numpy as np
from numpy.typing import ArrayLike

from ..backend import Array, array_module, as_array, contiguous, to_numpy
from ..errors import GradientError
from .array_protocols import ArrayProtocols
from .arrays import coerce, filled, owner_and_place, view_at
from .grad_mode import is_recording


class Tensor(ArrayProtocols):
    """An array with a gradient and a link to the operation that computed it.

    Operators and methods such as ``sum`` are those of ``minivae.functional``. ``==`` and the other
    comparisons are elementwise and give plain arrays; a tensor's hash is that of the object.
    ``x += y``, ``x *= y`` and so on change ``x.data`` in place when the operation is not recorded:
    inside ``no_grad``, or when neither operand requires a gradient. A recorded one binds ``x`` to
    a new tensor, or raises ``GradientError`` if ``x`` is a leaf that requires a gradient.

    Args:
        array: anything ``np.asarray`` accepts, or a CuPy array. An array is not copied; a list of
            Python floats becomes float64.
        requires_grad: whether ``backward`` leaves a gradient in ``.grad``.

    Attributes:
        data: the plain array.
        grad: plain array of the same shape, or None. Gradients accumulate until cleared.

    Raises:
        TypeError: ``array`` is a Tensor or not of real numbers, or ``requires_grad`` is set for a
            dtype that is not floating-point.
    """

    __slots__ = ("__weakref__", "creator", "data", "grad", "index", "requires_grad")

    def __init__(self, array: ArrayLike, requires_grad: bool = False) -> None:
        if isinstance(array, Tensor):
            raise TypeError("array: expected an array, got a Tensor; use .data or .detach()")
        self.data: Array = as_array(array)
        if self.data.dtype.kind not in "fiub":
            raise TypeError(f"array: expected real numbers, got dtype {self.data.dtype}")
        if requires_grad and self.data.dtype.kind != "f":
            raise TypeError(
                f"requires_grad: expected a floating-point array, got dtype {self.data.dtype}"
            )
        self.requires_grad = bool(requires_grad)
        self.grad: Array | None = None
        self.creator: Any = None  # the Function that computed this tensor; None for a leaf
        self.index = 0  # which of the creator's outputs this is

    # ------------------------------------------------------------ shape, dtype and values
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

    def numpy(self) -> Array:
        """The values as a NumPy array, sharing memory when they live on the CPU.

        Raises:
            TypeError: the tensor requires a gradient; NumPy's operations are not recorded.
        """
        if self.requires_grad:
            raise TypeError(
                "numpy(): expected a tensor that requires no gradient, since NumPy's operations "
                "are not recorded; use .detach().numpy() or .data"
            )
        return to_numpy(self.data)

    def item(self) -> Any:
        """The single element as a Python number; ValueError when there is more than one."""
        if self.size != 1:
            raise ValueError(f"item(): expected one element, got shape {self.shape}")
        return to_numpy(self.data).item()

    def detach(self) -> "Tensor":
        """A new leaf over the same array, cut off from the graph."""
        return Tensor(self.data)

    # ------------------------------------------------------------ gradients
    def retain_grad(self) -> "Tensor":
        """Keep the gradient of this intermediate tensor in ``.grad`` too; returns the tensor."""
        if self.creator is not None:
            self.creator.retained[self.index] = weakref.ref(self)
        return self

    def backward(self, grad: "TensorLike | None" = None) -> None:
        """Accumulate d(sum(self * grad))/d(leaf) into ``.grad`` of every leaf it depends on.

        Args:
            grad: cotangent, an array of this tensor's shape and dtype. The default, for a tensor
                of one element only, is 1.

        Raises:
            GradientError: the tensor does not require a gradient; ``grad`` is missing for a tensor
                of several elements; the graph was freed by an earlier ``backward``; or an array
                saved for ``backward`` was changed in place since.
            ValueError, TypeError: ``grad`` has the wrong shape, or the wrong dtype or device.
        """
        if not self.requires_grad:
            raise GradientError("backward(): this tensor depends on nothing that requires_grad")
        if grad is None:
            if self.size != 1:
                raise GradientError(
                    f"backward(): a tensor of shape {self.shape} needs a grad of that shape; "
                    "only a single element has the default 1"
                )
            cotangent: Array | float = 1.0
        else:
            given = grad.data if isinstance(grad, Tensor) else grad
            if np.shape(given) != self.shape:
                raise ValueError(f"grad: expected shape {self.shape}, got {np.shape(given)}")
            cotangent = coerce(given, self.data, "grad")
        if self.creator is None:
            self.accumulate(filled(array_module(self.data), cotangent, self.shape, self.dtype))
        else:
            self.creator.backpropagate(self.index, cotangent)

    def accumulate(self, grad: Array, fresh: bool = False) -> None:
        """Add ``grad`` to ``.grad``, which shares memory with no other array.

        Args:
            grad: array of this tensor's shape, dtype and device.
            fresh: whether no other object holds ``grad``. If so, the first gradient is kept
                without a copy.
        """
        if self.grad is not None:
            self.grad += grad
        elif fresh and grad.flags.c_contiguous:
            self.grad = grad
        else:
            self.grad = contiguous(grad, copy=True)

    # ------------------------------------------------------------ Python's protocols
    def __repr__(self) -> str:
        body = np.array2string(to_numpy(self.data), precision=4, separator=", ", prefix="Tensor(")
        made_by = f", creator={type(self.creator).__name__}" if self.creator else ""
        wants = ", requires_grad=True" if self.requires_grad and not self.creator else ""
        return f"Tensor({body}, dtype={self.dtype}{made_by}{wants})"

    def __format__(self, spec: str) -> str:
        return format(self.item() if spec else str(self), spec)

    def __bool__(self) -> bool:
        if self.size != 1:
            raise ValueError(
                f"bool(): expected a tensor of one element, got shape {self.shape}; "
                "use .data.any() or .data.all()"
            )
        return bool(self.item())

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __index__(self) -> int:
        if self.dtype.kind not in "iu":
            raise TypeError(f"expected a whole number, got a tensor of dtype {self.dtype}")
        return int(self.item())

    def __len__(self) -> int:
        return len(self.data)

    def __iter__(self) -> Iterator["Tensor"]:
        if self.ndim == 0:
            raise TypeError("iter(): expected a tensor with an axis, got shape ()")
        return (self[i] for i in range(len(self)))

    def __contains__(self, value: Any) -> bool:
        return bool((self == value).any())

    __hash__ = object.__hash__

    def __eq__(self, other: Any) -> Any:
        return self.data == _plain(other)

    def __ne__(self, other: Any) -> Any:
        return self.data != _plain(other)

    def __lt__(self, other: Any) -> Any:
        return self.data < _plain(other)

    def __le__(self, other: Any) -> Any:
        return self.data <= _plain(other)

    def __gt__(self, other: Any) -> Any:
        return self.data > _plain(other)

    def __ge__(self, other: Any) -> Any:
        return self.data >= _plain(other)

    def __setitem__(self, key: Any, value: Any) -> None:
        if is_recording() and (self.requires_grad or getattr(value, "requires_grad", False)):
            raise GradientError(
                "x[...] = y is not recorded for backward; do it inside mv.no_grad(), or put the "
                "parts together with F.concatenate"
            )
        if isinstance(value, Tensor):
            value = coerce(value.data, self.data, "value")
        self.data[_plain(key)] = value

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        """A copied or unpickled tensor is a leaf; tensors that share memory share it as copies too.

        Raises TypeError for a tensor with a graph.
        """
        if self.creator is not None:
            raise TypeError(
                "copy, pickle: expected a leaf, got a tensor with a graph; use x.detach()"
            )
        owner, place = owner_and_place(self.data)
        return _rebuilt, (type(self), owner, place, self.requires_grad)

    def __deepcopy__(self, memo: dict[int, Any]) -> "Tensor":
        _, (kind, owner, place, requires_grad) = self.__reduce_ex__(4)
        twin = _rebuilt(kind, copy.deepcopy(owner, memo), place, requires_grad)
        twin.grad = copy.deepcopy(self.grad, memo)
        return twin

    if TYPE_CHECKING:  # ops.operators attaches these

        def __add__(self, other: "TensorLike") -> "Tensor": ...
        def __radd__(self, other: "TensorLike") -> "Tensor": ...
        def __iadd__(self, other: "TensorLike") -> "Tensor": ...
        def __sub__(self, other: "TensorLike") -> "Tensor": ...
        def __rsub__(self, other: "TensorLike") -> "Tensor": ...
        def __isub__(self, other: "TensorLike") -> "Tensor": ...
        def __mul__(self, other: "TensorLike") -> "Tensor": ...
        def __rmul__(self, other: "TensorLike") -> "Tensor": ...
        def __imul__(self, other: "TensorLike") -> "Tensor": ...
        def __truediv__(self, other: "TensorLike") -> "Tensor": ...
        def __rtruediv__(self, other: "TensorLike") -> "Tensor": ...
        def __itruediv__(self, other: "TensorLike") -> "Tensor": ...
        def __pow__(self, exponent: "TensorLike") -> "Tensor": ...
        def __rpow__(self, base: "TensorLike") -> "Tensor": ...
        def __ipow__(self, exponent: "TensorLike") -> "Tensor": ...
        def __matmul__(self, other: "TensorLike") -> "Tensor": ...
        def __rmatmul__(self, other: "TensorLike") -> "Tensor": ...
        def __neg__(self) -> "Tensor": ...
        def __abs__(self) -> "Tensor": ...
        def __getitem__(self, key: Any) -> "Tensor": ...
        def sum(self, axis: "Axis" = None, keepdims: bool = False, **more: Any) -> "Tensor": ...
        def mean(self, axis: "Axis" = None, keepdims: bool = False, **more: Any) -> "Tensor": ...
        def max(self, *, axis: "Axis" = None, keepdims: bool = False) -> "Tensor": ...
        def reshape(self, *shape: "int | Sequence[int]") -> "Tensor": ...
        def view(self, *shape: "int | Sequence[int]") -> "Tensor": ...
        def transpose(self, axes: Sequence[int] | None = None) -> "Tensor": ...
        def to(self, device: Any = None, dtype: Any = None) -> "Tensor": ...
        @property
        def T(self) -> "Tensor": ...  # noqa: N802


TensorLike: TypeAlias = Union[Tensor, ArrayLike]  # noqa: UP007  an input of an operation
Axis: TypeAlias = Union[int, Sequence[int], None]  # noqa: UP007  None: all axes


def _rebuilt(kind: Any, owner: Array, place: Any, requires_grad: bool) -> Tensor:
    tensor: Tensor = kind.__new__(kind)
    Tensor.__init__(tensor, view_at(owner, place), requires_grad)
    return tensor


def _plain(x: Any) -> Any:
    """The array of a tensor, also inside a tuple such as an index; anything else unchanged."""
    if isinstance(x, Tensor):
        return x.data
    return tuple(map(_plain, x)) if isinstance(x, tuple) else x


def as_tensor(x: TensorLike) -> Tensor:
    """``x`` itself if it is a tensor, else ``Tensor(x)``."""
    return x if isinstance(x, Tensor) else Tensor(x)
