"""Tensors: no_grad, dtypes, devices, operators, and arithmetic with NumPy arrays."""

import threading

import numpy as np
import pytest

import minivae as mv
from minivae import functional as F


def leaf(values, dtype=np.float64):
    """A tensor that requires a gradient."""
    return mv.Tensor(np.array(values, dtype), requires_grad=True)


def test_no_grad_as_context_and_decorator():
    """Nothing is recorded inside; blocks nest; an exception restores the outer mode."""
    x = leaf([1.0])
    with mv.no_grad():
        with mv.no_grad():
            assert not (x * 2).requires_grad
        assert not (x * 2).requires_grad
    assert (x * 2).requires_grad

    @mv.no_grad()
    def double(t):
        """Twice t."""
        return t * 2

    assert not double(x).requires_grad
    assert double.__doc__ == "Twice t."
    assert (x * 2).requires_grad

    with pytest.raises(RuntimeError), mv.no_grad():
        raise RuntimeError
    assert (x * 2).requires_grad


def test_no_grad_is_per_thread():
    """Another thread records while this one does not."""
    x, recorded = leaf([1.0]), []
    with mv.no_grad():
        thread = threading.Thread(target=lambda: recorded.append((x * 2).requires_grad))
        thread.start()
        thread.join()
    assert recorded == [True]


def test_backward_works_inside_no_grad():
    """no_grad stops recording; backward through a graph that was recorded before works."""
    x = leaf([2.0])
    y = F.sum(x * x)
    with mv.no_grad():
        y.backward()
    assert x.grad == 4


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_numbers_take_the_dtype_of_the_array(dtype):
    """Python numbers, NumPy scalars and lists never widen a result."""
    x = leaf([1.0, 2.0], dtype)
    others = (2, 2.0, True, np.float64(2), np.float32(2), np.int64(2), [1.0, 2.0], np.arange(2))
    for other in others:
        for y in (x * other, other * x, x + other, other - x, x / 3, 3 / x):
            assert isinstance(y, mv.Tensor)
            assert y.dtype == dtype
            F.sum(y).backward()
            assert x.grad.dtype == dtype


def test_float_dtypes_do_not_mix():
    """Mixed float dtypes raise: a silent up-cast would hide a mistake and slow everything down."""
    x = leaf([1.0, 2.0], np.float32)
    for other in (np.ones(2), leaf([1.0, 2.0]), np.ones(2, np.float16)):
        with pytest.raises(TypeError, match="dtype"):
            x * other
        with pytest.raises(TypeError, match="dtype"):
            other * x


def test_integers_have_no_gradient():
    """requires_grad asks for a float; arithmetic needs one float among its inputs."""
    for array in (np.arange(3), np.ones(2, bool), [1, 2]):
        with pytest.raises(TypeError, match="floating"):
            mv.Tensor(array, requires_grad=True)
    counts = mv.Tensor(np.arange(3))
    with pytest.raises(TypeError, match="floating"):
        counts * 2.5
    for y in (counts * leaf([0.5, 0.5, 0.5]), leaf([0.5, 0.5, 0.5]) * counts):
        np.testing.assert_array_equal(y.data, [0, 0.5, 1])
    counts.requires_grad = True
    with pytest.raises(TypeError, match="dtype int64 has no gradient"):
        leaf([0.5, 0.5, 0.5]) * counts


def test_what_is_no_number_is_refused():
    """Complex numbers, strings, objects and tensors of tensors raise an error."""
    for array in (np.ones(2, complex), ["a"], [object()]):
        with pytest.raises(TypeError, match="array"):
            mv.Tensor(array)
    with pytest.raises(TypeError, match="Tensor"):
        mv.Tensor(leaf([1.0]))
    with pytest.raises(TypeError, match="input 1: expected dtype float64, got <U1"):
        leaf([1.0]) + "1"


def test_masked_elements_are_not_taken_for_numbers():
    """A mask that hides nothing, as files often have it, is no reason to refuse."""
    masked = np.ma.array([1.0, 2.0], mask=[False, True])
    for take in (mv.Tensor, F.exp, lambda m: leaf([1.0, 2.0]) * m, lambda m: m * leaf([1.0, 2.0])):
        with pytest.raises(TypeError, match="masked elements"):
            take(masked)
        assert take(np.ma.array([1.0, 2.0])).shape == (2,)


def test_array_on_the_left():
    """NumPy hands ndarray * Tensor to the tensor instead of making an array of objects."""
    a, x = np.array([2.0, 3.0]), leaf([5.0, 7.0])
    np.testing.assert_array_equal((a + x).data, [7, 10])
    np.testing.assert_array_equal((a - x).data, [-3, -4])
    np.testing.assert_array_equal((a * x).data, [10, 21])
    np.testing.assert_array_equal((a / x).data, a / x.data)
    np.testing.assert_array_equal((np.eye(2) @ x.reshape(2, 1)).data, x.data[:, None])
    np.testing.assert_array_equal((np.float64(2) * x).data, [10, 14])


class FakeDeviceArray:
    """Looks like an array in GPU memory, as far as the engine looks."""

    __cuda_array_interface__ = ()
    shape, ndim, size, dtype = (2,), 1, 2, np.dtype(np.float64)


def test_devices_do_not_mix():
    """A tensor on a GPU and one on the CPU: an error that names both, never a transfer."""
    here, there = leaf([1.0, 2.0]), mv.Tensor(FakeDeviceArray())
    for other in (there, there.data):
        with pytest.raises(TypeError, match=r"cpu.*cuda"):
            F.add(here, other)


def test_operators_agree_with_numpy():
    """Every operator and method of a tensor, against the array's own."""
    rng = np.random.default_rng(0)
    a, b = rng.uniform(1, 2, (3, 4)), rng.uniform(1, 2, (3, 4))
    x, y = mv.Tensor(a), mv.Tensor(b)
    pairs = [
        (x + y, a + b),
        (x - y, a - b),
        (x * y, a * b),
        (x / y, a / b),
        (-x, -a),
        (x**2, a**2),
        (x @ y.T, a @ b.T),
        (x[1:, ::2], a[1:, ::2]),
        (x.sum(axis=0), a.sum(axis=0)),
        (x.mean(axis=1, keepdims=True), a.mean(axis=1, keepdims=True)),
        (x.max(), a.max()),
        (x.reshape(2, 6), a.reshape(2, 6)),
        (x.reshape((4, -1)), a.reshape((4, -1))),
        (x.transpose((1, 0)), a.T),
    ]
    for tensor, array in pairs:
        np.testing.assert_allclose(tensor.numpy(), array, rtol=1e-14)
    assert len(x) == 3
    assert (x.shape, x.ndim, x.size, x.dtype) == ((3, 4), 2, 12, np.float64)
    assert x.max().item() == a.max()
    with pytest.raises(ValueError, match="one element"):
        x.item()


def test_repr_shows_values_and_origin():
    """A printed tensor shows its values, and requires_grad or the operation that made it."""
    x = leaf([1.0, 2.5])
    assert "1. , 2.5" in repr(x) and "requires_grad" in repr(x)
    assert "Mul" in repr(x * 2)


def test_tensor_shares_its_array():
    """Tensor(array), numpy() and detach() do not copy."""
    a = np.ones(3)
    x = mv.Tensor(a)
    assert x.data is a
    assert np.shares_memory(x.numpy(), a)
    assert np.shares_memory(x.detach().data, a)
