"""Gradients share no memory with other arrays, for every operation and kernel variant."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minivae as mv
from minivae import functional as F
from minivae import kernels
from minivae.kernels import reference_layers
from minivae.tensor import Function
from op_specs import SPECS
from strategies import LAYOUTS, layouts

every_op = pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
FRESH = {name: spec for name, spec in SPECS.items() if spec.op.fresh_gradients}
HOST = [name for name in kernels.available() if name not in ("cupy", "cuda")]


def assert_apart(own, others):
    """No array of ``own`` shares memory with another of them or with one of ``others``."""
    for (k, a), (i, b) in itertools.product(enumerate(own), enumerate([*own, *others])):
        assert k == i or not np.shares_memory(a, b), (k, i)


@every_op
@given(data=st.data())
def test_a_gradient_shares_memory_with_nothing(spec, data):
    """A gradient shares no memory with other gradients, values, cotangents or saved arrays, also
    where one leaf is several inputs of an operation."""
    case = data.draw(spec.cases())
    layout, variant = data.draw(layouts), data.draw(st.sampled_from(HOST))
    arrays = [None if a is None else LAYOUTS[layout](a) for a in case.inputs]
    leaves = [None if a is None else mv.Tensor(a, requires_grad=True) for a in arrays]
    present = [t for t in leaves if t is not None]
    for k, t in enumerate(present):  # some inputs become the same leaf as an earlier, equal shape
        alike = [s for s in present[:k] if s.shape == t.shape]
        if alike and data.draw(st.booleans()):
            same = data.draw(st.sampled_from(alike))
            leaves = [same if s is t else s for s in leaves]
    with kernels.use(variant):
        ys = spec.fn(*leaves, **case.params)
        ys = ys if isinstance(ys, tuple) else (ys,)
        held = [a for y in ys for op in behind(y) for a, _ in op._saved]
        for y in ys[:1]:  # of the first alone: backward frees the graph that the outputs share
            cotangent = np.array(np.random.default_rng(0).normal(size=y.shape))
            held.append(cotangent)
            y.backward(cotangent)
    grads = [t.grad for t in dict.fromkeys(leaves) if t is not None and t.grad is not None]
    assert grads
    for grad in grads:
        assert type(grad) is np.ndarray and grad.flags.writeable and grad.flags.c_contiguous
    held += [t.data for t in present] + [a for a in held if a is not None]
    assert_apart(grads, [a for a in held if isinstance(a, np.ndarray)])


def behind(y):
    """All operations in the graph of a tensor."""
    found, stack = {}, [y.creator]
    while stack:
        op = stack.pop()
        if op is not None and op not in found:
            found[op] = op
            stack += [t.creator for t in op.inputs if t is not None]
    return list(found)


@pytest.mark.parametrize("variant", HOST)
@pytest.mark.parametrize(
    "make",
    [
        lambda w: F.linear(w, w),
        lambda w: F.linear(w, w, w[0]),
        lambda w: F.linear(w, w, activation="relu"),
        lambda w: F.conv2d(w.reshape(2, 2, 1, 1), w.reshape(2, 2, 1, 1)),
        lambda w: w @ w,
        lambda w: w + w,
    ],
)
def test_one_leaf_in_several_slots_of_an_operation(make, variant):
    """The gradient matches finite differences, and stays the same under an optimiser, twice in
    a row."""
    values = np.array([[1.0, 2.0], [3.0, 4.0]])
    with kernels.use(variant):
        assert mv.gradcheck(make, [values])
        w = mv.nn.Parameter(values.copy())
        F.sum(make(w) * make(w)).backward()
        alone = w.grad
        adam = mv.optim.Adam([w], lr=0)
        for _ in range(2):
            adam.zero_grad()
            F.sum(make(w) * make(w)).backward()
            np.testing.assert_array_equal(w.grad, alone)
            adam.step()


def test_linear_of_itself():
    """sum(C * w w^T) has the gradient (C + C^T) w."""
    w = mv.nn.Parameter(np.array([[1.0, 2.0], [3.0, 4.0]]))
    F.sum(F.linear(w, w) * np.array([[1.0, 5.0], [0.0, 2.0]])).backward()
    assert w.grad.tolist() == [[17, 24], [17, 26]]


@pytest.mark.parametrize("spec", FRESH.values(), ids=FRESH)
def test_fresh_gradients_share_no_memory(spec):
    """What an operation with ``fresh_gradients`` returns shares no memory, even before any copy."""
    case = spec.build(*spec.example, np.random.default_rng(0))
    seen = []
    plain = spec.op.backward

    class Watched(Function):
        def backward(self, *dys):
            saved = [a for a, _ in self._saved if a is not None]
            dxs = plain(self, *dys)
            seen.append(([dx for dx in dxs if dx is not None], [*dys, *saved]))
            return dxs

    for variant in HOST:
        with pytest.MonkeyPatch.context() as patch, kernels.use(variant):
            patch.setattr(spec.op, "backward", Watched.backward)
            leaves = [None if a is None else mv.Tensor(a, requires_grad=True) for a in case.inputs]
            y = spec.fn(*leaves, **case.params)
            if isinstance(y, tuple):
                y = F.concatenate([F.reshape(part, -1) for part in y])
            y.backward(np.ones(y.shape))
            for grads, others in seen:
                assert_apart(grads, [*others, *(t.data for t in leaves if t is not None)])
    assert seen


def test_the_engine_takes_over_what_is_fresh(monkeypatch):
    """A fresh gradient is not copied: the leaf keeps the array that the product returned."""
    made = []
    product = reference_layers.matmul

    def watched(*arguments, **options):
        made.append(product(*arguments, **options))
        return made[-1]

    monkeypatch.setattr(reference_layers, "matmul", watched)
    w, x = (mv.Tensor(np.ones(shape), requires_grad=True) for shape in ((3, 4), (2, 4)))
    with kernels.use("reference"):
        F.sum(F.linear(x, w)).backward()
    assert any(w.grad is a for a in made) and any(x.grad is a for a in made)
