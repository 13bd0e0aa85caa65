"""diagnose in loops that others wrote: what does not learn is named, and what is healthy is left in peace."""

from __future__ import annotations

import copy
import json
import pickle

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from zth_helpers import Monitor, diagnose, plots
from zth_helpers.monitor import Alarm, Finding, stop_on, tensorboard, to_dict, to_json_lines, write_to


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def net(act=nn.Tanh):
    return nn.Sequential(nn.Linear(6, 16), act(), nn.Linear(16, 16), act(), nn.Linear(16, 4))


def one_step(model, optimizer, *more):
    """Forward, backward, and an update if there is an optimizer; returns the loss."""
    x = torch.randn(32, 6)
    loss = F.cross_entropy(model(x, *more), x[:, :4].argmax(1))
    model.zero_grad()
    loss.backward()
    if optimizer is not None:
        optimizer.step()
    return loss


def train(model, optimizer, steps=30, every=5, step=True, watch=None, scaler=None, lr=None):
    mon = Monitor(watch or model, optimizer=optimizer, scaler=scaler, every=every)
    for _ in range(steps):
        mon.step(one_step(model, optimizer if step else None), lr=lr)
    return mon


def found(mon, **options):
    return [(f.severity, f.layer, f.what) for f in diagnose(mon, None, **options).causes]


# -- 12. nothing learns -----------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["another model", "older copy"])
def test_an_optimizer_of_another_model(how):
    model = net()
    optimizer = torch.optim.SGD((net() if how == "another model" else copy.deepcopy(model)).parameters(), 0.1)
    for p in optimizer.param_groups[0]["params"]:
        p.grad = torch.zeros_like(p)
    [(severity, _, what)] = found(train(model, optimizer))
    assert severity == "error" and what == "the optimizer has none of these parameters:"


def test_a_forgotten_optimizer_step():
    model = net()
    mon = train(model, torch.optim.SGD(model.parameters(), 0.1), step=False)
    [(severity, _, what)] = found(mon)
    assert severity == "error" and what == "the optimizer never steps:"
    assert "optimizer.step()" in diagnose(mon, None)[0].remedy


def test_one_layer_that_is_missing_from_the_optimizer():
    model = net()
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
    model = net()
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
            net(),
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
    student = net()
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
    body, head = net(), nn.Linear(4, 4)
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
    mon = trained_in_bfloat16(net().to(torch.bfloat16))
    assert ("error", "0.weight", "updates are lost to rounding:") in found(mon)


def test_one_parameter_that_rounding_holds():
    mon = trained_in_bfloat16(nn.Linear(6, 1, bias=False, dtype=torch.bfloat16))
    [finding] = [f for f in diagnose(mon, None) if "rounding" in f.what]
    assert (finding.layer, finding.measured) == ("weight", "1 parameters in bfloat16 stay as they are")


@pytest.mark.parametrize(("steps", "sure"), [(9, False), (10, True)])
def test_after_ten_steps_a_forgotten_optimizer_is_sure(steps, sure):
    model = net()
    mon = train(model, torch.optim.SGD(model.parameters(), 0.1), steps=steps, step=False)
    assert (("error", "", "the optimizer never steps:") in found(mon)) == sure


def test_a_learning_rate_of_zero():
    model = net()
    assert found(train(model, torch.optim.SGD(model.parameters(), 0.0))) == [("error", "", "learning rate")]
    # with one sample of the weights there is nothing to compare: the updates tell
    mon = train(model, torch.optim.SGD(model.parameters(), 0.0), steps=12, every=100)
    assert len(mon.moved) == 1 and found(mon) == [("error", "", "learning rate")]


@pytest.mark.parametrize(("every", "steps"), [(100, 12), (100, 50), (10, 11), (1, 3), (1, 12), (100, 150)])
@pytest.mark.parametrize("schedule_first", [True, False])
def test_a_warm_up_from_zero_is_no_finding(every, steps, schedule_first):
    model = net()
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
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127)
    mon = Monitor(model, optimizer=optimizer, scaler=scaler, every=100)
    for _ in range(50):
        x = torch.randn(32, 6)
        loss = 100 * F.cross_entropy(model(x), x[:, :4].argmax(1))
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        mon.step(loss)
    assert mon.update_data.tolist() == [[0.0] * 6] and mon.update_rates.tolist() == [0]
    assert not found(mon)


def test_a_loop_without_an_update_is_seen_without_an_optimizer():
    mon = train(net(), None, steps=40, every=1, lr=0.1)
    assert ("error", "", "does not learn:") in found(mon)


def test_what_is_frozen_on_purpose_is_no_finding():
    model = net()
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


# -- 13. no false alarm -----------------------------------------------------------------------------------


def test_layers_in_eval_mode_inside_a_training_model_have_run():
    model = nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.Tanh(), nn.Linear(16, 4))
    model[1].eval()
    model[1].requires_grad_(False)
    mon = train(model, torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 0.1))
    assert found(mon) == [] and (mon.calls == 6).all()


@pytest.mark.parametrize("last", [nn.Sigmoid, nn.Tanh])
def test_an_output_layer_may_be_sure(last):
    model = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 4), last(), nn.Flatten())
    with torch.no_grad():
        model[2].weight *= 100
    mon = train(model, torch.optim.SGD(model.parameters(), 1e-3), steps=10)
    assert mon.output_layers == ["3", "4"]
    assert not [f for f in diagnose(mon, None) if f.what in ("saturated outputs", "dead units")]


class ReZero(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner, self.alpha = nn.Linear(6, 6), nn.Parameter(torch.zeros(1))

    def forward(self, x):
        return x + self.alpha * torch.tanh(self.inner(x))


class LoRA(nn.Module):
    def __init__(self):
        super().__init__()
        self.base = nn.Linear(6, 6).requires_grad_(False)
        self.A, self.B = nn.Linear(6, 2, bias=False), nn.Linear(2, 6, bias=False)
        nn.init.zeros_(self.B.weight)

    def forward(self, x):
        return self.base(x) + self.B(self.A(x))


@pytest.mark.parametrize("block", [ReZero, LoRA])
def test_a_gate_that_starts_at_zero_gets_a_note_that_goes(block):
    model = nn.Sequential(block(), nn.Linear(6, 4))
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 0.1)
    first = diagnose(train(copy.deepcopy(model), None, steps=1, every=1, lr=0.01), None)
    assert {f.severity for f in first} == {"note"} and first[0].what == "gets no gradient yet"
    assert [f for f in diagnose(train(model, optimizer, steps=40), None) if "gradient" in f.what] == []


# -- 14, 15, 16 -------------------------------------------------------------------------------------------


def test_a_dead_layer_is_the_cause_and_what_follows_is_folded():
    model = nn.Sequential(
        *(layer for _ in range(4) for layer in (nn.Linear(6, 6), nn.ReLU())), nn.Linear(6, 4)
    )
    with torch.no_grad():
        model[4].bias.fill_(-100.0)
    mon = train(model, torch.optim.SGD(model.parameters(), 0.1), steps=30)
    findings = diagnose(mon, None)
    cause = findings.causes[0]
    assert (cause.layer, cause.what, cause.measured) == ("5", "dead units", "100%")
    assert [f.title for f in findings.causes] == ["dead units, 5"]
    assert {f.what for f in findings.following(cause)} >= {"gets no gradient", "vanishing gradients"}
    lines = str(findings).splitlines()
    assert (
        len(lines) == 3 and lines[2].startswith("  and so: ") and "gets no gradient (7: 0.weight" in lines[2]
    )
    assert findings.sentences.count("\n") == 0 and "(6 samples from step 0)" in findings.sentences


def test_a_detached_body_names_the_first_layer_that_misses_its_gradient():
    class Detached(nn.Sequential):
        def forward(self, x):
            for layer in self[:3]:
                x = layer(x)
            x = x.detach()
            for layer in self[3:]:
                x = layer(x)
            return x

    model = Detached(*net())
    findings = diagnose(train(model, torch.optim.SGD(model.parameters(), 0.1)), None)
    [cause] = [f for f in findings.causes if "gradient" in f.what]
    assert cause.layer.startswith("2.") and len(findings.following(cause)) == 3
    first = diagnose(train(model, torch.optim.SGD(model.parameters(), 0.1), steps=1), None)
    assert "gets no gradient" in {f.what for f in first}, "nothing here starts at zero: it is no note"


def test_a_finding_says_since_when_and_how_often():
    model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 4))
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    mon = Monitor(model, optimizer=optimizer, every=5)
    for i in range(31):
        if i == 12:
            model[0].bias.data.fill_(-100.0)
        mon.step(one_step(model, optimizer))
    dead = next(f for f in diagnose(mon, None) if f.what == "dead units")
    # the least of three samples counts, so the finding comes two samples after the deed
    assert (dead.since, dead.samples, dead.seen) == (25, 2, "2 samples from step 25")


class ThreeBlocks(nn.Module):
    """A small ResNet. Its gradients grow towards the input, and it learns well."""

    def __init__(self):
        super().__init__()
        self.stem, self.act, self.head = nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Linear(16, 5)
        self.blocks = nn.ModuleList(self.block() for _ in range(3))

    def block(self):
        first, last = (nn.Conv2d(16, 16, 3, padding=1) for _ in range(2))
        return nn.Sequential(first, nn.BatchNorm2d(16), nn.ReLU(), last, nn.BatchNorm2d(16))

    def forward(self, x):
        x = self.stem(x)
        for block in self.blocks:
            x = self.act(x + block(x))
        return self.head(x.mean((2, 3)))


class SqueezeAndExcite(nn.Module):
    """Its ReLU sees pooled images, which hardly differ: three of its four units are dark for all of them."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.act = nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU6()
        self.gate = nn.Sequential(nn.Linear(16, 4), nn.ReLU(), nn.Linear(4, 16), nn.Sigmoid())
        self.head = nn.Linear(16, 5)
        with torch.no_grad():
            self.gate[0].weight.mul_(0.1), self.gate[0].bias.copy_(torch.tensor([1.0, -1.0, -1.0, -1.0]))

    def forward(self, x):
        x = self.act(self.norm(self.conv(x)))
        return self.head((x * self.gate(x.mean((2, 3)))[:, :, None, None]).mean((2, 3)))


class PlainConvolutions(nn.Sequential):
    """Three ReLUs with torch's own weights, which shrink what passes through by 3 a layer."""

    def __init__(self):
        layers = [nn.Conv2d(1, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, 1), nn.ReLU()]
        layers += [nn.Conv2d(16, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(72, 5)]
        super().__init__(*layers)


@pytest.mark.parametrize("network", [ThreeBlocks, SqueezeAndExcite, PlainConvolutions])
@pytest.mark.parametrize(("every", "steps"), [(1, 2), (100, 1), (10, 110)])
@pytest.mark.parametrize(
    "make",
    [
        lambda p: torch.optim.SGD(p, 0.02, momentum=0.9),
        lambda p: torch.optim.Adam(p, 1e-3),
        lambda p: torch.optim.AdamW(p, 3e-3),
    ],
    ids=["SGD", "Adam", "AdamW"],
)
def test_healthy_networks_after_few_steps_and_many(network, make, every, steps):
    x = torch.randn(512, 1, 12, 12)
    y = (x.flatten(1) @ torch.randn(144, 5)).argmax(1)
    model = network()
    optimizer = make(model.parameters())
    mon = Monitor(model, optimizer=optimizer, every=every)
    for _ in range(steps):
        ix = torch.randint(0, 512, (64,))
        loss = F.cross_entropy(model(x[ix]), y[ix])
        optimizer.zero_grad(), loss.backward(), optimizer.step(), mon.step(loss)
    assert not diagnose(mon), str(diagnose(mon))


HEALTHY_NETS = ["GPT", "ResNet", "LSTM", "autoencoder", "GAN", "GradScaler", "DDP"]


class Attention(nn.Module):
    def __init__(self, d=32, heads=4):
        super().__init__()
        self.qkv, self.proj, self.heads = nn.Linear(d, 3 * d), nn.Linear(d, d), heads

    def forward(self, x):
        B, T, d = x.shape
        q, k, v = self.qkv(x).view(B, T, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        out = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.proj(out.transpose(1, 2).reshape(B, T, d))


class Block(nn.Module):
    def __init__(self, d=32):
        super().__init__()
        self.ln1, self.attention, self.ln2 = nn.LayerNorm(d), Attention(d), nn.LayerNorm(d)
        self.mlp = nn.Sequential(nn.Linear(d, 4 * d), nn.GELU(), nn.Linear(4 * d, d))

    def forward(self, x):
        x = x + self.attention(self.ln1(x))
        return x + self.mlp(self.ln2(x))


class GPT(nn.Module):
    def __init__(self, vocab=27, d=32, T=8):
        super().__init__()
        self.tok, self.pos = nn.Embedding(vocab, d), nn.Embedding(T, d)
        self.blocks = nn.Sequential(*(Block(d) for _ in range(3)))
        self.ln, self.head = nn.LayerNorm(d), nn.Linear(d, vocab, bias=False)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)

    def forward(self, ix):
        x = self.tok(ix) + self.pos(torch.arange(ix.shape[1]))
        return self.head(self.ln(self.blocks(x)))


class Residual(nn.Module):
    def __init__(self, c=8):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(c, c, 3, padding=1, bias=False), nn.BatchNorm2d(c)
        self.conv2, self.bn2 = nn.Conv2d(c, c, 3, padding=1, bias=False), nn.BatchNorm2d(c)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        return self.relu(x + self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x))))))


def healthy(kind: str) -> tuple[Monitor, int | None]:
    """A short run, and the number of classes."""
    if kind == "GPT":
        model = GPT()
        optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
        mon = Monitor(model, optimizer=optimizer, every=10)
        for _ in range(31):
            ix = torch.randint(0, 27, (16, 9)).sort(1).values
            loss = F.cross_entropy(model(ix[:, :-1]).flatten(0, 1), ix[:, 1:].flatten())
            optimizer.zero_grad(), loss.backward(), optimizer.step(), mon.step(loss)
        return mon, 27
    if kind == "ResNet":
        model = nn.Sequential(
            nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), Residual(), Residual(),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10),
        )  # fmt: skip
        optimizer = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9, weight_decay=1e-4)
        mon = Monitor(model, optimizer=optimizer, every=10)
        for _ in range(31):
            y = torch.randint(0, 10, (32,))
            x = torch.randn(32, 1, 12, 12) + y.view(-1, 1, 1, 1) / 5
            loss = F.cross_entropy(model(x), y)
            optimizer.zero_grad(), loss.backward(), optimizer.step(), mon.step(loss)
        return mon, 10
    if kind == "LSTM":
        embed, lstm, head = nn.Embedding(27, 16), nn.LSTM(16, 64, batch_first=True), nn.Linear(64, 27)
        model = nn.ModuleDict({"embed": embed, "lstm": lstm, "head": head})
        optimizer = torch.optim.Adam(model.parameters(), 1e-3)
        mon = Monitor(model, optimizer=optimizer, every=10)
        for _ in range(31):
            ix = torch.randint(0, 27, (32, 9)).sort(1).values
            loss = F.cross_entropy(head(lstm(embed(ix[:, :-1]))[0]).flatten(0, 1), ix[:, 1:].flatten())
            optimizer.zero_grad(), loss.backward(), optimizer.step(), mon.step(loss)
        return mon, 27
    if kind == "autoencoder":
        model = nn.Sequential(
            nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 5),
            nn.Linear(5, 64), nn.ReLU(), nn.Linear(64, 20), nn.Sigmoid(),
        )  # fmt: skip
        optimizer = torch.optim.Adam(model.parameters(), 1e-3)
        mon = Monitor(model, optimizer=optimizer, every=10)
        for _ in range(31):
            x = torch.rand(64, 20)
            loss = F.mse_loss(model(x), x)
            optimizer.zero_grad(), loss.backward(), optimizer.step(), mon.step(loss)
        return mon, None
    if kind == "GAN":
        G = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 8), nn.Tanh())
        D = nn.Sequential(nn.Linear(8, 32), nn.LeakyReLU(0.2), nn.Linear(32, 1), nn.Sigmoid())
        opt_g, opt_d = torch.optim.Adam(G.parameters(), 1e-3), torch.optim.Adam(D.parameters(), 1e-3)
        mon, mon_g = Monitor(D, optimizer=opt_d, every=10), Monitor(G, optimizer=opt_g, every=10)
        one, zero = torch.ones(32, 1), torch.zeros(32, 1)
        for _ in range(31):
            real, fake = torch.tanh(torch.randn(32, 8) + 1), G(torch.randn(32, 4))
            loss = F.binary_cross_entropy(D(real), one) + F.binary_cross_entropy(D(fake.detach()), zero)
            opt_d.zero_grad(), loss.backward(), opt_d.step(), mon.step(loss)
            loss_g = F.binary_cross_entropy(D(fake), one)
            opt_g.zero_grad(), loss_g.backward(), opt_g.step(), mon_g.step(loss_g)
        assert not diagnose(mon_g, None), f"{diagnose(mon_g, None)}"
        return mon, None
    if kind == "DDP":
        model = nn.parallel.DistributedDataParallel(net())
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        return train(model, optimizer, steps=31, every=10), 4
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    mon = Monitor(model, optimizer=optimizer, scaler=scaler, every=10)
    for _ in range(31):
        x = torch.randn(32, 6)
        with torch.autocast("cpu", torch.bfloat16):
            out = model(x)
        loss = F.cross_entropy(out.float(), x[:, :4].argmax(1))
        optimizer.zero_grad(), scaler.scale(loss).backward(), scaler.step(optimizer), scaler.update()
        mon.step(loss)
    return mon, 4


@pytest.mark.parametrize("kind", HEALTHY_NETS)
def test_healthy_networks_of_other_peoples_kind_over_20_seeds(kind, tmp_path, request):
    if kind == "DDP":  # a group of one process
        torch.distributed.init_process_group(
            "gloo", init_method=f"file://{tmp_path}/rendezvous", rank=0, world_size=1
        )
        request.addfinalizer(torch.distributed.destroy_process_group)
    for number in range(20):
        torch.manual_seed(number)
        mon, vocab_size = healthy(kind)
        findings = diagnose(mon, vocab_size)
        assert not findings, f"seed {number}\n{findings}"


# -- 17. taken away ---------------------------------------------------------------------------------------


@pytest.fixture
def mon():
    model = net()
    return train(model, torch.optim.SGD(model.parameters(), 0.1), steps=12)


def test_a_monitor_can_be_pickled_and_reads_as_before(mon):
    copied = pickle.loads(pickle.dumps(mon))
    for field in ("mean", "std", "saturated", "hist", "edges"):
        np.testing.assert_array_equal(getattr(copied.outputs, field), getattr(mon.outputs, field))
    np.testing.assert_array_equal(copied.update_data, mon.update_data)
    assert copied.layer_names == mon.layer_names and copied.parameter_names == mon.parameter_names
    assert repr(copied) == repr(mon) and str(diagnose(copied, None)) == str(diagnose(mon, None))
    assert str(plots.dashboard(copied)) == str(plots.dashboard(mon))
    assert pickle.loads(pickle.dumps(diagnose(mon, None))) == diagnose(mon, None)
    with pytest.raises(RuntimeError, match="closed"):
        copied.step(1.0)
    copied.close()


def test_as_plain_python_and_as_lines_of_json(mon, tmp_path):
    data = json.loads(json.dumps(to_dict(mon), allow_nan=False))
    assert data["steps"] == [0, 5, 10] and data["layers"] == mon.layer_names
    assert data["outputs"]["std"][1][0] == pytest.approx(mon.outputs.std[1, 0])
    assert data["outputs"]["saturated"][0][0] is None  # no such thing for a Linear
    to_json_lines(mon, tmp_path / "run.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "run.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [0, 5, 10]
    assert lines[2]["outputs.std/1"] == pytest.approx(mon.outputs.std[2, 1])
    assert lines[2]["update_data/0.weight"] == pytest.approx(mon.update_data[2, 0])
    assert lines[0]["loss"] == pytest.approx(mon.losses[0])


def test_a_monitor_that_an_older_version_has_saved():
    """1.0 knew one optimizer, and neither classes, networks, units nor the learning rate of an update."""
    model = net()
    mon = train(model, torch.optim.SGD(model.parameters(), 0.1))
    state = mon.__getstate__()
    state["columns"] = state["columns"][:3]
    state["parameters"]["stepped"], state["has_optimizer"] = 30, True
    for name in ("classes", "networks"):
        del state[name]
    arrays, n, interval = state["_updates"]._state
    state["_updates"]._state = ({k: a for k, a in arrays.items() if k != "rate"}, n, interval)
    old = Monitor.__new__(Monitor)
    old.__setstate__(copy.deepcopy(state))
    assert old.optimizer_steps == 30 and old.networks == [""] and not old.units.any()
    assert np.isnan(old.update_rates).all() and len(old.update_rates) == len(old.update_steps)
    assert not found(old) and not found(pickle.loads(pickle.dumps(old)))


def test_a_report_is_one_page(mon, tmp_path):
    plots.save_report(mon, tmp_path / "run.html", title="My <run>")
    page = (tmp_path / "run.html").read_text()
    assert "My &lt;run&gt;" in page and page.count("data:image/png;base64,") == 2 and "no findings" in page
    assert page.count('alt="') == 2 and "http" not in page


def test_samples_go_to_a_writer_as_they_come():
    class Writer:
        rows: list = []  # noqa: RUF012

        def add_scalar(self, tag, value, step):
            self.rows.append((tag, value, step))

    model, writer = net(), Writer()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    mon = Monitor(model, optimizer=optimizer, every=2)
    write_to(mon, tensorboard(writer))
    for _ in range(3):
        loss = model(torch.randn(8, 6)).square().mean()
        optimizer.zero_grad(), loss.backward(), optimizer.step(), mon.step(loss)
    values = {(tag, step): value for tag, value, step in writer.rows}
    assert {step for _, step in values} == {0, 2} and len(values) == len(writer.rows)
    assert values["gradients.std/2", 2] == pytest.approx(mon.gradients.std[1, 2])


def test_thresholds_and_rules_of_ones_own(mon):
    assert found(mon, thresholds={"update": (0.5, 1.0)})[0][2] == "update : data ratio of the weights"
    with pytest.raises(TypeError, match="no_such"):
        diagnose(mon, None, thresholds={"no_such": 1})

    def too_slow(mon):
        if mon.losses[-1] > 0.1:
            yield Finding("warning", "", "loss", f"{mon.losses[-1]:.2f}", "below 0.1", "train longer")

    assert ("warning", "", "loss") in found(mon, rules=[too_slow])


def test_a_run_stops_by_itself_at_the_first_nan():
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    mon = Monitor(model, optimizer=optimizer, every=1)
    stop_on(mon, "error")
    with pytest.raises(Alarm, match="nan or inf") as caught:
        for i in range(10):
            if i == 4:
                model[2].weight.data[0, 0] = torch.nan
            loss = model(torch.randn(8, 6)).square().mean()
            optimizer.zero_grad(), loss.backward(), optimizer.step(), mon.step(loss)
    assert i == 4 and caught.value.findings[0].layer == "2" and len(mon.steps) == 5
    calls = []
    stop_on(mon, "note", action=calls.append)
    with pytest.raises(ValueError, match="give one of error, warning, note"):
        stop_on(mon, "bad")


# -- the first loss of any loop ------------------------------------------------------------------------------


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
