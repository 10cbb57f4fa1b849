"""``no_grad`` and ``is_recording``: whether this thread records operations for ``backward``."""

import contextlib
import inspect
import threading
from collections.abc import Callable
from typing import Any, TypeVar

_mode = threading.local()
_F = TypeVar("_F", bound=Callable[..., Any])


def is_recording() -> bool:
    """Whether operations of this thread are recorded: True unless inside ``no_grad``."""
    return getattr(_mode, "recording", True)


class no_grad(contextlib.ContextDecorator):  # noqa: N801  PyTorch's name
    """Record no graph inside: ``with mv.no_grad(): ...``, or ``@mv.no_grad`` above a function.

    Raises:
        TypeError: it decorates a generator function, a coroutine function or a class, whose body
            would run after the block has ended, or something that is not callable.

    >>> from minivae import Tensor
    >>> x = Tensor([1.0], requires_grad=True)
    >>> with no_grad():
    ...     y = x + x
    >>> y.requires_grad
    False
    """

    _outer: list[bool]  # the modes to restore, innermost last: one block may be entered twice

    def __new__(cls, function: Callable[..., Any] | None = None) -> Any:
        """The context manager; with ``function``, that function decorated."""
        block = super().__new__(cls)
        block._outer = []
        return block if function is None else block(function)

    def __call__(self, function: _F) -> _F:
        """``function`` decorated: each call runs inside a new ``no_grad`` block."""
        later = (
            inspect.isgeneratorfunction,
            inspect.iscoroutinefunction,
            inspect.isasyncgenfunction,
            inspect.isclass,
        )
        if not callable(function) or any(is_kind(function) for is_kind in later):
            raise TypeError(
                f"no_grad: expected a plain function to decorate, got {function!r}; "
                "write `with mv.no_grad():` inside it"
            )
        return super().__call__(function)

    def _recreate_cm(self) -> "no_grad":
        return no_grad()  # a decorated function may run in several threads at once

    def __enter__(self) -> None:
        self._outer.append(is_recording())
        _mode.recording = False

    def __exit__(self, *exc_info: object) -> None:
        _mode.recording = self._outer.pop()
