"""Check that a compiled extension fits the Python code that calls it."""

import importlib
from types import ModuleType

# Increase it, here and in csrc/bind/interface.h, whenever a binding's arguments or results change.
INTERFACE = 7


class OtherSourcesError(ImportError):
    """An extension was built from other sources than the Python code beside it."""


def extension(name: str) -> ModuleType:
    """The extension ``minivae._<name>``.

    Raises:
        ImportError: it was not built. OtherSourcesError: it has another interface number.
    """
    module = importlib.import_module(f"{__package__.partition('.')[0]}._{name}")
    found = getattr(module, "INTERFACE", None)
    if found != INTERFACE:
        raise OtherSourcesError(
            f"minivae._{name} was built from other sources (interface {found}, expected "
            f"{INTERFACE}); install again: python -m pip install -e ."
        )
    return module
