"""Every operation as a function of tensors (arrays and numbers welcome), in one place.

Each family of operations names its own in ``__all__``. Derivation, class, test and kernel of each:
docs/ops.md.
"""

from .ops.activation import *
from .ops.basic import *
from .ops.batch_norm import *
from .ops.conv import *
from .ops.linear import *
from .ops.loss import *
from .ops.reparam_kl import *

__all__ = [name for name in sorted(globals()) if not name.startswith("_")]
