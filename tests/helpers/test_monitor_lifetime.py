"""A Monitor comes and goes without a trace in the network, and keeps nothing alive."""

from __future__ import annotations

import copy
import gc
import io
import pickle
import weakref

import pytest
import torch
import torch.multiprocessing
from torch import nn

from tests.helpers.loops import hooks_of, net, run
from zth_helpers.layers import Linear, Tanh
from zth_helpers.monitor import Monitor
from zth_helpers.monitor.modules import Hook


def test_close_and_with_remove_all_hooks():
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    mon = Monitor(model, optimizer=optimizer)
    assert hooks_of(model) == 4
    mon.close()
    assert hooks_of(model) == 0 and not optimizer._optimizer_step_pre_hooks
    with pytest.raises(ZeroDivisionError), Monitor(model, optimizer=optimizer, every=1) as mon:
        run(model, mon, torch.randn(8, 4))
        raise ZeroDivisionError
    assert hooks_of(model) == 0 and not optimizer._optimizer_step_pre_hooks and len(mon.steps) == 1


def test_a_model_that_runs_after_close_works():
    model, x = net(), torch.randn(8, 4)
    mon = Monitor(model, every=1)
    out = model(x)  # its graph still holds a hook
    mon.close()
    out.sum().backward()
    model(x).sum().backward()
    assert len(mon.steps) == 0


def test_a_dropped_monitor_takes_its_hooks_along():
    model, x = net(), torch.randn(8, 4)
    mon = Monitor(model, every=1)
    out = model(x)
    del mon
    gc.collect()
    assert hooks_of(model) == 0
    out.sum().backward()


def test_the_monitor_does_not_keep_the_model_alive():
    model = net()
    mon = Monitor(model, every=1)
    run(model, mon, torch.randn(8, 4))
    gone = weakref.ref(model), weakref.ref(model[0].weight)
    del model
    gc.collect()
    assert [ref() for ref in gone] == [None, None]
    assert mon.outputs.mean.shape == (1, 3) and mon.layer_names == ["0", "1", "2"]


def test_the_monitor_does_not_keep_plain_layers_alive():
    layers = [Linear(4, 4), Tanh()]
    layers[0].weight.requires_grad = True
    mon = Monitor(layers, every=1)
    out = layers[1](layers[0](torch.randn(8, 4)))
    mon.retain_grads()
    out.sum().backward()
    mon.step(out.sum())
    gone = weakref.ref(layers[0]), weakref.ref(out)
    del layers, out
    gc.collect()
    assert [ref() for ref in gone] == [None, None]


@pytest.mark.parametrize("how", ["deepcopy", "pickle", "torch.save"])
def test_copies_of_a_watched_model_run_unwatched(how):
    model, x = net(), torch.randn(8, 4)
    mon = Monitor(model, every=1)
    run(model, mon, x)
    if how == "deepcopy":
        twin = copy.deepcopy(model)
    elif how == "pickle":
        twin = pickle.loads(pickle.dumps(model))
    else:
        buffer = io.BytesIO()
        torch.save(model, buffer)
        buffer.seek(0)
        twin = torch.load(buffer, weights_only=False)
    calls = mon.calls.copy()
    assert torch.equal(twin(x), model.eval()(x)) and mon.calls.tolist() == calls.tolist()
    twin(x).sum().backward()


def test_state_dict_is_untouched():
    model = net()
    keys = list(model.state_dict())
    Monitor(model)
    assert list(model.state_dict()) == keys


def test_two_monitors_on_one_model():
    model = net()
    a, b = Monitor(model, every=1), Monitor(model, every=1)
    x = torch.randn(8, 4)
    out = model(x)
    out.sum().backward()
    a.step(out.sum()), b.step(out.sum())
    a.close()
    run(model, b, x)
    assert len(a.steps) == 1 and len(b.steps) == 2 and hooks_of(model) == 4


def test_a_hook_always_returns_none():
    class Owner:
        on = True

        def method(self, *args):
            return 1

    owner = Owner()
    assert Hook(owner, "method")(2) is None and Hook()(1, 2, 3) is None


def test_bypassed_layers_show_no_calls():
    class Bypass(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.act = nn.Linear(3, 3), nn.Tanh()

        def forward(self, x):
            return self.act(self.a.forward(x))

    model = Bypass()
    mon = Monitor(model, every=1)
    run(model, mon, torch.ones(2, 3))
    assert dict(zip(mon.layer_names, mon.calls.tolist())) == {"act": 1, "a": 0}
