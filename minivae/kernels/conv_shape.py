"""The output size of a convolution, as ops check it and kernels allocate it."""

from typing import TypeAlias

Size: TypeAlias = tuple[int, ...]  # one number for each axis, (height, width)


def output_size(n: int, kernel: int, stride: int, padding: int, dilation: int) -> int:
    """(n + 2 padding - dilation (kernel - 1) - 1) // stride + 1, for one axis.

    Below 1 if the dilated kernel is larger than the padded input.
    """
    return (n + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1


def output_sizes(
    size: Size, kernel_size: Size, stride: Size, padding: Size, dilation: Size
) -> Size:
    """``output_size`` for both axes, each argument a pair (height, width)."""
    axes = zip(size, kernel_size, stride, padding, dilation, strict=True)
    return tuple(output_size(*axis) for axis in axes)
