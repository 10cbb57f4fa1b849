"""The size of a convolution's output: one formula, for ops that check and kernels that allocate."""


def output_size(n, kernel, stride, padding, dilation):
    """(n + 2 padding - dilation (kernel - 1) - 1) // stride + 1, for one axis.

    Below 1 where the kernel reaches beyond the padded input.
    """
    return (n + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1


def output_sizes(size, kernel_size, stride, padding, dilation):
    """The same for both axes, each argument a pair (height, width)."""
    axes = zip(size, kernel_size, stride, padding, dilation, strict=True)
    return tuple(output_size(*axis) for axis in axes)
