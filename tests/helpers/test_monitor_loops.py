"""Monitor in training loops that others wrote: each number against one computed directly."""

from __future__ import annotations

import copy
import gc
import inspect
import math
import pickle
from dataclasses import dataclass

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

from zth_helpers import Monitor, diagnose
from zth_helpers.layers import BatchNorm1d, Linear, Tanh
from zth_helpers.monitor import named_parameters
from zth_helpers.monitor.modules import MAX_PASSES
from zth_helpers.monitor.statistics import EXTRA, statistic


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def net(act=nn.Tanh):
    return nn.Sequential(nn.Linear(4, 8), act(), nn.Linear(8, 3))


def at(mon, layer: str, row: int = -1) -> dict[str, float]:
    i = mon.layer_names.index(layer)
    return {
        "mean": float(mon.outputs.mean[row, i]),
        "std": float(mon.outputs.std[row, i]),
        "grad": float(mon.gradients.std[row, i]),
        "grad_mean": float(mon.gradients.mean[row, i]),
    }


def pair(model, x, loss_of) -> tuple[torch.Tensor, torch.Tensor]:
    """The first layer's output and its gradient, without a Monitor."""
    twin = copy.deepcopy(model)
    twin.zero_grad()
    h = twin[0](x)
    h.retain_grad()
    out = h
    for layer in twin[1:]:
        out = layer(out)
    loss_of(out).backward()
    return h.detach(), h.grad


def assert_pair(mon, layer, h, g):
    shown = at(mon, layer)
    assert shown["std"] == pytest.approx(h.std().item(), rel=1e-5)
    assert shown["grad"] == pytest.approx(g.std().item(), rel=1e-5)


# -- 1. one pass, one row ---------------------------------------------------------------------------------


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


# -- 2. checkpointing -------------------------------------------------------------------------------------


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


# -- 3. where the units are -------------------------------------------------------------------------------


def dead_of(model, x, layer):
    mon = Monitor(model, every=1)
    loss = model(x).square().mean()
    loss.backward()
    mon.step(loss)
    return float(mon.outputs.dead[0, mon.layer_names.index(layer)])


@pytest.mark.parametrize(
    ("first", "shape"),
    [
        (nn.Conv1d(2, 10, 3), (6, 2, 12)),
        (nn.Conv2d(2, 10, 3), (6, 2, 8, 8)),
        (nn.Conv3d(2, 10, 3), (6, 2, 6, 6, 6)),
        (nn.Sequential(nn.Conv1d(2, 10, 3), nn.BatchNorm1d(10)), (6, 2, 12)),
        (nn.Sequential(nn.Conv1d(2, 10, 3), nn.GroupNorm(2, 10)), (6, 2, 12)),
        (nn.Sequential(nn.Conv1d(2, 10, 3), nn.Dropout(0.0), nn.MaxPool1d(2)), (6, 2, 12)),
    ],
)
def test_units_of_convolutions_are_channels(first, shape):
    model = nn.Sequential(first, nn.ReLU(), nn.Flatten(), nn.LazyLinear(3))
    x = torch.randn(shape)
    model(x)
    last = first if not isinstance(first, nn.Sequential) else first[min(1, len(first) - 1)]
    with torch.no_grad():  # three channels that are dark everywhere
        target = last if getattr(last, "bias", None) is not None else first[0]
        target.weight[:3] = 0
        target.bias[:3] = -5
    assert dead_of(model, x, "1") == pytest.approx(0.3)


def test_units_of_a_sequence_model_stay_on_the_last_axis():
    model = nn.Sequential(nn.Linear(4, 10), nn.ReLU(), nn.Linear(10, 3))
    with torch.no_grad():
        model[0].weight[:3], model[0].bias[:3] = 0, -5
    assert dead_of(model, torch.randn(6, 7, 4), "1") == pytest.approx(0.3)


class AsChannelsLast(nn.LayerNorm):
    """Over the channels of images, as in ConvNeXt: they are moved to the end and back."""

    def forward(self, x):
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


@pytest.mark.parametrize(
    ("between", "shape"),
    [
        (nn.LayerNorm([10, 6]), (8, 2, 6)),
        (nn.PReLU(10), (8, 2, 6)),
        (nn.LayerNorm([10, 6, 6], elementwise_affine=False), (8, 2, 6, 6)),
        (AsChannelsLast(10), (8, 2, 6, 6)),
        (nn.Identity(), (2, 6, 6)),
    ],
    ids=str,
)
def test_units_stay_channels_behind(between, shape):
    """What normalises or bends channels, and a single example, whose channels come first."""
    conv = nn.Conv1d if shape == (8, 2, 6) else nn.Conv2d
    model = nn.Sequential(conv(2, 10, 1), between, nn.Hardtanh(), nn.ReLU(), nn.Flatten(0), nn.LazyLinear(1))
    x = torch.randn(shape)
    model(x)
    with torch.no_grad():
        model[0].weight[:] = model[0].weight.abs()
        model[0].weight[:3], model[0].bias[:], model[0].bias[:3] = 0, 1, -50
    dead = dead_of(model, x.abs(), "3")
    assert dead == pytest.approx(0.3)


def test_a_layer_norm_behind_transposed_convolutions_has_its_units_last():
    """As in a speech encoder: the convolutions' (N, C, L) becomes (N, L, C)."""

    class Encoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm, self.act = nn.Conv1d(2, 10, 1), nn.LayerNorm(10), nn.ReLU()

        def forward(self, x):
            return self.act(self.norm(self.conv(x).transpose(1, 2)))

    model = Encoder()
    with torch.no_grad():
        model.norm.weight[:], model.norm.bias[:], model.norm.bias[:3] = 0, 1, -1
    assert dead_of(model, torch.randn(8, 2, 6), "act") == pytest.approx(0.3)


def test_an_activation_has_its_units_where_its_own_input_has_them():
    """Not where the last output had them; and behind a functional convolution, on the channels."""

    class Branches(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.linear = nn.Conv1d(3, 5, 1), nn.Linear(7, 7)
            self.first, self.last = nn.ReLU(), nn.ReLU()
            self.kernel = nn.Parameter(torch.randn(6, 1, 1, 1))

        def forward(self, x):
            a, b = self.conv(x), self.linear(x)
            return (self.first(a)[:, :3] + b).sum() + self.last(F.conv2d(x[:, None], self.kernel)).sum()

    model, x = Branches(), torch.randn(4, 3, 7)
    model.conv.bias.data[1], model.conv.weight.data[1] = -9, 0  # one channel of five is dead
    model.kernel.data[2:4] = 0  # and two of six
    mon = Monitor(model, every=1)
    loss = model(x)
    loss.backward()
    mon.step(loss)
    dead = mon.outputs.dead[0]
    names = mon.layer_names
    assert dead[names.index("first")] == pytest.approx(1 / 5)
    assert dead[names.index("last")] == pytest.approx(2 / 6)


def test_a_sum_between_convolution_and_activation_keeps_the_channels():
    class Residual(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm, self.act = nn.Conv1d(10, 10, 3, padding=1), nn.BatchNorm1d(10), nn.ReLU()

        def forward(self, x):
            return self.act(x + self.norm(self.conv(x)))

    model = nn.Sequential(Residual(), nn.Conv1d(10, 2, 1))
    x = torch.randn(6, 10, 12)
    x[:, :3] = -50
    assert dead_of(model, x, "0.act") == pytest.approx(0.3)


# -- 4. GradScaler ----------------------------------------------------------------------------------------


def scaled_step(model, optimizer, scaler, mon, x):
    optimizer.zero_grad()
    loss = model(x).square().mean()
    scaler.scale(loss).backward()
    scaler.step(optimizer)
    scaler.update()
    mon.step(loss)


def test_gradients_are_in_the_units_of_p_grad():
    model, x = net(), torch.randn(8, 4)
    h, g = pair(model, x, lambda out: out.square().mean())
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**12)
    mon = Monitor(model, optimizer=optimizer, scaler=scaler, every=1)
    scaled_step(model, optimizer, scaler, mon, x)
    assert_pair(mon, "0", h, g)
    assert 0 < mon.update_data[0, 0] < 1


def test_a_step_that_the_scaler_skips_is_no_error_and_no_update():
    model, x = net(), torch.randn(8, 4)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127, growth_interval=1)
    mon = Monitor(model, optimizer=optimizer, scaler=scaler, every=1)
    model[2].weight.data *= 1e4  # so that the scaled gradients overflow
    before = model[0].weight.clone()
    scaled_step(model, optimizer, scaler, mon, x)
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


# -- 5. micro-batches -------------------------------------------------------------------------------------


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


# -- 6. the true update -----------------------------------------------------------------------------------


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


# -- 7. what cannot be read -------------------------------------------------------------------------------


def test_complex_parameters_have_torchs_norms():
    class Phase(nn.Module):
        def __init__(self):
            super().__init__()
            self.W = nn.Parameter(torch.randn(4, 3, dtype=torch.cfloat))
            self.b = nn.Parameter(torch.randn(3, dtype=torch.cfloat))

        def forward(self, x):
            return (x.to(torch.cfloat) @ self.W + self.b).abs()

    model = nn.Sequential(Phase(), nn.Linear(3, 2))
    mon = Monitor(model, every=1)
    loss = model(torch.randn(8, 4)).square().mean()
    loss.backward()
    mon.step(loss, lr=0.1)
    for i, p in enumerate(model.parameters()):
        assert mon.grad_data[0, i] == pytest.approx((p.grad.norm() / p.norm()).item(), rel=1e-5)


def test_a_complex_output_is_skipped_and_named_once():
    class Fourier(nn.Module):
        def forward(self, x):
            return torch.fft.fft(x)

    class Size(nn.Module):
        def forward(self, x):
            return x.abs()

    model = nn.Sequential(nn.Linear(4, 4), Fourier(), Size(), nn.Linear(4, 2))
    mon = Monitor(model, every=1)
    for _ in range(2):
        loss = model(torch.randn(8, 4)).square().mean()
        loss.backward()
        mon.step(loss)
    assert mon.skipped == {"1": "complex numbers"} and np.isfinite(at(mon, "0")["grad"])


def test_nested_tensors_are_skipped():
    class Nest(nn.Module):
        def forward(self, x):
            return torch.nested.nested_tensor([x[0], x[1, :2]])

    class Back(nn.Module):
        def forward(self, x):
            return torch.nested.to_padded_tensor(x, 0.0)

    model = nn.Sequential(nn.Linear(4, 4), Nest(), Back(), nn.Linear(4, 2))
    mon = Monitor(model, every=1)
    loss = model(torch.randn(2, 3, 4)).square().mean()
    loss.backward()
    mon.step(loss)
    assert "nested" in mon.skipped["1"] and np.isfinite(at(mon, "3")["mean"])


def test_vmap_grad_and_functional_call_over_a_watched_model():
    model, x = net(), torch.randn(8, 4)
    mon = Monitor(model, every=1)
    parameters = {k: v.detach() for k, v in model.named_parameters()}

    def loss_of(parameters, x):
        return torch.func.functional_call(model, parameters, (x,)).square().mean()

    torch.func.vmap(torch.func.grad(loss_of), in_dims=(None, 0))(parameters, x)
    loss = model(x).square().mean()
    loss.backward()
    mon.step(loss)
    h, g = pair(model, x, lambda out: out.square().mean())
    assert_pair(mon, "0", h, g)


@dataclass
class Output:
    logits: torch.Tensor
    hidden: tuple
    loss: torch.Tensor | None = None


def test_outputs_in_a_dataclass_are_seen():
    class Model(nn.Module):
        def forward(self, x):
            return Output(x * 2, (x, [x + 1]))

    model = nn.Sequential(nn.Linear(3, 3), Model())
    mon = Monitor(model, every=1)
    out = model(torch.ones(2, 3))
    out.logits.sum().backward()
    mon.step(out.logits.sum())
    assert mon.layer_names == ["0", "1[0]", "1[1]", "1[2]"]
    assert at(mon, "1[0]")["mean"] == pytest.approx(out.logits.mean().item())


def test_whatever_a_hook_meets_never_reaches_the_users_call(monkeypatch):
    model, x = net(), torch.randn(8, 4)
    mon = Monitor(model, every=1)
    monkeypatch.setattr(mon._modules, "_axis", lambda *_: 1 / 0)
    loss = model(x).square().mean()
    loss.backward()
    mon.step(loss)
    assert mon.skipped["0"] == "ZeroDivisionError: division by zero"


# -- 8. to 11. --------------------------------------------------------------------------------------------


# Older compilers neither say that they want a full graph nor let a hook give its reason for breaking one.
NAMES_A_REASON = "reason" in inspect.signature(torch.compiler.disable).parameters
says_why = pytest.mark.skipif(not NAMES_A_REASON, reason="this torch's compiler shows no reason of ours")


@says_why
def test_a_model_compiled_with_fullgraph_is_refused_at_once():
    compiled = torch.compile(net(), backend="eager", fullgraph=True)
    with pytest.raises(ValueError, match="without fullgraph=True"):
        Monitor(compiled)


@says_why
def test_compiling_a_watched_model_with_fullgraph_names_the_monitor():
    torch._dynamo.reset()
    model = net()
    mon = Monitor(model, every=1)
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    with pytest.raises(Exception, match=r"Monitor|disable"):
        compiled(torch.randn(2, 4))
    mon.close()
    torch._dynamo.reset()
    assert torch.compile(model, backend="eager", fullgraph=True)(torch.randn(2, 4)).shape == (2, 3)


def all_hooks(model):
    return sum(
        len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks) for m in model.modules()
    ) + sum(len(p._backward_hooks or ()) for p in model.parameters())


def test_a_module_that_returns_its_own_parameter_gets_no_hook_that_stays():
    class Position(nn.Module):
        def __init__(self):
            super().__init__()
            self.pos, self.same, self.head = nn.Parameter(torch.randn(4)), nn.Identity(), nn.Linear(4, 2)

        def forward(self, x):
            return self.head(x + self.same(self.pos))

    model = Position()
    mon = Monitor(model, every=1)
    for _ in range(5):
        loss = model(torch.randn(8, 4)).square().mean()
        loss.backward()
        mon.step(loss)
        assert len(model.pos._backward_hooks or ()) == 0
    mon.close()
    assert all_hooks(model) == 0


def test_uninitialised_modules_ask_for_a_batch_first():
    model = nn.Sequential(nn.LazyLinear(4), nn.ReLU(), nn.LazyLinear(2))
    with pytest.raises(ValueError, match=r"0\.weight has no shape yet: run one batch first"):
        Monitor(model)
    model(torch.randn(2, 3))
    assert Monitor(model).parameter_shapes[0] == (4, 3)


def test_parameters_that_were_replaced_are_said_to_be_gone():
    model, x = net(), torch.randn(8, 4)
    mon = Monitor(model, every=1)
    model.load_state_dict({k: v.clone() for k, v in model.state_dict().items()}, assign=True)
    gc.collect()
    loss = model(x).square().mean()
    loss.backward()
    with pytest.raises(RuntimeError, match=r"load_state_dict\(assign=True\)"):
        mon.step(loss)


def test_an_optimizer_without_the_hook_is_named():
    class Wrapped:
        param_groups = ()

    class Accelerated(torch.optim.Optimizer):
        """As accelerate's: an Optimizer by class, that was never made one."""

        def __init__(self, optimizer):
            self.optimizer = optimizer

    model = net()
    with pytest.raises(TypeError, match="Wrapped has no register_step_pre_hook"):
        Monitor(model, optimizer=Wrapped())
    inside = torch.optim.SGD(model.parameters(), 0.1)
    with pytest.raises(TypeError, match=r"give the torch\.optim\.Optimizer inside of it"):
        Monitor(model, optimizer=[inside, Accelerated(inside)])
    assert not inside._optimizer_step_pre_hooks  # nothing is left of the attempt


def test_several_optimizers_share_a_model():
    """Weights in one and biases in another, that steps at every second step only (as Muon beside AdamW)."""
    model = net()
    weights = torch.optim.SGD([p for p in model.parameters() if p.ndim > 1], 0.1, momentum=0.9)
    biases = torch.optim.Adam([p for p in model.parameters() if p.ndim < 2], 0.01)
    mon = Monitor(model, optimizer=[weights, biases], every=1)
    expected = []
    for i in range(40):
        x = torch.randn(8, 4)
        loss = model(x).square().mean()
        model.zero_grad()
        loss.backward()
        before = [p.detach().clone() for p in model.parameters()]
        if i % 2:
            biases.step()
        weights.step()
        ratios = [((p - b).norm() / p.norm()).item() for p, b in zip(model.parameters(), before)]
        expected.append([r if p.ndim > 1 or i % 2 else math.nan for p, r in zip(model.parameters(), ratios)])
        mon.step(loss)
    np.testing.assert_allclose(mon.update_data, expected, rtol=1e-5)
    assert mon.optimizer_steps == 20 and mon.learning_rates == [0.1, 0.01] and not mon.not_in_optimizer
    saved = pickle.loads(pickle.dumps(mon))
    assert saved.optimizer_steps == 20 and saved.learning_rates == [0.1, 0.01]
    assert not [f for f in diagnose(saved, None) if "optimizer" in f.what or "learn" in f.what]
    mon.close()
    assert not (weights._optimizer_step_pre_hooks or biases._optimizer_step_pre_hooks)


def test_a_parameter_that_none_of_several_optimizers_has():
    first, _, last = model = net()
    optimizers = [torch.optim.SGD([p], 0.1) for p in (first.weight, first.bias, last.weight)]
    assert Monitor(model, optimizer=optimizers).not_in_optimizer == ["2.bias"]


def test_plain_layers_without_out_are_named():
    class Silent:
        def __init__(self):
            self.w = torch.randn(3, 3, requires_grad=True)

        def __call__(self, x):
            return x @ self.w

        def parameters(self):
            return [self.w]

    layer = Silent()
    mon = Monitor([layer], every=1)
    loss = layer(torch.randn(2, 3)).sum()
    loss.backward()
    with pytest.raises(RuntimeError, match=r"keep no \.out: 0 Silent has none"):
        mon.step(loss)


def test_a_linear_with_a_dropout_inside_is_a_layer():
    class Dropped(nn.Linear):
        def __init__(self):
            super().__init__(4, 8)
            self.drop = nn.Dropout(0.0)

        def forward(self, x):
            return self.drop(F.linear(x, self.weight, self.bias)) * 2

    model = nn.Sequential(Dropped(), nn.Linear(8, 2))
    mon = Monitor(model, every=1)
    x = torch.randn(8, 4)
    loss = model(x).square().mean()
    loss.backward()
    mon.step(loss)
    assert mon.layer_names == ["0.drop", "0", "1"]
    assert at(mon, "0")["mean"] == pytest.approx(model[0](x).mean().item(), rel=1e-5)


def test_a_container_with_a_parameter_that_passes_its_last_output_on_is_no_layer_of_its_own():
    class Net(nn.Sequential):
        def __init__(self):
            super().__init__(nn.Linear(4, 8), nn.Linear(8, 2))
            self.scale = nn.Parameter(torch.ones(4))

        def forward(self, x):
            return super().forward(x * self.scale)

    model = Net()
    mon = Monitor(model, every=1)
    loss = model(torch.randn(8, 4)).square().mean()
    loss.backward()
    mon.step(loss)
    assert mon.layer_names == ["0", "1"]


# -- names, parts, statistics -----------------------------------------------------------------------------


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


def test_only_some_layers_and_parameters():
    model = nn.Sequential(net(), net())
    mon = Monitor(model[0], only=("0*", "2.bias"), every=1)
    loss = model[0](torch.randn(8, 4)).square().mean()
    loss.backward()
    mon.step(loss)
    assert mon.layer_names == ["0"] and mon.parameter_names == ["0.weight", "0.bias", "2.bias"]
    with pytest.raises(ValueError, match=r"no layer is named like head\*: there are 0, 1, 2"):
        Monitor(net(), only="head*")


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
