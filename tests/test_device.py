"""Arrays in device memory through engine, layers, optimiser and files, on the stand-in for CuPy."""

import numpy as np
import pytest

from cuda_emulation import emulated_device
from minivae.backend import device_of, to_device, to_numpy
from minivae.tensor import Tensor
from op_specs import SPECS


@pytest.fixture
def device():
    with emulated_device() as cupy:
        yield cupy


def on_device(x):
    return x if x is None else to_device(np.asarray(x), "cuda")


def moved(params):
    """Keyword arguments with their arrays on the device."""
    return {
        name: on_device(value) if isinstance(value, np.ndarray) and value.ndim else value
        for name, value in params.items()
    }


@pytest.mark.parametrize("name", SPECS)
def test_every_operation_gives_what_it_gives_on_the_cpu(device, name):
    spec = SPECS[name]
    rng = np.random.default_rng(3)
    case = spec.build(*spec.example, rng)
    again = spec.build(*spec.example, np.random.default_rng(3))
    results = []
    for inputs, params in ((case.inputs, case.params), (map(on_device, again.inputs), None)):
        params = moved(again.params) if params is None else params
        leaves = [None if x is None else Tensor(x, requires_grad=True) for x in inputs]
        outputs = spec.fn(*leaves, **params)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        loss = sum(((1 + k) * out * out).sum() for k, out in enumerate(outputs))
        loss.backward()
        arrays = [out.data for out in outputs]
        arrays += [leaf.grad for leaf in leaves if leaf is not None]
        results.append(arrays)
    for cpu, gpu in zip(*results, strict=True):
        assert device_of(cpu) == "cpu" and device_of(gpu) == "cuda"
        assert gpu.dtype == cpu.dtype and gpu.shape == cpu.shape
        np.testing.assert_allclose(to_numpy(gpu), cpu, rtol=1e-12, atol=1e-13)
