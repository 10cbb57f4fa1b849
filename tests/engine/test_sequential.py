"""Containers: layers one after another, by number or by name, and lists of modules."""

import collections

import numpy as np
import pytest

from minivae import functional as F
from minivae import nn


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
