"""Optimisers over one flat arena: all parameters, gradients and moments lie end to end.

One kernel call updates everything, ``backward`` writes weight gradients where the optimiser
reads them, and a checkpoint stores the moments as two arrays.
"""

import itertools
import math

import numpy as np

from . import kernels
from .backend import array_module, to_numpy
from .tensor import Tensor


class Arena:
    """Parameters and their gradients as slices of two flat arrays, ``data`` and ``grad``.

    The parameters' arrays become views of ``data``, with the values they had.

    Raises:
        ValueError: no parameters, or one that does not learn. TypeError: something that is no
            tensor, or several dtypes or devices.
    """

    def __init__(self, params):
        params = list(params)
        for p in params:
            if not isinstance(p, Tensor):
                raise TypeError(f"params: expected tensors, got {type(p).__name__}")
            if not p.requires_grad or p.creator is not None:
                raise ValueError(f"params: expected leaves that require a gradient, got {p!r}")
        self.params = list(dict.fromkeys(params))
        if not self.params:
            raise ValueError("params: expected at least one parameter, got none")
        kinds = {(str(p.dtype), type(p.data)) for p in self.params}
        if len(kinds) > 1:
            raise TypeError(f"params: expected one dtype and device, got {sorted(map(str, kinds))}")
        first = self.params[0].data
        ends = list(itertools.accumulate(p.size for p in self.params))
        self.bounds = list(zip([0, *ends[:-1]], ends, strict=True))
        xp = array_module(first)
        self.data, self.grad = xp.zeros(ends[-1], first.dtype), xp.zeros(ends[-1], first.dtype)
        self._views = [self.data[i:j].reshape(p.shape) for p, (i, j) in self._items()]
        for p, (i, j), view in zip(self.params, self.bounds, self._views, strict=True):
            view[...] = p.data
            p.data, p.grad_buffer, p.grad = view, self.grad[i:j].reshape(p.shape), None

    def _items(self):
        return zip(self.params, self.bounds, strict=True)

    def gather(self):
        """Take in arrays that somebody set on a parameter (``p.data = ...``, ``p.grad = ...``)."""
        for p, view in zip(self.params, self._views, strict=True):
            if p.data is not view:
                view[...] = p.data
                p.data = view
            if p.grad is not None and p.grad is not p.grad_buffer:
                p.grad_buffer[...] = p.grad
                p.grad = p.grad_buffer

    def runs(self, key):
        """(key, members, start, stop) of each longest run of neighbours with one ``key(index)``."""
        for value, group in itertools.groupby(range(len(self.params)), key):
            members = list(group)
            yield value, members, self.bounds[members[0]][0], self.bounds[members[-1]][1]


class Optimizer:
    """Shared by SGD and Adam: the arena, and forgetting gradients.

    Raises:
        ValueError: the learning rate ``lr`` is negative or not finite; see also ``Arena``.
    """

    def __init__(self, params, lr):
        if not 0 <= lr < math.inf:
            raise ValueError(f"lr: expected a finite number >= 0, got {lr}")
        self.arena = Arena(params)
        self.lr = lr

    def zero_grad(self):
        """Set every gradient to None; the next backward writes instead of adding."""
        for p in self.arena.params:
            p.grad = None


class SGD(Optimizer):
    """p -= lr g."""

    def step(self):
        """Update every parameter that has a gradient."""
        self.arena.gather()
        params = self.arena.params
        for has_grad, _, i, j in self.arena.runs(lambda k: params[k].grad is not None):
            if has_grad:
                self.arena.data[i:j] -= self.lr * self.arena.grad[i:j]

    def state_dict(self):
        """Plain SGD remembers nothing."""
        return {}

    def load_state_dict(self, state):
        """Accepts only the empty state; ValueError for another."""
        if state:
            raise ValueError(f"state: expected an empty dict, got keys {sorted(state)}")


class Adam(Optimizer):
    """Adam (Kingma & Ba 2015, arXiv:1412.6980, algorithm 1), as PyTorch's.

    With g the gradient plus ``weight_decay * p`` (an L2 term, not decoupled) and t the step:

        m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g^2
        p -= lr (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps)

    with (beta1, beta2) = ``betas``. Parameters without a gradient keep their value, moments and
    step, as in PyTorch.

    Raises:
        ValueError: a coefficient is out of range.

    The first step moves an element by lr |g| / (|g| + eps): by lr, unless its gradient is as
    small as eps or 0.

    >>> from minivae import Tensor
    >>> p = Tensor([3.0], requires_grad=True)
    >>> adam = Adam([p], lr=0.1)
    >>> (p * p).sum().backward()
    >>> adam.step()
    >>> p.data.round(6)
    array([2.9])
    """

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0):
        betas = tuple(betas)
        if len(betas) != 2 or not all(0 <= b < 1 for b in betas):
            raise ValueError(f"betas: expected two numbers in [0, 1), got {betas}")
        if not (eps >= 0 and weight_decay >= 0):
            raise ValueError(f"eps, weight_decay: expected >= 0, got {eps}, {weight_decay}")
        super().__init__(params, lr)  # after the checks: it moves the parameters into the arena
        self.betas, self.eps, self.weight_decay = betas, eps, weight_decay
        xp = array_module(self.arena.data)
        self.m, self.v = xp.zeros_like(self.arena.data), xp.zeros_like(self.arena.data)
        self.steps = np.zeros(len(self.arena.params), np.int64)  # one counter a parameter

    @property
    def step_count(self):
        """The largest number of updates any parameter has had."""
        return int(self.steps.max())

    def step(self):
        """Update every parameter that has a gradient: one kernel call when all are in step."""
        self.arena.gather()
        params, data, grad = self.arena.params, self.arena.data, self.arena.grad
        adam = kernels.get("adam", data)
        counts = self.steps.tolist()
        in_step = self.arena.runs(lambda k: (params[k].grad is not None, counts[k]))
        for (has_grad, count), members, i, j in in_step:
            if has_grad:
                self.steps[members] += 1
                adam(
                    data[i:j], grad[i:j], self.m[i:j], self.v[i:j], count + 1,
                    self.lr, *self.betas, self.eps, self.weight_decay,
                )  # fmt: skip

    def state_dict(self):
        """Moments ``m`` and ``v`` (flat, in parameter order) and the ``step`` of each parameter."""
        return {
            "m": np.array(to_numpy(self.m)),
            "v": np.array(to_numpy(self.v)),
            "step": self.steps.copy(),
        }

    def load_state_dict(self, state):
        """Copy a ``state_dict`` in; ValueError, with nothing written, when it does not fit."""
        own = {"m": self.m, "v": self.v, "step": self.steps}
        if state.keys() != own.keys():
            raise ValueError(f"state: expected keys {sorted(own)}, got {sorted(state)}")
        arrays = {name: np.asarray(a) for name, a in state.items()}
        for name, a in arrays.items():
            if a.shape != own[name].shape or a.dtype.kind != own[name].dtype.kind:
                raise ValueError(
                    f"state: {name}: expected {own[name].dtype} {own[name].shape}, "
                    f"got {a.dtype} {a.shape}"
                )
        if (arrays["step"] < 0).any():
            raise ValueError(f"state: step: expected counts >= 0, got {arrays['step'].min()}")
        for name, a in arrays.items():
            own[name][...] = array_module(own[name]).asarray(a)
