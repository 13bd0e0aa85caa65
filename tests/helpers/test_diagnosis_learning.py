"""diagnose in loops that others wrote: what does not learn, or unlearns, is named with its reason."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.helpers.loops import deep_net, found, one_step, scaled_step, train
from zth_helpers import Monitor, diagnose


@pytest.mark.parametrize("how", ["another model", "older copy"])
def test_an_optimizer_of_another_model(how):
    model = deep_net()
    optimizer = torch.optim.SGD(
        (deep_net() if how == "another model" else copy.deepcopy(model)).parameters(), 0.1
    )
    for p in optimizer.param_groups[0]["params"]:
        p.grad = torch.zeros_like(p)
    [(severity, _, what)] = found(train(model, optimizer))
    assert severity == "error" and what == "the optimizer has none of these parameters:"


def test_a_forgotten_optimizer_step():
    model = deep_net()
    mon = train(model, torch.optim.SGD(model.parameters(), 0.1), step=False)
    [(severity, _, what)] = found(mon)
    assert severity == "error" and what == "the optimizer never steps:"
    assert "optimizer.step()" in diagnose(mon, None)[0].remedy


def test_one_layer_that_is_missing_from_the_optimizer():
    model = deep_net()
    rest = [p for name, p in model.named_parameters() if not name.startswith("2.")]
    assert found(train(model, torch.optim.SGD(rest, 0.1))) == [("error", "2", "is not in the optimizer:")]


def trained_in_bfloat16(model):
    """All numbers are 1, the next that bfloat16 has is 1.0078, and the steps are smaller."""
    for p in model.parameters():
        p.data.fill_(1.0)
    optimizer = torch.optim.SGD(model.parameters(), 1e-5)
    mon = Monitor(model, optimizer=optimizer, every=5)
    for _ in range(20):
        loss = model(torch.randn(8, 6, dtype=torch.bfloat16)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        mon.step(loss)
    return mon


def test_a_regression_that_has_learned_may_take_tiny_steps():
    """Adam remembers the large gradients of the beginning for a thousand steps."""
    model = nn.Sequential(nn.Linear(144, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))
    optimizer, data = torch.optim.Adam(model.parameters(), 1e-3), torch.randn(512, 144)
    mon = Monitor(model, optimizer=optimizer, every=50)
    for _ in range(900):
        x = data[torch.randint(0, 512, (64,))]
        loss = F.mse_loss(model(x)[:, 0], 10 * x[:, 0] + 3)
        optimizer.zero_grad(), loss.backward(), optimizer.step(), mon.step(loss)
    assert mon.losses[-1] < 0.1 * mon.losses[0] and not diagnose(mon), str(diagnose(mon))


def test_steps_that_go_past_the_optimizer_are_no_fault():
    """Sharpness-aware minimisation moves the parameters itself, and then by an optimizer inside of it."""
    model = deep_net()
    around = torch.optim.SGD(model.parameters(), 0.1)
    inside = torch.optim.SGD(model.parameters(), 0.1)
    mon = Monitor(model, optimizer=around, every=5)
    for _ in range(30):
        mon.step(one_step(model, inside))
    [(severity, _, what)] = found(mon)
    assert severity == "note" and what == "the parameters move, and not by this optimizer's step():"


class TwoHeads(nn.Module):
    """Trained in turns, as for two tasks."""

    def __init__(self):
        super().__init__()
        self.body, self.heads = (
            deep_net(),
            nn.ModuleList(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 4)) for _ in range(2)),
        )

    def forward(self, x, which):
        return self.heads[which](self.body(x))


@pytest.mark.parametrize("forgotten", [False, True])
def test_a_head_that_runs_at_other_steps_than_the_samples(forgotten):
    model = TwoHeads()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
    mon = Monitor(model, optimizer=optimizer, every=10)
    for i in range(60):
        mon.step(one_step(model, optimizer, 1 if forgotten else (i + 1) % 2))
    expected = ("warning", "never ran") if forgotten else ("note", "runs at other steps")
    assert found(mon) == [(expected[0], f"heads.0.{i}", expected[1]) for i in range(3)]
    assert found(pickle.loads(pickle.dumps(mon))) == found(mon)


def test_a_teacher_that_runs_without_gradients_is_no_finding():
    student = deep_net()
    teacher = copy.deepcopy(student).requires_grad_(False)
    optimizer = torch.optim.Adam(student.parameters(), 1e-2)
    mon = Monitor(nn.ModuleDict({"student": student, "teacher": teacher}), optimizer=optimizer, every=5)
    for _ in range(30):
        x = torch.randn(32, 6)
        with torch.no_grad():
            target = teacher(x)
        loss = F.cross_entropy(student(x), x[:, :4].argmax(1)) + F.mse_loss(student(x), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        mon.step(loss)
    assert not found(mon) and mon.without_gradients == [f"teacher.{i}" for i in range(5)]
    saved = pickle.loads(pickle.dumps(mon))
    assert not found(saved) and saved.without_gradients == mon.without_gradients


def test_a_network_that_should_learn_and_runs_without_gradients():
    body, head = deep_net(), nn.Linear(4, 4)
    both = nn.ModuleDict({"body": body, "head": head})
    optimizer = torch.optim.Adam(both.parameters(), 1e-2)
    mon = Monitor(both, optimizer=optimizer, every=5)
    for _ in range(30):
        x = torch.randn(32, 6)
        with torch.no_grad():
            features = body(x)
        loss = F.cross_entropy(head(features), x[:, :4].argmax(1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        mon.step(loss)
    assert found(mon) == [("error", "body.4.weight", "gets no gradient")]  # the others follow


def test_each_of_several_networks_is_judged_by_itself():
    """The gradient shrinks on its way through the discriminator and the generator, each of which is short."""
    G = nn.Sequential(
        nn.Linear(4, 32), nn.LeakyReLU(0.2), nn.Linear(32, 32), nn.LeakyReLU(0.2), nn.Linear(32, 2)
    )
    D = nn.Sequential(
        nn.Linear(2, 32), nn.LeakyReLU(0.2), nn.Linear(32, 32), nn.LeakyReLU(0.2), nn.Linear(32, 1)
    )
    for_g, for_d = (torch.optim.Adam(m.parameters(), 2e-4, betas=(0.5, 0.999)) for m in (G, D))
    mon = Monitor(nn.ModuleDict({"G": G, "D": D}), optimizer=[for_g, for_d], every=10)
    one, zero, criterion = torch.ones(64, 1), torch.zeros(64, 1), F.binary_cross_entropy_with_logits
    for _ in range(300):
        fake = G(torch.randn(64, 4))
        loss = criterion(D(torch.randn(64, 2) * 0.3 + 1), one) + criterion(D(fake.detach()), zero)
        for_d.zero_grad(), loss.backward(), for_d.step()
        loss = criterion(D(fake), one)
        for_g.zero_grad(), loss.backward(), for_g.step(), mon.step(loss)
    assert mon.networks == ["G.", "D."] and not found(mon)


def test_updates_that_bfloat16_rounds_away():
    torch.manual_seed(1)
    mon = trained_in_bfloat16(deep_net().to(torch.bfloat16))
    assert ("error", "0.weight", "updates are lost to rounding:") in found(mon)


def test_one_parameter_that_rounding_holds():
    mon = trained_in_bfloat16(nn.Linear(6, 1, bias=False, dtype=torch.bfloat16))
    [finding] = [f for f in diagnose(mon, None) if "rounding" in f.what]
    assert (finding.layer, finding.measured) == ("weight", "1 parameters in bfloat16 stay as they are")


@pytest.mark.parametrize(("steps", "sure"), [(9, False), (10, True)])
def test_after_ten_steps_a_forgotten_optimizer_is_sure(steps, sure):
    model = deep_net()
    mon = train(model, torch.optim.SGD(model.parameters(), 0.1), steps=steps, step=False)
    assert (("error", "", "the optimizer never steps:") in found(mon)) == sure


def test_a_learning_rate_of_zero():
    model = deep_net()
    assert found(train(model, torch.optim.SGD(model.parameters(), 0.0))) == [("error", "", "learning rate")]
    # with one sample of the weights there is nothing to compare: the updates tell
    mon = train(model, torch.optim.SGD(model.parameters(), 0.0), steps=12, every=100)
    assert len(mon.moved) == 1 and found(mon) == [("error", "", "learning rate")]


@pytest.mark.parametrize(("every", "steps"), [(100, 12), (100, 50), (10, 11), (1, 3), (1, 12), (100, 150)])
@pytest.mark.parametrize("schedule_first", [True, False])
def test_a_warm_up_from_zero_is_no_finding(every, steps, schedule_first):
    model = deep_net()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda i: min(1, i / 1000))
    mon = Monitor(model, optimizer=optimizer, every=every)
    for _ in range(steps):
        loss = one_step(model, optimizer)
        if schedule_first:
            schedule.step()
        mon.step(loss)
        if not schedule_first:
            schedule.step()
    assert not found(mon) and not found(pickle.loads(pickle.dumps(mon)))
    assert mon.update_rates[0] == 0 and len(mon.update_rates) == len(mon.update_steps)


def test_first_steps_that_the_scaler_leaves_out_are_no_finding():
    model = deep_net()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127)
    mon = Monitor(model, optimizer=optimizer, scaler=scaler, every=100)
    for _ in range(50):
        x = torch.randn(32, 6)
        scaled_step(100 * F.cross_entropy(model(x), x[:, :4].argmax(1)), optimizer, scaler, mon)
    assert mon.update_data.tolist() == [[0.0] * 6] and mon.update_rates.tolist() == [0]
    assert not found(mon)


def test_a_loop_without_an_update_is_seen_without_an_optimizer():
    mon = train(deep_net(), None, steps=40, every=1, lr=0.1)
    assert ("error", "", "does not learn:") in found(mon)


def test_what_is_frozen_on_purpose_is_no_finding():
    model = deep_net()
    model[0].requires_grad_(False)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 0.1)
    assert found(train(model, optimizer)) == []


class Experts(nn.Module):
    """Two heads, of which each step uses one; one layer has nan in its update ratios."""

    def __init__(self):
        super().__init__()
        self.body, self.heads, self.turn = nn.Linear(6, 16), nn.ModuleList([nn.Linear(16, 4)] * 0), 0
        self.a, self.b = nn.Linear(16, 4), nn.Linear(16, 4)

    def forward(self, x):
        self.turn += 1
        h = torch.tanh(self.body(x))
        return self.a(h) if self.turn % 2 else self.b(h)


@pytest.mark.parametrize(("lr", "word"), [(1e-5, "raise"), (30.0, "lower")])
def test_a_parameter_that_is_absent_at_some_steps_switches_no_check_off(lr, word):
    model = Experts()
    mon = train(model, torch.optim.SGD(model.parameters(), lr), steps=40, every=3)
    assert np.isnan(mon.update_data).any()
    ratio = [f for f in diagnose(mon, None) if f.what == "update : data ratio of the weights"]
    assert len(ratio) == 1 and ratio[0].remedy.startswith(word)


# -- the first loss of any loop ---------------------------------------------------------------------------


def first_losses(loss_of, scale=30.0) -> list[str]:
    torch.manual_seed(0)
    model = nn.Linear(4, 10)
    model.weight.data *= scale
    mon = Monitor(model, every=1)
    loss = loss_of(model(torch.randn(32, 4)), torch.arange(32) % 10)
    loss.backward()
    mon.step(loss, lr=1e-3)
    copied = pickle.loads(pickle.dumps(mon))
    found = [f.expected for f in diagnose(mon) if f.what == "first loss"]
    assert found == [f.expected for f in diagnose(copied) if f.what == "first loss"]
    return found


a_node = torch.ones(1, requires_grad=True).log_softmax(0).grad_fn
graph_tells = pytest.mark.skipif(not hasattr(a_node, "_input_metadata"), reason="an older torch")


@graph_tells
@pytest.mark.parametrize(
    "loss_of",
    [
        F.cross_entropy,
        lambda z, y: F.nll_loss(z.log_softmax(1), y),
        lambda z, y: F.cross_entropy(z.view(32, 10, 1), y[:, None]),
    ],
)
def test_the_number_of_classes_is_read_off_a_cross_entropy(loss_of):
    assert first_losses(loss_of) == ["ln 10 = 2.30"] and not first_losses(loss_of, scale=0.01)


@pytest.mark.parametrize(
    "loss_of",
    [
        lambda z, y: F.cross_entropy(z, y, reduction="sum"),
        lambda z, y: F.mse_loss(z, 100 * torch.ones_like(z)),
        lambda z, y: F.cross_entropy(z, y) + z.square().mean(),
        lambda z, y: -z.log_softmax(1)[range(32), y].mean(),
    ],
)
def test_no_other_first_loss_is_judged_unasked(loss_of):
    assert not first_losses(loss_of)


@pytest.mark.parametrize("learned", [True, False])
def test_small_steps_are_no_fault_of_a_network_that_has_learned(learned):
    torch.manual_seed(0)
    layer, X = nn.Linear(4, 1), torch.randn(64, 4)
    Y = X @ torch.ones(4, 1)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.03 if learned else 1e-6)
    mon = Monitor(layer, optimizer=optimizer, every=1)
    for _ in range(200):
        loss = (layer(X) - Y).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        mon.step(loss)
    assert 1e-7 < np.median(mon.update_data[100:, 0]) < 1e-4
    assert (mon.losses[-1] < 1e-3) == learned
    too_slow = "update : data ratio of the weights" in [f.what for f in diagnose(mon)]
    assert too_slow != learned


@graph_tells
@pytest.mark.parametrize("lr, grown", [(30.0, True), (1e-3, False)])
def test_a_cross_entropy_that_has_grown_beyond_guessing(lr, grown):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 10))
    optimizer, W = torch.optim.Adam(model.parameters(), lr=lr), torch.randn(8, 10)
    mon = Monitor(model, optimizer=optimizer, every=10)
    for _ in range(100):
        X = torch.randn(32, 8)
        loss = F.cross_entropy(model(X), (X @ W).argmax(1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        mon.step(loss)
    [*found] = (f for f in diagnose(mon) if f.what == "loss has grown to")
    assert len(found) == grown
    if grown:
        assert found[0].measured == f"{np.median(mon.losses[-10:]):.2f}" and "ln 10 = 2.30" in str(found[0])
