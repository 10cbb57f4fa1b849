"""Modules made of modules: one after another, or in a list."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from .module import Module


class _Numbered(Module):
    """Modules that can be counted, picked and iterated over; by default called "0", "1", ..."""

    def append(self, module: Module) -> Any:
        """Add one at the end; returns the container."""
        self._add(str(len(self)), module)
        return self

    def _add(self, name: str, module: Module) -> None:
        if not isinstance(module, Module):
            called = getattr(module, "__name__", None) or repr(module)
            raise TypeError(
                f"{type(self).__name__}: expected modules, such as nn.ReLU(), got {called}"
            )
        if name in vars(self):
            raise ValueError(f"{type(self).__name__}: there is a {name!r} already")
        setattr(self, name, module)

    def __len__(self) -> int:
        return len(self.parts())

    def __iter__(self) -> Iterator[Module]:
        return iter([module for _, module in self.parts()])

    def __getitem__(self, i: Any) -> Any:
        return self.parts()[i][1]

    def __setitem__(self, i: int, module: Module) -> None:
        name, _ = self.parts()[i]
        setattr(self, name, module)


class Sequential(_Numbered):
    """Modules applied one after another, named "0", "1", ... as in PyTorch.

    Args:
        modules: modules; or one mapping from names to modules, in order.

    Raises:
        TypeError: something that is no module, such as a list of them, a function or a class.

    A slice is a ``Sequential`` of the same modules under their names:

    >>> from minivae import nn
    >>> nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 1))[1:]
    Sequential(
      (1): ReLU()
      (2): Linear(in_features=2, out_features=1, bias=True)
    )
    """

    def __init__(self, *modules: Any):
        if len(modules) == 1 and isinstance(modules[0], Mapping):
            for name, module in modules[0].items():
                self._add(name, module)
        else:
            for module in modules:
                self.append(module)

    def __getitem__(self, i: Any) -> Any:
        return type(self)(dict(self.parts()[i])) if isinstance(i, slice) else super().__getitem__(i)

    def forward(self, x: Any) -> Any:
        """The composition."""
        for module in self:
            x = module(x)
        return x


class ModuleList(_Numbered):
    """A list of modules whose parameters count as those of the module that holds it.

    Raises:
        TypeError: something that is no module.
    """

    def __init__(self, modules: Iterable[Module] = ()):
        self.extend(modules)

    def extend(self, modules: Iterable[Module]) -> "ModuleList":
        """Add several at the end; returns the list."""
        for module in modules:
            self.append(module)
        return self

    def __getitem__(self, i: Any) -> Any:
        return type(self)(list(self)[i]) if isinstance(i, slice) else super().__getitem__(i)
