"""Monitor's numbers against torch, its tables' bounds, its errors: on the lecture's plain layer objects."""

import contextlib
import gc
import sys
import tracemalloc

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from zth_helpers.layers import BatchNorm1d, Linear, Sequential, Tanh
from zth_helpers.monitor import Monitor
from zth_helpers.monitor.table import Rows


def mlp(seed=0, hidden=2):
    """C, layers and parameters as in lecture 4."""
    g = torch.Generator().manual_seed(seed)
    C = torch.randn((27, 4), generator=g)
    layers, fan_in = [], 12
    for _ in range(hidden):
        layers += [Linear(fan_in, 20, bias=False, generator=g), BatchNorm1d(20), Tanh()]
        fan_in = 20
    layers.append(Linear(20, 27, generator=g))
    parameters = [C] + [p for layer in layers for p in layer.parameters()]
    for p in parameters:
        p.requires_grad = True
    return C, layers, parameters


def train(C, layers, parameters, mon, steps, lr=0.1, seed=1, look=None):
    g = torch.Generator().manual_seed(seed)
    for i in range(steps):
        ix = torch.randint(0, 27, (16, 3), generator=g)
        x = C[ix].view(16, -1)
        for layer in layers:
            x = layer(x)
        loss = F.cross_entropy(x, ix[:, 0])
        mon.retain_grads()
        for p in parameters:
            p.grad = None
        loss.backward()
        if look:
            look(i, loss)
        for p in parameters:
            p.data += -lr * p.grad
        mon.step(loss, lr=lr)


def test_every_number_of_a_training_run_equals_the_lectures_own_code():
    C, layers, parameters = mlp()
    mon = Monitor(layers, parameters, every=2, updates_every=1)
    seen = {}

    def look(i, loss):
        outs = [layer.out.detach().clone() for layer in layers]
        grads = [layer.out.grad.clone() if layer.out.retains_grad else None for layer in layers]
        seen[i] = loss.item(), outs, grads, [p.grad.clone() for p in parameters]

    after = []
    plain_step = mon.step

    def step(loss, lr):
        after.append([p.detach().clone() for p in parameters])
        plain_step(loss, lr)

    mon.step = step
    train(C, layers, parameters, mon, 6, look=look)

    assert mon.layer_names == [
        "0 Linear",
        "1 BatchNorm1d",
        "2 Tanh",
        "3 Linear",
        "4 BatchNorm1d",
        "5 Tanh",
        "6 Linear",
    ]
    assert mon.layer_kinds == [name.split()[1] for name in mon.layer_names]
    assert mon.parameter_names[:4] == [
        "parameter 0",
        "0 Linear weight",
        "1 BatchNorm1d gamma",
        "1 BatchNorm1d beta",
    ]
    assert mon.parameter_shapes[:2] == [(27, 4), (12, 20)]
    assert mon.steps.tolist() == [0, 2, 4] and mon.update_steps.tolist() == list(range(6))
    assert (
        mon.losses.tolist() == pytest.approx([seen[i][0] for i in range(6)]) and mon.calls.tolist() == [3] * 7
    )
    for row, i in enumerate(mon.steps):
        for j, (out, grad) in enumerate(zip(*seen[i][1:3])):
            for what, t in ((mon.outputs, out), (mon.gradients, grad)):
                assert what.mean[row, j] == pytest.approx(t.mean().item(), rel=1e-4, abs=1e-8)
                assert what.std[row, j] == pytest.approx(t.std().item(), rel=1e-5)
                assert what.hist[row, j].sum() == t.numel()
                assert what.edges[row, j, [0, -1]] == pytest.approx([t.min().item(), t.max().item()])
    for i in range(6):
        grads, data = seen[i][3], after[i]
        update = [(0.1 * g.norm() / p.norm()).item() for g, p in zip(grads, data)]
        np.testing.assert_allclose(mon.update_data[i], update, rtol=1e-5)
        if i % 2 == 0:
            np.testing.assert_allclose(mon.grad_data[i // 2] * 0.1, update, rtol=1e-5)
    j = mon.parameter_names.index("3 Linear weight")
    assert mon.weight_steps.tolist() == [0]
    assert mon.parameter_grads.std[0, j] == pytest.approx(seen[0][3][4].std().item(), rel=1e-5)


def test_method_std_is_the_lectures_line():
    C, layers, parameters = mlp()
    mon, lines = Monitor(layers, parameters, every=1, method="std"), []
    plain_step = mon.step

    def step(loss, lr):
        lines.append([((lr * p.grad).std() / p.data.std()).item() for p in parameters])
        plain_step(loss, lr)

    mon.step = step
    train(C, layers, parameters, mon, 2)
    np.testing.assert_allclose(mon.update_data, lines, rtol=1e-4)


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.Adam])
def test_an_optimizer_gives_the_true_updates(kind):
    torch.manual_seed(0)
    model = torch.nn.Linear(5, 3)
    optimizer = kind(model.parameters(), lr=0.05)
    mon = Monitor(model, optimizer=optimizer, every=2)
    for i in range(3):
        before = [p.detach().clone() for p in model.parameters()]
        loss = model(torch.ones(4, 5)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        mon.step(loss)
        if i % 2 == 0:
            true = [((p - b).norm() / p.norm()).item() for p, b in zip(model.parameters(), before)]
            np.testing.assert_allclose(mon.update_data[-1], true, rtol=1e-5)
    assert mon.update_steps.tolist() == [0, 2]


def test_without_a_learning_rate_there_are_no_update_ratios():
    model = torch.nn.Linear(2, 2)
    mon = Monitor(model, every=1)
    loss = model(torch.ones(2, 2)).sum()
    loss.backward()
    mon.step(loss)
    assert np.isnan(mon.update_data).all() and np.isfinite(mon.grad_data).all()


def test_a_network_that_does_not_learn_at_all_shows_its_outputs():
    layers = [Linear(3, 3), Tanh()]
    mon = Monitor(layers, every=1)
    for layer in layers:
        layer(torch.ones(2, 3))
    mon.retain_grads()
    mon.step(1.0, lr=0.1)
    assert np.isfinite(mon.outputs.mean).all() and np.isnan(mon.grad_data).all() and not mon.trainable.any()


def test_forgotten_retain_grads_leaves_gradients_blank():
    C, layers, parameters = mlp()
    mon = Monitor(layers, parameters, every=1)
    mon.retain_grads = lambda: None
    train(C, layers, parameters, mon, 1)
    assert np.isnan(mon.gradients.std).all() and np.isfinite(mon.outputs.std).all()


def test_an_evaluation_between_backward_and_step_does_not_change_the_sample():
    C, layers, parameters = mlp()
    mon = Monitor(layers, parameters, every=1)

    def evaluate(i, loss):
        with torch.no_grad():
            x = 100 * torch.ones(16, 12)
            for layer in layers:
                x = layer(x)

    train(C, layers, parameters, mon, 1, look=evaluate)
    assert mon.outputs.std[0, 0] < 20 and np.isfinite(mon.gradients.std).all()


def test_retain_grads_is_free_when_no_sample_is_due():
    C, layers, parameters = mlp()
    mon = Monitor(layers, parameters, every=5)
    kept = []
    train(C, layers, parameters, mon, 6, look=lambda i, loss: kept.append(layers[0].out.retains_grad))
    assert kept == [True, False, False, False, False, True]


def test_objects_with_layers_and_nested_ones_are_watched():
    C, layers, parameters = mlp()
    inner = Sequential(layers[3:])
    model = Sequential([*layers[:3], inner])
    mon = Monitor(model, every=1)
    train(C, [model], parameters, mon, 1)
    assert mon.layer_names[:5] == ["0 Linear", "1 BatchNorm1d", "2 Tanh", "3.0 Linear", "3.1 BatchNorm1d"]
    assert np.isfinite(mon.outputs.std).all() and np.isfinite(mon.gradients.std).all()
    assert len(mon.parameter_names) == len(parameters) - 1  # all but C, which is no part of it


def test_modules_in_a_plain_list_are_hooked_in_their_place():
    layers = [
        torch.nn.Linear(4, 6),
        Tanh(),
        torch.nn.Sequential(torch.nn.Linear(6, 6), torch.nn.ReLU()),
        Linear(6, 2),
    ]
    layers[3].weight.requires_grad = True
    mon = Monitor(layers, every=1)
    x = torch.ones(5, 4)
    for layer in layers:
        x = layer(x)
    mon.retain_grads()
    x.sum().backward()
    mon.step(x.sum())
    assert mon.layer_names == ["0.Linear", "1 Tanh", "2.0", "2.1", "3 Linear"]
    assert mon.layer_kinds == ["Linear", "Tanh", "Linear", "ReLU", "Linear"]
    assert np.isfinite(mon.outputs.mean).all() and np.isfinite(mon.gradients.mean).all()


def test_a_shared_layer_object_is_listed_once():
    tanh = Tanh()
    layers = [Linear(3, 3), tanh, Linear(3, 3), tanh]
    mon = Monitor(layers, every=1)
    assert mon.layer_names == ["0 Linear", "1 Tanh", "2 Linear"]


def test_a_layer_that_does_not_run_is_blank_and_uncounted():
    C, layers, parameters = mlp()
    mon = Monitor([*layers, Tanh()], parameters, every=1)
    train(C, layers, parameters, mon, 3)
    assert mon.calls.tolist() == [3] * 7 + [0] and np.isnan(mon.outputs.std[:, -1]).all()


def test_an_old_out_is_not_taken_for_a_new_one():
    C, layers, parameters = mlp()
    mon = Monitor(layers, parameters, every=1)
    train(C, layers, parameters, mon, 1)
    layers.pop(5)  # the loop goes on without this layer; its .out still lies there
    train(C, layers, parameters, mon, 2)
    assert mon.calls.tolist() == [3, 3, 3, 3, 3, 1, 3]
    assert np.isnan(mon.outputs.std[1:, 5]).all()


def test_a_layer_that_overwrites_its_out_is_seen_each_time():
    class Buffered:
        def __init__(self):
            self.out = torch.zeros(2, 3)

        def __call__(self, x):
            self.out.copy_(x)

        def parameters(self):
            return [torch.zeros(1)]

    layer = Buffered()
    mon = Monitor([layer], parameters=[torch.zeros(1)], every=1)
    for i in range(3):
        layer(torch.full((2, 3), float(i)))
        mon.step(1.0)
    assert mon.calls.tolist() == [3] and mon.outputs.mean[:, 0].tolist() == [0, 1, 2]


def test_nan_is_looked_at_in_the_step_in_which_the_loss_breaks():
    C, layers, parameters = mlp()
    mon = Monitor(layers, parameters, every=100)

    def poison(i, loss):
        if i == 6:
            layers[3].weight.data[0, 0] = torch.nan

    train(C, layers, parameters, mon, 9, look=poison)
    assert mon.nonfinite_first == (7, "3 Linear")
    assert mon.steps.tolist() == [0, 7] and np.isnan(mon.losses[7:]).all()
    assert mon.outputs.nonfinite[1].tolist()[:4] == [0, 0, 0, 16]


# -- bounds -----------------------------------------------------------------------------------------------


def test_rows_thin_themselves_and_keep_the_first():
    rows = Rows(8, 10**9, 3, value=np.float32(0))
    for step in range(1000):
        if step % rows.interval == 0:
            rows.append(step=step, value=2 * step)
    steps = rows["step"]
    assert rows.interval == 192 and steps.tolist() == list(range(0, 1000, 192)) and len(steps) <= 8
    assert (rows["value"] == 2 * steps).all()


def test_the_table_of_losses_keeps_to_its_interval_when_that_has_doubled():
    layers = [Linear(2, 2), Tanh()]
    mon = still(layers, layers[0].parameters(), torch.ones(2, 2))
    mon._losses = Rows(8, 10**9, 1, loss=np.array(0, np.float32))
    for step in range(100):
        mon.step(float(step), lr=0.1)
    assert mon.loss_steps.tolist() == mon.losses.tolist() == list(range(0, 100, mon._losses.interval))
    assert mon._losses.interval == 16


def still(layers, parameters, x):
    """A Monitor that takes one forward pass for that of every step, so that only its own work is done."""
    for layer in layers:
        x = layer(x)
    for p in parameters:
        p.grad = torch.ones_like(p)
    mon = Monitor(layers, parameters, every=1)
    mon._plain._is_old = lambda *_: False
    return mon


def tables(mon):
    return mon._losses, mon._samples, mon._updates, mon._weights


def test_monitor_of_notebook_04_stays_under_20_MB_while_its_tables_are_thinned():
    layers, fan_in = [], 30
    for _ in range(5):
        layers += [Linear(fan_in, 100, bias=False), BatchNorm1d(100), Tanh()]
        fan_in = 100
    layers += [Linear(100, 27, bias=False), BatchNorm1d(27)]
    parameters = [torch.randn(27, 10)] + [p for layer in layers for p in layer.parameters()]
    gc.collect()
    tracemalloc.start()
    mon = still(layers, parameters, torch.randn(32, 30))
    for _ in range(520):  # the largest table is full at 406
        mon.step(1.0, lr=0.1)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert mon.interval == 2
    # all other tables being thinned at the same moment would still fit
    assert peak + sum(t.nbytes for t in tables(mon)[2:]) + mon._losses.nbytes < 20e6, f"{peak / 1e6:.1f} MB"


def test_200_000_steps_fit_the_tables_of_the_first_hundred():
    layers = [Linear(2, 2), Tanh()]
    mon = still(layers, layers[0].parameters(), torch.ones(2, 2))
    for step in range(200_000):
        mon.step(1.0, lr=0.1)
        if step == 100:
            sizes = [t.nbytes for t in tables(mon)]
    assert sizes == [t.nbytes for t in tables(mon)] and sum(sizes) < 10e6
    assert len(mon.losses) == 200_000 and mon.interval == 512 and len(mon.steps) == 391
    assert mon.steps[0] == 0 and (np.diff(mon.steps) == mon.interval).all()
    assert len(mon.update_steps) <= 4096 and mon.update_steps[-1] > 199_900


def lines_of(run, interrupted_at=None):
    """How many lines of the package `run` executes, its layers' aside; Ctrl-C comes at one of them."""
    count = 0

    def tracer(frame, event, arg):
        nonlocal count
        if "zth_helpers" not in frame.f_code.co_filename or "layers" in frame.f_code.co_filename:
            return None
        count += event == "line"
        if event == "line" and count == interrupted_at:
            raise KeyboardInterrupt
        return tracer

    sys.settrace(tracer)
    with contextlib.suppress(KeyboardInterrupt):
        try:
            run()
        finally:
            sys.settrace(None)
    return count


@pytest.mark.parametrize("when", range(1, 1800, 13))
def test_ctrl_c_at_any_line_leaves_a_monitor_that_reads_and_goes_on(when):
    C, layers, parameters = mlp(hidden=1)
    mon = Monitor(layers, parameters, every=1)
    lines_of(lambda: train(C, layers, parameters, mon, 2), interrupted_at=when)
    lengths = {len(mon.steps), len(mon.outputs.mean), len(mon.gradients.hist), len(mon.grad_data)}
    assert len(lengths) == 1
    before = len(set(mon.steps.tolist()) | {mon._now}) - 1
    train(C, layers, parameters, mon, 2)
    assert np.isfinite(mon.outputs.std[-1]).all()
    for steps in (mon.steps, mon.update_steps, mon.loss_steps):  # each step is there, and none of them twice
        assert steps.tolist() == list(range(before + 2))


def test_the_interruptions_reach_the_end_of_a_run():
    """The last of them comes after the last line that the two steps execute."""
    C, layers, parameters = mlp(hidden=1)
    mon = Monitor(layers, parameters, every=1)
    assert 800 < lines_of(lambda: train(C, layers, parameters, mon, 2)) < 1800


# -- errors -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: Monitor([]), "list has no layers to watch"),
        (lambda: Monitor(object()), "object has no layers"),
        (lambda: Monitor(torch.zeros(3)), "Tensor has no layers"),
        (lambda: Monitor([torch.zeros(3)]), "layer 0 is a Tensor"),
        (lambda: Monitor([Tanh(), torch.tanh]), "layer 1 is a builtin"),
        (lambda: Monitor([Tanh()]), "no parameters"),
        (lambda: Monitor(torch.nn.Tanh()), "no parameters"),
        (lambda: Monitor([Tanh()], parameters=[1.0]), "a list with a float in it: give a list of tensors"),
        (lambda: Monitor([Linear(2, 2)], every=0), "every=0"),
        (lambda: Monitor([Linear(2, 2)], every=2.5), "every=2.5"),
        (lambda: Monitor([Linear(2, 2)], updates_every=-1), "updates_every=-1"),
        (lambda: Monitor([Linear(2, 2)], method="max"), "method='max'"),
    ],
)
def test_nothing_to_watch_is_a_clear_error(make, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make()


def test_errors_in_the_loop():
    C, layers, parameters = mlp()
    mon = Monitor(layers, parameters, every=1)
    with pytest.raises(RuntimeError, match="no layer has run"):
        mon.step(1.0)
    with pytest.raises(ValueError, match=r"shape \(2, 3\).*loss.mean"):
        mon.step(torch.zeros(2, 3))
    with pytest.raises(ValueError, match="the loss is a str"):
        mon.step("low")

    def forget(i, loss):
        for p in parameters:
            p.grad = None

    with pytest.raises((RuntimeError, TypeError)):
        train(C, layers, parameters, mon, 1, look=forget)
    x = C[torch.zeros(4, 3, dtype=int)].view(4, -1)
    for layer in layers:
        x = layer(x)
    with pytest.raises(RuntimeError, match="no parameter has a gradient"):
        mon.step(x.sum())
    train(C, layers, parameters, mon, 1)
    mon.close()
    mon.close()  # twice is fine
    for call in (mon.retain_grads, lambda: mon.step(1.0)):
        with pytest.raises(RuntimeError, match="closed"):
            call()
    assert len(mon.steps) == 1 and "1 samples in 1 steps" in repr(mon)
