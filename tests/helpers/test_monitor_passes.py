"""How Monitor attaches to modules: what is a layer, its hooks, the passes that it keeps, where units are."""

from __future__ import annotations

import pickle
import weakref
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from tests.helpers.loops import net
from zth_helpers.monitor.columns import Columns
from zth_helpers.monitor.modules import Hook, ModuleWatch, layers_of, unwrap
from zth_helpers.monitor.statistics import summarise


def test_what_counts_as_a_layer():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale, self.inner = nn.Parameter(torch.ones(1)), nn.Sequential(nn.Linear(2, 2), nn.Tanh())
            self.list, self.attention = nn.ModuleList([nn.ReLU()]), nn.MultiheadAttention(4, 2)
            self.parts = nn.ParameterList([torch.ones(1)])
            self.normed = nn.utils.parametrizations.weight_norm(nn.Linear(2, 2))

    found = [(name, type(m).__name__, inside) for name, m, inside in layers_of(Block())]
    assert found == [
        ("Block", "Block", True),
        ("inner.0", "Linear", False),
        ("inner.1", "Tanh", False),
        ("list.0", "ReLU", False),
        ("attention", "MultiheadAttention", False),
        ("normed", "ParametrizedLinear", False),
    ]
    assert [name for name, _, _ in layers_of(nn.MultiheadAttention(4, 2))] == ["MultiheadAttention"]
    assert [name for name, _, _ in layers_of(nn.Sequential(*[nn.Tanh()] * 2))] == ["0"]


def test_wrappers_are_taken_off():
    model = net()
    assert unwrap(model) is model and unwrap(3) == 3
    assert unwrap(nn.DataParallel(model)) is model
    assert unwrap(torch.compile(nn.DataParallel(model), backend="eager")) is model


def test_a_hook_tells_its_owner_what_went_wrong_and_no_one_else():
    class Owner:
        def __init__(self):
            self.on, self.told, self.calls = True, {}, []

        def skip(self, name, why):
            self.told[name] = why

        def note(self, *args):
            self.calls.append(args)

        def fail(self, *args):
            raise KeyError("x")

    owner = Owner()
    Hook(owner, "note", "layer")(1, 2)
    assert owner.calls == [("layer", 1, 2)]
    Hook(owner, "fail", "layer")(1)
    Hook(owner, "fail")(1)
    assert owner.told == {"layer": "KeyError: 'x'", "fail": "KeyError: 'x'"}
    owner.on = False
    hook = Hook(owner, "note", "layer")
    hook(3)
    assert len(owner.calls) == 1
    owner.on = True
    pickle.loads(pickle.dumps(hook))(4)  # a copy is of no owner
    ref = weakref.ref(owner)
    del owner
    assert ref() is None and hook(5) is None


def test_old_passes_are_let_go():
    """Their outputs would fill the memory of whoever accumulates gradients over many micro-batches."""
    model = net()
    watch = ModuleWatch(Columns(), summarise, lambda *_: None)
    watch.watch(model, "", lambda name: True)
    x = torch.randn(8, 4)
    for _ in range(20):
        model(x)  # none of them is known yet to count
    assert len(watch.passes) == 8 and watch.called == 60
    assert [call.layer for call in watch.taken()] == ["0", "1", "2"]
    watch.forget()
    for _ in range(3):
        model(x).sum().backward()
    assert len(watch.passes) == 2  # the last, and the one before it, which had arrived when it began
    assert [call.place for call in watch.taken()] == [7, 8, 9] and all(call.arrived for call in watch.taken())
    watch.forget()
    assert len(watch.passes) == 0 and watch.called == 0 and watch.taken() == []


@pytest.mark.parametrize("values", [2**16, 2**16 + 1])
def test_small_outputs_are_copied_and_large_ones_reduced_at_once(values):
    class Shift(nn.Module):
        def forward(self, x):
            return x + 1

    model = nn.Sequential(Shift(), Shift())
    watch = ModuleWatch(Columns(), summarise, lambda *_: None)
    watch.watch(model, "", lambda name: name != "1")
    x = torch.linspace(0, 1, values)
    out = model(x)
    out.zero_()
    [call] = watch.taken()
    [seen] = call.seen
    assert isinstance(seen.value, Tensor) == (values == 2**16)
    value = seen.value if isinstance(seen.value, Tensor) else None
    mean = float(value.mean()) if value is not None else float(seen.value[0][0, 0])
    assert mean == pytest.approx(1.5, rel=1e-4) and seen.units == values


def test_an_imitation_of_a_compiled_model_is_taken_off_too():
    model = net()
    assert unwrap(SimpleNamespace(_orig_mod=model)) is model


@pytest.mark.parametrize("functional", [False, True])
def test_units_behind_a_functional_call_are_like_the_last_output_with_as_many_axes(functional):
    watch = ModuleWatch(Columns(), summarise, lambda *_: None)
    conv, act = nn.Conv1d(3, 5, 1), nn.Tanh()
    made = conv(torch.randn(2, 3, 7))
    pooled, flat = nn.functional.relu(made), made.mean(2)
    assert watch._axis(conv, (), made) == 1
    assert watch._axis(nn.Linear(5, 5), (made,), flat) == 1
    assert watch._axis(act, (pooled if functional else made,), made.clone()) == 1
    assert watch._axis(act, (torch.randn(2, 4, 7, 7),), torch.randn(2, 4, 7, 7)) == 1
    linear = torch.randn(2, 7, 4)
    assert watch._axis(nn.Linear(4, 4), (), linear) == 2
    assert watch._axis(act, (torch.randn(2, 7, 4),), torch.randn(2, 7, 4)) == 2  # now that is the last
    assert watch._axis(act, (), torch.randn(2, 7, 4)) == 2
    del linear
    fresh = ModuleWatch(Columns(), summarise, lambda *_: None)
    assert fresh._axis(act, (), torch.randn(2, 7, 4)) == 2 and fresh._axis(act, (), torch.randn(7, 4)) == 1
    assert fresh._axis(act, (), torch.randn(4)) == fresh._axis(act, (), torch.tensor(1.0)) == 0
    assert fresh._axis(nn.LayerNorm([7, 4]), (), torch.randn(2, 7, 4)) == 2
    assert fresh._axis(nn.Conv2d(1, 1, 1), (), torch.randn(5, 3, 3)) == 0


def test_two_networks_have_passes_of_their_own():
    """In one backward, or one of them in several passes: neither pushes the other's out."""
    a, b = net(), net()
    watch = ModuleWatch(Columns(), summarise, lambda *_: None)
    watch.watch(a, "a.", lambda name: True), watch.watch(b, "b.", lambda name: True)
    x = torch.randn(8, 4)
    a(x).sum().backward()
    for _ in range(12):
        b(x).sum().backward()
    taken = watch.taken()
    assert [call.layer for call in taken] == ["a.0", "a.1", "a.2", "b.0", "b.1", "b.2"]
    assert [call.place for call in taken] == [1, 2, 3, 37, 38, 39] and all(c.turn == 1 for c in taken)
    assert {p.prefix for p in watch.passes} == {"a.", "b."} and len(watch.passes) == 3


def test_a_layer_that_is_called_without_its_model_belongs_to_its_last_pass():
    model = net()
    watch = ModuleWatch(Columns(), summarise, lambda *_: None)
    watch.watch(model, "", lambda name: True)
    x = torch.randn(8, 4)
    model[0](x)
    assert len(watch.passes) == 1 and [c.turn for c in watch.taken()] == [1]
    model(x)
    model[0](x)
    assert len(watch.passes) == 2 and [(c.layer, c.turn) for c in watch.taken()] == [
        ("0", 1),
        ("1", 1),
        ("2", 1),
        ("0", 2),
    ]
    model.eval()
    model(x)
    assert len(watch.passes) == 2 and len(watch.passes[1].calls) == 4


def test_switched_off_hooks_come_back_where_the_modules_still_live():
    model = net()
    watch = ModuleWatch(Columns(), summarise, lambda *_: None)
    watch.watch(model, "", lambda name: True)
    assert len(watch.handles) == 4
    watch.switch(True)
    assert len(watch.handles) == 4 and watch.on  # no second hooks
    watch.switch(False)
    assert watch.handles == [] and not watch.on
    model[2] = nn.Identity()
    watch.switch(True)
    assert len(watch.handles) == 3
    watch.compiled = True
    watch.switch(False)
    assert len(watch.handles) == 3 and not watch.on


@pytest.mark.parametrize("complex_too", [False, True])
def test_a_look_aside_is_told_from_training(complex_too):
    class Net(nn.Sequential):
        def __init__(self):
            super().__init__(nn.Linear(4, 3), nn.Tanh())
            if complex_too:
                self.phase = nn.Parameter(torch.ones(3, dtype=torch.complex64))

        def forward(self, x):
            out = super().forward(x)
            return (out * self.phase).abs() if complex_too else out

    model, x = Net(), torch.randn(8, 4, requires_grad=True)
    watch = ModuleWatch(Columns(), summarise, lambda *_: None)
    watch.watch(model, "", lambda name: name != "Net")
    out = model(x).sum()
    torch.autograd.grad(out, x, retain_graph=True)
    torch.autograd.grad(out, model[0].weight, retain_graph=True)
    assert not any(call.arrived for call in watch.taken())
    out.backward()
    assert all(call.arrived for call in watch.taken()) and len(watch.taken()) == 2


def test_nothing_that_is_trained_makes_every_backward_a_training():
    """As when the weights are frozen and the input is what is learned (style transfer)."""
    model, x = net().requires_grad_(False), torch.randn(8, 4, requires_grad=True)
    watch = ModuleWatch(Columns(), summarise, lambda *_: None)
    watch.watch(model, "", lambda name: True)
    model(x).sum().backward()
    assert [call.arrived for call in watch.taken()] == [True] * 3


def test_gradients_of_a_scaled_loss_note_the_scale_of_their_first_backward():
    model, scales = net(), iter([8.0, 4.0])
    watch = ModuleWatch(Columns(), summarise, lambda *_: None)
    watch.watch(model, "", lambda name: True)
    assert watch.scale is None
    watch.scale_of = lambda: next(scales)
    model(torch.randn(8, 4)).sum().backward()
    assert watch.scale == 8.0
    watch.forget()
    assert watch.scale is None
