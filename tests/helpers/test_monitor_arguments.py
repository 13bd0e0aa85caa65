"""What Monitor, diagnose, live and their like are given by mistake: the error says what to give."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from tests.helpers.loops import all_hooks, net
from zth_helpers import Monitor, diagnose, live, plots
from zth_helpers.monitor import Finding, stop_on, tensorboard, write_to

SGD = torch.optim.SGD


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda m: Monitor(m, SGD(m.parameters(), 0.1)),
            TypeError,
            r"an optimizer: call .*optimizer=optimizer",
        ),
        (lambda m: Monitor(m, m[0].weight), TypeError, "got one Parameter: give a list of tensors"),
        (lambda m: Monitor(m, 100), TypeError, r"got one int: .*model\.named_parameters\(\)"),
        (lambda m: Monitor(m, m), TypeError, "a list with a Linear in it"),
        (lambda m: Monitor(m, {"a": 1.0}), TypeError, "a list with a float in it"),
        (lambda m: Monitor(m, []), ValueError, "no parameters to follow"),
        (lambda m: Monitor(m, only=5), TypeError, "only=5: give the pattern of a name, or a list"),
        (lambda m: Monitor(m, only=["0", 1]), TypeError, "only="),
        (lambda m: Monitor(m, only="1"), ValueError, "only=1 leaves no parameters"),
        (lambda m: Monitor(m, only="9"), ValueError, "no layer is named like 9"),
        (lambda m: Monitor(m, scaler=True), TypeError, r"scaler is a bool: give the torch\.amp\.GradScaler"),
        (lambda m: Monitor(m, optimizer=SGD), TypeError, "register_step_pre_hook"),
        (lambda m: Monitor({"net": m}), ValueError, r"dict has no layers .* as an nn\.ModuleDict"),
        (lambda m: Monitor([m, 3]), TypeError, "layer 1 is a int"),
    ],
)
def test_a_monitor_that_cannot_be_made_leaves_nothing_behind(make, error, message):
    model = net()
    with pytest.raises(error, match=message) as kept:  # and with it the frames, as a notebook keeps them
        make(model)
    assert all_hooks(model) == 0, kept


def test_parameters_come_as_tensors_or_with_their_names():
    model = net()
    named = dict(model.named_parameters())
    for given in (named, named.items(), model.named_parameters(), list(named.items())):
        assert Monitor(model, given).parameter_names == list(named)
    assert Monitor(model, [model[2].bias]).parameter_names == ["2.bias"]
    outside = torch.ones(2, requires_grad=True)
    mon = Monitor(model, iter([outside, model[2].bias, outside]))
    assert mon.parameter_names == ["parameter 0", "2.bias"]  # each once


@pytest.mark.parametrize("lr", [[0.1], "fast"])
def test_a_learning_rate_that_is_no_number(lr):
    model = net()
    mon = Monitor(model, every=1)
    loss = model(torch.randn(8, 4)).square().mean()
    loss.backward()
    with pytest.raises(ValueError, match=r"lr=.*: give one number, .*get_last_lr\(\)\[0\]"):
        mon.step(loss, lr=lr)
    mon.step(loss, lr=torch.tensor(0.1))  # the step has not been counted
    assert mon.loss_steps.tolist() == [0] and np.isfinite(mon.update_data).all()


def some_steps(every: int = 1, act=nn.Tanh) -> Monitor:
    model = net(act)
    mon = Monitor(model, every=every)
    for _ in range(3):
        loss = model(torch.randn(8, 4)).square().mean()
        loss.backward()
        mon.step(loss, lr=1e-3)
    return mon


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"vocab_size": "27"}, ValueError, "vocab_size='27': give the number of classes"),
        ({"vocab_size": 1}, ValueError, "vocab_size=1"),
        (
            {"thresholds": {"saturatd": 0.5}},
            TypeError,
            "no threshold 'saturatd': there are first_loss",
        ),
        (
            {"thresholds": {"update": 0.5}},
            ValueError,
            r"update=0\.5: give something like \(0\.0001, 0\.05",
        ),
        ({"thresholds": {"update": (1, 2, 3)}}, ValueError, "threshold update"),
        ({"thresholds": {"saturated": "much"}}, ValueError, "threshold saturated='much'"),
        ({"thresholds": {"dead": 0.5}}, ValueError, r"threshold dead=0\.5: give something like {'Tanh'"),
        ({"thresholds": {"dead": {"Relu": 0.5}}}, ValueError, "threshold dead"),
        ({"rules": lambda mon: []}, TypeError, r"rules=\[my_rule\]"),
        ({"rules": [lambda mon: ["bad"]]}, TypeError, "a rule gave a str: it gives a list of Findings"),
        (
            {"rules": [lambda mon: [Finding("fatal", "", "a", "b", "c", "d")]]},
            ValueError,
            "severity='fatal': give one of error, warning, note",
        ),
    ],
)
def test_what_diagnose_cannot_take(options, error, message):
    with pytest.raises(error, match=message):
        diagnose(some_steps(), **options)


def test_of_the_thresholds_for_dead_units_one_kind_can_be_changed():
    mon = some_steps(act=nn.ReLU)
    mon.outputs.dead[:, 1], limits = 0.4, {"dead": {"ReLU": 0.0}, "dead_spread": 0}
    assert not [f for f in diagnose(mon) if "dead" in f.what]
    assert [f.expected for f in diagnose(mon, thresholds=limits) if "dead" in f.what] == ["at most 0%"]
    tanh = some_steps()
    tanh.outputs.dead[:, 1] = 0.2  # the limit of the other kinds stays
    assert [f.expected for f in diagnose(tanh, thresholds=limits) if "dead" in f.what] == ["at most 10%"]


def test_a_rule_that_finds_nothing_may_return_nothing():
    assert diagnose(some_steps(), None, rules=[lambda mon: None]) == diagnose(some_steps(), None)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda mon: diagnose(net()), "diagnose reads a Monitor, not a Sequential"),
        (lambda mon: stop_on(mon, action="stop"), "action= got a str"),
        (lambda mon: stop_on(mon, vocab=27), "vocab"),
        (lambda mon: stop_on(mon, thresholds={"sat": 1}), "no threshold 'sat'"),
        (lambda mon: write_to(mon, SimpleNamespace()), r"write_to got a SimpleNamespace: .*tensorboard"),
        (lambda mon: tensorboard("runs"), "a str has no add_scalar: give a SummaryWriter"),
        (lambda mon: plots.dashboard(net()), "give a Monitor, or the list .* got a Sequential"),
        (lambda mon: plots.dashboard([[1.0, 2.0]]), "got a list"),
        (lambda mon: next(live({"loss": 1.0}, 3)), "got a dict"),
        (lambda mon: next(live(net(), 3)), "got a Sequential"),
    ],
)
def test_what_reads_a_monitor_refuses_anything_else(call, message):
    with pytest.raises(TypeError, match=message):
        call(some_steps())


def test_losses_that_still_have_their_graph_are_drawn():
    losses: list = []
    for i in live(losses, 4):
        losses.append(torch.tensor(float(i), requires_grad=True) * 2)
    line = plots.dashboard([*losses, 8.0]).axes[0].lines[0]
    assert line.get_ydata().tolist() == [0, 2, 4, 6, 8]
