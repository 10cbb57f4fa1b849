"""Convolution and transposed convolution, each the adjoint of the other.

Three array maps serve both (kernels ``conv2d``, ``conv2d_grad_input``, ``conv2d_grad_weight``):

    conv2d(x; w)[n, o, i, j] = sum_{c, k, l} w[o, c, k, l] x[n, c, s i + d k - p, s j + d l - p]

is linear in x and in w. Its adjoint in x sends an output gradient back to the input and is the
forward map of ``conv_transpose2d``; its adjoint in w gives the weight gradient of both.
Dumoulin & Visin 2016 (arXiv:1603.07285), sections 2 and 4.

Derivation: docs/linear-and-convolution.md.
"""

from collections.abc import Sequence
from typing import Any, TypeAlias

from .. import kernels
from ..arguments import whole
from ..backend import Array, contiguous
from ..kernels.conv_shape import Size, output_size
from ..tensor import Function, Grads, Tensor, TensorLike, as_tensor
from .activation import relu, require_activation

__all__ = ["conv2d", "conv_transpose2d"]

Pair: TypeAlias = int | Sequence[int]  # one number for both axes, or (height, width)
LARGEST = 2**31 - 1  # of a stride, padding or dilation: with it no size overflows 64 bits


class Conv2d(Function):
    """y = conv(x; w) + b;  dx = conv^T(dy; w);  dw = adjoint of conv in w;  db = sum of dy.

    x (N, C, H, W), w (O, C, KH, KW), b (O,), y (N, O, OH, OW). Computed by
    ``kernels.reference.conv2d``, ``conv2d_grad_input`` and ``conv2d_grad_weight``.
    """

    fresh_gradients = True
    rectify = False

    def forward(self, x: Array, w: Array, b: Array | None, **geometry: Size) -> Array:
        self.geometry = geometry
        y = kernels.get("conv2d", x, w)(x, w, b, **geometry, rectify=self.rectify)
        self.save(x, w, *([y] if self.rectify else []))
        return y

    def backward(self, dy: Array) -> Grads:
        x, w, *y = self.saved
        dy, db = _bias_gradient(self, dy, *y)
        grad_input = kernels.get("conv2d_grad_input", dy, w)
        grad_weight = kernels.get("conv2d_grad_weight", dy, w)
        dx = grad_input(dy, w, None, x.shape[2:], **self.geometry) if self.needs[0] else None
        dw = grad_weight(x, dy, w.shape[2:], **self.geometry) if self.needs[1] else None
        return dx, dw, db


class Conv2dReLU(Conv2d):
    """y = max(conv(x; w) + b, 0): ``Conv2d`` and ReLU in one pass. Backward as in ``Conv2d``, after
    dy is set to 0 where y <= 0.
    """

    rectify = True


class ConvTranspose2d(Function):
    """y = conv^T(x; w) + b;  dx = conv(dy; w);  dw = adjoint with x and dy exchanged;  db = sum.

    x (N, C, H, W), w (C, O, KH, KW), b (O,), y (N, O, OH, OW): the adjoint of a convolution
    from O to C channels, which is why w has C first. Computed by the kernels of ``Conv2d``.
    """

    fresh_gradients = True
    rectify = False

    def forward(
        self, x: Array, w: Array, b: Array | None, output_size: Size, **geometry: Size
    ) -> Array:
        self.geometry = geometry
        grad_input = kernels.get("conv2d_grad_input", x, w)
        y = grad_input(x, w, b, output_size, **geometry, rectify=self.rectify)
        self.save(x, w, *([y] if self.rectify else []))
        return y

    def backward(self, dy: Array) -> Grads:
        x, w, *y = self.saved
        dy, db = _bias_gradient(self, dy, *y)
        conv, grad_weight = (kernels.get(k, dy, w) for k in ("conv2d", "conv2d_grad_weight"))
        dx, (H, W) = None, x.shape[2:]
        if self.needs[0]:  # with output_padding >= stride, conv2d of dy has rows beyond x's
            dx = conv(dy, w, None, **self.geometry)[:, :, :H, :W]
        dw = grad_weight(dy, x, w.shape[2:], **self.geometry) if self.needs[1] else None
        return dx, dw, db


class ConvTranspose2dReLU(ConvTranspose2d):
    """y = max(conv^T(x; w) + b, 0): ``ConvTranspose2d`` and ReLU, as in ``Conv2dReLU``."""

    rectify = True


def _bias_gradient(op: Function, dy: Array, y: Array | None = None) -> tuple[Array, Array | None]:
    """(dy, db) with db_o = the sum of dy over images and positions; None if the op needs no db.

    With the result y of a fused ReLU, dy is first set to 0 where y <= 0. dy, y (N, O, OH, OW);
    db (O,).
    """

    def channels(a: Array) -> Array:
        return contiguous(a).reshape(*a.shape[:2], -1 if a.size else 0)

    if y is None:
        return dy, kernels.get("channel_sum", dy)(channels(dy)) if op.needs[2] else None
    d, db = kernels.get("bias_relu_backward", y, dy)(channels(y), channels(dy))
    return d.reshape(dy.shape), db


def _apply(
    op: type[Function],
    rectified: type[Function],
    activation: str | None,
    *inputs: Any,
    **params: Any,
) -> Tensor:
    """``op``, or with ``activation="relu"`` the fused ``rectified``: the same op and a ReLU."""

    def composed(*inputs: Any, **params: Any) -> Tensor:
        return relu(op.apply(*inputs, **params))

    run = kernels.fused_or_composed(rectified.apply, composed) if activation else op.apply
    return run(*inputs, **params)


def conv2d(
    x: TensorLike, w: TensorLike, b: TensorLike | None = None, stride: Pair = 1, padding: Pair = 0,
    dilation: Pair = 1, groups: int = 1, *, activation: str | None = None,
) -> Tensor:  # fmt: skip
    """Cross-correlate images with filters, as PyTorch's conv2d with one group.

    Args:
        x: (N, C, H, W); w: (O, C, KH, KW); b: (O,) or None.
        stride, padding, dilation: an int, or a pair (height, width).
        groups: 1; other numbers are not supported.
        activation: None, or "relu" for max(., 0) of the result, in one pass.

    Returns:
        (N, O, OH, OW), OH = (H + 2 padding - dilation (KH - 1) - 1) // stride + 1.

    Raises:
        ValueError: ranks, channels or sizes do not fit; the message gives the arithmetic.
    """
    require_activation(activation)
    geometry = _geometry(stride, padding, dilation, groups)
    x, w, b = as_tensor(x), as_tensor(w), None if b is None else as_tensor(b)
    _check("conv2d", x, w, b, in_axis=1, out_axis=0)
    for name, n, k, s, p, d in _per_axis(x, w, geometry):
        conv_output_size(n, k, s, p, d, name)
    return _apply(Conv2d, Conv2dReLU, activation, x, w, b, **geometry)


def conv_transpose2d(
    x: TensorLike, w: TensorLike, b: TensorLike | None = None, stride: Pair = 1, padding: Pair = 0,
    output_padding: Pair = 0, *, groups: int = 1, dilation: Pair = 1,
    activation: str | None = None,
) -> Tensor:  # fmt: skip
    """The adjoint of ``conv2d`` in its input, as PyTorch's conv_transpose2d with one group.

    Args:
        x: (N, C, H, W); w: (C, O, KH, KW); b: (O,) or None.
        stride, padding, output_padding, dilation: an int, or a pair (height, width).
            ``output_padding`` below the stride selects one of the output sizes that ``conv2d``
            maps back to the size of x. It may also be larger, if it is below the dilation:
            ``conv2d`` maps such an output to more rows and columns than x has.
        groups: 1; other numbers are not supported. ``groups`` and ``dilation`` by name only.
        activation: None, or "relu" for max(., 0) of the result, in one pass.

    Returns:
        (N, O, OH, OW), OH = (H - 1) stride - 2 padding + dilation (KH - 1) + output_padding + 1.

    Raises:
        ValueError: ranks, channels or sizes do not fit; the message gives the arithmetic.
    """
    require_activation(activation)
    geometry = _geometry(stride, padding, dilation, groups)
    extra = pair("output_padding", output_padding, 0)
    x, w, b = as_tensor(x), as_tensor(w), None if b is None else as_tensor(b)
    _check("conv_transpose2d", x, w, b, in_axis=0, out_axis=1)
    size = tuple(
        conv_transpose_output_size(n, k, s, p, e, d, name)
        for (name, n, k, s, p, d), e in zip(_per_axis(x, w, geometry), extra, strict=True)
    )
    return _apply(
        ConvTranspose2d, ConvTranspose2dReLU, activation, x, w, b, output_size=size, **geometry
    )


def conv_output_size(
    n: int, kernel: int, stride: int = 1, padding: int = 0, dilation: int = 1, name: str = "size",
) -> int:  # fmt: skip
    """(n + 2 padding - dilation (kernel - 1) - 1) // stride + 1; ValueError when below 1.

    The message calls n ``name``. Several n give the same output size:

    >>> conv_output_size(27, kernel=3, stride=2, padding=1)
    14
    >>> conv_output_size(28, kernel=3, stride=2, padding=1)
    14
    """
    reach = dilation * (kernel - 1) + 1
    if n + 2 * padding < reach:
        raise ValueError(
            f"{name} {n} with padding {padding} on both sides: expected at least the kernel's "
            f"reach {reach} = {dilation} * ({kernel} - 1) + 1, got {n + 2 * padding}"
        )
    return output_size(n, kernel, stride, padding, dilation)


def conv_transpose_output_size(
    n: int, kernel: int, stride: int = 1, padding: int = 0, output_padding: int = 0,
    dilation: int = 1, name: str = "size",
) -> int:  # fmt: skip
    """(n - 1) stride - 2 padding + dilation (kernel - 1) + output_padding + 1.

    >>> conv_transpose_output_size(14, kernel=3, stride=2, padding=1)
    27
    >>> conv_transpose_output_size(14, kernel=3, stride=2, padding=1, output_padding=1)
    28

    Raises:
        ValueError: the size is below 1, or output_padding is out of range; the message calls n
            by ``name``.
    """
    if not 0 <= output_padding < max(stride, dilation):
        raise ValueError(
            f"output_padding: expected 0 <= output_padding < max(stride {stride}, dilation "
            f"{dilation}) for the {name}, got {output_padding}"
        )
    size = _smallest_input(n, kernel, stride, padding, dilation) + output_padding
    if n < 1 or size < 1:
        raise ValueError(
            f"{name} {n} gives {size} = ({n} - 1) * {stride} - 2 * {padding} + {dilation} * "
            f"({kernel} - 1) + {output_padding} + 1; expected at least 1"
        )
    return size


def _smallest_input(n: int, kernel: int, stride: int, padding: int, dilation: int) -> int:
    """The smallest size that a convolution maps to n."""
    return (n - 1) * stride - 2 * padding + dilation * (kernel - 1) + 1


def output_padding_for(
    n: int, size: int, kernel: int, stride: int = 1, padding: int = 0, dilation: int = 1,
    name: str = "size",
) -> int:  # fmt: skip
    """The ``output_padding`` with which a transposed convolution makes ``size`` from ``n``.

    >>> output_padding_for(31, 64, kernel=3, stride=2)
    1

    Raises:
        ValueError: no ``output_padding`` does; the message gives the possible sizes.
    """
    base = _smallest_input(n, kernel, stride, padding, dilation)
    extra = size - base
    if not 0 <= extra < max(stride, dilation):
        raise ValueError(
            f"{name} from {n} with kernel {kernel}, stride {stride}, padding {padding}: expected "
            f"{base}..{base + max(stride, dilation) - 1} (output_padding 0..), got {size}"
        )
    return extra


def _geometry(stride: Pair, padding: Pair, dilation: Pair, groups: int) -> dict[str, Size]:
    require_one_group(groups)
    return {
        "stride": pair("stride", stride, 1),
        "padding": pair("padding", padding, 0),
        "dilation": pair("dilation", dilation, 1),
    }


def require_one_group(groups: int) -> None:
    """ValueError unless ``groups`` is 1."""
    if groups != 1:
        raise ValueError(f"groups: expected 1 (others are not supported), got {groups!r}")


def pair(name: str, value: Any, least: int) -> Size:
    """``value``, an int or a pair of ints of at least ``least``, as a pair, or a ValueError."""
    try:
        values = value if isinstance(value, (tuple, list)) else [value] * 2
        both = tuple(whole(name, v) for v in values)
    except TypeError:
        both = ()
    if len(both) != 2 or not all(least <= v <= LARGEST for v in both):
        raise ValueError(
            f"{name}: expected an int or a pair of ints in [{least}, {LARGEST}], got {value!r}"
        )
    return both


def _per_axis(
    x: Tensor, w: Tensor, geometry: dict[str, Size]
) -> list[tuple[str, int, int, int, int, int]]:
    stride, padding, dilation = geometry.values()
    return [
        (name, x.shape[i + 2], w.shape[i + 2], stride[i], padding[i], dilation[i])
        for i, name in enumerate(("height", "width"))
    ]


def _check(op: str, x: Tensor, w: Tensor, b: Tensor | None, in_axis: int, out_axis: int) -> None:
    if x.ndim != 4 or w.ndim != 4:
        raise ValueError(f"{op}: expected x and w with 4 axes, got x {x.shape} and w {w.shape}")
    if x.shape[1] != w.shape[in_axis]:
        raise ValueError(
            f"{op}: expected x with {w.shape[in_axis]} channels (axis {in_axis} of w {w.shape}), "
            f"got x {x.shape} with {x.shape[1]}"
        )
    if 0 in w.shape[2:]:
        raise ValueError(f"{op}: expected w with a kernel of at least 1 x 1, got w {w.shape}")
    if b is not None and b.shape != (w.shape[out_axis],):
        raise ValueError(f"{op}: expected b ({w.shape[out_axis]},), got {b.shape}")
