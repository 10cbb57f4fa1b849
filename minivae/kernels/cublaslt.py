"""Find cuBLASLt, which the CUDA extension opens when it first multiplies, and can do without."""

import importlib.util
from collections.abc import Iterable
from glob import glob
from typing import Any

from .. import _cuda


def found() -> dict[str, Any]:
    """What the extension says of cuBLASLt.

    The first call opens it. The dynamic loader finds one that is installed or already loaded; the
    one that comes with Python packages (nvidia-cublas) lies where it does not look.

    Returns:
        ``found``, ``path`` or ``reason``, ``version``, ``tf32``, and ``refused``: how many kinds of
        products so far it had no algorithm for, which the extension's own kernels then do.
    """
    spec = importlib.util.find_spec("nvidia")
    roots = spec.submodule_search_locations if spec else ()
    paths = (path for root in roots or () for path in glob(f"{root}/*/lib/libcublasLt.so.1[23]"))
    return dict(_cuda.cublaslt(newest(paths)))


def newest(paths: Iterable[str]) -> str:
    """The library of the highest version, which its name ends with; "" for none."""
    return max(paths, key=lambda path: (int(path.rpartition(".")[2]), path), default="")
