"""Where cuBLASLt is: the CUDA extension opens it when it first multiplies, and need not have it."""

import importlib.util
from glob import glob

from .. import _cuda


def found():
    """What the extension says of cuBLASLt: a dict with ``found``, ``path`` or ``reason``, ``tf32``.

    The first call opens it. The dynamic loader finds one that is installed or already loaded; the
    one that comes with Python packages (nvidia-cublas) lies where it does not look.
    """
    spec = importlib.util.find_spec("nvidia")
    roots = spec.submodule_search_locations if spec else ()
    paths = [path for root in roots for path in glob(f"{root}/*/lib/libcublasLt.so.1[23]")]
    return dict(_cuda.cublaslt(max(paths, default="")))
