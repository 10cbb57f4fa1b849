"""PyTorch names that minivae does not have: the error says what to write instead."""

import inspect
import re

import numpy as np
import pytest

import minivae as mv
from minivae import functional as F
from minivae import nn, optim
from minivae.torch_names import INSTEAD

PLACES = {
    "mv": mv,
    "functional": F,
    "nn": nn,
    "optim": optim,
    "Module": nn.Linear(1, 1),
    "Tensor": mv.Tensor([1.0]),
}
ROWS = [(place, name) for place, names in INSTEAD.items() for name in names]


@pytest.mark.parametrize(("place", "name"), ROWS)
def test_a_name_of_the_table_is_missing_and_told(place, name):
    assert not hasattr(PLACES[place], name)
    with pytest.raises(AttributeError, match=re.escape(f"write {INSTEAD[place][name]}")) as caught:
        getattr(PLACES[place], name)
    assert caught.value.name == name


@pytest.mark.parametrize(("place", "name"), ROWS)
def test_what_is_to_be_written_is_there(place, name):
    """Every dotted name in the advice exists."""
    spaces = {"mv": mv, "F": F, "nn": nn, "optim": optim, "np": np, "minivae": mv}
    spaces |= {"x": PLACES["Tensor"], "layer": PLACES["Module"], "model": PLACES["Module"]}
    text = re.sub(r"'[^']*'", "''", INSTEAD[place][name])
    for first, rest in re.findall(r"\b(mv|F|nn|optim|np|minivae|x|layer)\.([\w.]+)", text):
        found = spaces[first]
        for part in rest.strip(".").split("."):
            found = getattr(found, part)


@pytest.mark.parametrize("place", PLACES)
def test_other_names_are_missing_as_usual(place):
    for name in ("frobnicate", "__frobnicate__"):
        assert not hasattr(PLACES[place], name)
        with pytest.raises(AttributeError) as caught:
            getattr(PLACES[place], name)
        assert str(caught.value).endswith(f"has no attribute {name!r}")


@pytest.mark.parametrize("name", ["exp", "log", "relu", "tanh", "sqrt", "sigmoid", "softplus"])
def test_functions_are_no_methods(name):
    with pytest.raises(AttributeError, match=rf"write F\.{name}\(x\)"):
        getattr(mv.Tensor([1.0]), name)
    with pytest.raises(AttributeError, match=rf"write mv\.functional\.{name}$"):
        getattr(mv, name)


@pytest.mark.parametrize("name", ["argmax", "min", "std", "all", "round"])
def test_what_arrays_have_is_told_to_be_outside_the_graph(name):
    with pytest.raises(AttributeError, match=rf"x\.data\.{name}, which is outside the graph"):
        getattr(mv.Tensor([1.0]), name)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda x: F.max(x, x), "expected one tensor, axis= and keepdims= by name"),
        (lambda x: F.max(x, 1), "also returns indices"),
        (lambda x: x.max(1), "also returns indices"),
        (lambda x: x.max(dim=1), "also returns indices"),
        (lambda x: x.transpose(0, 1), "one tuple of all axes"),
        (lambda x: F.sum(x, axis=1.5), r"axis: expected a whole number, got 1\.5"),
        (lambda x: F.transpose(x, ("0", 1)), "axes: expected a whole number"),
        (lambda x: F.flatten(x, None), "start_dim: expected a whole number, got None"),
        (lambda x: F.log_mean_exp(x, 0.5), "axis: expected a whole number"),
        (lambda x: mv.save({"a": 1}, "path"), "path: expected a path, got dict"),
        (lambda x: mv.save(nn.ReLU(), "path"), "path: expected a path, got ReLU"),
        (lambda x: mv.save("path", {"a": 1}), "model: expected a module"),
        (lambda x: mv.load(nn.ReLU(), "path"), "path: expected a path, got ReLU"),
        (lambda x: mv.load("path", "model"), "model: expected a module"),
        (lambda x: F.reparameterize_kl(x, x, nn.Parameter(np.ones((2, 2)))), "noise: expected no"),
    ],
)
def test_calls_that_mean_something_else_in_pytorch(call, says):
    with pytest.raises(TypeError, match=says):
        call(mv.Tensor(np.ones((2, 2))))


def test_axes_are_whole_numbers_of_any_kind():
    x = np.arange(6.0).reshape(2, 3)
    for axis in (1, np.int64(1), np.uint8(1), -1, [1], (np.int32(1),)):
        assert F.sum(x, axis=axis).data.tolist() == [3, 12]
        assert F.max(x, axis=axis).data.tolist() == [2, 5]
    assert F.sum(x, axis=[0, 1]).item() == 15
    assert F.concatenate([x, x], axis=np.int64(1)).shape == (2, 6)
    assert F.log_mean_exp(x, np.int64(0)).shape == (3,)
    assert F.transpose(x, [np.int64(1), 0]).shape == (3, 2)
    for wrong, says in (((0, 0), "different axes"), (2, "expected an axis of shape")):
        with pytest.raises(ValueError, match=says):
            F.sum(x, axis=wrong)
    with pytest.raises(ValueError, match="axis: expected a whole number, got None"):
        F.concatenate([x], axis=None)


def test_batch_norm_takes_no_running_arrays_in_training():
    x = np.array([[1.0, 5.0], [3.0, 7.0]])
    want = [[-1, -1], [1, 1]]
    assert F.batch_norm(x, None, None, training=True, eps=0).data.tolist() == want
    mean, var = mv.Tensor(np.zeros(2)), mv.Tensor(np.ones(2))
    F.batch_norm(x, mean, var, None, None, True, momentum=1.0)
    assert mean.data.tolist() == [2, 6] and var.data.tolist() == [2, 2]
    for arrays in ((None, None), (mean, None)):
        with pytest.raises(ValueError, match="expected running_mean and running_var, or None"):
            F.batch_norm(x, *arrays)
    for wrong in ([0.0, 0.0], nn.Parameter(np.zeros(2))):
        with pytest.raises(TypeError, match="expected running_mean to be an array, got"):
            F.batch_norm(x, wrong, var, training=True)
    with pytest.raises(ValueError, match="eps: expected"):
        F.batch_norm(x, mean, var, eps=-1.0)


def test_the_functions_arguments_stand_where_pytorchs_do():
    """Arguments that are often passed by position have PyTorch's order."""
    places = {
        F.conv2d: "x w b stride padding dilation groups",
        F.conv_transpose2d: "x w b stride padding output_padding",
        F.batch_norm: "x running_mean running_var w b training momentum eps",
        F.relu: "x inplace",
        F.leaky_relu: "x negative_slope inplace",
        nn.Conv2d: "in_channels out_channels kernel_size stride padding dilation groups bias",
        nn.ConvTranspose2d: "in_channels out_channels kernel_size stride padding output_padding",
        nn.BatchNorm2d: "num_features eps momentum",
        nn.Linear: "in_features out_features bias",
        optim.SGD: "params lr momentum dampening weight_decay nesterov",
        optim.Adam: "params lr betas eps weight_decay",
    }
    for function, names in places.items():
        parameters = inspect.signature(function).parameters.values()
        positional = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
        assert positional == names.split(), function
