"""Optimisers: memory of values and gradients, refusals, steps against formulas written out here.

test_programs_torch.py compares the optimisers with PyTorch's.
"""

import copy
import pickle

import numpy as np
import pytest

import minivae as mv
from minivae import functional as F
from minivae import models, nn, optim
from minivae.nn import Parameter


def parameters():
    return [Parameter(np.float64([[1, 2], [3, 4]])), Parameter(np.float64([5])), Parameter(6.0)]


def gradients(params, factor=1.0):
    """Backward of a loss whose gradient is 2 factor p."""
    sum(((p * p).sum() for p in params), mv.Tensor(0.0)).backward(np.float64(factor))


def values(params):
    return [p.data.tolist() for p in params]


OPTIMIZERS = [
    lambda params: optim.SGD(params, lr=0.25),
    lambda params: optim.SGD(params, lr=0.25, momentum=0.5),
    lambda params: optim.Adam(params, lr=0.25, weight_decay=0.1),
]
every_optimizer = pytest.mark.parametrize("make", OPTIMIZERS)


# --- Memory -----------------------------------------------------------------------------------


@every_optimizer
def test_arrays_stay_where_they_are(make):
    """Neither the optimiser's constructor nor its step replaces a parameter's array or gradient."""
    params = parameters()
    arrays = [p.data for p in params]
    optimizer = make(params)
    gradients(params)
    grads = [p.grad for p in params]
    kept = [g.copy() for g in grads]
    optimizer.step()
    for p, array, grad, before in zip(params, arrays, grads, kept, strict=True):
        assert p.data is array and p.grad is grad and (grad == before).all()


@every_optimizer
def test_a_gradient_kept_over_a_step_keeps_its_values(make):
    """A later backward does not write to a gradient that the user still holds."""
    layer = nn.Linear(3, 2)
    optimizer, x = make(layer.parameters()), np.ones((4, 3), np.float32)
    F.sum(layer(x)).backward()
    kept = [p.grad for p in layer.parameters()]
    before = [g.copy() for g in kept]
    for _ in range(3):
        optimizer.step()
        optimizer.zero_grad()
        F.sum(layer(x) * 7).backward()
    assert all((a == b).all() for a, b in zip(kept, before, strict=True))


@every_optimizer
@pytest.mark.parametrize("steps_before", [0, 2])
@pytest.mark.parametrize(
    "duplicate", [copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))]
)
def test_copies_go_on_like_the_original(make, steps_before, duplicate):
    params = parameters()
    pair = params, make(params)

    def steps(pair, count):
        for _ in range(count):
            pair[1].zero_grad()
            gradients(pair[0])
            pair[1].step()

    steps(pair, steps_before)
    twin = duplicate(pair)
    before = values(params)
    steps(twin, 2)
    assert values(params) == before
    after = values(twin[0])
    steps(pair, 2)
    assert values(params) == after != before


def test_a_model_may_have_several_optimizers():
    params = parameters()
    slow, fast = optim.SGD(params, lr=0.25), optim.SGD(params[:1], lr=0.25)
    gradients(params)
    fast.step()
    slow.step()
    assert values(params) == [[[0.0, 0.0], [0.0, 0.0]], [2.5], 3.0]


def test_arrays_set_from_outside_are_the_ones_that_move():
    (p,) = params = [Parameter(np.float64([1, 2]))]
    sgd = optim.SGD(params, lr=1)
    p.data, p.grad = np.float64([10, 20]), np.float64([1, 2])
    sgd.step()
    assert p.data.tolist() == [9, 18]


@every_optimizer
@pytest.mark.parametrize(
    "variant", sorted({"reference", "cpu", "numba"} & set(mv.kernels.available()))
)
def test_a_parameter_without_axes_moves_after_arithmetic(make, variant):
    """Of 0-d arrays p.data * 2 and p.grad / 4 are NumPy scalars: nothing changes them in place."""
    odd, plain = Parameter(np.ones(())), Parameter(np.full(1, 2.0))
    odd.data, odd.grad, plain.grad = odd.data * 2, np.ones(()) / 4, np.ones(1) / 4
    with mv.kernels.use(variant):
        for p in (odd, plain):
            make([p]).step()
    assert odd.data.shape == () and odd.data == plain.data[0] != 2


def test_parameters_tied_through_their_arrays_stay_tied():
    a, b = Parameter(np.float64([4, 8])), Parameter(np.zeros(2))
    b.data = a.data
    sgd = optim.SGD([a, b], lr=0.5)
    a.grad, b.grad = np.float64([2, 2]), np.float64([0, 4])
    sgd.step()
    assert a.data is b.data and a.data.tolist() == [3, 5]


@pytest.mark.parametrize("turned", [lambda a: a.T, lambda a: a[::-1]])
def test_parameters_over_one_memory_in_another_order_both_move(turned):
    """As of a decoder whose weight is made of the encoder's, transposed."""
    array = np.float64([[1, 2], [3, 4]])
    a, b = Parameter(array), Parameter(turned(array))
    a.grad, b.grad = np.ones((2, 2)), np.ones((2, 2))
    for make in (optim.SGD, optim.Adam):  # each moves both by lr
        before = array.copy()
        make([a, b], lr=1).step()
        np.testing.assert_allclose(before - array, 2, rtol=1e-7)


@every_optimizer
@pytest.mark.parametrize("layout", ["transposed", "strided", "big-endian", "unaligned"])
def test_parameters_of_any_layout(make, layout):
    """Parameters of any layout are updated in place, with the same values as contiguous ones."""
    whole = np.arange(1.0, 7.0).reshape(2, 3)
    array = {
        "transposed": lambda: np.array(whole.T, order="C").T,
        "strided": lambda: np.repeat(whole, 2, axis=1)[:, ::2],
        "big-endian": lambda: whole.astype(">f8"),
        "unaligned": lambda: np.frombuffer(b"x" + whole.tobytes(), np.uint8)[1:].copy(),
    }[layout]()
    if layout == "unaligned":
        space = np.zeros(49, np.uint8)[1:]
        array = np.frombuffer(space.data, np.float64, 6).reshape(2, 3)
        array[...] = whole
    odd, plain = Parameter(array), Parameter(whole.copy())
    optimizers = make([odd]), make([plain])
    for _ in range(3):
        for p, optimizer in zip((odd, plain), optimizers, strict=True):
            p.grad = (2 * p.data).astype(p.dtype)
            optimizer.step()
    assert odd.data is array
    np.testing.assert_allclose(odd.data, plain.data, rtol=1e-14)


# --- Which parameters move --------------------------------------------------------------------


def test_what_has_no_gradient_is_left_alone():
    """A frozen parameter without a gradient keeps its value, moments and step count."""
    params = parameters()
    adam = optim.Adam(params, lr=0.1, weight_decay=0.5)
    gradients(params)
    adam.step()
    adam.zero_grad()
    params[1].requires_grad = False
    before, m = params[1].data.copy(), adam.state[params[1]]["m"].copy()
    gradients([params[0], params[2]])
    adam.step()
    assert (params[1].data == before).all() and (adam.state[params[1]]["m"] == m).all()
    assert [adam.state[p]["step"] for p in params] == [2, 1, 2]


def test_a_frozen_parameter_learns_when_it_is_thawed():
    params = parameters()
    params[0].requires_grad = False
    sgd = optim.SGD(params, lr=0.25)
    for expected in ([[1, 2], [3, 4]], [[0.5, 1], [1.5, 2]]):
        sgd.zero_grad()
        gradients(params)
        sgd.step()
        assert params[0].data.tolist() == expected
        params[0].requires_grad = True


def test_a_parameter_that_is_given_twice_moves_once():
    a, b, _ = parameters()
    sgd = optim.SGD([a, b, a], lr=0.5)
    gradients([a])
    sgd.step()
    assert a.data.tolist() == [[0, 0], [0, 0]]
    with pytest.raises(ValueError, match="expected each parameter in one group"):
        optim.SGD([{"params": [a]}, {"params": [b, a]}])


def test_groups_have_options_of_their_own():
    a, b, c = parameters()
    sgd = optim.SGD([{"params": [a], "lr": 0.25}, {"params": b, "weight_decay": 1.0}], lr=0.5)
    sgd.add_param_group({"params": [c], "lr": 0})
    gradients([a, b, c])
    sgd.step()
    assert values([a, b, c]) == [[[0.5, 1.0], [1.5, 2.0]], [-2.5], 6.0]
    with pytest.raises(ValueError, match=r"lr: expected one rate for all groups, got \[0.0, 0.25"):
        _ = sgd.lr
    sgd.param_groups[1]["lr"] = 0.0
    sgd.zero_grad()
    gradients([a, b, c])
    sgd.step()
    assert values([a, b, c]) == [[[0.25, 0.5], [0.75, 1.0]], [-2.5], 6.0]
    sgd.lr = 1
    assert [group["lr"] for group in sgd.param_groups] == [1, 1, 1] and sgd.lr == 1


def test_gradients_are_cleared():
    params = parameters()
    sgd = optim.SGD(params)
    gradients(params)
    sgd.zero_grad(set_to_none=False)
    assert [p.grad.tolist() for p in params] == [[[0, 0], [0, 0]], [0], 0]
    sgd.zero_grad()
    assert all(p.grad is None for p in params)


def test_half_precision_is_updated_in_single():
    """Adam's eps of 1e-8 is 0 in float16, and so is the square of a gradient of 1e-5."""
    p = Parameter(np.ones(3, np.float16))
    adam = optim.Adam([p])
    p.grad = np.array([0, 1e-5, 0.1], np.float16)
    adam.step()
    assert p.dtype == np.float16 and adam.state[p]["v"].dtype == np.float32
    assert p.data.tolist() == np.array([1, 0.999, 0.999], np.float16).tolist()
    adam.load_state_dict(adam.state_dict())


# --- Refusals ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "options", "error", "says"),
    [
        (optim.Adam, {"lr": -1}, ValueError, "lr: expected a number finite and >= 0, got -1"),
        (optim.Adam, {"lr": float("nan")}, ValueError, "lr: expected"),
        (optim.Adam, {"lr": float("inf")}, ValueError, "lr: expected"),
        (optim.Adam, {"lr": "0.1"}, TypeError, "lr: expected a number, got '0.1'"),
        (optim.Adam, {"betas": (0.9,)}, ValueError, "betas: expected two numbers"),
        (optim.Adam, {"betas": (0.9, 0.9, 0.9)}, ValueError, "betas: expected two numbers"),
        (optim.Adam, {"betas": (1, 0.9)}, ValueError, r"betas: expected a number in \[0, 1\)"),
        (optim.Adam, {"betas": (0.9, float("nan"))}, ValueError, "betas: expected"),
        (optim.Adam, {"eps": -1}, ValueError, "eps: expected"),
        (optim.Adam, {"eps": float("nan")}, ValueError, "eps: expected"),
        (optim.Adam, {"weight_decay": -1}, ValueError, "weight_decay: expected"),
        (optim.SGD, {"lr": -1}, ValueError, "lr: expected"),
        (optim.SGD, {"momentum": -1}, ValueError, "momentum: expected"),
        (optim.SGD, {"weight_decay": float("nan")}, ValueError, "weight_decay: expected"),
        (optim.SGD, {"nesterov": True}, ValueError, "nesterov: expected a momentum > 0"),
        (
            optim.SGD,
            {"nesterov": True, "momentum": 0.9, "dampening": 0.1},
            ValueError,
            "no dampening",
        ),
    ],
)
def test_bad_options_are_refused(make, options, error, says):
    with pytest.raises(error, match=says):
        make(parameters(), **options)
    with pytest.raises(error, match=says):
        make([{"params": parameters(), **options}])


@pytest.mark.parametrize(
    ("params", "error", "says"),
    [
        ([], ValueError, "at least one parameter"),
        (parameters()[0], TypeError, "expected several tensors, got one"),
        (set(parameters()), TypeError, "an order that stays, got a set"),
        ([{"params": set(parameters())}], TypeError, "an order that stays, got a set"),
        ([np.ones(3)], TypeError, "expected tensors, got ndarray"),
        (models.MLPVAE(hidden=2).named_parameters(), TypeError, "expected tensors, got tuple"),
        ([mv.Tensor([1])], ValueError, "leaves of a floating dtype"),
        ([parameters()[0] * 2], ValueError, "leaves of a floating dtype"),
        ([{"params": parameters(), "rate": 1}], ValueError, r"expected options .*, got \['rate'\]"),
        ([{"parameters": parameters()}], TypeError, "with the key 'params'"),
        ([{"params": parameters()}, parameters()[0]], TypeError, "with the key 'params'"),
    ],
)
def test_what_cannot_learn_is_refused(params, error, says):
    with pytest.raises(error, match=says):
        optim.Adam(params)


@pytest.mark.parametrize(
    ("exchange", "error", "says"),
    [
        (lambda p: setattr(p, "data", np.zeros((2, 2))), ValueError, r"float64 \(2, 2\)"),
        (lambda p: setattr(p, "data", np.zeros((1, 2))), ValueError, r"float64 \(1, 2\)"),
        (lambda p: setattr(p, "data", np.zeros(2, np.float32)), TypeError, "gradient of float32"),
        (lambda p: setattr(p, "grad", np.zeros(1)), ValueError, r"gradient of float64 \(2,\)"),
        (lambda p: setattr(p, "grad", np.zeros(2, np.float32)), TypeError, "got float32"),
    ],
)
@every_optimizer
def test_arrays_that_no_longer_fit_are_refused_before_anything_moves(make, exchange, error, says):
    first, p = Parameter(np.float64([3])), Parameter(np.float64([1, 2]))
    optimizer = make([first, p])
    first.grad, p.grad = np.float64([1]), np.float64([1, 1])
    exchange(p)
    with pytest.raises(error, match=says):
        optimizer.step()
    assert first.data.tolist() == [3]


def test_a_model_that_is_moved_after_its_optimizer():
    """Changing a model's dtype is allowed before the first step; later the moments do not fit."""
    layer = nn.Linear(2, 1)
    adam = optim.Adam(layer.parameters())
    for dtype in (np.float64, np.float32):
        layer.to("cpu", dtype)
        F.sum(layer(np.ones((1, 2), dtype))).backward()
        if dtype == np.float64:
            adam.step()
            adam.zero_grad()
    with pytest.raises(TypeError, match=r"a m of float32.*build the optimiser anew"):
        adam.step()


# --- Saving -----------------------------------------------------------------------------------


def test_a_state_comes_back_and_a_wrong_one_changes_nothing():
    params, others = parameters(), parameters()
    adam = optim.Adam([{"params": params[:1], "lr": 0.5}, {"params": params[1:]}], eps=1e-3)
    other = optim.Adam([{"params": others[:1]}, {"params": others[1:]}], weight_decay=1)
    gradients(params)
    params[2].grad = None
    adam.step()
    state = adam.state_dict()
    assert {name for name in state if name.startswith("2.")} == set()
    before = other.state_dict()
    for wrong, says in (
        ({"0.m": state["0.m"][:1]}, r"0\.m: expected float64 \(2, 2\), got float64 \(1, 2\)"),
        ({"1.v": state["1.v"].astype(int)}, r"1\.v: expected float64"),
        ({"1.step": state["1.step"] - 2}, r"1\.step: expected at least 0, got -1"),
        ({"group.lr": np.array([0.1, -1])}, "lr: expected a number finite"),
        ({"group.betas": np.zeros((2, 3))}, r"group\.betas: expected float64 \(2, 2\)"),
        ({"group_sizes": np.array([2, 1])}, r"groups of \[1, 2\] parameters, got \[2, 1\]"),
        ({"2.m": np.array(6.0)}, r"2\.step: missing"),
        ({"3.m": np.array(6.0), "more": 0}, r"unknown names \['3\.m', 'more'\]"),
    ):
        with pytest.raises(ValueError, match=says):
            other.load_state_dict(state | wrong)
        after = other.state_dict()
        assert after.keys() == before.keys()
        assert all((after[name] == before[name]).all() for name in before)
    other.load_state_dict(state)
    state["0.m"][...] = np.nan  # load_state_dict must have copied it
    for p, q in zip(params, others, strict=True):
        q.data[...] = p.data
    for each, its in ((adam, params), (other, others)):
        each.zero_grad()
        gradients(its, 0.7)
        each.step()
    assert values(params) == values(others)


def test_the_state_of_momentum_comes_back():
    params, others = parameters(), parameters()
    sgd = optim.SGD(params, lr=0.1, momentum=0.9, nesterov=True)
    other = optim.SGD(others)
    for _ in range(2):
        gradients(params)
        sgd.step()
    other.load_state_dict(sgd.state_dict())
    assert other.param_groups[0]["nesterov"] is True
    for p, q in zip(params, others, strict=True):
        q.data[...] = p.data
        p.grad = q.grad = p.data.copy()
    sgd.step()
    other.step()
    assert values(params) == values(others)


def test_the_flat_state_of_version_0_1_is_taken():
    """Version 0.1 saved all moments as one flat array in the parameters' order, and no options."""
    params = parameters()
    adam = optim.Adam(params, lr=0.125)
    m, v, step = np.arange(6.0), np.arange(6.0) + 10, np.array([3, 4, 5])
    adam.load_state_dict({"m": m, "v": v, "step": step})
    assert [adam.state[p]["m"].tolist() for p in params] == [[[0, 1], [2, 3]], [4], 5]
    assert [adam.state[p]["v"].tolist() for p in params] == [[[10, 11], [12, 13]], [14], 15]
    assert [adam.state[p]["step"] for p in params] == [3, 4, 5] and adam.lr == 0.125
    for wrong, says in (
        ({"m": m[:5]}, r"m: expected shape \(6,\)"),
        ({"step": step - 4}, "0.step"),
    ):
        with pytest.raises(ValueError, match=says):
            adam.load_state_dict({"m": m, "v": v, "step": step} | wrong)
    sgd = optim.SGD(params, lr=0.5)
    sgd.load_state_dict({})
    assert sgd.lr == 0.5
