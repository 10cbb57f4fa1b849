"""Layers: modules that own parameters, with PyTorch's names, layouts and initialisation."""

import math
import secrets

import numpy as np

from .backend import array_module, to_device, to_numpy
from .noise import NoiseStream
from .ops.activation import leaky_relu, relu, sigmoid, tanh
from .ops.basic import flatten, reshape
from .ops.batch_norm import batch_norm
from .ops.conv import (
    conv2d,
    conv_output_size,  # noqa: F401  this and the next: for sizing models
    conv_transpose2d,
    conv_transpose_output_size,  # noqa: F401
)
from .ops.linear import linear
from .tensor import Tensor


class Parameter(Tensor):
    """A tensor that a module learns: a leaf that requires a gradient."""

    __slots__ = ()

    def __init__(self, array):
        super().__init__(array, requires_grad=True)


class Module:
    """A part of a network: parameters, buffers and further modules, found by attribute name.

    Names are those of PyTorch's ``state_dict``: attribute names joined by dots.
    """

    training = True
    _buffer_names = ()

    def __call__(self, *args, **kwargs):
        return self.forward(*args, **kwargs)

    def forward(self, *args, **kwargs):
        """The module's map; a subclass defines it."""
        raise NotImplementedError(f"{type(self).__name__}.forward")

    def register_buffer(self, name, array):
        """An array that is saved with the module but not learned."""
        setattr(self, name, array)
        self._buffer_names = (*self._buffer_names, name)

    def children(self):
        """(name, module) pairs of the direct parts, in order of definition."""
        return [(name, m) for name, m in vars(self).items() if isinstance(m, Module)]

    def modules(self):
        """This module and every one below it."""
        yield self
        for _, child in self.children():
            yield from child.modules()

    def named_parameters(self, prefix=""):
        """(dotted name, Parameter) pairs, own first, then each child's."""
        for name, value in vars(self).items():
            if isinstance(value, Parameter):
                yield prefix + name, value
        for name, child in self.children():
            yield from child.named_parameters(f"{prefix}{name}.")

    def parameters(self):
        """The parameters, in the order of ``named_parameters``."""
        return [p for _, p in self.named_parameters()]

    def _named_arrays(self, prefix=""):
        """(dotted name, array) of parameters and buffers in PyTorch's order."""
        for name, value in vars(self).items():
            if isinstance(value, Parameter):
                yield prefix + name, value.data
        for name in self._buffer_names:
            yield prefix + name, getattr(self, name)
        for name, child in self.children():
            yield from child._named_arrays(f"{prefix}{name}.")

    def named_buffers(self, prefix=""):
        """(dotted name, array) pairs of what is saved and not learned."""
        for name in self._buffer_names:
            yield prefix + name, getattr(self, name)
        for name, child in self.children():
            yield from child.named_buffers(f"{prefix}{name}.")

    def state_dict(self):
        """Every parameter and buffer by name, as NumPy copies."""
        return {name: np.array(to_numpy(array)) for name, array in self._named_arrays()}

    def load_state_dict(self, state, strict=True):
        """Copy arrays into the parameters and buffers of the same names.

        Everything is checked before anything is written.

        Args:
            state: dict from name to array (NumPy, or anything NumPy reads, such as a CPU tensor).
            strict: whether missing and unknown names are errors.

        Raises:
            ValueError: a name is missing or unknown, or a shape or dtype does not fit.
        """
        own = dict(self._named_arrays())
        if strict and own.keys() != state.keys():
            missing = sorted(own.keys() - state.keys())
            unknown = sorted(state.keys() - own.keys())
            raise ValueError(f"state: missing {missing}, unknown {unknown}")
        arrays = {name: np.asarray(a) for name, a in state.items() if name in own}
        for name, a in arrays.items():
            if a.shape != own[name].shape:
                raise ValueError(f"state: {name}: expected {own[name].shape}, got {a.shape}")
            if a.dtype.kind not in "fiu" or (a.dtype.kind == "f") != (own[name].dtype.kind == "f"):
                raise ValueError(f"state: {name}: expected {own[name].dtype}, got {a.dtype}")
        for name, a in arrays.items():
            own[name][...] = array_module(own[name]).asarray(a)

    def train(self, mode=True):
        """Set training mode here and below; returns the module."""
        for module in self.modules():
            module.training = mode
        return self

    def eval(self):
        """Set evaluation mode here and below; returns the module."""
        return self.train(False)

    def to(self, device=None, dtype=None):
        """Move parameters and buffers to "cpu" or "cuda", or to another float dtype, in place of
        their arrays; build the optimiser afterwards. Returns the module.

        Raises:
            ValueError: an unknown device. TypeError: a dtype that is not floating-point.
            RuntimeError: no GPU answers; the message says why.
        """
        if dtype is not None and np.dtype(dtype).kind != "f":
            raise TypeError(f"dtype: expected a floating-point dtype, got {np.dtype(dtype)}")

        def moved(array):
            array = array if device is None else to_device(array, device)
            return array.astype(dtype) if dtype is not None and array.dtype.kind == "f" else array

        for module in self.modules():
            for name, value in vars(module).items():
                if isinstance(value, Parameter):
                    value.data, value.grad = moved(value.data), None
                elif name in module._buffer_names:
                    setattr(module, name, moved(value))
        return self


def uniform_init(shape, fan_in, rng):
    """U(-1/sqrt(fan_in), 1/sqrt(fan_in)) in float32, one draw of the stream ``rng``.

    PyTorch's default for weights and biases.

    It is He et al. 2015 (arXiv:1502.01852) with the leaky slope sqrt(5).
    """
    bound = 1 / math.sqrt(fan_in) if fan_in else 0.0
    return Parameter(((2 * rng.draw().uniform(shape, np.float32) - 1) * bound).astype(np.float32))


def fresh_stream():
    """A noise stream nobody else has, for layers built without a seed."""
    return NoiseStream(secrets.randbits(64))


class Linear(Module):
    """x W^T + b: weight (out, in), bias (out,).

    Args:
        in_features, out_features: sizes.
        bias: whether there is one.
        rng: ``NoiseStream`` for the initial values; random without one.

    >>> layer = Linear(784, 20)
    >>> layer.weight.shape, layer.bias.shape
    ((20, 784), (20,))
    >>> layer(np.zeros((5, 784), np.float32)).shape
    (5, 20)
    """

    def __init__(self, in_features, out_features, bias=True, *, rng=None):
        rng = rng or fresh_stream()
        self.weight = uniform_init((out_features, in_features), in_features, rng)
        self.bias = uniform_init((out_features,), in_features, rng) if bias else None

    def forward(self, x, activation=None):
        """(..., in) -> (..., out); ``activation`` is None, or "relu" in the same pass."""
        return linear(x, self.weight, self.bias, activation)


class Conv2d(Module):
    """2-D convolution: weight (out, in, KH, KW), bias (out,). Arguments as PyTorch's."""

    def __init__(
        self,
        in_channels,
        out_channels,
        kernel_size,
        stride=1,
        padding=0,
        dilation=1,
        bias=True,
        *,
        rng=None,
    ):
        rng = rng or fresh_stream()
        kernel = (kernel_size, kernel_size) if isinstance(kernel_size, int) else kernel_size
        fan_in = in_channels * kernel[0] * kernel[1]
        self.weight = uniform_init((out_channels, in_channels, *kernel), fan_in, rng)
        self.bias = uniform_init((out_channels,), fan_in, rng) if bias else None
        self.geometry = {"stride": stride, "padding": padding, "dilation": dilation}

    def forward(self, x):
        """(N, in, H, W) -> (N, out, OH, OW)."""
        return conv2d(x, self.weight, self.bias, **self.geometry)


class ConvTranspose2d(Module):
    """2-D transposed convolution: weight (in, out, KH, KW), bias (out,). Arguments as PyTorch's."""

    def __init__(
        self,
        in_channels,
        out_channels,
        kernel_size,
        stride=1,
        padding=0,
        output_padding=0,
        dilation=1,
        bias=True,
        *,
        rng=None,
    ):
        rng = rng or fresh_stream()
        kernel = (kernel_size, kernel_size) if isinstance(kernel_size, int) else kernel_size
        fan_in = out_channels * kernel[0] * kernel[1]  # PyTorch counts axis 1 of the weight
        self.weight = uniform_init((in_channels, out_channels, *kernel), fan_in, rng)
        self.bias = uniform_init((out_channels,), fan_in, rng) if bias else None
        self.geometry = {
            "stride": stride,
            "padding": padding,
            "output_padding": output_padding,
            "dilation": dilation,
        }

    def forward(self, x):
        """(N, in, H, W) -> (N, out, OH, OW)."""
        return conv_transpose2d(x, self.weight, self.bias, **self.geometry)


class BatchNorm2d(Module):
    """Batch normalisation of (N, C) or (N, C, H, W): weight, bias and running statistics (C,).

    Args:
        channels: C.
        eps: added to the variance.
        momentum: share of the batch's statistics in each update of the running ones.
    """

    def __init__(self, channels, eps=1e-5, momentum=0.1):
        self.weight = Parameter(np.ones(channels, np.float32))
        self.bias = Parameter(np.zeros(channels, np.float32))
        self.register_buffer("running_mean", np.zeros(channels, np.float32))
        self.register_buffer("running_var", np.ones(channels, np.float32))
        self.register_buffer("num_batches_tracked", np.zeros((), np.int64))
        self.eps, self.momentum = eps, momentum

    def forward(self, x):
        """Same shape out; in training mode the running statistics move towards the batch's."""
        y = batch_norm(
            x,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            training=self.training,
            momentum=self.momentum,
            eps=self.eps,
        )
        if self.training:
            self.num_batches_tracked += 1  # after it worked: a refused batch leaves no trace
        return y


class ReLU(Module):
    """max(x, 0)."""

    def forward(self, x):
        """Any shape."""
        return relu(x)


class LeakyReLU(Module):
    """x where positive, ``negative_slope * x`` elsewhere."""

    def __init__(self, negative_slope=0.01):
        self.negative_slope = negative_slope

    def forward(self, x):
        """Any shape."""
        return leaky_relu(x, self.negative_slope)


class Sigmoid(Module):
    """1 / (1 + exp(-x))."""

    def forward(self, x):
        """Any shape."""
        return sigmoid(x)


class Tanh(Module):
    """Hyperbolic tangent."""

    def forward(self, x):
        """Any shape."""
        return tanh(x)


class Flatten(Module):
    """(N, ...) -> (N, product of the rest)."""

    def forward(self, x):
        """Joins all axes but the first."""
        return flatten(x)


class Unflatten(Module):
    """(N, product) -> (N, *shape)."""

    def __init__(self, shape):
        self.shape = tuple(shape)

    def forward(self, x):
        """Splits the second axis."""
        return reshape(x, (len(x), *self.shape))


class Sequential(Module):
    """Modules applied one after another, named "0", "1", ... as in PyTorch."""

    def __init__(self, *modules):
        for i, module in enumerate(modules):
            setattr(self, str(i), module)

    def __len__(self):
        return len(self.children())

    def __getitem__(self, i):
        return self.children()[i][1]

    def forward(self, x):
        """The composition."""
        for _, module in self.children():
            x = module(x)
        return x
