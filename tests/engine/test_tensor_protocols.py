"""Tensors under Python's and NumPy's protocols: which operations work, and which are refused
because they would silently do something else."""

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minivae as mv
from minivae import GradientError, nn
from minivae import functional as F


def leaf(values, dtype=np.float64):
    return mv.Tensor(np.array(values, dtype), requires_grad=True)


# --- Comparison, truth, iteration -------------------------------------------------------------


def test_comparisons_are_elementwise_and_plain():
    x, y = mv.Tensor([1.0, 2.0, 3.0]), mv.Tensor([1.0, 3.0, 2.0])
    for got, want in (
        (x == y, [1, 0, 0]), (x != y, [0, 1, 1]), (x < y, [0, 1, 0]), (x <= y, [1, 1, 0]),
        (x > y, [0, 0, 1]), (x >= y, [1, 0, 1]), (x == 2, [0, 1, 0]), (2 < x, [0, 0, 1]),
        (x == np.array([1.0, 0, 3]), [1, 0, 1]), (np.array([1.0, 0, 3]) == x, [1, 0, 1]),
    ):  # fmt: skip
        assert type(got) is np.ndarray and got.dtype == bool and got.tolist() == want


def test_hash_is_that_of_the_object():
    x, y = mv.Tensor([1.0]), mv.Tensor([1.0])
    assert {x: "x", y: "y"}[x] == "x" and len({x, y, x}) == 2


@pytest.mark.parametrize(("values", "expected"), [(0.0, False), ([0.0], False), ([[2.0]], True)])
def test_truth_is_that_of_the_single_element(values, expected):
    assert bool(mv.Tensor(values)) is expected


@pytest.mark.parametrize("values", [[], [1.0, 1.0], [[0.0], [0.0]]])
def test_truth_of_several_elements_is_refused(values):
    with pytest.raises(ValueError, match="expected a tensor of one element"):
        bool(mv.Tensor(values))


def test_in_is_by_value():
    x = mv.Tensor([[1.0, 2.0]])
    assert 1.0 in x and 2 in x and 3.0 not in x and mv.Tensor(2.0) in x


def test_iteration_gives_the_rows_and_their_gradients():
    x = leaf([[1.0, 2.0], [3.0, 4.0]])
    first, second = x
    F.sum(first * second).backward()
    assert x.grad.tolist() == [[3, 4], [1, 2]]
    assert list(mv.Tensor(np.zeros((0, 2)))) == []
    for function in (iter, list, sum, len):
        with pytest.raises(TypeError, match=r"expected a tensor with an axis|unsized object"):
            function(mv.Tensor(3.0))


# --- Numbers ----------------------------------------------------------------------------------


def test_a_single_element_is_a_number():
    loss = F.sum(leaf([1.25, 2.0]))
    assert float(loss) == 3.25 and int(loss) == 3 and f"{loss:.1f}" == "3.2"
    assert f"{loss}" == str(loss)
    assert [10, 20, 30][mv.Tensor(1)] == 20
    for function in (float, int, "{:.2f}".format):
        with pytest.raises(ValueError, match="expected one element"):
            function(leaf([1.0, 2.0]))
    with pytest.raises(TypeError, match="whole number"):
        [1, 2][mv.Tensor(1.0)]


def test_powers_and_magnitudes():
    x = leaf([1.0, 2.0, 3.0])
    for got, want, slope in (
        (2**x, 2**x.data, np.log(2) * 2**x.data),
        (x**x, x.data**x.data, x.data**x.data * (np.log(x.data) + 1)),
        (x**2, x.data**2, 2 * x.data),
        (abs(-x), x.data, np.ones(3)),
    ):
        x.grad = None
        np.testing.assert_allclose(got.data, want, rtol=1e-14)
        F.sum(got).backward()
        np.testing.assert_allclose(x.grad, slope, rtol=1e-13)


def test_powers_at_zero_have_finite_gradients():
    """0^0 = 1 whatever the exponent does, and 0^b = 0 around any b > 0."""
    a, b = leaf([0.0, 0.0, 2.0]), leaf([0.0, 2.0, 0.0])
    F.sum(a**b).backward()
    np.testing.assert_array_equal(a.grad, [0, 0, 0])
    np.testing.assert_allclose(b.grad, [0, 0, np.log(2)])


SCALARS = [np.float64(0.5), np.float32(0.5), np.float16(0.5), np.int64(2), np.bool_(True), 0.5, 2]


@pytest.mark.parametrize("scalar", SCALARS, ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("shape", [(), (3,)])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_scalars_never_change_a_dtype(scalar, shape, dtype):
    """Scalars keep a tensor's dtype, forward and backward, also for a tensor of shape ()."""
    x = mv.Tensor(np.full(shape, 2, dtype), requires_grad=True)
    channels = mv.Tensor(np.ones((4, 3), dtype), requires_grad=True)
    ones = np.ones(3, dtype)
    for y in (
        x + scalar, scalar - x, x * scalar, scalar / x, x**scalar, scalar**x,
        F.leaky_relu(x, scalar), F.sigmoid(x), F.softplus(x), F.sqrt(x), F.tanh(x), abs(x),
        F.mse(x, np.full(shape, 1, dtype)), F.gaussian_nll(x, scalar, scalar), F.log(x),
        F.negative_elbo(x, x, scalar)[0],
        F.batch_norm(channels, ones, ones, ones, ones, True, scalar, scalar),
    ):  # fmt: skip
        assert y.dtype == dtype
        x.grad = channels.grad = None
        F.sum(y).backward()
        (grad,) = (t.grad for t in (x, channels) if t.grad is not None)
        assert grad.dtype == dtype
    assert ones.dtype == dtype


# --- In place ---------------------------------------------------------------------------------


def test_a_parameter_is_updated_in_place_inside_no_grad():
    w = leaf([1.0, 2.0])
    array, alias = w.data, w
    with mv.no_grad():
        w *= 3
        w -= np.array([1.0, 1.0])
        w += 1
        w /= 2
        w **= 2
        w[0] = 7
    assert w is alias and w.data is array and array.tolist() == [7, 9] and w.requires_grad


def test_the_tutorials_own_descent_moves_the_parameters():
    model = nn.Linear(2, 1)
    before = model.state_dict()
    F.sum(model(np.ones((3, 2), np.float32))).backward()
    with mv.no_grad():
        for p in model.parameters():
            p -= 0.1 * p.grad
    for name, array in before.items():
        np.testing.assert_allclose(model.state_dict()[name], array - np.float32(0.3), rtol=1e-6)


def test_a_leaf_changed_in_place_while_recording_is_refused():
    w = leaf([1.0, 2.0])
    with pytest.raises(GradientError, match=r"inside mv\.no_grad"):
        w *= 2
    with pytest.raises(GradientError, match=r"inside mv\.no_grad"):
        w[0] = 1
    with pytest.raises(GradientError, match=r"inside mv\.no_grad"):
        mv.Tensor([1.0, 2.0])[0] = F.sum(w)
    assert w.data.tolist() == [1, 2]


def test_sums_of_losses_stay_in_the_graph():
    w, total = leaf([1.0, 2.0]), mv.Tensor(0.0)
    for _ in range(3):
        total += F.sum(w * w)
    total.backward()
    assert w.grad.tolist() == [6, 12]


def test_a_change_in_place_keeps_the_shape():
    x = mv.Tensor(np.ones(2))
    with pytest.raises(ValueError, match=r"expected a result of shape \(2,\), got \(3, 2\)"):
        x += np.ones((3, 2))
    x += 1
    assert x.data.tolist() == [2, 2]


def test_a_saved_array_changed_in_place_by_an_operator_is_noticed():
    w = leaf([1.0, 2.0])
    loss = F.sum(w * w)
    with mv.no_grad():
        w += 1
    with pytest.raises(GradientError, match="changed in place"):
        loss.backward()


INDICES = {
    "array": (np.array([0, 1]), lambda i: i.__setitem__(0, 2)),
    "list": ([0, 1], lambda i: i.__setitem__(0, 2)),
    "mask": (np.array([True, True, False]), lambda i: i.__setitem__(2, True)),
    "list of booleans": ([True, True, False], lambda i: i.__setitem__(0, False)),
    "tensor": (mv.Tensor(np.array([0, 1])), lambda i: i.data.__setitem__(0, 2)),
    "tuple of lists": (([0, 1],), lambda i: i[0].__setitem__(0, 2)),
    "nested list": ([[0, 1]], lambda i: i[0].__setitem__(0, 2)),
    "large array": (np.arange(3).repeat(2000), lambda i: i.__setitem__(1, 2)),
}


@pytest.mark.parametrize("kind", INDICES)
def test_an_index_changed_before_backward_sends_no_gradient_elsewhere(kind):
    index, change = copy.deepcopy(INDICES[kind][0]), INDICES[kind][1]
    want, x = leaf([1.0, 2.0, 3.0]), leaf([1.0, 2.0, 3.0])
    F.sum(want[index]).backward()
    y = F.sum(x[index])
    change(index)
    if hasattr(index, "shape"):  # kept as it is; of a list a copy is kept
        with pytest.raises(GradientError, match=r"saved by Index .* was changed in place"):
            y.backward()
    else:
        y.backward()
        assert x.grad.tolist() == want.grad.tolist()


def test_a_single_element_is_a_view_as_a_row_is():
    """As PyTorch's: what is written to it is written to the tensor."""
    x = mv.Tensor(np.zeros((2, 3)))
    for part, value in ((x[0, 1], 1), (x[1], 2), (x[1][2], 3)):
        part += value
    assert x.data.tolist() == [[0, 1, 0], [2, 2, 5]]
    picked = x[[0], [1]]  # by arrays it is a copy
    picked += 1
    assert x.data[0, 1] == 1


def test_empty_and_plain_indices():
    x = leaf([[1.0, 2.0], [3.0, 4.0]])
    for key in ([], np.array([], int), 0, -1, np.int64(1), slice(None), ..., None, True, (0, [1])):
        np.testing.assert_array_equal(x[key].data, x.data[key])
        y = x[key]
        y.backward(np.ones(y.shape))


# --- NumPy ------------------------------------------------------------------------------------


def test_numpy_functions_that_tensors_have_themselves_stay_in_the_graph():
    x = leaf([[1.0, 5.0], [3.0, 4.0]])
    for y, value in ((np.sum(x), 13), (np.mean(x), 3.25), (np.max(x), 5)):
        assert isinstance(y, mv.Tensor) and y.item() == value and y.requires_grad
    assert np.sum(x, axis=1, keepdims=True).shape == (2, 1)
    assert np.transpose(x).creator is not None
    for call in (lambda: np.sum(x, dtype=np.float32), lambda: np.mean(x, out=np.zeros(()))):
        with pytest.raises(TypeError, match="expected neither dtype nor out"):
            call()


@pytest.mark.parametrize(
    "function",
    [
        lambda x: np.concatenate([x, x]), lambda x: np.stack([x, x]), np.asarray, np.array,
        np.exp, np.sqrt, lambda x: np.add(np.ones(2), x), lambda x: np.clip(x, 0, 1), np.min,
        np.squeeze, np.std,
        lambda x: np.where([True, False], x, 0), lambda x: np.dot(x, x), np.linalg.norm,
        lambda x: np.testing.assert_allclose(x, 1), lambda x: np.full(2, 1.0).__iadd__(x),
    ],
)  # fmt: skip
def test_numpy_functions_do_not_cut_the_graph(function):
    for x in (leaf([1.0, 2.0]), leaf([1.0, 2.0]) * 2, nn.Parameter(np.ones(2))):
        with pytest.raises(TypeError, match=r"out of the graph|does not support ufuncs"):
            function(x)


def test_what_would_be_cut_is_told_what_to_use():
    a = leaf([1.0, 2.0])
    with pytest.raises(TypeError, match=r"F\.concatenate"):
        np.concatenate([a, a])
    for x in (a, a * 2):
        with pytest.raises(TypeError, match=r"\.detach\(\)\.numpy\(\)"):
            x.numpy()
        assert x.detach().numpy() is x.data
    assert np.concatenate([a.detach(), mv.Tensor([3.0])]).tolist() == [1, 2, 3]


# --- Copies -----------------------------------------------------------------------------------


def test_a_copy_of_a_leaf_is_a_leaf_of_its_own():
    x = leaf([1.0, 2.0])
    x.grad = np.array([5.0, 6.0])
    deep, pickled = copy.deepcopy(x), pickle.loads(pickle.dumps(x))
    for twin in (deep, pickled):
        assert twin.requires_grad and twin.data.tolist() == [1, 2]
        assert not np.shares_memory(twin.data, x.data)
    assert deep.grad.tolist() == [5, 6] and deep.grad is not x.grad and pickled.grad is None
    frozen = nn.Parameter(np.ones(2))
    frozen.requires_grad = False
    for twin in (copy.deepcopy(frozen), pickle.loads(pickle.dumps(frozen)), copy.copy(frozen)):
        assert type(twin) is nn.Parameter and not twin.requires_grad


@pytest.mark.parametrize(
    "duplicate", [copy.deepcopy, copy.copy, lambda x: pickle.loads(pickle.dumps(x))]
)
def test_a_tensor_with_a_graph_is_not_copied(duplicate):
    layer = nn.Linear(2, 1)
    y = layer(np.ones((1, 2), np.float32))
    with pytest.raises(TypeError, match=r"use x\.detach\(\)"):
        duplicate(y)
    layer.last = y
    if duplicate is not copy.copy:
        with pytest.raises(TypeError, match=r"use x\.detach\(\)"):
            duplicate(layer)
    layer.last = y.detach()
    assert duplicate(layer)(np.ones((1, 2), np.float32)).item() == y.item()


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
@given(data=st.data())
def test_parameters_over_one_memory_stay_together_in_a_copy(duplicate, data):
    """Parameters tied by a transposed, reshaped or reversed view stay tied in a copy of a copy."""
    rng = np.random.default_rng(0)
    a = nn.Parameter(np.array(rng.normal(size=(3, 4)), order=data.draw(st.sampled_from("CF"))))
    b = nn.Parameter(np.zeros(1))
    tie = data.draw(st.sampled_from([
        lambda w: w, lambda w: w.T, lambda w: w[::-1], lambda w: w.T.reshape(2, -1, order="A"),
        lambda w: w.view(np.float64),
    ]))  # fmt: skip
    b.data = tie(a.data)
    shared = np.shares_memory(a.data, b.data)
    for _ in range(2):
        a, b = duplicate((a, b))
        assert np.shares_memory(a.data, b.data) == shared
        a.data[...] = rng.normal(size=(3, 4))
        if shared:
            np.testing.assert_array_equal(b.data, tie(a.data))


# --- no_grad ----------------------------------------------------------------------------------


def test_no_grad_decorates_without_parentheses():
    x = leaf([1.0])

    @mv.no_grad
    def double(t, factor=2):
        """Twice t."""
        return t * factor

    assert not double(x).requires_grad and double.__doc__ == "Twice t."
    assert not double(x, factor=3).requires_grad and (x * 2).requires_grad


def test_no_grad_refuses_what_runs_after_its_end():
    def generator():
        yield 1

    async def coroutine():
        return 1

    async def generator_of_a_coroutine():
        yield 1

    class Thing:
        pass

    for thing in (generator, coroutine, generator_of_a_coroutine, Thing, 3):
        for decorate in (mv.no_grad, mv.no_grad()):
            with pytest.raises(TypeError, match="expected a plain function"):
                decorate(thing)


def test_a_block_may_be_entered_within_itself():
    x, block = leaf([1.0]), mv.no_grad()
    with block:
        with block:
            assert not (x * 2).requires_grad
        assert not (x * 2).requires_grad
    assert (x * 2).requires_grad


# --- Moves ------------------------------------------------------------------------------------


def test_to_another_dtype_has_a_gradient():
    x = leaf([1.0, 2.0], np.float32)
    y = x.to(np.float64)
    assert y.dtype == np.float64
    F.sum(y * y).backward()
    assert x.grad.dtype == np.float32 and x.grad.tolist() == [2, 4]
    for same in (x.to(np.float32), x.to("cpu"), x.to(device="cpu", dtype=np.float32), x.to()):
        assert same is x
    with pytest.raises(TypeError, match="floating-point dtype, got int64"):
        x.to(np.int64)
    with pytest.raises(ValueError, match="'cpu' or 'cuda', got 'gpu'"):
        x.to("gpu")


def test_views_and_pytorchs_names_of_axes():
    x = leaf(np.arange(6.0).reshape(2, 3))
    assert x.view(3, 2).shape == x.view((3, -1)).shape == (3, 2)
    assert x.sum(dim=1).data.tolist() == F.sum(x, dim=1).data.tolist() == [3, 12]
    assert x.mean(dim=(0, 1), keepdim=True).shape == (1, 1)
    assert x.sum(1, True).shape == (2, 1) and x.max(axis=0, keepdims=True).shape == (1, 3)
    with pytest.raises(TypeError, match="expected one of axis and dim, got both"):
        x.sum(axis=0, dim=1)


@pytest.mark.parametrize("function", [F.sigmoid, F.softplus, F.tanh, F.leaky_relu])
def test_an_underflow_is_no_error_where_numpy_raises_at_all(function):
    """``np.seterr(all="raise")`` is for the program's own mistakes: exp(-800) is meant to be 0."""
    with np.errstate(all="raise"):
        x = mv.Tensor(np.array([-800.0, -300.0, 0.5, 800.0]), requires_grad=True)
        function(x).sum().backward()
        x = mv.Tensor(np.array([-300.0, 300.0], np.float32), requires_grad=True)
        function(x).sum().backward()
    assert np.isfinite(x.grad).all()
