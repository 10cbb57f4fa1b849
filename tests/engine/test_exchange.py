"""Tensors given to other libraries without a copy: DLPack and the CUDA array interface."""

import types

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import minivae as mv

DTYPES = [np.float32, np.float64, np.int64, np.uint8, np.bool_]
arrays = st.sampled_from(DTYPES).flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, min_side=0), fill=st.nothing())
)


def device_tensor(**options):
    """A tensor over an array that says it is in GPU memory."""
    array = types.SimpleNamespace(
        __cuda_array_interface__={"data": (4096, False), "shape": (2,)},
        __dlpack__=lambda **request: request,
        __dlpack_device__=lambda: (2, 0),
        dtype=np.dtype(np.float32), shape=(2,),
    )  # fmt: skip
    return mv.Tensor(array, **options)


@given(a=arrays)
def test_numpy_takes_a_tensor(a):
    got = np.from_dlpack(mv.Tensor(a))
    assert got.dtype == a.dtype and got.shape == a.shape
    np.testing.assert_array_equal(got, a)
    assert np.shares_memory(got, a) or a.size == 0


@given(a=arrays)
def test_torch_takes_a_tensor(a):
    torch = pytest.importorskip("torch")
    got = torch.from_dlpack(mv.Tensor(a))
    np.testing.assert_array_equal(got.numpy(), a)
    assert got.numpy().dtype == a.dtype
    assert got.data_ptr() == a.ctypes.data or a.size == 0


def test_views_keep_their_strides():
    a = np.arange(24.0).reshape(4, 6)[::2, ::-2]
    np.testing.assert_array_equal(np.from_dlpack(mv.Tensor(a)), a)


def test_memory_is_shared_both_ways():
    torch = pytest.importorskip("torch")
    x = mv.Tensor(np.zeros(3, np.float32))
    there = torch.from_dlpack(x)
    x.data[0] = 1
    there[1] = 2
    assert there.tolist() == x.data.tolist() == [1, 2, 0]


def test_a_torch_tensor_comes_back():
    """PyTorch -> NumPy -> minivae needs no function of minivae, and shares memory."""
    torch = pytest.importorskip("torch")
    there = torch.arange(3.0)
    x = mv.Tensor(np.from_dlpack(there))
    there[0] = 7
    assert x.data.tolist() == [7, 1, 2]


def test_a_detached_tensor_is_given():
    y = mv.Tensor([1.0, 2.0], requires_grad=True) * 3
    assert np.from_dlpack(y.detach()).tolist() == [3, 6]


@pytest.mark.parametrize("computed", [False, True])
def test_a_tensor_that_requires_a_gradient_is_refused(computed):
    x = mv.Tensor([1.0], requires_grad=True)
    x = x * 2 if computed else x
    with pytest.raises(BufferError, match=r"requires a gradient .* x\.detach\(\)"):
        np.from_dlpack(x)
    with pytest.raises(BufferError, match=r"detach"):
        device_tensor(requires_grad=True).__cuda_array_interface__  # noqa: B018


def test_a_parameter_is_refused_by_torch_too():
    torch = pytest.importorskip("torch")
    with pytest.raises(BufferError, match="detach"):
        torch.from_dlpack(mv.nn.Linear(2, 2).weight)


def test_a_tensor_on_the_gpu_says_where_it_is():
    x = device_tensor()
    assert x.__cuda_array_interface__ is x.data.__cuda_array_interface__
    assert x.__dlpack_device__() == (2, 0)
    request = {"stream": 2, "max_version": (1, 0)}
    assert x.__dlpack__(**request) == request


def test_a_tensor_on_the_cpu_has_no_cuda_array_interface():
    x = mv.Tensor([1.0])
    assert not hasattr(x, "__cuda_array_interface__")
    assert x.__dlpack_device__() == (1, 0)
