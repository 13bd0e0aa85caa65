"""What a Monitor records at which step: samples, updates, weights, losses."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from tests.helpers.loops import deep_net, net, one_step
from zth_helpers import Monitor
from zth_helpers.layers import Linear, Tanh


def trained(steps: int, model: nn.Module | None = None, by_hand: bool = False, **options) -> Monitor:
    model = model or deep_net()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    mon = Monitor(model, optimizer=None if by_hand else optimizer, **options)
    for _ in range(steps):
        mon.step(one_step(model, optimizer), lr=0.1)
    return mon


@pytest.mark.parametrize("by_hand", [True, False])
@pytest.mark.parametrize(
    ("options", "samples", "updates", "histograms"),
    [
        ({}, {0, 100}, {0, 100}, {0, 100}),
        ({"every": 7}, set(range(0, 110, 7)), set(range(0, 110, 7)), set(range(0, 110, 7))),
        ({"every": 50, "updates_every": 20}, {0, 50, 100}, {0, 20, 40, 50, 60, 80, 100}, {0, 50, 100}),
        ({"every": 20, "histograms_every": 40}, {*range(0, 110, 20)}, {*range(0, 110, 20)}, {0, 40, 80}),
        (
            {"every": 20, "updates_every": 100},
            {*range(0, 110, 20)},
            {*range(0, 110, 20)},
            {*range(0, 110, 20)},
        ),
    ],
)
def test_what_is_recorded_when(options, samples, updates, histograms, by_hand):
    mon = trained(110, by_hand=by_hand, **options)
    assert mon.steps.tolist() == sorted(samples) and mon.update_steps.tolist() == sorted(updates)
    seen = mon.outputs.hist.sum((1, 2)) > 0
    assert mon.steps[seen].tolist() == sorted(histograms)
    assert mon.loss_steps.tolist() == list(range(110)) and np.isfinite(mon.update_data).all()
    assert repr(mon) == f"Monitor of 5 layers and 6 parameters: {len(samples)} samples in 110 steps"
    rates = np.full(len(updates), np.nan if by_hand else 0.1)
    np.testing.assert_array_equal(mon.update_rates, rates)
    assert mon.interval == mon.every == options.get("every", 100)


@pytest.mark.parametrize(("every", "apart"), [(1, 10), (3, 12), (7, 14), (10, 10), (25, 25)])
def test_weights_are_looked_at_ten_steps_apart(every, apart):
    mon = trained(60, every=every)
    assert mon.weight_steps.tolist() == list(range(0, 60, apart))
    weights = np.array([len(shape) > 1 for shape in mon.parameter_shapes])
    assert (np.isfinite(mon.parameter_grads.std).all(0) == weights).all()
    sizes = [math.prod(shape) for shape in mon.parameter_shapes]
    assert mon.parameter_grads.hist.sum(2).tolist() == [list(sizes * weights)] * len(mon.weight_steps)
    assert mon.moved.all()


def test_what_has_moved_since_the_weights_were_last_looked_at():
    model = deep_net()
    parameters = dict(model.named_parameters())
    mon = Monitor(model, every=5)
    for i in range(31):
        loss = one_step(model, None)
        if i == 14:
            parameters["0.weight"].data[3, 2] += 1e-3
        if i == 15:
            parameters["2.bias"].data[0].mul_(1 + 1e-6)
        mon.step(loss)
    names = np.array(mon.parameter_names)
    assert mon.weight_steps.tolist() == [0, 10, 20, 30]
    assert [names[row].tolist() for row in mon.moved] == [list(names), [], ["0.weight", "2.bias"], []]


def test_the_tables_have_room_for_long_runs():
    """A loss for each of 262,144 steps, 4,096 updates, 512 samples, 256 looks at the weights."""
    mon = trained(1)
    tables = mon._losses, mon._updates, mon._samples, mon._weights
    assert [table.capacity for table in tables] == [2**18, 4096, 512, 256]
    large = trained(1, model=nn.Sequential(nn.Linear(6, 4), *[nn.Tanh()] * 100, nn.Linear(4, 4)))
    wide = trained(
        1, model=nn.Sequential(nn.Linear(6, 4), *(nn.Identity() for _ in range(150)), nn.Linear(4, 4))
    )
    assert large._samples.capacity == 512 and 4.9e6 < wide._samples.nbytes <= 5e6


def test_functions_are_called_after_each_sample_and_no_other_step():
    calls: list[tuple[int, int]] = []
    mon = Monitor(model := deep_net(), every=4)
    mon.after_sample.append(lambda m: calls.append((1, int(m.steps[-1]))))
    mon.after_sample.append(lambda m: calls.append((2, int(m.loss_steps[-1]))))
    for _ in range(9):
        mon.step(one_step(model, None))
    assert calls == [(1, 0), (2, 0), (1, 4), (2, 4), (1, 8), (2, 8)]


def test_an_update_is_copied_at_the_steps_that_need_it_and_no_other():
    model = deep_net()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    mon = Monitor(model, optimizer=optimizer, every=4, updates_every=2)
    copied = []
    for _ in range(8):
        loss = one_step(model, optimizer)
        copied.append(mon._parameters.before is not None)
        mon.step(loss)
        assert mon._parameters.before is None
    assert copied == [True, False] * 4 and mon.optimizer_steps == 8
    mon.close()
    one_step(model, optimizer)
    assert mon.optimizer_steps == 8 and mon._parameters.before is None


def test_a_broken_loss_calls_for_one_sample_more():
    """The step after it is looked at; when that names a layer, the rest of the run goes on as planned."""
    model = deep_net()
    mon = Monitor(model, every=10)
    for i in range(21):
        loss = one_step(model, None)
        mon.step(loss * math.nan if i in (3, 7) else loss)
    assert mon.steps.tolist() == [0, 4, 8, 10, 20] and mon.nonfinite_first is None
    for _ in range(9):
        model[0].weight.data[0, 0] = math.nan
        mon.step(one_step(model, None))
    assert mon.nonfinite_first == (22, "0") and mon.steps.tolist() == [0, 4, 8, 10, 20, 22]


def test_histograms_come_with_a_broken_loss_of_plain_layers():
    layer = Linear(2, 2)
    layer.weight.requires_grad = True
    mon = Monitor([layer], every=100, histograms_every=1000)
    for i in range(3):
        loss = layer(torch.ones(2, 2)).sum()
        mon.retain_grads()
        loss.backward()
        mon.step(math.inf if i == 1 else loss)
    assert mon.steps.tolist()[:2] == [0, 1] and (mon.outputs.hist.sum((1, 2)) > 0)[:2].all()


@pytest.mark.parametrize("plain", [True, False])
def test_units(plain):
    model = [Linear(4, 6), Tanh()] if plain else nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Conv1d(5, 3, 1))
    if plain:
        model[0].weight.requires_grad = True
    mon = Monitor(model, every=1)
    x = torch.randn(2, 5, 4)
    for layer in model:
        x = layer(x)
    mon.retain_grads()
    x.sum().backward()
    mon.step(x.sum())
    assert mon.units.tolist() == ([6, 6] if plain else [6, 6, 3])
    assert Monitor(model).units.tolist() == [0] * len(model)  # nothing has run yet


def test_networks_are_those_of_the_outermost_container():
    a, b = (nn.Sequential(nn.Linear(2, 2), nn.Tanh()) for _ in range(2))
    inner = nn.ModuleDict({"x": a, "y": nn.ModuleList([b])})
    assert Monitor(inner).networks == ["x.", "y."]
    assert Monitor(nn.ModuleDict({"outer": inner})).networks == ["outer."]
    assert Monitor(nn.ModuleList([nn.Linear(2, 2), nn.Tanh()])).networks == [""]  # one network, in a list
    assert Monitor(a).networks == [""]
    assert Monitor(inner).layer_names == ["x.0", "x.1", "y.0.0", "y.0.1"]
    assert Monitor(inner).parameter_names[-1] == "y.0.0.bias"


def test_the_record_before_the_first_step():
    mon = Monitor(net(), every=1)
    assert mon.layer_names == ["0", "1", "2"] and mon.layer_kinds == ["Linear", "Tanh", "Linear"]
    assert mon.calls.tolist() == mon.units.tolist() == [0, 0, 0] and mon.without_gradients == []
    assert mon.outputs.std.shape == mon.gradients.mean.shape == (0, 3) and mon.outputs.hist.shape == (
        0,
        3,
        50,
    )
    assert mon.steps.tolist() == mon.losses.tolist() == mon.update_steps.tolist() == []
    assert mon.grad_data.shape == mon.update_data.shape == mon.moved.shape == (0, 4)
    assert mon.optimizer_steps is None and mon.learning_rates == [] and mon.not_in_optimizer == []


def test_a_step_without_gradients_in_a_run_that_had_some_is_recorded_without():
    model = deep_net()
    mon = Monitor(model, every=1)
    mon.step(one_step(model, None))
    loss = one_step(model, None)
    model.zero_grad()
    mon.step(loss)
    assert np.isfinite(mon.grad_data[0]).all() and np.isnan(mon.grad_data[1]).all()
    assert np.isfinite(mon.outputs.std).all()


def test_a_model_of_which_nothing_can_be_read_shows_its_parameters():
    class Turn(nn.Module):
        def __init__(self):
            super().__init__()
            self.angle = nn.Parameter(torch.ones(3))

        def forward(self, x):
            return x * torch.exp(1j * self.angle)

    model = Turn()
    mon = Monitor(model, every=1)
    for _ in range(2):
        loss = model(torch.ones(2, 3)).real.square().sum()
        loss.backward()
        mon.step(loss, lr=0.1)
    assert mon.steps.tolist() == [0, 1] and mon.skipped == {"Turn": "complex numbers"}
    assert np.isnan(mon.outputs.mean).all() and np.isfinite(mon.grad_data).all()


def test_plain_layers_gradients_are_in_the_units_of_p_grad():
    layer, x = Linear(4, 3), torch.randn(8, 4)
    layer.weight.requires_grad = True
    optimizer = torch.optim.SGD([layer.weight], 0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**12)
    mon = Monitor([layer], optimizer=optimizer, scaler=scaler, every=1)
    loss = layer(x).square().mean()
    mon.retain_grads()
    scaler.scale(loss).backward()
    scaler.step(optimizer)
    scaler.update()
    mon.step(loss)
    expected = 2 * layer.out.detach() / layer.out.numel()
    assert mon.gradients.std[0, 0] == pytest.approx(expected.std().item(), rel=1e-5)


def test_large_outputs_have_no_histogram_either_where_none_is_wanted():
    model = nn.Sequential(nn.Linear(6, 3000), nn.Tanh(), nn.Linear(3000, 4))  # 96,000 values: reduced at once
    mon = trained(3, model=model, every=1, histograms_every=2)
    assert mon.outputs.hist.sum(2).tolist() == [[96_000, 96_000, 128], [0, 0, 0], [96_000, 96_000, 128]]
    assert mon.gradients.hist.sum(2).tolist() == mon.outputs.hist.sum(2).tolist()


def test_the_number_of_classes_is_that_of_the_first_loss():
    model, x = deep_net(), torch.randn(8, 6)
    mon = Monitor(model, every=1)
    known, tells = [], hasattr(model(x).log_softmax(1).grad_fn, "_input_metadata")  # an older torch does not
    for first in (True, False):
        out = model(x)
        loss = nn.functional.cross_entropy(out if first else out[:, :2], torch.zeros(8).long())
        loss.backward()
        mon.step(loss)
        known.append(mon.classes)
    assert known == [4 if tells else None] * 2


def test_a_group_that_joins_the_optimizer_later_is_seen_at_the_next_sample():
    """As when layers are unfrozen one after the other."""
    model = net()
    optimizer = torch.optim.SGD(model[2].parameters(), 0.1)
    mon = Monitor(model, optimizer=optimizer, every=1)
    assert mon.not_in_optimizer == ["0.weight", "0.bias"]
    optimizer.add_param_group({"params": model[0].parameters()})
    loss = model(torch.randn(8, 4)).square().mean()
    loss.backward(), optimizer.step(), mon.step(loss)
    assert mon.not_in_optimizer == []


def test_learning_rates_of_several_groups_and_of_none():
    model = net()
    groups = [{"params": [model[0].weight], "lr": 0.3}, {"params": [model[0].bias, *model[2].parameters()]}]
    mon = Monitor(model, optimizer=(optimizer := torch.optim.SGD(groups, 0.01)), every=1)
    assert mon.learning_rates == [0.3, 0.01] and mon.optimizer_steps == 0
    loss = model(torch.randn(8, 4)).square().mean()
    loss.backward(), optimizer.step()
    optimizer.param_groups[0]["lr"] = 0.001  # a schedule, after the step: the rate of the update was 0.3
    mon.step(loss)
    assert mon.update_rates.tolist() == [0.3] and mon.learning_rates == [0.001, 0.01]

    class Own(torch.optim.Optimizer):
        """It has no learning rate."""

        @torch.no_grad()
        def step(self, closure=None):
            for group in self.param_groups:
                for p in group["params"]:
                    p -= 0.1 * p.grad

    model = net()
    mon = Monitor(model, optimizer=(own := Own(model.parameters(), {})), every=1)
    loss = model(torch.randn(8, 4)).square().mean()
    loss.backward(), own.step(), mon.step(loss)
    assert mon.learning_rates == [] and np.isnan(mon.update_rates).all() and (mon.update_data > 0).all()
