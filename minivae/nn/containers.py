"""Containers of modules: ``Sequential`` and ``ModuleList``."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from .module import Module


class _Numbered(Module):
    """Base of containers: ``len``, indexing, iteration; the modules are named "0", "1", ..."""

    def append(self, module: Module) -> Any:
        """Add a module at the end; returns the container."""
        self._add(str(len(self)), module)
        return self

    def _add(self, name: str, module: Module) -> None:
        if not isinstance(module, Module):
            called = getattr(module, "__name__", None) or repr(module)
            raise TypeError(
                f"{type(self).__name__}: expected modules, such as nn.ReLU(), got {called}"
            )
        if name in vars(self):
            raise ValueError(f"{type(self).__name__}: expected a new name, got {name!r} again")
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
        TypeError: an argument is no module, such as a list of modules, a function or a class.
        ValueError: a name is taken, by another module or by an attribute of the container.

    A slice is a ``Sequential`` of the same modules with the same names:

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
        """The output of the last module, each applied to the output of the one before."""
        for module in self:
            x = module(x)
        return x


class ModuleList(_Numbered):
    """A list of modules, whose parameters are found as those of the module that holds the list.

    Raises:
        TypeError: an element is no module.
    """

    def __init__(self, modules: Iterable[Module] = ()):
        self.extend(modules)

    def extend(self, modules: Iterable[Module]) -> "ModuleList":
        """Add modules at the end; returns the list."""
        for module in modules:
            self.append(module)
        return self

    def __getitem__(self, i: Any) -> Any:
        return type(self)(list(self)[i]) if isinstance(i, slice) else super().__getitem__(i)
