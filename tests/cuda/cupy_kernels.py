"""CuPy's ElementwiseKernel and ReductionKernel, compiled for the CPU: their bodies are C++.

A body becomes the inside of a loop over elements (or over the elements of a row); g++ compiles it
once for float and once for double, and the result is kept under build/, named by its source.
"""

import ctypes
import functools
import hashlib
import os
import subprocess
import tempfile

import numpy as np
from cuda_build import CACHE

TYPES = {np.dtype(np.float32): "float", np.dtype(np.float64): "double"}

PRELUDE = """
#include <cmath>
using std::abs, std::exp, std::expm1, std::log1p, std::sqrt;
"""

ELEMENTWISE = """
template <class T> void run(long count, void** p) {{
  for (long i = 0; i < count; ++i) {{
{declarations}
    {body};
  }}
}}
"""

REDUCTION = """
template <class T> void run(long rows, long columns, void** p) {{
  for (long n = 0; n < rows; ++n) {{
    {accumulator} total = {identity};
    for (long j = 0; j < columns; ++j) {{
      const long i = n * columns + j;
{declarations}
      const {accumulator} b = {map};
      const {accumulator} a = total;
      total = {reduce};
    }}
    const {accumulator} a = total;
    T& {result} = static_cast<T*>(p[{inputs}])[n];
    {post};
  }}
}}
"""


def _parameters(text):
    """The names in "T x, T y"; every one is of the kernel's own type."""
    pairs = [parameter.split() for parameter in text.split(",")]
    assert all(kind == "T" for kind, _ in pairs), text
    return [name for _, name in pairs]


def _declare(inputs, outputs=()):
    lines = [f"const T {x} = static_cast<const T*>(p[{k}])[i];" for k, x in enumerate(inputs)]
    lines += [
        f"T& {x} = static_cast<T*>(p[{k}])[i];" for k, x in enumerate(outputs, start=len(inputs))
    ]
    return "\n".join(lines)


@functools.cache
def _compiled(source, arguments):
    """The functions of one kernel, by type."""
    calls = ", ".join(arguments)
    types = ", ".join(f"long {a}" for a in arguments)
    source = PRELUDE + source
    for name in TYPES.values():
        source += f'extern "C" void run_{name}({types}, void** p) {{ run<{name}>({calls}, p); }}\n'
    path = CACHE / "cupy" / (hashlib.sha256(source.encode()).hexdigest()[:20] + ".so")
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
            made = os.path.join(scratch, "made.so")
            flags = ["-std=c++17", "-O1", "-ffp-contract=off", "-fPIC", "-shared", "-x", "c++"]
            subprocess.run(
                ["g++", *flags, "-", "-o", made], input=source, text=True, check=True
            )  # fmt: skip
            os.replace(made, path)
    library = ctypes.CDLL(str(path))
    return {dtype: getattr(library, f"run_{name}") for dtype, name in TYPES.items()}


def _pointers(arrays):
    assert all(a.flags.c_contiguous for a in arrays)
    return (ctypes.c_void_p * len(arrays))(*(a.ctypes.data for a in arrays))


class Elementwise:
    """The arithmetic of an ElementwiseKernel, on NumPy arrays."""

    def __init__(self, in_params, out_params, operation):
        self.inputs, self.outputs = _parameters(in_params), _parameters(out_params)
        self.body = operation
        declarations = _declare(self.inputs, self.outputs)
        self.source = ELEMENTWISE.format(declarations=declarations, body=operation)

    def __call__(self, arrays, outs):
        run = _compiled(self.source, ("count",))[outs[0].dtype]
        shape = outs[0].shape
        arrays = [np.ascontiguousarray(np.broadcast_to(a, shape)) for a in arrays]
        assert all(a.dtype == outs[0].dtype for a in (*arrays, *outs))
        run(ctypes.c_long(outs[0].size), _pointers([*arrays, *outs]))


class Reduction:
    """The arithmetic of a ReductionKernel over the last axis, on NumPy arrays."""

    def __init__(self, in_params, out_params, map_expr, reduce_expr, post, identity, accumulator):
        self.inputs, (result,) = _parameters(in_params), _parameters(out_params)
        self.map, self.reduce, self.post, self.result = map_expr, reduce_expr, post, result
        self.identity, self.accumulator = identity, accumulator
        self.source = REDUCTION.format(
            declarations=_declare(self.inputs), map=map_expr, reduce=reduce_expr, post=post,
            identity=identity, accumulator=accumulator, result=result, inputs=len(self.inputs),
        )  # fmt: skip

    def __call__(self, arrays, out):
        run = _compiled(self.source, ("rows", "columns"))[out.dtype]
        arrays = [np.ascontiguousarray(a) for a in arrays]
        rows, columns = arrays[0].shape
        run(ctypes.c_long(rows), ctypes.c_long(columns), _pointers([*arrays, out]))
