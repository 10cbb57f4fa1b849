"""Checkpoints: a model, its optimiser and the state of a run in one safetensors file.

Tensors are named ``model.<name>``, ``optimizer.<name>`` and ``state.<name>``. The rest of the state
is JSON in the header, with a SHA-256 over state and tensors, so that any changed bit is detected.
The same state gives the same bytes.
"""

import hashlib
import json
import os
import stat
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
import safetensors
import safetensors.numpy

from ..arguments import AnyPath
from ..atomic_write import write_atomically
from ..backend import Array
from ..errors import CheckpointError

Tensors: TypeAlias = dict[str, Array]
FORMAT = "minivae-1"  # the only key of the metadata, since the order of several is not defined
DTYPES = {"F64", "F32", "F16", "I64", "I32", "I16", "I8", "U64", "U32", "U16", "U8", "BOOL"}


class Stateful(Protocol):
    """A model or an optimiser."""

    def state_dict(self) -> Tensors:
        """The arrays of the state by name."""

    def load_state_dict(self, state: Tensors, /) -> Any:
        """Copy such arrays into the state."""


def save(path: AnyPath, model: Stateful, optimizer: Stateful | None = None, **state: Any) -> None:
    """Write a checkpoint atomically.

    Args:
        path: the file; it is replaced in one step (``write_atomically``).
        model, optimizer: objects with ``state_dict()``.
        **state: arrays, and values that JSON can hold (tuples come back as lists).

    Raises:
        CheckpointError: a weight or moment is NaN or infinite (the file would not load), or the
            file cannot be written. The old content of ``path`` is kept.
        TypeError: ``path`` is no path, or model or optimiser have no ``state_dict()``.
        TypeError, ValueError: a value of the state is neither JSON nor an array.
    """
    _require_arguments(path, model, optimizer)
    body = to_bytes(path, model, optimizer, **state)
    try:
        write_atomically(path, body)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be written: {error.strerror or error}") from error


def to_bytes(
    path: AnyPath, model: Stateful | None, optimizer: Stateful | None = None, **state: Any
) -> bytes:
    """The bytes that ``save`` would write, with its arguments; messages begin with ``path``."""
    tensors = {
        f"{kind}.{name}": a
        for kind, part in (("model", model), ("optimizer", optimizer))
        if part is not None
        for name, a in part.state_dict().items()
    }
    _require_finite(path, tensors)
    arrays = {name: value for name, value in state.items() if isinstance(value, np.ndarray)}
    tensors |= {f"state.{name}": a for name, a in arrays.items()}
    tensors = {name: _storable(name, a) for name, a in tensors.items()}
    text = _json({name: value for name, value in state.items() if name not in arrays})
    header = json.dumps({"sha256": _digest(text, tensors), "state": text})
    return safetensors.numpy.save(tensors, {FORMAT: header})


def load(
    path: AnyPath, model: Stateful | None = None, optimizer: Stateful | None = None
) -> dict[str, Any]:
    """Read a checkpoint into a model and an optimiser, and return the rest of its state.

    Everything is checked before anything is assigned: an error leaves both unchanged.

    Args:
        path: the file.
        model: a model with exactly the names, shapes and dtypes of the file, or None to skip it.
        optimizer: the same for an optimiser.

    Returns:
        dict: the ``**state`` given to ``save``.

    Raises:
        CheckpointError: the file is missing, damaged, not a checkpoint of this library, or not of
            this model or optimiser, or it holds NaN. The message names the tensor.
        TypeError: as ``save``.
    """
    _require_arguments(path, model, optimizer)
    path = Path(path)
    tensors, state = _read(path)
    pair = {"model": model, "optimizer": optimizer}
    targets = {kind: target for kind, target in pair.items() if target is not None}
    parts = {kind: _part(tensors, kind) for kind in targets}
    for kind in targets:
        _require_finite(path, {f"{kind}.{name}": a for name, a in parts[kind].items()})
    if model is not None:
        _require_same(path, "model", parts["model"], model.state_dict())
    # The optimiser first: it checks its own part, older formats included, and takes all or nothing.
    for kind, target in reversed(targets.items()):
        try:
            target.load_state_dict(parts[kind])
        except ValueError as error:
            raise CheckpointError(f"{path}: {kind}: {error}") from error
    return state | _part(tensors, "state")


def _require_arguments(path: Any, model: Any, optimizer: Any) -> None:
    """TypeError for wrong arguments, such as ``torch.save``'s order (object, path)."""
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"path: expected a path, got {type(path).__name__}; path comes first")
    for name, value in (("model", model), ("optimizer", optimizer)):
        if value is not None and not hasattr(value, "state_dict"):
            raise TypeError(
                f"{name}: expected a module or an optimiser, which has state_dict(), got "
                f"{type(value).__name__}"
            )


def load_weights(path: AnyPath, model: Stateful) -> None:
    """Read a plain safetensors file of a ``state_dict``, as PyTorch's users write it, into a model.

    Everything is checked before anything is assigned.

    Raises:
        CheckpointError: the file is missing or damaged, its names, shapes or dtypes are not the
            model's, or it holds NaN. The message names the tensor.
    """
    path = Path(path)
    tensors, _ = _read_safetensors(path)
    _require_same(path, "model", tensors, model.state_dict())
    _require_finite(path, tensors)
    model.load_state_dict(tensors)


def _read_safetensors(path: Path) -> tuple[Tensors, dict[str, str]]:
    """(tensors by name, metadata) of a safetensors file."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # opening a pipe would block
            raise CheckpointError(f"{path}: not a regular file")
        with safetensors.safe_open(path, framework="np") as file:
            for name in sorted(file.keys()):
                if (dtype := file.get_slice(name).get_dtype()) not in DTYPES:
                    raise CheckpointError(
                        f"{path}: {name}: expected numbers that NumPy has, got {dtype}"
                    )
            tensors = {name: file.get_tensor(name) for name in sorted(file.keys())}
            return tensors, file.metadata() or {}
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: no such file") from error
    except CheckpointError:
        raise
    except Exception as error:  # OSError, SafetensorError, or others for corrupt dtypes and sizes
        raise CheckpointError(f"{path}: not a whole safetensors file: {error}") from error


def _read(path: Path) -> tuple[Tensors, dict[str, Any]]:
    """(tensors by full name, state from the header) of a checkpoint, whose checksum is verified."""
    tensors, metadata = _read_safetensors(path)
    if FORMAT not in metadata:
        raise CheckpointError(f"{path}: a safetensors file, but not a checkpoint of minivae")
    try:
        header = json.loads(metadata[FORMAT])
        text, expected = header["state"], header["sha256"]
        found = _digest(text, tensors)
        state = json.loads(text)
    except Exception as error:  # nesting too deep, numbers too long, wrong types
        raise CheckpointError(f"{path}: its header cannot be read: {error}") from error
    if found != expected or not isinstance(state, dict):
        raise CheckpointError(f"{path}: damaged: the checksum does not fit the content")
    return tensors, state


def _digest(text: str, tensors: Tensors) -> str:
    """SHA-256 in hex over the state's text and every tensor's name, dtype, shape and bytes."""
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        a = tensors[name]
        digest.update(f"\n{name!r} {a.dtype.str} {a.shape}\n".encode())
        digest.update(a.reshape(-1).view(np.uint8))
    return digest.hexdigest()


def _part(tensors: Tensors, kind: str) -> Tensors:
    """The tensors ``kind.<name>`` by their own names."""
    prefix = f"{kind}."
    return {n.removeprefix(prefix): a for n, a in tensors.items() if n.startswith(prefix)}


def _require_same(path: Path, kind: str, found: Tensors, expected: Tensors) -> None:
    """CheckpointError for the first tensor whose name, shape or dtype is not as expected."""
    for name in sorted(expected.keys() | found.keys()):
        label = f"{path}: {kind}.{name}"
        if name not in found:
            raise CheckpointError(f"{label}: missing")
        a = found[name]
        if name not in expected:
            raise CheckpointError(f"{label}: the {kind} has nothing of that name")
        if (a.dtype, a.shape) != (expected[name].dtype, expected[name].shape):
            raise CheckpointError(
                f"{label}: expected {expected[name].dtype} {expected[name].shape}, "
                f"got {a.dtype} {a.shape}"
            )


def _require_finite(path: AnyPath, tensors: Tensors) -> None:
    for name, a in tensors.items():
        if a.dtype.kind == "f" and not np.isfinite(a).all():
            raise CheckpointError(f"{path}: {name} holds NaN or infinite values")


def _storable(name: str, a: Array) -> Array:
    """The array in the memory layout of the file: row-major, little-endian."""
    if a.dtype.kind not in "fiub" or a.dtype.itemsize > 8:
        raise TypeError(f"{name}: expected real numbers of at most 64 bits, got dtype {a.dtype}")
    return np.asarray(a, dtype=a.dtype.newbyteorder("<"), order="C")


def _json(state: dict[str, Any]) -> str:
    """The canonical JSON text of these values: keys sorted, numbers exact; ValueError for NaN."""
    for name, value in state.items():
        try:
            json.dumps(value, allow_nan=False, default=python_number)
        except (TypeError, ValueError) as error:
            raise type(error)(f"{name}: neither an array nor JSON: {error}") from error
    return json.dumps(state, sort_keys=True, allow_nan=False, default=python_number)


def python_number(value: Any) -> Any:
    """A NumPy scalar as a Python number; TypeError for anything else."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} is not JSON")
