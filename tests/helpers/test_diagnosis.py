"""diagnose on networks made sick on purpose, one for each finding, and on healthy ones."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from zth_helpers.layers import BatchNorm1d, Linear, Tanh
from zth_helpers.monitor import Alarm, Finding, Findings, Monitor, diagnose, stop_on
from zth_helpers.name_lists import load_names
from zth_helpers.names import Vocabulary, context_windows

WORDS = load_names()[:400]
X, Y = context_windows(WORDS, Vocabulary(WORDS), block_size=3)
V = len(Vocabulary(WORDS))


def plain(seed=0, norm=True, gain=5 / 3, last=0.1, act=Tanh, width=100):
    """Notebook 04's network: 5 hidden layers."""
    g = torch.Generator().manual_seed(seed)
    C, layers, fan_in = torch.randn((V, 10), generator=g), [], 30
    for _ in range(5):
        layers.append(Linear(fan_in, width, bias=not norm, generator=g))
        layers[-1].weight *= gain
        layers += ([BatchNorm1d(width)] if norm else []) + ([act()] if act else [])
        fan_in = width
    layers.append(Linear(fan_in, V, bias=not norm, generator=g))
    if norm:
        layers.append(BatchNorm1d(V))
        layers[-1].gamma *= last
    else:
        layers[-1].weight *= last
    return C, layers


def train(C, layers, steps=30, lr=0.1, every=10, seed=0, spoil=None, retain=True):
    parameters = [C] + [p for layer in layers for p in layer.parameters()]
    for p in parameters:
        p.requires_grad = True
    mon, g = Monitor(layers, parameters, every=every), torch.Generator().manual_seed(seed)
    for i in range(steps + 1):
        if spoil:
            spoil(i, layers)
        ix = torch.randint(0, len(X), (32,), generator=g)
        x = C[X[ix]].view(32, -1)
        for layer in layers:
            x = layer(x)
        loss = F.cross_entropy(x, Y[ix])
        if retain:
            mon.retain_grads()
        for p in parameters:
            p.grad = None
        loss.backward()
        for p in parameters:
            p.data += -lr * p.grad if p.grad is not None else 0
        mon.step(loss, lr=lr)
    return mon


def module(act=nn.Tanh, norm=True, init=True):
    layers, fan_in = [nn.Embedding(V, 10), nn.Flatten()], 30
    for _ in range(5):
        layers += [nn.Linear(fan_in, 100, bias=not norm)] + ([nn.BatchNorm1d(100)] if norm else []) + [act()]
        fan_in = 100
    layers.append(nn.Linear(fan_in, V))
    for layer in layers:
        if init and isinstance(layer, nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu" if act is nn.ReLU else "tanh")
    with torch.no_grad():
        layers[-1].weight *= 0.1
    return nn.Sequential(*layers)


def train_module(model, optimizer=None, steps=20, forward=None):
    optimizer = optimizer or torch.optim.SGD(model.parameters(), 0.1)
    mon = Monitor(model, optimizer=optimizer, every=10)
    for _ in range(steps + 1):
        ix = torch.randint(0, len(X), (32,))
        loss = F.cross_entropy((forward or model)(X[ix]), Y[ix])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        mon.step(loss)
    return mon


def kinds(findings):
    return {(f.layer, f.what) for f in findings}


# -- healthy ----------------------------------------------------------------------------------------------

HEALTHY = {
    "batch norm": lambda seed: train(*plain(seed), seed=seed),
    "Kaiming": lambda seed: train(*plain(seed, norm=False), seed=seed),
    "at the start": lambda seed: train(*plain(seed, norm=False), steps=0, seed=seed),
    "torch.nn": lambda seed: train_module(module()),
    "ReLU": lambda seed: train_module(module(nn.ReLU, norm=False)),
    "Adam": lambda seed: train_module(m := module(), torch.optim.Adam(m.parameters(), 1e-3)),
}


@pytest.mark.parametrize("network", HEALTHY)
def test_no_false_alarm_over_20_seeds(network):
    for seed in range(20):
        torch.manual_seed(seed)
        findings = diagnose(HEALTHY[network](seed), vocab_size=V)
        assert not findings, f"seed {seed}\n{findings}"
    assert str(findings) == repr(findings) == findings.sentences == "no findings"


# -- sick -------------------------------------------------------------------------------------------------


def test_first_loss():
    C, layers = plain(norm=False, last=20.0)
    mon = train(C, layers, steps=0)
    finding = next(f for f in diagnose(mon, vocab_size=V) if f.what == "first loss")
    assert str(finding) == (
        f"first loss {mon.losses[0]:.2f}, expected ln {V} = {math.log(V):.2f}: shrink the last layer"
    )
    assert not any(f.what == "first loss" for f in diagnose(mon, vocab_size=None))


def test_the_lectures_example_reads_as_in_the_lecture():
    mon = train(*plain(), steps=0)
    mon._losses["loss"][0] = 27.8817
    assert str(diagnose(mon, V)[0]) == "first loss 27.88, expected ln 27 = 3.30: shrink the last layer"


def test_saturated_layers():
    found = diagnose(train(*plain(norm=False, gain=3.0)), V)
    assert [f.layer for f in found if f.what == "saturated outputs"] == [f"{i} Tanh" for i in (1, 3, 5, 7, 9)]


def test_dead_tanh_units():
    def push(i, layers):
        layers[4].bias.data[:30] = 50.0  # Linear, Tanh, Linear, Tanh, Linear: 30 of its 100 units always at 1

    found = diagnose(train(*plain(norm=False), spoil=push), V)
    assert [(f.severity, f.layer, f.measured) for f in found if f.what == "dead units"] == [
        ("error", "5 Tanh", "30%")
    ]


def test_dead_relus():
    torch.manual_seed(0)
    model = module(nn.ReLU, norm=False)
    model[4].bias.data[:70] = -100.0
    found = diagnose(train_module(model), V)
    assert [f.layer for f in found if f.what == "dead units"] == ["5"]


def test_a_layer_of_dead_relus_only():
    model = module(nn.ReLU, norm=False)
    model[4].bias.data[:] = -100.0
    found = kinds(diagnose(train_module(model), V))
    assert {("5", "dead units"), ("3", "vanishing gradients"), ("2.weight", "gets no gradient")} <= found


@pytest.mark.parametrize(
    "change, expected",
    [
        (dict(gain=0.5), {("9 Tanh", "vanishing outputs"), ("1 Tanh", "vanishing gradients")}),
        (
            dict(gain=5 / 3, act=None),
            {("4 Linear", "exploding outputs"), ("0 Linear", "exploding gradients")},
        ),
        (dict(gain=0.5, act=None), {("4 Linear", "vanishing outputs"), ("0 Linear", "vanishing gradients")}),
        (dict(gain=1.0, act=None), set()),
        (dict(gain=1.0), set()),
    ],
)
def test_trends_over_depth(change, expected):
    found = diagnose(train(*plain(norm=False, **change), steps=0), V)
    assert {k for k in kinds(found) if "ing " in k[1]} == expected


def test_slow_trends_of_deep_networks():
    g = torch.Generator().manual_seed(0)
    layers = []
    for _ in range(40):
        layers += [Linear(30, 30, generator=g), Tanh()]
        layers[-2].weight *= 0.8
    C = torch.randn((V, 10), generator=g)
    found = kinds(diagnose(train(C, [*layers, Linear(30, V, generator=g)], steps=0), V))
    assert {("79 Tanh", "vanishing outputs"), ("1 Tanh", "vanishing gradients")} <= found


def test_torchs_default_initialisation_of_a_deep_relu_network_does_vanish():
    torch.manual_seed(0)
    found = kinds(diagnose(train_module(module(nn.ReLU, norm=False, init=False)), V))
    assert ("3", "vanishing gradients") in found


@pytest.mark.parametrize("lr, word", [(0.001, "raise"), (10.0, "lower")])
def test_updates_off_the_band(lr, word):
    found = [f for f in diagnose(train(*plain(), lr=lr), V) if "update" in f.what and not f.layer]
    assert (
        len(found) == 1
        and found[0].remedy == f"{word} the learning rate"
        and found[0].expected == "about 1e-03"
    )


def test_one_weight_that_is_thrown_about():
    C, layers = plain(norm=False, last=1e-4)
    g = diagnose(train(C, layers, steps=1, every=1), V)
    assert kinds(g) == {("10 Linear weight", "update : data ratio")}


def test_nan_with_its_first_layer_and_step():
    def poison(i, layers):
        if i == 7:
            layers[6].weight.data[0, 0] = torch.nan

    found = diagnose(train(*plain(), steps=30, spoil=poison), V)
    assert (found[0].severity, found[0].layer, found[0].measured) == ("error", "6 Linear", "first at step 7")
    assert (found[0].since, found[0].samples) == (7, 4)  # at once, and at steps 10, 20 and 30
    assert (found[1].what, found[1].measured) == ("loss", "nan or inf from step 7")


def test_a_layer_that_never_ran():
    model = nn.Module()
    model.used, model.left_out = module(), nn.Linear(3, 3)
    found = diagnose(train_module(model, forward=lambda x: model.used(x)), V)
    assert [(f.layer, f.what) for f in found] == [("left_out", "never ran")]  # and no word on its parameters


def test_a_layer_that_is_bypassed():
    class Bypass(nn.Sequential):
        def forward(self, x):
            for layer in self[:-1]:
                x = layer(x)
            return self[-1].forward(x)

    torch.manual_seed(0)
    found = diagnose(train_module(Bypass(*module())), V)
    assert [(f.severity, f.layer, f.what) for f in found] == [("note", "17", "was bypassed")]


def test_a_parameter_without_gradient():
    torch.manual_seed(0)
    model = module()
    model.forgotten = nn.Parameter(torch.ones(3))
    assert kinds(diagnose(train_module(model), V)) == {("forgotten", "gets no gradient")}


def test_a_frozen_parameter_is_no_finding():
    torch.manual_seed(0)
    model = module()
    mon = Monitor(model, every=1)
    model[2].weight.requires_grad = False
    loss = F.cross_entropy(model(X[:32]), Y[:32])
    loss.backward()
    mon.step(loss, lr=0.1)
    assert not diagnose(mon, V)


def test_all_zeros_train_the_output_bias_alone():
    C, layers = plain(norm=False)
    for layer in layers:
        for p in layer.parameters():
            p.zero_()
    found = [f.layer for f in diagnose(train(C, layers), V) if f.what == "gets no gradient"]
    assert "10 Linear bias" not in found and "10 Linear weight" in found and len(found) == 12


def test_forgotten_retain_grads():
    found = diagnose(train(*plain(), retain=False), V)
    assert [(f.severity, f.what) for f in found] == [("note", "gradients of outputs")]
    assert "mon.retain_grads()" in found[0].remedy


# -- form -------------------------------------------------------------------------------------------------


def test_findings_print_as_a_table_the_worst_first():
    found = diagnose(train(*plain(norm=False, gain=3.0, last=30.0), lr=10.0), V)
    lines = [line for line in str(found).splitlines() if not line.startswith("  and so:")]
    assert isinstance(found, Findings) and len(lines) == len(found.causes) + 1
    assert lines[0].split() == ["severity", "layer", "what", "measured", "expected", "seen", "remedy"]
    order = ["error", "warning", "note"]
    assert [order.index(f.severity) for f in found] == sorted(order.index(f.severity) for f in found)
    assert len(found.sentences.splitlines()) == len(found.causes)


def test_errors():
    C, layers = plain()
    with pytest.raises(ValueError, match="no sample yet"):
        diagnose(Monitor(layers))
    with pytest.raises(ValueError, match="vocab_size=1"):
        diagnose(train(C, layers, steps=0), vocab_size=1)


def test_a_table_folds_what_follows_and_names_three_layers_of_it():
    def one(layer, cause=""):
        return Finding("error", layer, "dead units", "100%", "0%", "remedy", cause=cause)

    root = one("0")
    for count, ending in ((1, "(1: 1)"), (3, "(3: 1, 2, 3)"), (4, "(4: 1, 2, 3, …)")):
        followers = [one(str(i + 1), root.title) for i in range(count)]
        found = Findings([root, *followers])
        assert found.causes == [root] and found.following(root) == followers
        assert str(found).splitlines()[-1] == f"  and so: dead units {ending}"
        assert found.sentences == f"{root} (1 sample from step 0)"


def test_stop_on_is_for_what_is_as_bad_or_worse():
    record = train(*plain(norm=False), steps=25, every=5)
    calls = []
    for severity, called in (("error", 0), ("warning", 1), ("note", 1)):
        calls.clear()
        record.after_sample.clear()
        record.outputs.saturated[:, record.layer_kinds.index("Tanh")] = 0.9  # a warning
        stop_on(record, severity, calls.append, vocab_size=V)
        record.after_sample[0](record)
        assert len(calls) == called
    record.after_sample.clear()
    stop_on(record, "warning")
    with pytest.raises(Alarm, match="saturated") as caught:
        record.after_sample[0](record)
    assert [finding.what for finding in caught.value.findings] == ["saturated outputs"]
    assert str(caught.value) == f"the Monitor found\n{caught.value.findings}"
    with pytest.raises(ValueError, match="severity='bad'"):
        stop_on(record, "bad")
