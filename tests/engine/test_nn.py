"""Modules: names, state, modes, moving; what is refused leaves everything as it was."""

import collections

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


def test_sequential_is_composition_by_number():
    double, shift = nn.Linear(1, 1), nn.Linear(1, 1)
    for layer, w, b in ((double, 2, 0), (shift, 1, 3)):
        layer.weight.data[:], layer.bias.data[:] = w, b
    both = nn.Sequential(double, shift)
    assert both(np.float32([[5]])).item() == 13
    assert len(both) == 2 and both[1] is shift and both[-2] is double and double in list(both)


def test_a_slice_of_sequential_is_one():
    layers = nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)
    whole = nn.Sequential(*layers)
    part = whole[1:]
    assert isinstance(part, nn.Sequential) and list(part) == [*layers[1:]]
    assert list(part.state_dict()) == ["2.weight", "2.bias"]  # PyTorch keeps the names too
    x = np.ones((4, 2), np.float32)
    np.testing.assert_array_equal(part(whole[:1](x)).data, whole(x).data)


def test_sequential_takes_names():
    layers = {"map": nn.Linear(2, 3), "bend": nn.ReLU()}
    for given in (layers, collections.OrderedDict(layers)):
        both = nn.Sequential(given)
        assert list(both.state_dict()) == ["map.weight", "map.bias"]
        assert both(np.full((1, 2), -5, np.float32)).data.min() >= 0
    assert both.append(nn.Tanh())[2] is both[-1]


@pytest.mark.parametrize(
    ("parts", "got"),
    [
        (([nn.Linear(3, 3), nn.ReLU()],), r"got \[Linear"),
        ((F.relu,), "got relu"),
        ((nn.ReLU,), "got ReLU"),
        ((nn.ReLU(), None), "got None"),
        (({"a": F.relu},), "got relu"),
        ((nn.ReLU(), {"a": nn.ReLU()}), "got {'a'"),
    ],
)
def test_sequential_takes_modules_only(parts, got):
    with pytest.raises(TypeError, match=rf"^Sequential: expected modules.*{got}"):
        nn.Sequential(*parts)


def test_a_module_list_is_seen():
    class Deep(nn.Module):
        def __init__(self):
            self.layers = nn.ModuleList(nn.Linear(2, 2) for _ in range(2))
            self.layers.append(nn.Linear(2, 1)).extend([nn.ReLU()])

        def forward(self, x):
            for layer in self.layers:
                x = layer(x)
            return x

    model = Deep()
    assert len(model.layers) == 4 and len(model.parameters()) == 6
    assert list(model.state_dict())[-1] == "layers.2.bias"
    assert isinstance(model.layers[1:], nn.ModuleList) and len(model.layers[1:]) == 3
    assert model(np.ones((5, 2), np.float32)).shape == (5, 1)
    model.layers[3] = nn.Tanh()
    assert isinstance(model.layers[-1], nn.Tanh)
    with pytest.raises(TypeError, match="ModuleList: expected modules"):
        nn.ModuleList([F.relu])


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
    with pytest.raises(mv.GradientError):
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


# --- Options ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda: nn.Linear(-3, 8), ValueError, "in_features: expected at least 0, got -3"),
        (lambda: nn.Linear(3, 2.5), TypeError, r"out_features: expected a whole number, got 2\.5"),
        (lambda: nn.Linear(3, True, rng=0), TypeError, "out_features: expected a whole number"),
        (lambda: nn.Linear(3, 2, rng=0), TypeError, "rng: expected a NoiseStream, got 0"),
        (lambda: nn.Conv2d(3, 8, (3,)), ValueError, r"kernel_size: .*got \(3,\)"),
        (lambda: nn.Conv2d(3, 8, 0), ValueError, "kernel_size: expected"),
        (lambda: nn.Conv2d("3", 8, 3), TypeError, "in_channels: expected a whole number"),
        (lambda: nn.Conv2d(3, 8, 3, stride=0), ValueError, "stride: expected"),
        (lambda: nn.Conv2d(3, 8, 3, 1, 1, 1, 3), ValueError, "groups: expected 1"),
        (lambda: nn.ConvTranspose2d(3, 8, 3, groups=2), ValueError, "groups: expected 1"),
        (lambda: nn.ConvTranspose2d(3, 8, 3, 1, 1, 1, 2), TypeError, "positional"),
        (lambda: F.conv2d(np.ones(1), np.ones(1), groups=2), ValueError, "groups: expected 1"),
        (lambda: F.conv_transpose2d(1, 2, None, 1, 0, 0, 2), TypeError, "positional"),
        (lambda: nn.BatchNorm2d(2, eps=-1), ValueError, "eps: expected a number finite and >= 0"),
        (lambda: nn.BatchNorm2d(2, momentum=float("nan")), ValueError, "momentum: expected"),
        (lambda: nn.LeakyReLU(float("nan")), ValueError, "negative_slope: expected"),
        (lambda: nn.Unflatten((32, 31)), TypeError, "unflattened_size"),
        (lambda: nn.Unflatten(1, 32), TypeError, "unflattened_size: expected a tuple of sizes"),
        (lambda: nn.Unflatten(3, (1, 2))(np.ones((1, 2))), ValueError, "dim: 3 is out of range"),
        (lambda: nn.Flatten(2)(np.ones((1, 2))), ValueError, "start_dim: 2 is out of range"),
        (lambda: F.flatten(np.ones((1, 2)), 1, 0), ValueError, "start_dim: expected at most"),
    ],
)  # fmt: skip
def test_options_that_cannot_be_meant(make, error, says):
    with pytest.raises(error, match=says):
        make()


def test_numpys_integers_are_sizes():
    three = np.int64(3)
    assert nn.Linear(three, np.uint8(2)).weight.shape == (2, 3)
    layer = nn.Conv2d(three, three, (three, 2), np.int32(1), groups=np.int64(1))
    assert layer.weight.shape == (3, 3, 3, 2)
    assert nn.BatchNorm2d(num_features=three, eps=np.float32(1e-3)).weight.shape == (3,)
    assert nn.Flatten(np.int64(1))(np.ones((2, 3, 4))).shape == (2, 12)
    assert nn.Unflatten(np.int64(1), np.array([3, 4]))(np.ones((2, 12))).shape == (2, 3, 4)


def test_batch_norm_may_weigh_all_batches_alike():
    layer, rng = nn.BatchNorm2d(2, momentum=None), np.random.default_rng(0)
    batches = rng.normal(size=(5, 6, 2)).astype(np.float32)
    for x in batches:
        layer(x)
    np.testing.assert_allclose(layer.running_mean, batches.mean(axis=(0, 1)), atol=1e-6)
    variances = batches.var(axis=1, ddof=1).mean(axis=0)
    np.testing.assert_allclose(layer.running_var, variances, rtol=1e-5)


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
    with pytest.raises(mv.GradientError, match="norm is inf"):
        nn.utils.clip_grad_norm_([a, b], 1)
    np.testing.assert_allclose(b.grad, [[0.8]], rtol=1e-6)
    assert nn.utils.clip_grad_norm_([none], 1) == 0
    with pytest.raises(ValueError, match="max_norm: expected"):
        nn.utils.clip_grad_norm_(b, -1)


def test_numpy_sees_the_values_of_a_tensor():
    x = mv.Tensor(np.float32([1, 2]))
    assert np.asarray(x) is x.data
    assert np.asarray(x, np.float64).dtype == np.float64
    assert not np.shares_memory(np.array(x), x.data)
    assert np.stack([x, x]).tolist() == [[1, 2], [1, 2]]
