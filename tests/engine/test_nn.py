"""Modules: names, state_dict, train and eval, dtype and device; a refused call changes nothing."""

import copy
import pickle

import numpy as np
import pytest

import minivae as mv
from minivae import functional as F
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


# --- Attributes -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [np.ones((1, 2), np.float32), mv.Tensor(np.ones((1, 2))), [1.0], 3, nn.ReLU(), "x"],
    ids=lambda value: type(value).__name__,
)
def test_a_parameter_is_not_replaced_by_something_else(value):
    layer = nn.Linear(2, 1)
    weight = layer.weight
    with pytest.raises(TypeError, match=r"^weight: expected a Parameter, got .*nn\.Parameter"):
        layer.weight = value
    assert layer.weight is weight and list(layer.state_dict()) == ["weight", "bias"]


def test_operators_update_a_layers_weight():
    layer = nn.Linear(2, 1)
    weight, before = layer.weight, layer.weight.data.copy()
    with mv.no_grad():
        layer.weight *= 0.5
        layer.weight -= 1
    assert layer.weight is weight and list(layer.state_dict()) == ["weight", "bias"]
    np.testing.assert_allclose(layer.weight.data, before / 2 - 1)
    with pytest.raises(mv.GradientError, match=r"^in place: expected a tensor that is not a leaf"):
        layer.weight *= 2


def test_parameters_can_be_exchanged_left_out_and_deleted():
    layer = nn.Linear(2, 1, bias=False)
    assert list(layer.state_dict()) == ["weight"] and layer.bias is None
    with pytest.raises(TypeError, match="bias: expected a Parameter"):
        layer.bias = np.zeros(1)
    layer.bias = nn.Parameter(np.float32([3]))
    layer.weight = nn.Parameter(np.float32([[1, 2]]))
    assert layer(np.float32([[1, 1]])).item() == 6
    layer.bias = None
    assert layer(np.float32([[1, 1]])).item() == 3
    del layer.bias
    layer.bias = "anything"
    assert list(layer.state_dict()) == ["weight"]


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_a_copy_has_the_parameters_buffers_and_modes(copied):
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm2d(3), nn.Sequential(nn.BatchNorm2d(3)))
    model(np.random.default_rng(0).normal(size=(4, 2)).astype(np.float32))
    model[2].eval()
    twin = copied(model)
    state, copied_state = model.state_dict(), twin.state_dict()
    assert list(state) == list(copied_state) and len(state) == 12
    assert all(state[n].tobytes() == copied_state[n].tobytes() for n in state)
    assert [m.training for m in model.modules()] == [m.training for m in twin.modules()]
    twin(np.ones((4, 2), np.float32))
    twin.to(np.float64)
    assert twin[1].running_mean.dtype == np.float64 and twin[1].num_batches_tracked == 2
    assert all(state[n].tobytes() == a.tobytes() for n, a in model.state_dict().items())
    with pytest.raises(TypeError, match="running_var: expected an array"):
        twin[1].running_var = [1]


def test_a_buffer_without_axes_is_still_one_after_arithmetic():
    """It was a NumPy scalar, into which a state could not be copied after others were."""
    model = nn.BatchNorm2d(2)
    model.num_batches_tracked = model.num_batches_tracked + 1
    state = model.state_dict()
    model.load_state_dict(nn.BatchNorm2d(2).state_dict())
    assert state["num_batches_tracked"] == 1 and model.num_batches_tracked == 0


def test_parts_and_buffers_stay_what_they_are():
    model = Pair()
    for name, value in (("inner", F.relu), ("seen", [1]), ("seen", mv.Tensor([1.0]))):
        with pytest.raises(TypeError, match=f"^{name}: expected"):
            setattr(model, name, value)
    model.inner, model.seen = nn.ReLU(), np.zeros(3)
    assert list(model.state_dict()) == ["scale", "seen"]
    with pytest.raises(ValueError, match="one without dots"):
        setattr(model, "a.b", nn.ReLU())


@pytest.mark.parametrize(
    "hidden",
    [[nn.ReLU()], (nn.ReLU(),), {"a": nn.ReLU()}, [[nn.ReLU()]], {"a": [nn.Parameter(np.ones(1))]}],
    ids=repr,
)
def test_modules_out_of_sight_are_refused(hidden):
    with pytest.raises(TypeError, match=r"^layers: modules and parameters in a .*nn\.ModuleList"):
        nn.Module().layers = hidden
    nn.Module().layers = [1, "a", None]


# --- Walking through a model ------------------------------------------------------------------


class Tied(nn.Module):
    """A weight and a layer that are used twice."""

    def __init__(self):
        self.encoder, self.decoder = nn.Linear(4, 2), nn.Linear(2, 4)
        self.decoder.weight = self.encoder.weight
        self.again = self.encoder


def test_what_is_tied_counts_once():
    model = Tied()
    assert [n for n, _ in model.named_parameters()] == [
        "encoder.weight", "encoder.bias", "decoder.bias",
    ]  # fmt: skip
    assert sum(p.size for p in model.parameters()) == 8 + 2 + 4
    assert model.children() == [model.encoder, model.decoder]
    assert [n for n, _ in model.named_children()] == ["encoder", "decoder"]
    assert list(model.modules()) == [model, model.encoder, model.decoder]
    assert len(model.state_dict()) == 6  # by each of its names, as in PyTorch


def test_names_begin_with_a_prefix():
    names = [name for name, _ in Pair().named_parameters("vae")]
    assert names[:2] == ["vae.scale", "vae.inner.0.weight"]


def test_apply_freeze_and_zero_grad_reach_every_part():
    model, seen = Pair(), []
    assert model.apply(seen.append) is model and seen[-1] is model and len(seen) == 5
    model.requires_grad_(False)
    assert not any(p.requires_grad for p in model.parameters())
    model.requires_grad_().scale.grad = np.zeros(2, np.float32)
    model.zero_grad()
    assert model.scale.grad is None and model.scale.requires_grad


def test_a_model_prints_its_layers():
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(8), nn.Flatten(),
        nn.Sequential(nn.Linear(8, 4), nn.LeakyReLU(0.2)), nn.Unflatten(1, (1, 2, 2)),
        nn.ConvTranspose2d(1, 1, 2, stride=2, output_padding=1),
    )  # fmt: skip
    assert (
        repr(model)
        == """Sequential(
  (0): Conv2d(1, 8, kernel_size=(3, 3), stride=(2, 2), padding=(1, 1), bias=False)
  (1): BatchNorm2d(8, eps=1e-05, momentum=0.1)
  (2): Flatten(start_dim=1, end_dim=-1)
  (3): Sequential(
    (0): Linear(in_features=8, out_features=4, bias=True)
    (1): LeakyReLU(negative_slope=0.2)
  )
  (4): Unflatten(dim=1, unflattened_size=(1, 2, 2))
  (5): ConvTranspose2d(1, 1, kernel_size=(2, 2), stride=(2, 2), output_padding=(1, 1))
)"""
    )
    assert repr(nn.ReLU(True)) == "ReLU()"


# --- Loading ----------------------------------------------------------------------------------


def test_what_was_not_loaded_is_told():
    layer = nn.Linear(2, 1)
    before = layer.state_dict()
    state = {f"module.{name}": a for name, a in before.items()}
    told = layer.load_state_dict(state, strict=False)
    assert told.missing_keys == ["weight", "bias"]
    assert told.unexpected_keys == ["module.weight", "module.bias"]
    told = layer.load_state_dict({"bias": np.float32([5])}, strict=False)
    assert told == (["weight"], []) and layer.bias.data.tolist() == [5]
    assert layer.load_state_dict(before) == ([], [])
    assert layer.load_state_dict(dict(layer.named_parameters())) == ([], [])
    for wrong in (layer, "file", [("weight", before["weight"])]):
        with pytest.raises(TypeError, match="state: expected a state_dict"):
            layer.load_state_dict(wrong)


def test_gradients_move_with_their_parameters():
    layer = nn.Linear(2, 1)
    F.sum(layer(np.ones((1, 2), np.float32))).backward()
    arrays = [p.data for p in layer.parameters()]
    layer.to("cpu")
    assert all(p.data is a for p, a in zip(layer.parameters(), arrays, strict=True))
    assert layer.weight.grad.tolist() == [[1, 1]]
    layer.to(np.float64)
    assert layer.weight.grad.dtype == layer.weight.dtype == np.float64


# --- Clipping ---------------------------------------------------------------------------------


def test_gradients_are_clipped_together():
    a, b, none = (nn.Parameter(np.float64(v)) for v in ([3, 0], [[4]], [1]))
    a.grad, b.grad = np.float64([3, 0]), np.float64([[4]])
    grads = a.grad, b.grad
    assert nn.utils.clip_grad_norm_([a, b, none], 10) == 5
    assert a.grad.tolist() == [3, 0] and b.grad.tolist() == [[4]]
    assert nn.utils.clip_grad_norm_([a, b, none], 1) == 5
    assert (a.grad is grads[0]) and (b.grad is grads[1]) and none.grad is None
    np.testing.assert_allclose([*a.grad, *b.grad.ravel()], [0.6, 0, 0.8], rtol=1e-6)
    a.grad[0] = np.inf
    with pytest.raises(mv.GradientError, match="expected a finite norm of gradients, got inf"):
        nn.utils.clip_grad_norm_([a, b], 1)
    np.testing.assert_allclose(b.grad, [[0.8]], rtol=1e-6)
    assert nn.utils.clip_grad_norm_([none], 1) == 0
    sigma = nn.Parameter(np.ones(()))
    sigma.grad = np.ones(()) * 6  # a NumPy scalar
    assert nn.utils.clip_grad_norm_([sigma], 3) == 6 and sigma.grad == pytest.approx(3)
    b.grad = np.ones(()) * 6  # a NumPy scalar, as 0-d arrays become by arithmetic
    assert nn.utils.clip_grad_norm_([b], 3) == 6 and b.grad == pytest.approx(3)
    with pytest.raises(ValueError, match="max_norm: expected"):
        nn.utils.clip_grad_norm_(b, -1)


def test_numpy_sees_the_values_of_a_tensor():
    x = mv.Tensor(np.float32([1, 2]))
    assert np.asarray(x) is x.data
    assert np.asarray(x, np.float64).dtype == np.float64
    assert not np.shares_memory(np.array(x), x.data)
    assert np.stack([x, x]).tolist() == [[1, 2], [1, 2]]
