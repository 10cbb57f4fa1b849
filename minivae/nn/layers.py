"""Layers: Linear, Conv2d, ConvTranspose2d, BatchNorm2d, Flatten, Unflatten.

Arguments, layouts and the distribution of initial values are PyTorch's.
"""

import math
import secrets
from typing import Any

import numpy as np

from ..arguments import real, whole
from ..noise import NoiseStream
from ..ops.batch_norm import batch_norm
from ..ops.conv import Pair, conv2d, conv_transpose2d, pair, require_one_group
from ..ops.linear import linear, linear_heads
from ..ops.shapes import flatten, reshape
from ..tensor import Tensor, as_tensor
from .module import Module, Parameter


def uniform_init(shape: tuple[int, ...], fan_in: int, rng: NoiseStream) -> Parameter:
    """U(-1/sqrt(fan_in), 1/sqrt(fan_in)) in float32, one draw of the stream ``rng``.

    PyTorch's default for weights and biases: He et al. 2015 (arXiv:1502.01852) for a leaky ReLU of
    slope sqrt(5).
    """
    bound = 1 / math.sqrt(fan_in) if fan_in else 0.0
    return Parameter(((2 * rng.draw().uniform(shape, np.float32) - 1) * bound).astype(np.float32))


def _stream(rng: NoiseStream | None) -> NoiseStream:
    """``rng``, or a noise stream with a random seed for None."""
    if rng is None:
        return NoiseStream(secrets.randbits(64))
    if not isinstance(rng, NoiseStream):
        raise TypeError(f"rng: expected a NoiseStream, got {rng!r}")
    return rng


class _Weighted(Module):
    """Base of layers with a weight and an optional bias."""

    weight: Parameter
    bias: Parameter | None

    def _make(
        self, shape: tuple[int, ...], out: int, fan_in: int, bias: bool, rng: NoiseStream | None
    ) -> None:
        """Draw the initial values, the weight's first."""
        if bias not in (True, False):  # such as a stream in the place of ``bias``
            raise TypeError(f"bias: expected True or False, got {bias!r}")
        rng = _stream(rng)
        self.weight = uniform_init(shape, fan_in, rng)
        self.register_parameter("bias", uniform_init((out,), fan_in, rng) if bias else None)


class Linear(_Weighted):
    """x W^T + b: weight (out, in), bias (out,).

    Args:
        in_features, out_features: sizes.
        bias: whether the layer has a bias.
        rng: ``NoiseStream`` for the initial values; None draws them with a random seed.

    Raises:
        TypeError, ValueError: a size is no whole number of at least 0, ``bias`` no truth value, or
            ``rng`` no NoiseStream.

    >>> layer = Linear(784, 20)
    >>> layer.weight.shape, layer.bias.shape
    ((20, 784), (20,))
    >>> layer(np.zeros((5, 784), np.float32)).shape
    (5, 20)
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        rng: NoiseStream | None = None,
    ):
        self.in_features = fan_in = whole("in_features", in_features, least=0)
        self.out_features = whole("out_features", out_features, least=0)
        self._make((self.out_features, fan_in), self.out_features, fan_in, bias, rng)

    def forward(self, x: Any, *, activation: str | None = None) -> Tensor:
        """(..., in) -> (..., out); ``activation`` is None, or "relu" in the same pass."""
        return linear(x, self.weight, self.bias, activation=activation)

    def extra_repr(self) -> str:
        """The sizes."""
        bias = self.bias is not None
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={bias}"


def heads(x: Any, first: Linear, second: Linear) -> tuple[Tensor, Tensor]:
    """``first(x), second(x)`` of two layers, in one pass over x (N, in)."""
    return linear_heads(x, first.weight, first.bias, second.weight, second.bias)


class _Convolution(_Weighted):
    """Base of both convolutions: channels, kernel size, and geometry (stride, padding, ...)."""

    stride: Pair
    padding: Pair
    dilation: Pair

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Pair,
        groups: int,
        rng: NoiseStream | None,
        bias: bool,
        **geometry: Pair,
    ):
        require_one_group(groups)
        self.in_channels = whole("in_channels", in_channels, least=0)
        self.out_channels = whole("out_channels", out_channels, least=0)
        self.kernel_size = pair("kernel_size", kernel_size, 1)
        least = {"padding": 0, "output_padding": 0}
        for name, value in geometry.items():
            setattr(self, name, pair(name, value, least.get(name, 1)))
        first, second = self._axes()
        fan_in = second * math.prod(self.kernel_size)  # PyTorch counts axis 1 of the weight
        self._make((first, second, *self.kernel_size), self.out_channels, fan_in, bias, rng)

    def _axes(self) -> tuple[int, int]:
        """The first two axes of the weight."""
        raise NotImplementedError

    def extra_repr(self) -> str:
        """Channels, kernel size, stride, and other options that are not the default."""
        plain = {"padding": (0, 0), "output_padding": (0, 0), "dilation": (1, 1)}
        told: dict[str, Any] = {"kernel_size": self.kernel_size, "stride": self.stride}
        told |= {n: getattr(self, n) for n in plain if getattr(self, n, plain[n]) != plain[n]}
        told |= {} if self.bias is not None else {"bias": False}
        options = [f"{name}={value}" for name, value in told.items()]
        return ", ".join([str(self.in_channels), str(self.out_channels), *options])


class Conv2d(_Convolution):
    """2-D convolution: weight (out, in, KH, KW), bias (out,).

    Arguments as PyTorch's and errors as ``functional.conv2d``; ``rng`` as in ``Linear``.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Pair,
        stride: Pair = 1,
        padding: Pair = 0,
        dilation: Pair = 1,
        groups: int = 1,
        bias: bool = True,
        *,
        rng: NoiseStream | None = None,
    ):
        super().__init__(
            in_channels, out_channels, kernel_size, groups, rng, bias,
            stride=stride, padding=padding, dilation=dilation,
        )  # fmt: skip

    def _axes(self) -> tuple[int, int]:
        return self.out_channels, self.in_channels

    def forward(self, x: Any, *, activation: str | None = None) -> Tensor:
        """(N, in, H, W) -> (N, out, OH, OW); ``activation`` as in ``Linear``."""
        geometry = self.stride, self.padding, self.dilation
        return conv2d(x, self.weight, self.bias, *geometry, activation=activation)


class ConvTranspose2d(_Convolution):
    """2-D transposed convolution: weight (in, out, KH, KW), bias (out,).

    Arguments as PyTorch's, those after ``output_padding`` by name only, and errors as
    ``functional.conv_transpose2d``; ``rng`` as in ``Linear``.
    """

    output_padding: Pair

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Pair,
        stride: Pair = 1,
        padding: Pair = 0,
        output_padding: Pair = 0,
        *,
        groups: int = 1,
        bias: bool = True,
        dilation: Pair = 1,
        rng: NoiseStream | None = None,
    ):
        super().__init__(
            in_channels, out_channels, kernel_size, groups, rng, bias,
            stride=stride, padding=padding, output_padding=output_padding, dilation=dilation,
        )  # fmt: skip

    def _axes(self) -> tuple[int, int]:
        return self.in_channels, self.out_channels

    def forward(self, x: Any, *, activation: str | None = None) -> Tensor:
        """(N, in, H, W) -> (N, out, OH, OW); ``activation`` as in ``Linear``."""
        geometry = self.stride, self.padding, self.output_padding
        return conv_transpose2d(
            x, self.weight, self.bias, *geometry, dilation=self.dilation, activation=activation
        )


class BatchNorm2d(Module):
    """Batch normalisation of (N, C) or (N, C, H, W): weight, bias and running statistics (C,).

    Args:
        num_features: C.
        eps: added to the variance, at least 0.
        momentum: weight of the batch's statistics in each update of the running ones; None: the
            running ones are the mean over all batches.

    Errors of a forward pass as ``functional.batch_norm``.
    """

    running_mean: Any
    running_var: Any
    num_batches_tracked: Any

    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float | None = 0.1):
        self.num_features = whole("num_features", num_features, least=0)
        self.eps = real("eps", eps)
        self.momentum = None if momentum is None else real("momentum", momentum, -math.inf)
        self.weight = Parameter(np.ones(self.num_features, np.float32))
        self.bias = Parameter(np.zeros(self.num_features, np.float32))
        self.register_buffer("running_mean", np.zeros(self.num_features, np.float32))
        self.register_buffer("running_var", np.ones(self.num_features, np.float32))
        self.register_buffer("num_batches_tracked", np.zeros((), np.int64))

    def forward(self, x: Any) -> Tensor:
        """Same shape out; in training mode the running statistics move towards the batch's."""
        momentum = self.momentum
        if momentum is None:
            momentum = 1 / (int(self.num_batches_tracked) + 1)
        y = batch_norm(
            x,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            training=self.training,
            momentum=momentum,
            eps=self.eps,
        )
        if self.training:
            self.num_batches_tracked += 1  # last, so that a refused batch is not counted
        return y

    def extra_repr(self) -> str:
        """The options."""
        return f"{self.num_features}, eps={self.eps}, momentum={self.momentum}"


class Flatten(Module):
    """Joins the axes from ``start_dim`` to ``end_dim``: (N, ...) to (N, product of the rest)."""

    def __init__(self, start_dim: int = 1, end_dim: int = -1):
        self.start_dim, self.end_dim = whole("start_dim", start_dim), whole("end_dim", end_dim)

    def forward(self, x: Any) -> Tensor:
        """x with the axes from ``start_dim`` to ``end_dim`` joined; errors as ``F.flatten``."""
        return flatten(x, self.start_dim, self.end_dim)

    def extra_repr(self) -> str:
        """The axes."""
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Unflatten(Module):
    """Splits axis ``dim`` into several: with (1, (C, H, W)) from (N, C H W) to (N, C, H, W).

    Args:
        dim: the axis.
        unflattened_size: a tuple of sizes.

    Raises:
        TypeError: a size or ``dim`` is no whole number.
    """

    def __init__(self, dim: int, unflattened_size: Any):
        self.dim = whole("dim", dim)
        try:
            self.unflattened_size = tuple(whole("unflattened_size", n) for n in unflattened_size)
        except TypeError as error:
            raise TypeError(
                f"unflattened_size: expected a tuple of sizes, got {unflattened_size!r}"
            ) from error

    def forward(self, x: Any) -> Tensor:
        """x with axis ``dim``, whose size is the product of the sizes, split.

        ValueError for an axis out of range or of another size.
        """
        x = as_tensor(x)
        if not -x.ndim <= self.dim < x.ndim:
            raise ValueError(f"dim: expected an axis of shape {x.shape}, got {self.dim}")
        dim = self.dim % x.ndim
        return reshape(x, (*x.shape[:dim], *self.unflattened_size, *x.shape[dim + 1 :]))

    def extra_repr(self) -> str:
        """The axis and its sizes."""
        return f"dim={self.dim}, unflattened_size={self.unflattened_size}"
