"""Find the library cuBLASLt for the CUDA extension, which uses its own kernels without it."""

import importlib.util
from collections.abc import Iterable
from glob import glob
from typing import Any

from .. import _cuda


def found() -> dict[str, Any]:
    """Load cuBLASLt in the extension, at the first call, and return what it found.

    The dynamic loader finds a library that is installed or already loaded, but not that of the
    Python package nvidia-cublas, so its path is passed to the extension.

    Returns:
        ``found``, ``path`` or ``reason``, ``version``, ``tf32``, and ``refused``: for how many
        kinds of products cuBLASLt had no algorithm, so that the extension's kernels ran.
    """
    spec = importlib.util.find_spec("nvidia")
    roots = spec.submodule_search_locations if spec else ()
    paths = (path for root in roots or () for path in glob(f"{root}/*/lib/libcublasLt.so.1[23]"))
    return dict(_cuda.cublaslt(newest(paths)))


def newest(paths: Iterable[str]) -> str:
    """The path with the highest version, the number at its end; "" for no paths."""
    return max(paths, key=lambda path: (int(path.rpartition(".")[2]), path), default="")
