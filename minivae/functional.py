"""Every differentiable operation as a function of tensors, arrays or numbers.

The names are those in ``__all__`` of the modules of ``ops``. docs/ops.md lists the derivation,
class, test and kernel of each operation.
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


if not _TYPE_CHECKING:  # with a module __getattr__ a type checker accepts every name

    def __getattr__(name: str) -> _NoReturn:
        raise _missing("functional", "module 'minivae.functional'", name)
