"""NVRTC compiles the bodies of the kernels that CuPy would compile (cupy_fused.py), for Hopper.

Skipped without the wheel nvidia-cuda-nvrtc; .ci/run installs it. A body is wrapped as CuPy wraps
it: inputs and outputs are variables of the kernel's type.
"""

import nvrtc
import pytest
from cuda_emulation import ElementwiseKernel, ReductionKernel, emulated_device

LIBRARY = nvrtc.library()
pytestmark = pytest.mark.skipif(LIBRARY is None, reason="nvidia-cuda-nvrtc is not installed")


def kernels():
    """{name: (inputs, outputs, statements)} of every kernel of cupy_fused."""
    with emulated_device():
        from minivae.kernels import cupy_fused

        made = vars(cupy_fused).items()
    found = {}
    for name, kernel in made:
        if isinstance(kernel, ElementwiseKernel):
            k = kernel.kernel
            found[name] = k.inputs, k.outputs, k.body
        elif isinstance(kernel, ReductionKernel):
            k = kernel.kernel
            statements = f"""
            {k.accumulator} total = {k.identity};
            for (int j = 0; j < 8; ++j) {{
              const {k.accumulator} a = total, b = {k.map};
              total = {k.reduce};
            }}
            const {k.accumulator} a = total;
            {k.post};
            """
            found[name] = k.inputs, [k.result], statements
    return found


def source(inputs, outputs, statements, kind):
    """A CUDA kernel around a body."""
    parameters = ", ".join([f"const T* p_{x}" for x in inputs] + [f"T* q_{x}" for x in outputs])
    lines = [f"const T {x} = p_{x}[i];" for x in inputs] + [f"T& {x} = q_{x}[i];" for x in outputs]
    body = "\n".join([*lines, statements])
    return f"""
    typedef {kind} T;
    extern "C" __global__ void kernel({parameters}) {{
      const long long i = blockIdx.x * (long long)blockDim.x + threadIdx.x;
      {body};
    }}
    """


@pytest.mark.parametrize("kind", ["float", "double"])
def test_every_body_is_compiled(kind):
    found = kernels()
    assert {"_adam", "_kl", "_bce_loss", "_bce_gradient", "_relu"} <= set(found)
    for name, parts in found.items():
        assert nvrtc.compiled(LIBRARY, source(*parts, kind)) > 500, name


def test_a_body_that_is_wrong_is_refused():
    with pytest.raises(RuntimeError, match="no_such_function"):
        nvrtc.compiled(LIBRARY, source(["x"], ["y"], "y = no_such_function(x)", "float"))
