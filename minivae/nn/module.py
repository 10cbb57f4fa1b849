"""Module: base class of layers and models; finds parameters, buffers and submodules by name."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np

from ..backend import Array, array_module, placed, placement, to_numpy
from ..tensor import Tensor
from ..torch_names import missing


class Parameter(Tensor):
    """A trainable tensor of a module: a leaf that requires a gradient."""

    __slots__ = ()

    def __init__(self, array: Any):
        super().__init__(array, requires_grad=True)

    def __deepcopy__(self, memo: dict[int, Any]) -> "Parameter":
        """A copy without the gradient, as PyTorch makes it."""
        twin = super().__deepcopy__(memo)
        twin.grad = None
        return twin  # type: ignore[return-value]


class NotLoaded(NamedTuple):
    """The names that ``load_state_dict`` found on one side only; fields named as in PyTorch."""

    missing_keys: list[str]
    unexpected_keys: list[str]


Kind = TypeVar("Kind", bound="Module")
# The kind of an attribute made by ``register_buffer``; compared by ``==``, as a pickle has a copy.
BUFFER = "an array"


class Module:
    """Base class of layers and models: parameters, buffers and submodules, found by attribute name.

    Names are those of PyTorch's ``state_dict``: attribute names joined by dots. A parameter's
    attribute can only be set to another parameter or None; to change its values, write
    ``layer.weight *= 2`` inside ``no_grad``, or ``layer.weight.data[...] = array``.
    """

    training = True
    _kinds: Mapping[str, Any] = {}  # of attributes: Parameter, Module or BUFFER

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.forward(*args, **kwargs)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The output for these inputs; a subclass defines it."""
        raise NotImplementedError(f"{type(self).__name__}: expected a method forward, got none")

    # ------------------------------------------------------------ attributes
    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute. TypeError if a parameter, buffer or submodule would be replaced by a
        value of another kind, or if the value is a list or dict of modules or parameters.
        """
        known = self._kinds.get(name)
        kind = next((k for k in (Parameter, Module) if isinstance(value, k)), None)
        if known is None:
            if kind is not None:
                self._register(name, kind)
            elif _holds_modules(value):
                raise TypeError(
                    f"{name}: modules and parameters in a {type(value).__name__} are not found as "
                    "parts of this module; use nn.ModuleList, or one attribute for each"
                )
        elif value is not None and not _is_a(known, value):
            wanted = known if known == BUFFER else f"a {known.__name__}"
            raise TypeError(f"{name}: expected {wanted}, got {type(value).__name__}{ADVICE[known]}")
        if known == BUFFER and isinstance(value, np.generic):
            value = np.asarray(value)  # NumPy's arithmetic makes scalars of arrays without axes
        object.__setattr__(self, name, value)

    def __getattr__(self, name: str) -> Any:
        raise missing("Module", f"{type(self).__name__!r} object", name)

    def __delattr__(self, name: str) -> None:
        object.__delattr__(self, name)
        object.__setattr__(self, "_kinds", {n: k for n, k in self._kinds.items() if n != name})

    def _register(self, name: str, kind: Any) -> None:
        if not name or "." in name:
            raise ValueError(f"name: expected one without dots, got {name!r}")
        object.__setattr__(self, "_kinds", {**self._kinds, name: kind})

    def register_parameter(self, name: str, parameter: Parameter | None) -> None:
        """Set attribute ``name`` to a parameter, or to None where the module has none.

        Raises ValueError for a name that is empty or has a dot.
        """
        self._register(name, Parameter)
        setattr(self, name, parameter)

    def register_buffer(self, name: str, array: Any) -> None:
        """Set attribute ``name`` to an array that is saved with the module but not trained.

        Raises ValueError for a name that is empty or has a dot.
        """
        self._register(name, BUFFER)
        setattr(self, name, array)

    def _of_kind(self, kind: Any) -> list[tuple[str, Any]]:
        """(name, value) of the attributes of one kind that are not None, in order of definition."""
        held = vars(self)
        return [(n, held[n]) for n, k in self._kinds.items() if k == kind and held[n] is not None]

    # ------------------------------------------------------------ parts and parameters
    def parts(self) -> list[tuple[str, "Module"]]:
        """(name, module) pairs of the direct submodules; one with two names comes twice."""
        return self._of_kind(Module)

    def named_children(self) -> list[tuple[str, "Module"]]:
        """(name, module) pairs of the direct submodules, each module once."""
        found: dict[Module, str] = {}
        for name, module in self.parts():
            found.setdefault(module, name)
        return [(name, module) for module, name in found.items()]

    def children(self) -> list["Module"]:
        """The direct submodules, each once, in order of definition."""
        return [m for _, m in self.named_children()]

    def modules(self) -> Iterator["Module"]:
        """This module and every one below it, each once."""
        seen = set()
        stack: list[Module] = [self]
        while stack:
            module = stack.pop()
            if module not in seen:
                seen.add(module)
                yield module
                stack += module.children()[::-1]

    def apply(self: Kind, function: Callable[["Module"], Any]) -> Kind:
        """Call ``function`` on every module below and on this one last; returns the module."""
        for child in self.children():
            child.apply(function)
        function(self)
        return self

    def named_parameters(self, prefix: str = "") -> Iterator[tuple[str, Parameter]]:
        """(dotted name, Parameter) pairs: own first, then each submodule's; tied ones once.

        ``prefix`` is put before each name.
        """
        seen = set()
        for name, p in self._named([Parameter], prefix):
            if p not in seen:
                seen.add(p)
                yield name, p

    def named_buffers(self, prefix: str = "") -> Iterator[tuple[str, Any]]:
        """(dotted name, array) pairs of the buffers, ordered as ``named_parameters``."""
        yield from self._named([BUFFER], prefix)

    def parameters(self) -> list[Parameter]:
        """The parameters, each once, in the order of ``named_parameters``."""
        return [p for _, p in self.named_parameters()]

    def _named(self, kinds: Sequence[Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
        """(dotted name, value) of these kinds, here and below, in PyTorch's order."""
        dot = f"{prefix}." if prefix else ""
        for kind in kinds:
            yield from ((dot + name, value) for name, value in self._of_kind(kind))
        for name, part in self.parts():
            yield from part._named(kinds, dot + name)

    def zero_grad(self) -> None:
        """Set every parameter's gradient to None."""
        for p in self.parameters():
            p.grad = None

    def requires_grad_(self: Kind, requires_grad: bool = True) -> Kind:
        """Set ``requires_grad`` of every parameter: False freezes it; returns the module."""
        for p in self.parameters():
            p.requires_grad = bool(requires_grad)
        return self

    # ------------------------------------------------------------ state
    def _named_arrays(self) -> Iterator[tuple[str, Any]]:
        for name, value in self._named([Parameter, BUFFER]):
            yield name, value.data if isinstance(value, Parameter) else value

    def state_dict(self) -> dict[str, np.ndarray]:
        """Every parameter and buffer by name, as NumPy copies."""
        return {name: np.array(to_numpy(array)) for name, array in self._named_arrays()}

    def load_state_dict(self, state: Mapping[str, Any], strict: bool = True) -> NotLoaded:
        """Copy arrays into the parameters and buffers of the same names.

        Everything is checked before anything is written.

        Args:
            state: dict from name to array (NumPy, or anything NumPy reads, such as a CPU tensor).
            strict: whether missing and unknown names are errors.

        Returns:
            ``(missing_keys, unexpected_keys)``: names missing in ``state``, names unknown here.

        Raises:
            ValueError: a name is missing or unknown, or a shape or dtype does not fit.
            TypeError: ``state`` is no mapping.
        """
        if not isinstance(state, Mapping):
            raise TypeError(f"state: expected a state_dict, got {type(state).__name__}")
        own = dict(self._named_arrays())
        missing = [name for name in own if name not in state]
        unknown = [name for name in state if name not in own]
        if strict and (missing or unknown):
            wrong = {"missing": sorted(missing), "unknown": sorted(unknown)}
            listed = ", ".join(f"{kind} {names}" for kind, names in wrong.items() if names)
            raise ValueError(f"state: expected the names of this module, got {listed}")
        arrays = {name: _array(a) for name, a in state.items() if name in own}
        for name, a in arrays.items():
            if a.shape != own[name].shape:
                raise ValueError(f"state: {name}: expected {own[name].shape}, got {a.shape}")
            if a.dtype.kind not in "fiu" or (a.dtype.kind == "f") != (own[name].dtype.kind == "f"):
                raise ValueError(f"state: {name}: expected {own[name].dtype}, got {a.dtype}")
        for name, a in arrays.items():
            own[name][...] = array_module(own[name]).asarray(a)
        return NotLoaded(missing, unknown)

    def train(self: Kind, mode: bool = True) -> Kind:
        """Set training mode here and below; returns the module."""
        for module in self.modules():
            module.training = mode
        return self

    def eval(self: Kind) -> Kind:
        """Set evaluation mode here and below; returns the module."""
        return self.train(False)

    def to(self: Kind, device: Any = None, dtype: Any = None) -> Kind:
        """Move parameters, gradients and buffers to "cpu" or "cuda", or to another float dtype.

        Either may be given alone. Build a new optimiser afterwards if the old one has made a step:
        its moments are not moved. Returns the module.

        Raises:
            ValueError: an unknown device. TypeError: a dtype that is not floating-point.
            RuntimeError: no GPU answers; the message says why.
        """
        device, dtype = placement(device, dtype)

        def moved(array: Any) -> Any:
            return placed(array, device, dtype if array.dtype.kind == "f" else None)

        for p in self.parameters():
            p.data = moved(p.data)
            p.grad = None if p.grad is None else moved(p.grad)
        for module in self.modules():
            for name, array in module._of_kind(BUFFER):
                setattr(module, name, moved(array))
        return self

    # ------------------------------------------------------------ printing
    def extra_repr(self) -> str:
        """The options of a layer, for its line in ``print(model)``."""
        return ""

    def __repr__(self) -> str:
        parts = [f"({name}): {part!r}".replace("\n", "\n  ") for name, part in self.parts()]
        lines = [self.extra_repr()] * bool(self.extra_repr()) + parts
        inside = "\n  ".join(["", *lines]) + "\n" if parts else "".join(lines)
        return f"{type(self).__name__}({inside})"


@contextlib.contextmanager
def evaluation_mode(module: Module) -> Iterator[None]:
    """Evaluation mode inside; afterwards each part is in the mode it was in."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode


ADVICE = {
    Parameter: "; give it values in place (layer.weight.data[...] = array) or an nn.Parameter",
    Module: "",
    BUFFER: "",
}


def _is_a(kind: Any, value: Any) -> bool:
    """Whether a value fits an attribute of this kind."""
    if kind == BUFFER:
        return hasattr(value, "dtype") and hasattr(value, "shape") and not isinstance(value, Tensor)
    return isinstance(value, kind)


def _holds_modules(value: Any) -> bool:
    """Whether a list, tuple, set or dict has a module or parameter in it, at any depth."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if not isinstance(value, (list, tuple, set, frozenset)):
        return False
    return any(isinstance(x, (Parameter, Module)) or _holds_modules(x) for x in value)


def _array(a: Any) -> Array:
    return to_numpy(a.data) if isinstance(a, Tensor) else np.asarray(a)
