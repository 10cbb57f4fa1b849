"""Optimisers: what moves the parameters once ``backward`` has left gradients in them."""

from .adam import Adam
from .optimizer import Optimizer
from .sgd import SGD

__all__ = ["SGD", "Adam", "Optimizer"]
