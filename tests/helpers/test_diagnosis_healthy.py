"""No false alarm: what is healthy is left in peace, in networks and loops of other people's kind."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.helpers.loops import GPT, deep_net, found, scaled_step, train
from zth_helpers import Monitor, diagnose


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
        model = nn.parallel.DistributedDataParallel(deep_net())
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        return train(model, optimizer, steps=31, every=10), 4
    model = deep_net()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    mon = Monitor(model, optimizer=optimizer, scaler=scaler, every=10)
    for _ in range(31):
        x = torch.randn(32, 6)
        with torch.autocast("cpu", torch.bfloat16):
            out = model(x)
        scaled_step(F.cross_entropy(out.float(), x[:, :4].argmax(1)), optimizer, scaler, mon)
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
