"""Layers: modules that own parameters, with PyTorch's names, layouts and initialisation."""

from typing import TYPE_CHECKING

from ..torch_names import missing
from . import utils
from .activations import LeakyReLU, ReLU, Sigmoid, Tanh
from .containers import ModuleList, Sequential
from .layers import BatchNorm2d, Conv2d, ConvTranspose2d, Flatten, Linear, Unflatten, heads
from .module import Module, Parameter

__all__ = [
    "BatchNorm2d",
    "Conv2d",
    "ConvTranspose2d",
    "Flatten",
    "LeakyReLU",
    "Linear",
    "Module",
    "ModuleList",
    "Parameter",
    "ReLU",
    "Sequential",
    "Sigmoid",
    "Tanh",
    "Unflatten",
    "heads",
    "utils",
]


if not TYPE_CHECKING:  # with a module __getattr__ a type checker accepts every name

    def __getattr__(name):
        raise missing("nn", "module 'minivae.nn'", name)
