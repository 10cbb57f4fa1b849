"""Optimisers, which move parameters along the gradients that ``backward`` left in them."""

from typing import TYPE_CHECKING

from ..torch_names import missing
from .adam import Adam
from .optimizer import Optimizer
from .sgd import SGD

__all__ = ["SGD", "Adam", "Optimizer"]


if not TYPE_CHECKING:  # a checker would take every name for one that is there

    def __getattr__(name):
        raise missing("optim", "module 'minivae.optim'", name)
