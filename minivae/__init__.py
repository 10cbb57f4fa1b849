"""minivae: a variational autoencoder from first principles.

    import minivae as mv
    from minivae import functional as F, nn, optim, data, models
"""

import importlib  # provisional, while the modules are being written

from .errors import CheckpointError, DataError, GradientError, KernelUnavailable, MinivaeError
from .tensor import Tensor, no_grad

for _m in ("kernels", "noise", "functional", "nn", "optim", "models", "gradcheck", "checkpoint", "latent", "data", "graph"):
    try:
        _mod = importlib.import_module("." + _m, __name__)
    except ImportError as _e:
        import sys
        print("provisional minivae: no", _m, _e, file=sys.stderr)
        continue
    for _n in ("gradcheck", "save", "load", "Noise", "NoiseStream"):
        if hasattr(_mod, _n):
            globals()[_n] = getattr(_mod, _n)

__version__ = "0.1.0"

__all__ = [
    "CheckpointError",
    "DataError",
    "GradientError",
    "KernelUnavailable",
    "MinivaeError",
    "Noise",
    "NoiseStream",
    "Tensor",
    "data",
    "functional",
    "gradcheck",
    "graph",
    "kernels",
    "latent",
    "load",
    "models",
    "nn",
    "no_grad",
    "optim",
    "save",
]
