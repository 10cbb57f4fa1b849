"""Graph: the operations and leaves that a tensor depends on, with names, modules and labels."""

import inspect
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias

from ..backend import Array
from ..errors import GradientError
from ..tensor import Function, Tensor
from .graph_text import argument_names, value_lines

Path: TypeAlias = list[str]  # attribute names from the model to a module, outermost first
Lines: TypeAlias = list[tuple[str, str]]  # (style, text) of each line


class Named(Protocol):
    """A module, or another object with named parameters."""

    def named_parameters(self) -> Iterable[tuple[str, Tensor]]:
        """(name, parameter) pairs."""


class Label(NamedTuple):
    """The text of the box of a function or a leaf.

    ``outputs`` has for each output its lines (style, text), where style is "", "name", "wrong" or
    "gradient"; ``kind`` is "operation", "parameter" or "input"; ``about`` is an operation's
    docstring or a leaf's full name.
    """

    title: str
    outputs: list[Lines]
    kind: str
    about: str


class Graph:
    """The operations and leaves that ``root`` depends on.

    Arguments and errors as ``viz.graph.to_dot``.

    Attributes:
        ops: functions, each after its inputs.
        inputs: dict from function to its input tensors (None for an omitted input).
        outputs: dict from function to {output index: tensor}, for the outputs that are used.
        leaves: tensors that no operation computed, in the order of their first use.
        names: dict from tensor to its name; a shared parameter has its first name.
        owner: dict from parameter or function to the path of its module.
    """

    def __init__(
        self, root: Tensor, model: Named | None = None, names: Mapping[str, Any] | None = None
    ) -> None:
        self.root = root
        self.inputs: dict[Function, tuple[Any, ...]] = {}
        self.outputs: dict[Function, dict[int, Tensor]] = {}
        found: dict[Tensor, None] = {}  # keeps the order of discovery
        stack = [root]
        while stack:
            tensor = stack.pop()
            if tensor in found:
                continue
            found[tensor] = None
            op = tensor.creator
            if op is None:
                continue
            tensor.retain_grad()
            self.outputs.setdefault(op, {})[tensor.index] = tensor
            if op not in self.inputs:
                if op.released:
                    raise GradientError(
                        f"graph: the graph behind {type(op).__name__} was freed by an earlier "
                        "backward; capture or draw it before, or draw it with backward=True"
                    )
                self.inputs[op] = op.inputs
                stack += [t for t in op.inputs if t is not None]
        self.ops = sorted(self.inputs, key=lambda op: op.serial)
        used = dict.fromkeys(t for op in self.ops for t in self.inputs[op] if t is not None)
        self.leaves = [t for t in used if t.creator is None] or [root]
        self.names: dict[Any, str] = {}
        self.owner: dict[Any, Path] = {}
        for name, parameter in model.named_parameters() if model is not None else ():
            if parameter in found and parameter not in self.names:
                *self.owner[parameter], self.names[parameter] = name.split(".")
        for name, value in (names or {}).items():
            self.names.update((t, name) for t in found if t is value)
            self.names.update((t, name) for t in self.leaves if _reshaped(t.data, value))
        self._assign_modules()

    def _assign_modules(self) -> None:
        """Set ``owner`` of each operation: the module that owns the parameters it uses.

        An operation without parameters belongs to the innermost module that contains its nearest
        operations with parameters, both before and after it. So the ReLU between two layers of an
        encoder belongs to the encoder.
        """
        users: dict[Function, list[Function]] = {op: [] for op in self.ops}
        makers: dict[Function, list[Function]] = {}
        for op in self.ops:
            tensors = [t for t in self.inputs[op] if t is not None]
            makers[op] = [t.creator for t in tensors if t.creator is not None]
            for maker in makers[op]:
                users[maker].append(op)
            if mine := [self.owner[t] for t in tensors if t in self.owner]:
                self.owner[op] = _common(mine)
        with_parameters = dict(self.owner)

        def nearest(
            order: Iterable[Function], neighbours: Mapping[Function, list[Function]]
        ) -> dict[Function, list[Path]]:
            seen: dict[Function, list[Path]] = {}
            for op in order:
                paths: list[Path] = []
                for n in neighbours[op]:
                    paths += [with_parameters[n]] if n in with_parameters else seen[n]
                seen[op] = [list(p) for p in dict.fromkeys(map(tuple, paths))]
            return seen

        before, after = nearest(self.ops, makers), nearest(self.ops[::-1], users)
        for op in self.ops:
            if op not in self.owner and before[op] and after[op]:
                self.owner[op] = _common(before[op] + after[op])

    def edges(self) -> list[tuple[Tensor, Function, str]]:
        """(tensor, function, argument name) of each input; the name is "" for a single input."""
        found = []
        for op in self.ops:
            inputs = self.inputs[op]
            roles = [""] if len(inputs) == 1 else argument_names(op.forward, len(inputs))
            pairs = zip(inputs, roles, strict=True)
            found += [(tensor, op, role) for tensor, role in pairs if tensor is not None]
        return found

    def label(self, item: Any, max_values: int = 6) -> Label:
        """The ``Label`` of a function or a leaf; ``max_values`` as in ``to_dot``."""
        if item not in self.inputs:
            name = self.names.get(item, "")
            kind = "parameter" if item.requires_grad else "input"
            path = ".".join([*self.owner.get(item, ()), name])
            return Label(name, [_lines(item, "", max_values)], kind, path)
        several = len(item.output_like) > 1
        outputs = []
        for index, (shape, dtype) in enumerate(item.output_like):
            tensor = self.outputs[item].get(index)
            name = self.names.get(tensor, f"output {index}" if several else "")
            unused = [("name", name), ("", f"{shape} {dtype}"), ("", "unused")]
            outputs.append(unused if tensor is None else _lines(tensor, name, max_values))
        about = inspect.getdoc(type(item)) or ""
        return Label(type(item).__name__, outputs, "operation", about)


def _lines(tensor: Tensor, name: str, max_values: int) -> Lines:
    """The lines of a tensor: name, shape and dtype, values, and the gradient if it has one."""
    lines = [("name", name)] if name else []
    lines.append(("", f"{tensor.shape} {tensor.dtype}"))
    for line in value_lines(tensor.data, max_values):
        lines.append(("wrong" if line.endswith("not finite") else "", line))
    if tensor.grad is not None:
        first, *rest = value_lines(tensor.grad, max_values)
        lines += [("gradient", line) for line in [f"grad {first}", *rest]]
    return lines


def _reshaped(array: Array, original: Any) -> bool:
    """Whether ``array`` is the array ``original`` or a reshaped view of all of it."""
    base: Any = array.base
    return array is original or (base is original and base.size == array.size)


def _common(paths: Sequence[Path]) -> Path:
    """The longest module path that all of ``paths`` start with."""
    shared: Path = []
    for parts in zip(*paths, strict=False):
        if len(set(parts)) > 1:
            break
        shared.append(parts[0])
    return shared
