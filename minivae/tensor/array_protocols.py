"""Array protocols of Tensor: ``__array__``, DLPack and ``__cuda_array_interface__``."""

from typing import Any

from numpy.typing import DTypeLike

from ..backend import Array, is_device_array, to_numpy


class ArrayProtocols:
    """Base of ``Tensor``: the array protocols. Each refuses a tensor that requires a gradient."""

    __slots__ = ()
    __array_ufunc__ = None  # ndarray * Tensor is handed to Tensor.__rmul__
    data: Array
    requires_grad: bool

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> Array:
        """The values, for NumPy's functions, which would else make an array of Tensor objects.

        Raises:
            TypeError: the tensor requires a gradient.
        """
        if self.requires_grad:
            raise TypeError(
                "NumPy's functions would take the values of a tensor that requires a gradient "
                "out of the graph; use those of minivae.functional (F.concatenate for "
                "np.concatenate and np.stack, F.exp for np.exp), or give them x.detach()"
            )
        values = to_numpy(self.data)
        values = values if dtype is None else values.astype(dtype, copy=False)
        return values.copy() if copy else values

    def __dlpack__(self, **request: Any) -> Any:
        """The array for another library, which shares its memory: ``torch.from_dlpack(x)``.

        Raises:
            BufferError: the tensor requires a gradient.
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
        """The array; BufferError if the tensor requires a gradient."""
        if self.requires_grad:
            raise BufferError(
                "a tensor that requires a gradient cannot be given to another library, which "
                "would not record what it does; give it x.detach()"
            )
        return self.data
