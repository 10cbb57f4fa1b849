"""Engine and layers on arrays in device memory, on the stand-in for CuPy and on a GPU."""

import numpy as np
import pytest
from cuda_emulation import DEVICES, device_called, emulated_device

import minivae as mv
from minivae import functional as F
from minivae import kernels
from minivae.backend import device_of, to_device, to_numpy
from minivae.cli import info
from minivae.kernels import philox
from minivae.noise import CountedNoise, Noise
from minivae.tensor import Tensor
from op_specs import SPECS

F4 = np.float32


@pytest.fixture(params=["array code", *DEVICES])
def device(request):
    """A device with CuPy alone ("array code"), or with the CUDA extension."""
    name = request.param
    with emulated_device() if name == "array code" else device_called(name) as cupy:
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


@pytest.fixture(params=DEVICES)
def built(request):
    with device_called(request.param) as cupy:
        yield cupy


def test_the_newest_cublaslt_is_opened(built):
    """The version at the end of the name decides: "cu13" sorts before "cublas"."""
    from minivae.kernels import cublaslt

    old, new = "/a/nvidia/cublas/lib/libcublasLt.so.12", "/a/nvidia/cu13/lib/libcublasLt.so.13"
    assert cublaslt.newest([new, old]) == cublaslt.newest([old, new]) == new
    assert cublaslt.newest(["/a/libcublasLt.so.9", "/a/libcublasLt.so.10"]).endswith("10")
    assert cublaslt.newest([]) == ""
    assert cublaslt.found()["found"]


def serving(kernel, *arrays):
    """The last part of the name of the module whose function the registry returns."""
    return kernels.get(kernel, *arrays).__module__.rpartition(".")[2]


def test_default_order_on_the_device(built):
    x = on_device(np.zeros((2, 3), F4))
    assert serving("reparam_kl_forward", x) == "cuda"
    assert serving("relu", np.zeros(3, F4)) in ("cpu_layers", "reference_layers")
    assert serving("relu", x.astype(np.float16)) == "reference_layers"
    assert info.kernels_used("cuda") == "cuda"
    with kernels.use("cupy"):
        assert serving("reparam_kl_forward", x) == "cupy_fused"
        assert serving("conv2d", x) == "cuda_layers"
    with kernels.use("reference"):
        assert serving("reparam_kl_forward", x) == "reference"


def test_without_the_extension_cupy_serves():
    with emulated_device():
        x = on_device(np.zeros((2, 3), F4))
        assert serving("reparam_kl_forward", x) == "cupy_fused"
        assert serving("conv2d", x) == "reference_layers"
        assert info.kernels_used("cuda") == "cupy"
        unavailable = pytest.raises(mv.KernelUnavailable, match="'cuda' is not available")
        with unavailable, kernels.use("cuda"):
            pytest.fail("entered")


def test_arrays_of_two_places_do_not_mix(built):
    x = np.zeros((2, 3), F4)
    with pytest.raises(TypeError, match="relu_backward: arrays on cpu and cuda do not mix"):
        kernels.get("relu_backward", x, on_device(x))


@pytest.mark.parametrize("name", ["cpu", "numba", "cuda", "cupy"])
def test_a_forced_variant_refuses_arrays_of_the_other_place(built, name):
    if name in kernels.reasons():
        pytest.skip(kernels.reasons()[name])
    x = np.zeros((2, 3), F4)
    x = on_device(x) if name in ("cpu", "numba") else x
    place = "on a GPU" if name in ("cpu", "numba") else "in host memory"
    with kernels.use(name), pytest.raises(mv.KernelUnavailable, match=f"it is {place}"):
        kernels.get("bce_with_logits", x)


def test_composed_operations_draw_their_noise_on_the_device(built, monkeypatch):
    """Composed operations draw on the device, so a captured step's noise works, whose offset the
    host does not know."""
    monkeypatch.setattr(philox, "_fill", None)  # the host's generator
    mu, counter = on_device(np.ones((3, 5), F4)), on_device(np.array([7], np.uint64))
    with kernels.use("composed"):
        drawn = [
            F.reparameterize_kl(mu, mu, noise) for noise in (Noise(2, 7), CountedNoise(2, counter))
        ]
    for z, kl in drawn:
        assert device_of(z.data) == device_of(kl.data) == "cuda"
        np.testing.assert_array_equal(to_numpy(z.data), to_numpy(drawn[0][0].data))


def test_versions_of_a_kernel(built):
    """A forced version is run if the kernel has it, and refused otherwise."""
    a = on_device(np.ones((2, 3), F4))
    noise = mv.Noise(1, 2)
    versions = kernels._load("cuda")[0].VERSIONS
    highest = max(versions.values())
    samples = []
    for version in range(1, highest + 1):
        with kernels.use(f"cuda:{version}"):
            assert serving("bce_with_logits", a) == "cuda"  # it has but one version
            for kernel, last in versions.items():
                if version <= last:
                    assert kernels.get(kernel, a).keywords == {"version": version}
                else:
                    with pytest.raises(mv.KernelUnavailable, match=f"{kernel}: expected a version"):
                        kernels.get(kernel, a)
            if version <= versions["reparam_kl_forward"]:
                samples.append(to_numpy(kernels.get("reparam_kl_forward", a)(a, a, noise)[0]))
                np.testing.assert_allclose(samples[-1], samples[0], rtol=1e-6)
            if version <= versions["matmul"]:
                product = to_numpy(kernels.get("matmul", a)(a, a.T))
                np.testing.assert_array_equal(product, np.full((2, 2), 3))
    assert len(set(versions.values())) > 1, "no version to refuse"
    for kernel in ("matmul", "linear", "conv2d", "conv2d_grad_input"):  # tensor cores
        lacking = pytest.raises(mv.KernelUnavailable, match=f"{kernel}: .* 4 for float64.* 5$")
        with kernels.use("cuda:5"), lacking:
            kernels.get(kernel, a.astype(float))
    with kernels.use("cuda:5"):
        kernels.get("reparam_kl_forward", a.astype(float))
    with pytest.raises(mv.KernelUnavailable, match=f"cuda: expected a version from 1 to {highest}"):
        with kernels.use(f"cuda:{highest + 1}"):
            pytest.fail("entered")


def test_info_tells_of_the_device_and_the_extension(built):
    lines = [" ".join(line.split()) for line in info.info().splitlines()]
    assert "cuda yes" in lines
    if built.__version__ == "emulated":
        assert "name emulated device" in lines and "driver 13.0" in lines
    assert any(line.startswith("extension yes, ") for line in lines)
    assert any(line.startswith("cuBLASLt") and line.endswith("TF32 off") for line in lines)
