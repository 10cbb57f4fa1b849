"""Modules: names, state, modes, moving; what is refused leaves everything as it was."""

import numpy as np
import pytest

import minivae as mv
from minivae import nn


class Pair(nn.Module):
    """A module inside a module, a parameter of its own and a buffer."""

    def __init__(self):
        self.scale = nn.Parameter(np.float32([2, 3]))
        self.register_buffer("seen", np.zeros((), np.int64))
        self.inner = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.BatchNorm2d(3))


NAMES = [
    "scale", "seen", "inner.0.weight", "inner.0.bias", "inner.2.weight", "inner.2.bias",
    "inner.2.running_mean", "inner.2.running_var", "inner.2.num_batches_tracked",
]  # fmt: skip


def test_state_dict_has_every_array_by_its_dotted_name_as_a_copy():
    model = Pair()
    state = model.state_dict()
    assert list(state) == NAMES
    state["scale"][:] = 0
    assert model.scale.data.tolist() == [2, 3]
    assert [name for name, _ in model.named_parameters()] == [
        n for n in NAMES if n.rpartition(".")[2] in ("scale", "weight", "bias")
    ]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"inner.0.bias": np.zeros(4, np.float32)}, r"inner\.0\.bias: expected \(3,\), got \(4,\)"),
        ({"inner.0.bias": np.zeros(3, int)}, r"inner\.0\.bias: expected float32, got int64"),
        ({"seen": np.float32(1)}, r"seen: expected int64, got float32"),
        ({"inner.0.bias": None}, r"inner\.0\.bias: expected \(3,\), got \(\)"),
        ({"more": np.zeros(3)}, r"unknown \['more'\]"),
    ],
)
def test_a_state_that_does_not_fit_changes_nothing(change, says):
    model = Pair()
    before = model.state_dict()
    other = {name: a + a.dtype.type(1) for name, a in before.items()}
    with pytest.raises(ValueError, match=says):
        model.load_state_dict(other | change)
    with pytest.raises(ValueError, match=r"missing \['scale'\]"):
        model.load_state_dict({name: a for name, a in other.items() if name != "scale"})
    after = model.state_dict()
    assert all(after[name].tobytes() == before[name].tobytes() for name in NAMES)
    model.load_state_dict({"scale": np.float32([5, 6]), "more": 1}, strict=False)
    assert model.scale.data.tolist() == [5, 6]


def test_loading_keeps_the_parameters_arrays():
    model = Pair()
    array = model.scale.data
    model.load_state_dict(Pair().state_dict() | {"scale": np.float64([7, 8])})
    assert model.scale.data is array and array.tolist() == [7, 8] and array.dtype == np.float32


def test_train_and_eval_reach_every_part():
    model = Pair()
    assert all(m.training for m in model.modules())
    assert model.eval() is model and not any(m.training for m in model.modules())
    assert model.train() is model and all(m.training for m in model.modules())


def test_to_changes_dtype_of_floats_alone():
    model = Pair().to(dtype=np.float64)
    assert {a.dtype.name for a in model.state_dict().values()} == {"float64", "int64"}
    for dtype in (np.int32, bool, np.complex64):
        with pytest.raises(TypeError, match="dtype: expected a floating-point dtype"):
            model.to(dtype=dtype)
    with pytest.raises(ValueError, match="device: expected 'cpu' or 'cuda', got 'gpu'"):
        model.to("gpu")
    assert model.scale.dtype == np.float64


@pytest.mark.parametrize("shape", [(1, 3), (1, 3, 1, 1), (0, 3, 2, 2), (4, 2)])
def test_a_batch_that_batch_norm_refuses_leaves_no_trace(shape):
    layer = nn.BatchNorm2d(3)
    before = layer.state_dict()
    with pytest.raises(ValueError, match="batch_norm"):
        layer(np.ones(shape, np.float32))
    after = layer.state_dict()
    assert all(np.array_equal(before[name], after[name]) for name in before)
    layer(np.ones((2, 3), np.float32))
    assert layer.num_batches_tracked == 1


def test_sequential_is_composition_by_number():
    double, shift = nn.Linear(1, 1), nn.Linear(1, 1)
    for layer, w, b in ((double, 2, 0), (shift, 1, 3)):
        layer.weight.data[:], layer.bias.data[:] = w, b
    both = nn.Sequential(double, shift)
    assert both(np.float32([[5]])).item() == 13
    assert len(both) == 2 and both[1] is shift


def test_numpy_sees_the_values_of_a_tensor():
    x = mv.Tensor(np.float32([1, 2]), requires_grad=True)
    assert np.asarray(x) is x.data
    assert np.asarray(x, np.float64).dtype == np.float64
    assert not np.shares_memory(np.array(x), x.data)
    assert np.stack([x, x]).tolist() == [[1, 2], [1, 2]]
