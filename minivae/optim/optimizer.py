"""The base class of optimisers: groups of parameters, and the state of each parameter.

An optimiser holds the parameters themselves and, for each, moments and a count of updates. ``step``
reads ``p.data`` and ``p.grad`` as they are at that moment and keeps no reference to them, so
parameters may be copied, tied, frozen or given to a second optimiser.
"""

import functools
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

import numpy as np

from ..arguments import real
from ..backend import Array, array_module, as_array, device_of, to_numpy
from ..tensor import Tensor

Options: TypeAlias = dict[str, Any]  # of a group, including its parameters under "params"


class Optimizer:
    """Base class of SGD and Adam: parameter groups, and the state kept for each parameter.

    Args:
        params: tensors; or dicts ``{"params": tensors, option: value, ...}``, each a group with
            options of its own.
        options: defaults for the options that a group does not name.

    Attributes:
        param_groups: a dict for each group: its parameters and its options. A changed option
            applies from the next step on.
        state: dict from parameter to its state, such as moments; empty before its first update.

    Raises:
        ValueError: no parameters, one that is no leaf or is in two groups, an unknown option, or
            an option out of range. TypeError: a parameter is no tensor, or an option no number.
    """

    remembered: tuple[str, ...] = ()  # the names in a parameter's state

    def __init__(self, params: Iterable[Any], options: Mapping[str, Any]):
        if isinstance(params, Tensor):
            raise TypeError("params: expected several tensors, got one; put it into a list")
        _require_order(params)
        self.defaults = self.checked(dict(options))
        self.param_groups: list[Options] = []
        self.state: dict[Tensor, dict[str, Any]] = {}
        groups = list(params)
        if not groups:
            raise ValueError("params: expected at least one parameter, got none")
        if not isinstance(groups[0], dict):
            groups = [{"params": groups}]
        for group in groups:
            self.add_param_group(group)

    @staticmethod
    def checked(options: Options) -> Options:
        """A group's options as plain numbers; TypeError or ValueError names a wrong one."""
        raise NotImplementedError

    def add_param_group(self, group: Mapping[str, Any]) -> None:
        """Add parameters with options of their own, such as a layer that is no longer frozen.

        ``group`` is ``{"params": tensors, option: value, ...}``; errors as ``Optimizer``.
        """
        if not isinstance(group, Mapping) or "params" not in group:
            raise TypeError(f"params: expected dicts with the key 'params', got {group!r}")
        params = group["params"]
        _require_order(params)
        params = [params] if isinstance(params, Tensor) else list(params)
        for p in params:
            if not isinstance(p, Tensor):
                raise TypeError(f"params: expected tensors, got {type(p).__name__}")
            if p.creator is not None or p.dtype.kind != "f":
                raise ValueError(f"params: expected leaves of a floating dtype, got {p!r}")
        params = list(dict.fromkeys(params))
        if not set(params).isdisjoint(self._params()):
            raise ValueError("params: expected each parameter in one group, got one in two groups")
        options = {name: value for name, value in group.items() if name != "params"}
        if unknown := sorted(options.keys() - self.defaults.keys()):
            raise ValueError(f"params: expected options {sorted(self.defaults)}, got {unknown}")
        self.param_groups.append({"params": params, **self.checked(self.defaults | options)})

    @property
    def lr(self) -> float:
        """The learning rate of all groups; setting it sets that of every group.

        ValueError if the groups have different ones.
        """
        rates = {group["lr"] for group in self.param_groups}
        if len(rates) > 1:
            raise ValueError(
                f"lr: expected one rate for all groups, got {sorted(rates)}; see param_groups"
            )
        return rates.pop()

    @lr.setter
    def lr(self, rate: float) -> None:
        rate = real("lr", rate)
        for group in self.param_groups:
            group["lr"] = rate

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Set every gradient to None, or to zeros."""
        for p in self._params():
            if set_to_none or p.grad is None:
                p.grad = None
            else:
                p.grad = array_module(p.grad).zeros_like(p.grad)

    def step(self) -> None:
        """Update every parameter that has a gradient.

        Raises:
            ValueError, TypeError: a parameter differs from its gradient or its state in shape,
                dtype or device. No parameter was changed.
        """
        moving = [
            (group, [p for p in group["params"] if p.grad is not None])
            for group in self.param_groups
        ]
        for _, params in moving:
            for p in params:
                # NumPy's arithmetic makes scalars of arrays without axes.
                p.data, p.grad = as_array(p.data), as_array(p.grad)
                self._require_fit(p)
        for group, params in moving:
            self.update_group(group, params)

    def update_group(self, group: Options, params: list[Tensor]) -> None:
        """Update parameters of one group, each of which has a gradient that fits."""
        raise NotImplementedError

    def state_dict(self) -> dict[str, Array]:
        """The options and the state of every parameter, as NumPy copies.

        ``group_sizes`` has the number of parameters of each group, ``group.<option>`` one value per
        group, and ``<i>.<name>`` the state of parameter i, counted through all groups.
        """
        groups = self.param_groups
        state = {"group_sizes": np.array([len(group["params"]) for group in groups], np.int64)}
        for option in self.defaults:
            state[f"group.{option}"] = np.array([group[option] for group in groups])
        for i, p in enumerate(self._params()):
            for name, value in self.state.get(p, {}).items():
                state[f"{i}.{name}"] = np.array(to_numpy(value))
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Load a ``state_dict``, options included.

        Raises:
            ValueError: ``state`` is of other groups, parameters or another kind of optimiser;
                nothing was changed.
        """
        state = self._of_this_version({name: np.asarray(a) for name, a in state.items()})
        own = self.state_dict()
        options: dict[str, Any] = {
            name: state.get(name) for name in own if name.startswith("group")
        }
        for name, a in options.items():
            _require_like(name, a, own[name])
        if options["group_sizes"].tolist() != own["group_sizes"].tolist():
            raise ValueError(
                f"state: expected groups of {own['group_sizes'].tolist()} parameters, "
                f"got {options['group_sizes'].tolist()}"
            )
        groups = [
            self.checked({o: options[f"group.{o}"][k].tolist() for o in self.defaults})
            for k in range(len(self.param_groups))
        ]
        unknown, remembered = state.keys() - options.keys(), {}
        for i, p in enumerate(self._params()):
            names = {name: f"{i}.{name}" for name in self.remembered}
            if unknown.isdisjoint(names.values()):
                continue
            values: dict[str, Any] = {name: state.get(full) for name, full in names.items()}
            for name, like in self.fresh_state(p).items():
                _require_like(names[name], values[name], like)
            if values.get("step", 0) < 0:
                raise ValueError(f"state: {i}.step: expected at least 0, got {values['step']}")
            unknown -= set(names.values())
            remembered[p] = values
        if unknown:
            raise ValueError(f"state: unknown names {sorted(unknown)}")
        for group, loaded in zip(self.param_groups, groups, strict=True):
            group.update(loaded)
        self.state = {
            p: {
                name: int(a) if name == "step" else array_module(p.data).array(a)
                for name, a in values.items()
            }
            for p, values in remembered.items()
        }

    def state_of(self, p: Tensor) -> dict[str, Any]:
        """The state of a parameter, created if it has none yet."""
        if p not in self.state:
            self.state[p] = self.fresh_state(p)
        return self.state[p]

    def fresh_state(self, p: Tensor) -> dict[str, Any]:
        """The state of a parameter before its first update: a step count of 0, moments of 0."""
        zeros = array_module(p.data).zeros
        return {
            name: 0 if name == "step" else zeros(p.shape, working_dtype(p.dtype))
            for name in self.remembered
        }

    def _of_this_version(self, state: dict[str, Array]) -> dict[str, Array]:
        """A ``state_dict`` in today's form; version 0.1 wrote no groups, and flat moments."""
        if state.keys() != (set(self.remembered) if "step" in self.remembered else set()):
            return state
        converted = {name: a for name, a in self.state_dict().items() if name.startswith("group")}
        params = self._params()
        ends = np.cumsum([p.size for p in params])
        for name, a in state.items():
            size = len(params) if name == "step" else ends[-1]
            if a.shape != (size,):
                raise ValueError(f"state: {name}: expected shape ({size},), got {a.shape}")
            parts = a if name == "step" else np.split(a, ends[:-1])
            for i, (p, part) in enumerate(zip(params, parts, strict=True)):
                converted[f"{i}.{name}"] = part if name == "step" else part.reshape(p.shape)
        return converted

    def _params(self) -> list[Tensor]:
        return [p for group in self.param_groups for p in group["params"]]

    def _require_fit(self, p: Tensor) -> None:
        """Raise unless gradient and state have the parameter's shape, dtype and device."""
        shape, place, dtype = p.shape, device_of(p.data), p.dtype
        for name, a in (("gradient", p.grad), *self.state.get(p, {}).items()):
            if name == "step":
                continue
            if not (a.shape == shape and a.dtype == dtype and device_of(a) == place):
                raise (TypeError if a.shape == shape else ValueError)(
                    f"step(): expected a {name} of {dtype} {shape} on {place}, got {a.dtype} "
                    f"{a.shape} on {device_of(a)}; was the parameter's array exchanged? "
                    "After .to() build the optimiser anew"
                )
            dtype = working_dtype(p.dtype)  # of every array in the state


def _require_order(params: Any) -> None:
    """TypeError for a set, whose order is another in each process: states go by the order."""
    if isinstance(params, (set, frozenset)):
        raise TypeError("params: expected tensors in an order that stays, got a set")


def _require_like(name: str, a: Any, like: Any) -> None:
    """ValueError unless ``a`` is an array of the shape and dtype of ``like``."""
    like = np.asarray(to_numpy(like)) if not isinstance(like, int) else np.int64(like)
    if a is None:
        raise ValueError(f"state: {name}: missing")
    if a.shape != like.shape or a.dtype != like.dtype:
        raise ValueError(
            f"state: {name}: expected {like.dtype} {like.shape}, got {a.dtype} {a.shape}"
        )


@functools.cache
def working_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype in which parameters of ``dtype`` are updated: the same, but float32 for float16."""
    return np.result_type(dtype, np.float32)


def works_in_place(array: Any) -> bool:
    """Whether a kernel can change the array as it is."""
    return bool(array.dtype == working_dtype(array.dtype) and array.flags.c_contiguous)


def working(array: Any) -> Any:
    """The array itself if a kernel can update it in place, else a copy in ``working_dtype``."""
    if works_in_place(array):
        return array
    return array_module(array).asarray(array, dtype=working_dtype(array.dtype), order="C")
