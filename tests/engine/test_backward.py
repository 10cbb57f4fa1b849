"""Backward: graphs, accumulation, memory, and errors that say what to do."""

import gc
import re
import tracemalloc
import weakref

import numpy as np
import pytest

import minivae as mv
from minivae import functional as F
from minivae.tensor import Function
from minivae.tensor.arrays import fingerprint


def leaf(values, dtype=np.float64):
    """A tensor that requires a gradient."""
    return mv.Tensor(np.array(values, dtype), requires_grad=True)


def test_diamond():
    """y = (2x)(3x) + 2x reaches x along three paths: dy/dx = 12x + 2."""
    x = leaf([1.0, -2.0, 0.5])
    a, b = x * 2, x * 3
    F.sum(a * b + a).backward()
    np.testing.assert_allclose(x.grad, 12 * x.data + 2)


class Halves(Function):
    """y1 = y2 = x / 2, with gradients that may be numbers: dx = (dy1 + dy2) / 2."""

    takes_numbers = True
    seen: list

    def forward(self, x):
        return x / 2, x / 2

    def backward(self, dy1, dy2):
        Halves.seen = [type(dy1), type(dy2)]
        return (dy1 + dy2) / 2


@pytest.mark.parametrize("more", [0, 1])
def test_a_gradient_may_be_a_number_that_stands_for_an_array(more):
    """backward gets 1.0 for the loss and 0.0 for an unused output; stored gradients are arrays."""
    x, other = leaf(3.0), leaf([1.0, 2.0])
    first, _ = Halves.apply(x)
    first.backward()
    assert Halves.seen == [float, float]
    assert isinstance(x.grad, np.ndarray) and x.grad == 0.5
    whole = (other * other).retain_grad()
    halves = Halves.apply(whole)
    (F.sum(halves[0]) + more * F.sum(whole)).backward()
    assert Halves.seen == [np.ndarray, float]
    np.testing.assert_array_equal(whole.grad, [0.5 + more] * 2)
    np.testing.assert_array_equal(other.grad, 2 * other.data * (0.5 + more))


@pytest.mark.parametrize("weight", [1.0, 2.5])
@pytest.mark.parametrize("name", ["bce_with_logits", "squared_error_with_logits"])
def test_a_loss_over_rows_that_is_not_the_mean(name, weight):
    """The kernel scales the gradient by 1/N for the mean; other losses of rows get theirs too."""
    rng = np.random.default_rng(0)
    logits, target = leaf(rng.normal(size=(3, 4))), rng.random((3, 4))
    factors = weight * np.arange(1.0, 4.0)
    F.sum(getattr(F, name)(logits, target, "rows") * factors).backward()
    found, logits.grad = logits.grad, None
    F.sum(getattr(F, name)(logits, target, "none") * factors[:, None]).backward()
    np.testing.assert_allclose(found, logits.grad, rtol=1e-14)
    logits.grad = None
    loss, *_ = F.negative_elbo(getattr(F, name)(logits, target, "rows"), np.ones(3))
    (loss * weight).backward()
    mean, logits.grad = logits.grad, None
    (weight * F.mean(getattr(F, name)(logits, target, "rows"))).backward()
    np.testing.assert_allclose(mean, logits.grad, rtol=1e-14)


def test_shared_subexpressions_are_walked_once():
    """y_{k+1} = y_k + y_k has 2^60 paths and 60 nodes; backward visits each node once."""
    x = leaf(1.0)
    y = x
    for _ in range(60):
        y = y + y
    y.backward()
    assert x.grad == 2.0**60


def test_every_function_waits_for_all_its_users():
    """A node used early and late in the graph gets one backward, after both users."""
    calls = []

    class Identity(Function):
        def forward(self, x):
            return x.copy()

        def backward(self, dy):
            calls.append(dy.item())
            return dy

    x = leaf(3.0)
    y = Identity.apply(x)
    z = y
    for _ in range(5):
        z = z * 2
    (z + y).backward()
    assert calls == [33.0]
    assert x.grad == 33.0


def test_same_tensor_twice_in_one_op():
    """d(x x)/dx = 2x and d(x - x)/dx = 0."""
    x = leaf([3.0, -1.0])
    F.sum(x * x).backward()
    np.testing.assert_array_equal(x.grad, 2 * x.data)
    x.grad = None
    F.sum(x - x).backward()
    np.testing.assert_array_equal(x.grad, 0 * x.data)


def test_long_chain():
    """Thousands of ops: forward, backward and deallocation without recursion."""
    x = leaf(1.0, np.float32)
    y = x
    for _ in range(5_000):
        y = y + 1
    y.backward()
    assert x.grad == 1
    del y

    y = x
    for _ in range(30_000):
        y = y + 1
    del y  # never used: the graph is freed without a backward
    gc.collect()


def test_several_outputs():
    """Outputs that the loss does not use have the cotangent 0."""

    class SinCos(Function):
        def forward(self, x):
            self.save(np.sin(x), np.cos(x))
            return np.sin(x), np.cos(x)

        def backward(self, dsin, dcos):
            sin, cos = self.saved
            return dsin * cos - dcos * sin

    assert mv.gradcheck(lambda x: SinCos.apply(x), [np.array([0.3, 2.0])])
    assert mv.gradcheck(lambda x: SinCos.apply(x)[1], [np.array([0.3, 2.0])])


def test_gradients_accumulate():
    """A second backward, through a new graph, adds to the gradient that the leaf has."""
    x = leaf([1.0, 2.0])
    for times in (1, 2, 3):
        F.sum(x * x).backward()
        np.testing.assert_array_equal(x.grad, times * 2 * x.data)


@pytest.mark.parametrize("shape", [(), (1,), (2, 3)])
def test_gradients_are_plain_arrays(shape):
    """Gradients are NumPy arrays of the leaf's shape and dtype, also for shape ()."""
    for f in (lambda x: x * x, lambda x: x + x, lambda x: -x, lambda x: F.exp(x) * 2):
        x = mv.Tensor(np.ones(shape, np.float32), requires_grad=True)
        F.sum(f(x)).backward()
        assert type(x.grad) is np.ndarray
        assert (x.grad.shape, x.grad.dtype) == (shape, np.float32)


def test_leaf_gradients_never_share_memory():
    """backward of a + b gives one array to two leaves; neither shares it, nor the cotangent's."""
    a, b = leaf([1.0, 2.0]), leaf([3.0, 4.0])
    cotangent = np.ones(2)
    (a + b).backward(cotangent)
    assert not np.shares_memory(a.grad, b.grad)
    assert not np.shares_memory(a.grad, cotangent)
    a.backward(cotangent)  # a leaf by itself
    a.grad[...] = 7
    assert (b.grad == 1).all() and (cotangent == 1).all()


def test_gradient_of_a_broadcast_view_can_be_written():
    """sum's backward returns a broadcast view; the leaf's gradient is an array of its own."""
    x = leaf(np.zeros((2, 3)))
    F.sum(x).backward()
    x.grad[0, 0] = 5
    assert x.grad.sum() == 10


def test_retain_grad():
    """An intermediate gradient is kept on request, and only then."""
    x = leaf([1.0, 2.0])
    y, z = (x * 2).retain_grad(), x * 3
    F.sum(y * y + z + y).backward()
    np.testing.assert_array_equal(y.grad, 2 * y.data + 1)
    assert z.grad is None


def test_cotangent():
    """backward(u) gives the vector-Jacobian product u^T J."""
    x = leaf([1.0, 2.0, 3.0])
    (x * x).backward(np.array([1.0, 0.0, -2.0]))
    np.testing.assert_array_equal(x.grad, [2, 0, -12])


def test_detach_cuts():
    """y = x detach(x): only the first factor is differentiated."""
    x = leaf([2.0, 3.0])
    F.sum(x * x.detach()).backward()
    np.testing.assert_array_equal(x.grad, x.data)


def test_intermediate_results_are_freed_during_backward():
    """Peak memory of backward stays at a few arrays, whatever the length of the chain."""
    x = leaf(np.ones(100_000))
    y = x
    for _ in range(50):
        y = F.exp(y * 1e-3)
    y = F.sum(y)
    array = x.data.nbytes
    tracemalloc.start()
    try:
        y.backward()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8 * array


def test_saved_arrays_are_freed_after_backward():
    """backward frees the graph behind the root at once: no reference cycle keeps it alive."""
    x = leaf([1.0, 2.0])
    hidden = F.exp(x)
    function = weakref.ref(hidden.creator)
    array = weakref.ref(hidden.data)
    y = F.sum(hidden * hidden)
    del hidden
    gc.disable()
    try:
        assert array() is not None
        y.backward()
        assert array() is None
        assert function() is None
    finally:
        gc.enable()


def test_unused_graph_is_freed_without_a_collection():
    """Deleting a result frees its graph at once."""
    x = leaf([1.0, 2.0])
    y = F.exp(x)
    array = weakref.ref(y.data)
    z = F.sum(y * y)
    del y
    gc.disable()
    try:
        del z
        assert array() is None
    finally:
        gc.enable()


def test_backward_needs_a_cotangent_for_several_elements():
    """The default cotangent 1 exists only for a tensor of one element."""
    x = leaf([1.0, 2.0])
    with pytest.raises(mv.GradientError, match=r"shape \(2,\)"):
        (x * 2).backward()
    (F.sum(x).reshape(1, 1)).backward()
    assert (x.grad == 1).all()


@pytest.mark.parametrize("keep", ["everything", "a part"])
def test_backward_twice(keep):
    """A second backward through a freed graph, or through a part of it, raises an error."""
    x = leaf([1.0, 2.0])
    hidden = x * 2
    y = F.sum(hidden * hidden)
    y.backward()
    with pytest.raises(mv.GradientError, match="freed"):
        (y if keep == "everything" else F.sum(hidden)).backward()
    np.testing.assert_array_equal(x.grad, 8 * x.data)  # the failed call added nothing


def test_backward_without_anything_to_differentiate():
    """backward of a constant raises an error."""
    with pytest.raises(mv.GradientError, match="requires_grad"):
        F.sum(mv.Tensor(np.ones(2))).backward()


@pytest.mark.parametrize(
    ("grad", "error"),
    [
        (np.ones(3), ValueError),
        (np.ones((1, 2)), ValueError),
        (np.ones(2, np.float32), TypeError),
        (1.0, ValueError),
    ],
)
def test_wrong_cotangent(grad, error):
    """A cotangent whose shape or dtype is not the tensor's is refused."""
    x = leaf([1.0, 2.0])
    with pytest.raises(error, match="grad"):
        (x * 2).backward(grad)


@pytest.mark.parametrize(
    ("f", "change"),
    [
        (lambda x: F.exp(x * 1), lambda x, y: y),
        (lambda x: x * x, lambda x, y: x),
        (F.log, lambda x, y: x),
    ],
)
def test_change_of_a_saved_array_is_seen(f, change):
    """backward raises if a saved array was modified in place: gradients would be wrong."""
    x = leaf([[1.0, 2.0], [3.0, 4.0]])
    y = f(x)
    change(x, y).data[1, 0] += 1
    with pytest.raises(mv.GradientError, match="changed in place"):
        F.sum(y).backward()


def test_change_of_noise_or_running_statistics_is_seen():
    """The check covers saved arrays that belong to no tensor: noise and running statistics."""
    x, noise = leaf(np.ones((2, 3))), np.ones((2, 3))
    z, _ = F.reparameterize_kl(x, x, noise)
    noise[0, 0] = 5
    with pytest.raises(mv.GradientError, match="changed in place"):
        F.sum(z).backward()

    mean, var = np.zeros(3), np.ones(3)
    y = F.batch_norm(x, mean, var, leaf(np.ones(3)), leaf(np.ones(3)), training=False)
    mean += 1
    with pytest.raises(mv.GradientError, match="changed in place"):
        F.sum(y).backward()


def test_function_that_forgets_a_gradient():
    """A backward that returns None for an input that needs a gradient raises an error."""

    class Forgetful(Function):
        def forward(self, x):
            return x * 2

        def backward(self, _):
            return None

    with pytest.raises(mv.GradientError, match="Forgetful"):
        F.sum(Forgetful.apply(leaf([1.0]))).backward()


@pytest.mark.parametrize("shape", [(3, 2), (3,), (4, 2, 2), (2, 1)])
def test_gradient_of_another_shape(shape):
    """A gradient whose shape no broadcasting explains is refused, whatever its size."""

    class Misshapen(Function):
        def forward(self, x):
            return x.copy()

        def backward(self, _):
            return np.ones(shape)

    says = re.escape(f"gradient has shape {shape}, expected (2, 3)")
    with pytest.raises(mv.GradientError, match=says):
        F.sum(Misshapen.apply(leaf(np.ones((2, 3))))).backward()


@pytest.mark.parametrize("size", [1, 1000, 1024, 1025, 4097, 100_003])
def test_a_change_in_place_of_a_64th_of_an_array_is_seen(size):
    """The fingerprint detects a changed 64th of an array; any one element if there are <= 1024."""
    rng = np.random.default_rng(size)
    before = rng.standard_normal(size)
    width = 1 if size <= 1024 else size // 64
    for start in (0, size - width, *rng.integers(0, size - width + 1, 50)):
        after = before.copy()
        after[start : start + width] += 1e-9
        assert fingerprint(after) != fingerprint(before)
    assert fingerprint(before.copy()) == fingerprint(before)
