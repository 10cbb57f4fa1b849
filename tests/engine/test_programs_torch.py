"""Random programs beside PyTorch: leaves, ties, optimisers, copies, freezing, changes in place.

Both sides are driven by one list of moves, and after each of them every value, gradient and held
gradient is the same.
"""

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minivae as mv
from minivae import functional as F
from minivae import nn, optim

torch = pytest.importorskip("torch")
TF = torch.nn.functional

LEAVES = 4
OPTIMIZERS = [
    ("SGD", {"lr": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.2, "weight_decay": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    ("Adam", {"lr": 0.1, "weight_decay": 0.1}),
]
# Of two leaves (2, 2), one of them perhaps twice, with ``f`` either library's functions.
EXPRESSIONS = [
    lambda f, a, b: f.linear(a, b),
    lambda f, a, b: f.linear(a, a) * b,
    lambda f, a, b: f.linear(a, b, b[0]),
    lambda f, a, b: f.relu(f.linear(a, b)),
    lambda f, a, b: a @ b + a,
    lambda f, a, b: a + b,
    lambda f, a, b: a * b - a,
    lambda f, a, b: f.conv2d(a.reshape(1, 1, 2, 2), b.reshape(1, 1, 2, 2)),
    lambda f, a, b: a[[0, 1, 1]] * b[0],
    lambda f, a, b: a.T.reshape(4)[1:] * b.reshape(4)[:3],
    lambda f, a, b: (a * a).sum() * b,
]

leaf = st.integers(0, LEAVES - 1)
which = st.integers(0, 1)
number = st.sampled_from([-1.5, 0.5, 2.0])
MOVES = st.one_of(
    st.tuples(st.just("backward"), st.integers(0, len(EXPRESSIONS) - 1), leaf, leaf),
    st.tuples(st.just("cotangent"), st.integers(0, len(EXPRESSIONS) - 1), leaf, leaf),
    st.tuples(st.just("step"), which),
    st.tuples(st.just("zero_grad"), which),
    st.tuples(st.just("freeze"), leaf),
    st.tuples(st.just("scale"), leaf, number),
    st.tuples(st.just("descend"), leaf),
    st.tuples(st.just("set"), leaf, number),
    st.tuples(st.just("exchange"), leaf),
    st.tuples(st.just("tie"), leaf, leaf),
    st.tuples(st.just("clip")),
    st.tuples(st.just("copy"), st.sampled_from(["deepcopy", "pickle"])),
)


class Side:
    """The leaves, two optimisers over parts of them, and references that a user may keep: gradients
    from before ``zero_grad``, and the leaves that were copied."""

    def __init__(self, values, kinds, tied):
        self.leaves = [self.parameter(v) for v in values]
        if tied:
            self.leaves[1] = self.leaves[0]
        groups = [{"params": self.leaves[:1], "lr": 0.05}, {"params": self.leaves[2:]}]
        first, second = (OPTIMIZERS[k] for k in kinds)
        self.optimizers = [
            getattr(self.optim, first[0])(groups, **first[1]),
            getattr(self.optim, second[0])(self.leaves[1:], **second[1]),
        ]
        self.held, self.originals, self.shares = [], [], False

    def move(self, name, *args):
        getattr(self, name)(*args)

    def backward(self, k, i, j):
        a, b = self.leaves[i], self.leaves[j]
        y = EXPRESSIONS[k](self.functions, a, b)
        if y.requires_grad:
            (0.01 * (y * y).sum()).backward()  # small, so that nothing diverges

    def cotangent(self, k, i, j):
        """backward without a loss: a sum or view of leaves may hand the cotangent on uncopied."""
        y = EXPRESSIONS[k](self.functions, self.leaves[i], self.leaves[j])
        if y.requires_grad:
            y.backward(self.ones(y))

    def step(self, k):
        self.optimizers[k].step()

    def zero_grad(self, k):
        self.held += [t.grad for t in self.leaves if t.grad is not None]
        self.optimizers[k].zero_grad()

    def freeze(self, i):
        self.leaves[i].requires_grad = not self.leaves[i].requires_grad

    def scale(self, i, c):
        with self.no_grad():
            self.leaves[i] *= c

    def descend(self, i):
        if self.leaves[i].grad is not None:
            with self.no_grad():
                self.leaves[i] -= 0.1 * self.leaves[i].grad

    def set(self, i, c):
        with self.no_grad():
            self.leaves[i][0] = c

    def exchange(self, i):
        self.leaves[i].data = self.leaves[i].data + 1

    def tie(self, i, j):
        self.leaves[i].data = self.leaves[j].data
        self.shares = True

    def clip(self):
        self.clip_grad_norm(self.leaves[2:], 0.5)

    def copy(self, how):
        if self.shares:  # a copy by PyTorch no longer shares the memory; one by minivae does
            return
        self.originals += self.leaves
        pair = self.leaves, self.optimizers
        if how == "deepcopy":
            pair = copy.deepcopy(pair)
        else:
            pair = pickle.loads(pickle.dumps(pair))
        self.leaves, self.optimizers = pair


class Ours(Side):
    optim, functions, no_grad = optim, F, staticmethod(mv.no_grad)
    parameter = staticmethod(lambda v: nn.Parameter(v.copy()))
    clip_grad_norm = staticmethod(nn.utils.clip_grad_norm_)

    ones = staticmethod(lambda y: np.ones(y.shape))

    def seen(self):
        leaves = self.leaves + self.originals
        return [t.data for t in leaves], [t.grad for t in leaves], self.held


class Theirs(Side):
    optim, functions, no_grad = torch.optim, TF, staticmethod(torch.no_grad)
    parameter = staticmethod(lambda v: torch.nn.Parameter(torch.tensor(v)))
    clip_grad_norm = staticmethod(torch.nn.utils.clip_grad_norm_)

    ones = staticmethod(torch.ones_like)

    def seen(self):
        leaves = self.leaves + self.originals
        grads = [None if t.grad is None else t.grad.numpy() for t in leaves]
        return [t.detach().numpy() for t in leaves], grads, [g.numpy() for g in self.held]


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(
    st.lists(MOVES, min_size=3, max_size=14),
    st.tuples(*[st.integers(0, len(OPTIMIZERS) - 1)] * 2),
    st.booleans(),
    st.integers(0, 2**32 - 1),
)
def test_a_program_does_what_it_does_in_pytorch(moves, kinds, tied, seed):
    values = np.random.default_rng(seed).uniform(-1, 1, (LEAVES, 2, 2))
    ours, theirs = Ours(values, kinds, tied), Theirs(values, kinds, tied)
    for move in moves:
        for side in (theirs, ours):
            side.move(*move)
        for mine, its in zip(ours.seen(), theirs.seen(), strict=True):
            for a, b in zip(mine, its, strict=True):
                assert (a is None) == (b is None), move
                if a is not None:
                    np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-9, err_msg=str(move))


@given(
    st.sampled_from(OPTIMIZERS), st.lists(st.sampled_from([-1.0, 0.5, 2.0]), min_size=1, max_size=4)
)
@settings(max_examples=20, deadline=None)
def test_layers_that_share_a_weight_step_once(optimizer, inputs):
    """A shared weight is listed once, and a step moves it once, by the sum of both gradients."""
    name, options = optimizer
    results = []
    for layers, library, make in ((nn, optim, mv.Tensor), (torch.nn, torch.optim, torch.tensor)):
        first, second = layers.Linear(2, 2), layers.Linear(2, 2)
        state = {"weight": np.array([[0.5, -1.0], [1.5, 0.25]], np.float32)}
        for layer, bias in ((first, 0.5), (second, -0.5)):
            arrays = {**state, "bias": np.full(2, bias, np.float32)}
            if layers is torch.nn:
                arrays = {k: torch.tensor(a) for k, a in arrays.items()}
            layer.load_state_dict(arrays)
        second.weight = first.weight
        model = layers.Sequential(first, second)
        steps = getattr(library, name)(model.parameters(), **options)
        for number in inputs:
            steps.zero_grad()
            y = model(make(np.array([[number, 1.0]], np.float32)))
            (0.01 * (y * y).sum()).backward()  # small, so that nothing diverges
            steps.step()
        assert second.weight is first.weight
        results.append([p.detach().numpy().copy() for p in model.parameters()])
    assert len(results[0]) == len(results[1]) == 3
    for own, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(own, theirs, rtol=1e-4, atol=1e-5)
