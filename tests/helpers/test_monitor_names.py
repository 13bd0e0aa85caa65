"""Names of parameters and layers, a choice of them, and a statistic of one's own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from tests.helpers.loops import net
from zth_helpers import Monitor
from zth_helpers.layers import BatchNorm1d, Linear, Tanh
from zth_helpers.monitor import named_parameters
from zth_helpers.monitor.statistics import EXTRA, statistic


def test_parameters_can_be_named():
    C, W = (torch.randn(3, 3, requires_grad=True) for _ in range(2))
    model = nn.Linear(3, 3)
    mon = Monitor(model, {"C": C, "W": W}, every=1)
    loss = (model(torch.ones(2, 3) @ C) @ W).sum()
    loss.backward()
    mon.step(loss, lr=0.1)
    assert mon.parameter_names == ["C", "W"]
    assert mon.grad_data[0, 0] == pytest.approx((C.grad.norm() / C.norm()).item(), rel=1e-5)


def test_what_is_in_no_layer_is_named_beside_the_layers_parameters():
    C, layers = torch.randn(5, 4, requires_grad=True), [Linear(4, 3), BatchNorm1d(3), Tanh()]
    named = {"C": C} | named_parameters(layers)
    own = [p.requires_grad_() for layer in layers for p in layer.parameters()]
    theirs = Monitor(layers, own).parameter_names
    assert Monitor(layers, named).parameter_names == list(named) == ["C", *theirs]
    assert theirs == ["0 Linear weight", "0 Linear bias", "1 BatchNorm1d gamma", "1 BatchNorm1d beta"]
    assert all(p is q for p, q in zip(named.values(), [C, *own]))


def test_a_plain_layer_that_is_listed_twice_keeps_its_first_name():
    layer = Linear(4, 4)
    mon = Monitor([layer, Tanh(), layer])
    assert mon.layer_names == ["0 Linear", "1 Tanh"]
    assert mon.parameter_names == ["0 Linear weight", "0 Linear bias"]


@pytest.mark.parametrize(
    ("only", "layers", "parameters"),
    [
        ("0", ["0"], ["0.weight", "0.bias"]),
        (["0"], ["0"], ["0.weight", "0.bias"]),
        (["0", "2.bias"], ["0"], ["0.weight", "0.bias", "2.bias"]),
        (["1", "*.weight"], ["1"], ["0.weight", "2.weight"]),
        ("[02]", ["0", "2"], ["0.weight", "0.bias", "2.weight", "2.bias"]),
        ((), ["0", "1", "2"], ["0.weight", "0.bias", "2.weight", "2.bias"]),
    ],
)
def test_patterns_choose_what_is_watched(only, layers, parameters):
    mon = Monitor(net(), only=only)
    assert mon.layer_names == layers and mon.parameter_names == parameters


def test_layer_1_has_nothing_of_layer_10():
    many = nn.Sequential(*(nn.Linear(2, 2) for _ in range(11)))
    assert Monitor(many, only="1").parameter_names == ["1.weight", "1.bias"]
    assert Monitor([Linear(2, 2) for _ in range(11)], only="1 *").layer_names == ["1 Linear"]


def test_patterns_that_choose_nothing():
    with pytest.raises(ValueError, match=r"no layer is named like 2\.\*: there are 0, 1, 2"):
        Monitor(net(), only="2.*")
    with pytest.raises(ValueError, match=r"no layer is named like x or y: there are 0 Linear, 1 Tanh"):
        Monitor([Linear(2, 2), Tanh()], only=["x", "y"])
    with pytest.raises(ValueError, match="only=1 leaves no parameters to follow: name a layer that has"):
        Monitor(net(), only="1")
    chosen = Monitor([Linear(2, 2, bias=False), Linear(2, 2)], only="0 Linear")
    assert chosen.layer_names == ["0 Linear"] and chosen.parameter_names == ["0 Linear weight"]


def test_a_statistic_of_ones_own():
    @statistic
    def zeros(values: np.ndarray) -> float:
        """The share of exact zeros."""
        return float((values == 0).mean())

    try:
        model, x = net(nn.ReLU), torch.randn(8, 4)
        mon = Monitor(model, every=1)
        out = model[1](model[0](x))
        loss = model(x).square().mean()
        loss.backward()
        mon.step(loss)
        assert mon.outputs.zeros[0, 1] == pytest.approx((out == 0).float().mean().item())
        assert np.isfinite(mon.gradients.zeros).all() and "zeros" in dir(mon.outputs)
        with pytest.raises(ValueError, match="there is a statistic zeros already"):
            statistic(zeros)
    finally:
        del EXTRA["zeros"]
    with pytest.raises(AttributeError, match="there is no statistic 'nothing': there are mean, std"):
        _ = mon.outputs.nothing


def test_histograms_can_come_less_often():
    model = net()
    mon = Monitor(model, every=1, histograms_every=3)
    for _ in range(7):
        loss = model(torch.randn(8, 4)).square().mean()
        loss.backward()
        mon.step(loss, lr=0.1)
    assert mon.outputs.hist.sum(2).astype(bool).all(1).tolist() == [True, False, False] * 2 + [True]
    assert np.isfinite(mon.outputs.std).all() and np.isfinite(mon.gradients.std).all()
