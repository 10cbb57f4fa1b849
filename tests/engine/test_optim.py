"""Optimisers: the arena, what is refused, and steps against formulas written out here."""

import numpy as np
import pytest

import minivae as mv
from minivae import models, optim
from minivae.nn import Parameter


def parameters():
    return [Parameter(np.float64([[1, 2], [3, 4]])), Parameter(np.float64([5])), Parameter(6.0)]


def gradients(params, factor=1.0):
    """Backward of a loss whose gradient is 2 factor p."""
    sum(((p * p).sum() for p in params), mv.Tensor(0.0)).backward(np.float64(factor))


def test_parameters_become_views_of_one_arena_in_order():
    params = parameters()
    adam = optim.Adam(iter(params))
    assert adam.arena.data.tolist() == [1, 2, 3, 4, 5, 6]
    assert all(np.shares_memory(p.data, adam.arena.data) for p in params)
    gradients(params)
    assert adam.arena.grad.tolist() == [2, 4, 6, 8, 10, 12]
    assert all(np.shares_memory(p.grad, adam.arena.grad) for p in params)
    adam.zero_grad()
    assert all(p.grad is None for p in params)


def test_sgd_steps_down_the_gradient():
    params = parameters()
    sgd = optim.SGD(params, lr=0.25)
    gradients(params)
    sgd.step()
    assert sgd.arena.data.tolist() == [0.5, 1, 1.5, 2, 2.5, 3]
    assert sgd.state_dict() == {}
    with pytest.raises(ValueError, match="state: expected an empty dict"):
        sgd.load_state_dict({"m": 0})


def test_adam_leaves_parameters_without_gradient_alone():
    params = parameters()
    adam = optim.Adam(params, lr=0.1, weight_decay=0.5)
    gradients(params)
    adam.step()
    adam.zero_grad()
    before, m = params[1].data.copy(), adam.m.copy()
    gradients([params[0], params[2]])
    adam.step()
    assert (params[1].data == before).all() and adam.m[4] == m[4]
    assert adam.state_dict()["step"].tolist() == [2, 1, 2] and adam.step_count == 2


def test_arrays_set_from_outside_are_taken_into_the_arena():
    (p,) = params = [Parameter(np.float64([1, 2]))]
    sgd = optim.SGD(params, lr=1)
    p.data, p.grad = np.float64([10, 20]), np.float64([1, 2])
    sgd.step()
    assert p.data.tolist() == [9, 18] and np.shares_memory(p.data, sgd.arena.data)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"lr": -1}, "lr: expected"),
        ({"lr": float("nan")}, "lr: expected"),
        ({"lr": float("inf")}, "lr: expected"),
        ({"betas": (0.9,)}, "betas: expected two numbers"),
        ({"betas": (0.9, 0.9, 0.9)}, "betas: expected two numbers"),
        ({"betas": (1, 0.9)}, "betas: expected two numbers"),
        ({"betas": (0.9, float("nan"))}, "betas: expected two numbers"),
        ({"eps": -1}, "eps, weight_decay"),
        ({"eps": float("nan")}, "eps, weight_decay"),
        ({"weight_decay": -1}, "eps, weight_decay"),
    ],
)
def test_bad_coefficients_are_refused_before_anything_moves(options, says):
    params = parameters()
    arrays = [p.data for p in params]
    with pytest.raises(ValueError, match=says):
        optim.Adam(params, **options)
    assert all(p.data is a for p, a in zip(params, arrays, strict=True))


@pytest.mark.parametrize(
    ("params", "error", "says"),
    [
        ([], ValueError, "at least one parameter"),
        ([np.ones(3)], TypeError, "expected tensors, got ndarray"),
        (models.MLPVAE(hidden=2).named_parameters(), TypeError, "expected tensors, got tuple"),
        ([mv.Tensor([1.0])], ValueError, "leaves that require a gradient"),
        ([parameters()[0] * 2], ValueError, "leaves that require a gradient"),
        ([Parameter(np.zeros(1)), Parameter(np.zeros(1, np.float32))], TypeError, "one dtype"),
    ],
)
def test_what_cannot_learn_is_refused(params, error, says):
    with pytest.raises(error, match=says):
        optim.Adam(params)


def test_a_state_comes_back_and_a_wrong_one_changes_nothing():
    params, others = parameters(), parameters()
    adam, other = optim.Adam(params), optim.Adam(others)
    gradients(params)
    adam.step()
    state = adam.state_dict()
    for wrong, says in (
        ({"m": state["m"][:2]}, r"m: expected float64 \(6,\), got float64 \(2,\)"),
        ({"v": state["v"].astype(int)}, "v: expected float64"),
        ({"step": state["step"] - 2}, "step: expected counts >= 0, got -1"),
        ({"more": 0}, "expected keys"),
    ):
        with pytest.raises(ValueError, match=says):
            other.load_state_dict(state | wrong)
    assert not other.m.any() and not other.v.any() and not other.steps.any()
    other.load_state_dict(state)
    for p, q in zip(params, others, strict=True):
        q.data[...] = p.data
    for each, its in ((adam, params), (other, others)):
        each.zero_grad()
        gradients(its, 0.7)
        each.step()
    assert adam.arena.data.tobytes() == other.arena.data.tobytes()
