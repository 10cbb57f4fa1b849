"""minivae: a variational autoencoder from first principles.

    import minivae as mv
    from minivae import functional as F, nn, optim, data, models

One gradient, checked by eye: y = w x + x^2 has dy/dw = x and dy/dx = w + 2 x.

>>> import minivae as mv
>>> w = mv.Tensor([3.0], requires_grad=True)
>>> x = mv.Tensor([2.0], requires_grad=True)
>>> y = (w * x + x * x).sum()
>>> y.backward()
>>> y.item(), w.grad, x.grad
(10.0, array([2.]), array([7.]))
"""

from typing import TYPE_CHECKING

from . import data, functional, kernels, models, nn, optim
from .errors import CheckpointError, DataError, GradientError, KernelUnavailable, MinivaeError
from .gradcheck import gradcheck
from .noise import Noise, NoiseStream
from .tensor import Tensor, no_grad
from .torch_names import missing
from .training.checkpoint import load, save
from .viz import graph, latent

__version__ = "0.1.0"

__all__ = [
    "CheckpointError",
    "DataError",
    "GradientError",
    "KernelUnavailable",
    "MinivaeError",
    "Noise",
    "NoiseStream",
    "Tensor",
    "data",
    "functional",
    "gradcheck",
    "graph",
    "kernels",
    "latent",
    "load",
    "models",
    "nn",
    "no_grad",
    "optim",
    "save",
]


if not TYPE_CHECKING:  # with a module __getattr__ a type checker accepts every name

    def __getattr__(name):
        of_functional = f"mv.functional.{name}" if name in functional.__all__ else None
        raise missing("mv", "module 'minivae'", name, of_functional)
