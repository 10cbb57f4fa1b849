"""Optimisers: ``SGD`` and ``Adam`` update parameters from the gradients in ``.grad``."""

from typing import TYPE_CHECKING

from ..torch_names import missing
from .adam import Adam
from .optimizer import Optimizer
from .sgd import SGD

__all__ = ["SGD", "Adam", "Optimizer"]


if not TYPE_CHECKING:  # with a module __getattr__ a type checker accepts every name

    def __getattr__(name):
        raise missing("optim", "module 'minivae.optim'", name)
