"""The compiled CUDA kernels, where they are built; their callers in ``kernels`` have types."""

from typing import Any

def __getattr__(name: str) -> Any: ...
