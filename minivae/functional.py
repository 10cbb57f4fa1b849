"""Every operation as a function of tensors (arrays and numbers welcome), in one place.

Each family of operations names its own in ``__all__``. Derivation, class, test and kernel of each:
docs/ops.md.
"""

from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import NoReturn as _NoReturn

from .ops.activation import *
from .ops.arithmetic import *
from .ops.batch_norm import *
from .ops.conv import *
from .ops.linear import *
from .ops.loss import *
from .ops.reductions import *
from .ops.reparam_kl import *
from .ops.shapes import *
from .torch_names import missing as _missing

__all__ = [name for name in sorted(globals()) if not name.startswith("_")]


if not _TYPE_CHECKING:  # a checker would take every name for one that is there

    def __getattr__(name: str) -> _NoReturn:
        raise _missing("functional", "module 'minivae.functional'", name)
