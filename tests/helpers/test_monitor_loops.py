"""Monitor in training loops that others wrote: each number against one computed directly."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from tests.helpers.loops import assert_pair, at, net, pair, scaled_step
from zth_helpers import Monitor, diagnose
from zth_helpers.monitor.modules import MAX_PASSES

# -- one pass, one row ------------------------------------------------------------------------------------


def test_two_passes_and_one_backward_show_the_last_pass():
    model, a, b = net(), torch.randn(8, 4), 3 * torch.randn(8, 4)
    h, g = pair(model, b, lambda out: out.square().mean())
    mon = Monitor(model, every=1)
    loss = model(a).square().mean() + model(b).square().mean()
    loss.backward()
    mon.step(loss)
    assert_pair(mon, "0", h, g)
    assert mon.calls.tolist() == [2, 2, 2] and len(mon.layer_names) == 3


def test_a_discriminator_on_real_and_fake_with_two_backwards():
    model, real, fake = net(), torch.randn(8, 4), 3 * torch.randn(8, 4)
    h, g = pair(model, fake, lambda out: -out.mean())
    mon = Monitor(model, every=1)
    model(real).mean().backward()
    loss = -model(fake).mean()
    loss.backward()
    mon.step(loss)
    assert_pair(mon, "0", h, g)


@pytest.mark.parametrize("metric_first", [True, False])
def test_a_pass_for_a_metric_in_train_mode_does_not_take_the_rows_place(metric_first):
    model, x = net(), torch.randn(8, 4)
    h, g = pair(model, x, lambda out: out.square().mean())
    mon = Monitor(model, every=1)
    if metric_first:
        model(100 * x)
    loss = model(x).square().mean()
    if not metric_first:
        model(100 * x)
    loss.backward()
    mon.step(loss)
    assert_pair(mon, "0", h, g)


def test_gradient_accumulation_shows_the_last_micro_batch():
    model, xs = net(), [k * torch.randn(8, 4) for k in (1.0, 2.0, 3.0, 4.0)]
    h, g = pair(model, xs[-1], lambda out: out.square().mean())
    mon = Monitor(model, every=1)
    for x in xs * 5:  # more passes than are kept
        loss = model(x).square().mean()
        loss.backward()
    mon.step(loss)
    assert_pair(mon, "0", h, g)


def test_heads_that_take_turns_keep_their_own_gradient():
    class TwoHeads(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 2), nn.Linear(4, 2)

        def forward(self, x):
            h = self.body(x)
            return self.a(h), self.b(h)

    model, x = TwoHeads(), torch.randn(8, 4)
    mon = Monitor(model, every=1)
    model(x)[0].square().sum().backward()
    loss = model(x)[1].square().sum()
    loss.backward()
    mon.step(loss)
    assert all(np.isfinite(at(mon, name)["grad"]) for name in ("body", "a", "b"))
    expected = 2 * model.a(model.body(x))
    assert at(mon, "a")["grad"] == pytest.approx(expected.std().item(), rel=1e-5)


def test_a_branch_that_only_the_first_of_many_passes_uses_is_not_lost():
    class Branch(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.extra = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x, extra):
            h = self.body(x)
            return self.extra(h) if extra else h

    model, x = Branch(), torch.randn(8, 4)
    with torch.no_grad():
        expected = model(x, True).std().item()
    mon = Monitor(model, every=1)
    for i in range(2 * MAX_PASSES):
        loss = model(x, i == 0).square().sum()
        loss.backward()
    mon.step(loss)
    assert at(mon, "extra")["std"] == pytest.approx(expected, rel=1e-5) and at(mon, "extra")["grad"] > 0
    assert not mon.skipped  # nothing went wrong in a hook


def test_several_backwards_over_one_graph_add_up():
    model, x = net(), torch.randn(8, 4)
    h, g = pair(model, x, lambda out: out.square().mean() + 5 * out.sum())
    mon = Monitor(model, every=1)
    out = model(x)
    out.square().mean().backward(retain_graph=True)
    (5 * out.sum()).backward()
    mon.step(out.sum())
    assert_pair(mon, "0", h, g)


@pytest.mark.parametrize("of", ["input", "parameter", "output"])
def test_a_gradient_taken_aside_is_not_the_training_gradient(of):
    model, x = net(), torch.randn(8, 4, requires_grad=True)
    h, g = pair(model, x.detach(), lambda out: out.square().mean())
    mon = Monitor(model, every=1)
    out = model(x)
    loss = out.square().mean()
    loss.backward(retain_graph=True)
    what = {"input": x, "parameter": model[2].weight, "output": out}[of]
    torch.autograd.grad((1000 * out).sum(), what, retain_graph=True)
    mon.step(loss)
    assert_pair(mon, "0", h, g)


def test_a_gradient_penalty_counts_through_its_own_backward():
    """WGAN-GP: autograd.grad with create_graph, then a backward through it."""
    model, x = net(), torch.randn(8, 4, requires_grad=True)
    mon = Monitor(model, every=1)
    out = model(x)
    (slope,) = torch.autograd.grad(out.sum(), x, create_graph=True)
    penalty = (slope.norm(dim=1) - 1).square().mean()
    penalty.backward()
    mon.step(penalty)
    assert np.isfinite(at(mon, "0")["grad"]) and np.isfinite(mon.grad_data[0, 0])


@pytest.mark.filterwarnings("ignore:Using backward")
def test_gradients_that_can_be_derived_once_more_are_kept_without_their_graph():
    model = net()
    mon = Monitor(model, every=1)
    loss = model(torch.randn(8, 4)).square().mean()
    loss.backward(create_graph=True)
    kept = [one.gradient for call in mon._modules.taken() for one in call.seen]
    assert len(kept) == 3 and not any(gradient.requires_grad for gradient in kept)
    mon.step(loss)
    assert np.isfinite(mon.gradients.std).all()


# -- checkpointing ----------------------------------------------------------------------------------------


class Checkpointed(nn.Module):
    def __init__(self, how):
        super().__init__()
        self.first, self.act = nn.Linear(4, 8), nn.Tanh()
        self.second, self.act2, self.last, self.how = nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 3), how

    def middle(self, h):
        return self.act2(self.second(h))

    def forward(self, x):
        h = self.act(self.first(x))
        if self.how is None:
            h = self.middle(h)
        else:
            h = checkpoint(self.middle, h, use_reentrant=self.how)
        return self.last(h)


@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpointing_changes_nothing(reentrant):
    plain, model = Checkpointed(None), Checkpointed(reentrant)
    model.load_state_dict(plain.state_dict())
    x, mons = torch.randn(8, 4), []
    for m in (plain, model):
        mon = Monitor(m, every=1)
        for _ in range(3):
            loss = m(x).square().mean()
            m.zero_grad()
            loss.backward()
            mon.step(loss, lr=0.1)
        mons.append(mon)
    a, b = mons
    assert a.layer_names == b.layer_names and a.calls.tolist() == b.calls.tolist() == [3] * 5
    for field in ("mean", "std", "hist"):
        np.testing.assert_allclose(getattr(a.outputs, field), getattr(b.outputs, field), rtol=1e-5)
        np.testing.assert_allclose(getattr(a.gradients, field), getattr(b.gradients, field), rtol=1e-4)
    assert str(diagnose(a, None)) == str(diagnose(b, None))


@pytest.mark.parametrize("reentrant", [True, False])
def test_a_whole_model_under_checkpointing(reentrant):
    model, x = net(), torch.randn(8, 4, requires_grad=True)
    h, g = pair(model, x.detach(), lambda out: out.square().mean())
    mon = Monitor(model, every=1)
    loss = checkpoint(model, x, use_reentrant=reentrant).square().mean()
    loss.backward()
    mon.step(loss)
    assert mon.calls.tolist() == [1, 1, 1]
    assert_pair(mon, "0", h, g)


@pytest.mark.parametrize("batch", [8, 9000], ids=["copied", "reduced at once"])
@pytest.mark.parametrize("with_grad", [True, False])
@pytest.mark.parametrize("reentrant", [True, False])
def test_a_pass_between_forward_and_backward_does_not_get_a_checkpoints_gradient(reentrant, with_grad, batch):
    """An evaluation, or a metric: what runs again in backward belongs to the pass of the loss."""
    model, x = Checkpointed(reentrant), torch.randn(batch, 4)
    plain = Checkpointed(None)
    plain.load_state_dict(model.state_dict())
    shown = []
    for m in (plain, model):
        mon = Monitor(m, every=1)
        loss = m(x).square().mean()
        if m is model:
            with torch.set_grad_enabled(with_grad):
                m(3 * x)
        loss.backward()
        mon.step(loss)
        shown.append(mon)
    for field in ("mean", "std", "lo", "hi"):
        for what in ("outputs", "gradients"):
            expected, got = (getattr(getattr(mon, what), field) for mon in shown)
            np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("reentrant", [True, False])
def test_a_layer_that_runs_twice_inside_of_a_checkpoint(reentrant):
    model, x = Checkpointed(reentrant), torch.randn(8, 4)
    model.middle = lambda h: model.second(model.act2(model.second(h)))
    mon = Monitor(model, every=1)
    loss = model(x).square().mean()
    loss.backward()
    mon.step(loss)
    h = model.act(model.first(x))
    first = model.second(h)
    last = model.second(model.act2(first))
    first.retain_grad(), last.retain_grad()
    model.last(last).square().mean().backward()
    for name, out in (("second", first), ("second#2", last)):
        assert at(mon, name)["std"] == pytest.approx(out.std().item(), rel=1e-5)
        assert at(mon, name)["grad"] == pytest.approx(out.grad.std().item(), rel=1e-5)


# -- GradScaler -------------------------------------------------------------------------------------------


def test_gradients_are_in_the_units_of_p_grad():
    model, x = net(), torch.randn(8, 4)
    h, g = pair(model, x, lambda out: out.square().mean())
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**12)
    mon = Monitor(model, optimizer=optimizer, scaler=scaler, every=1)
    scaled_step(model(x).square().mean(), optimizer, scaler, mon)
    assert_pair(mon, "0", h, g)
    assert 0 < mon.update_data[0, 0] < 1


def test_a_step_that_the_scaler_skips_is_no_error_and_no_update():
    model, x = net(), torch.randn(8, 4)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127, growth_interval=1)
    mon = Monitor(model, optimizer=optimizer, scaler=scaler, every=1)
    model[2].weight.data *= 1e4  # so that the scaled gradients overflow
    before = model[0].weight.clone()
    scaled_step(model(x).square().mean(), optimizer, scaler, mon)
    assert torch.equal(before, model[0].weight)
    assert mon.update_data.tolist() == [[0.0] * 4] and mon.nonfinite_first is None


def test_a_step_that_the_scaler_takes_notes_what_is_not_finite():
    """A value that the loss leaves out, so that no gradient overflows."""
    model, x = net(), torch.randn(8, 4)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=1.0)
    mon = Monitor(model, optimizer=optimizer, scaler=scaler, every=1)
    model[2].bias.data[0] = torch.inf
    loss = model(x)[:, 1:].square().mean()
    scaler.scale(loss).backward()
    scaler.step(optimizer)
    scaler.update()
    mon.step(loss)
    assert scaler.get_scale() == 1 and mon.nonfinite_first == (0, "2")


# -- micro-batches ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("every", [1, 10, 100])
def test_an_update_of_four_micro_batches_is_seen_whole(every):
    model = net()
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    mon = Monitor(model, optimizer=optimizer, every=every)
    true = {}
    for i in range(208):
        loss = model(torch.randn(8, 4)).square().mean() / 4
        loss.backward()
        if i % 4 == 3:
            before = [p.detach().clone() for p in model.parameters()]
            optimizer.step()
            true[i] = [((p - b).norm() / p.norm()).item() for p, b in zip(model.parameters(), before)]
        mon.step(loss)
        if i % 4 == 3:
            optimizer.zero_grad()
    assert len(mon.update_steps) >= 3 and np.isfinite(mon.update_data).all()
    for step, ratios in zip(mon.update_steps, mon.update_data):
        np.testing.assert_allclose(ratios, true[int(step)], rtol=1e-4)


# -- the true update --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        lambda p: torch.optim.SGD(p, 0.05, momentum=0.9, weight_decay=0.1),
        lambda p: torch.optim.AdamW(p, 0.01, foreach=True),
        lambda p: torch.optim.AdamW(p, 0.01, fused=True),
        lambda p: torch.optim.LBFGS(p, 0.1, max_iter=3),
    ],
)
def test_lr_beside_an_optimizer_does_not_replace_the_true_update(make):
    model, x = net(), torch.randn(8, 4)
    optimizer = make(model.parameters())
    mon = Monitor(model, optimizer=optimizer, every=1)
    for _ in range(3):
        before = [p.detach().clone() for p in model.parameters()]

        def closure():
            optimizer.zero_grad()
            loss = model(x).square().mean()
            loss.backward()
            return loss

        if isinstance(optimizer, torch.optim.LBFGS):
            loss = optimizer.step(closure)
        else:
            loss = closure()
            optimizer.step()
        mon.step(loss, lr=123.0)
        true = [((p - b).norm() / p.norm()).item() for p, b in zip(model.parameters(), before)]
        np.testing.assert_allclose(mon.update_data[-1], true, rtol=1e-4)
