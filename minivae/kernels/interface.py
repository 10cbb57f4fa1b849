"""Check that a compiled extension fits the Python code that calls it."""

import importlib
from types import ModuleType

# Raised, here and in csrc/bind/interface.h, with every change of what a binding takes or gives.
INTERFACE = 7


class OtherSourcesError(ImportError):
    """An extension was built from other sources than the Python code beside it."""


def extension(name: str) -> ModuleType:
    """The extension ``minivae._<name>``.

    Raises:
        ImportError: it was not built. OtherSourcesError: it was, and does not fit.
    """
    module = importlib.import_module(f"{__package__.partition('.')[0]}._{name}")
    found = getattr(module, "INTERFACE", None)
    if found != INTERFACE:
        raise OtherSourcesError(
            f"minivae._{name} was built from other sources (interface {found}, expected "
            f"{INTERFACE}); install again: python -m pip install -e ."
        )
    return module
