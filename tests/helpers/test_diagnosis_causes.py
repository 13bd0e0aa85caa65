"""Findings are grouped by their cause, say since when, and take thresholds and rules of one's own."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from tests.helpers.loops import deep_net, found, one_step, train
from tests.helpers.made_up import deep, geometric, healthy, only_first
from zth_helpers import Monitor, diagnose
from zth_helpers.monitor import Alarm, Finding, stop_on
from zth_helpers.monitor.findings import Findings


@pytest.fixture
def mon():
    model = deep_net()
    return train(model, torch.optim.SGD(model.parameters(), 0.1), steps=12)


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

    model = Detached(*deep_net())
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


def test_thresholds_and_rules_of_ones_own(mon):
    assert found(mon, thresholds={"update": (0.5, 1.0)})[0][2] == "update : data ratio of the weights"
    with pytest.raises(TypeError, match="no_such"):
        diagnose(mon, None, thresholds={"no_such": 1})

    def too_slow(mon):
        if mon.losses[-1] > 0.1:
            yield Finding("warning", "", "loss", f"{mon.losses[-1]:.2f}", "below 0.1", "train longer")

    assert ("warning", "", "loss") in found(mon, rules=[too_slow])


def test_a_run_stops_by_itself_at_the_first_nan():
    model = deep_net()
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


# -- on made-up numbers -----------------------------------------------------------------------------------


def causes(mon: SimpleNamespace) -> dict[str, list[str]]:
    """{a cause: what follows from it}"""
    found = diagnose(mon)
    assert isinstance(found, Findings) and len({f.title for f in found}) == len(found)
    return {cause.title: [f.title for f in found.following(cause)] for cause in found.causes}


def test_what_follows_from_a_value_that_is_not_finite():
    mon = healthy()
    mon.nonfinite_first, mon.losses[30:] = (30, "2"), math.nan
    mon.grad_data[:, 4], mon.moved[1:, 6], mon.outputs.saturated[:, 1] = 0.0, False, 0.9
    assert causes(mon) == {
        "nan or inf, 2": ["loss", "does not learn:, 6.weight", "gets no gradient, 4.weight"],
        "saturated outputs, 1": [],
    }


@pytest.mark.parametrize("share", [0.99, 0.995])
def test_what_follows_from_a_layer_that_is_dead(share):
    """Weights before it, and the next behind it, get no gradient; only where all of it is dead."""
    mon = healthy(*("Linear", "ReLU") * 4, "Linear")
    mon.outputs.dead[:, 3], mon.outputs.dead[:, 5], mon.outputs.dead[:, 1] = 0.9, 0.9, 0.9
    mon.outputs.dead[-1, 3] = share
    mon.grad_data[:, [0, 2, 4, 6]] = 0.0  # of layers 0, 2, 4, 6: the last is out of reach
    mon.gradients.std[:, 1:8:2] = 0.0, 0.0, 1e-3, 1e-3
    mon.outputs.std[:, 1:8:2] = 0.6, 0.6, 0.0, 0.0
    found = causes(mon)
    if share > 0.99:
        assert found == {
            "dead units, 1": [],
            "dead units, 3": [
                "gets no gradient, 0.weight",
                "gets no gradient, 2.weight",
                "gets no gradient, 4.weight",
                "dead units, 5",
                "vanishing outputs, 7",
                "vanishing gradients, 1",
            ],
            "gets no gradient, 6.weight": [],
        }
    else:
        assert "dead units, 5" in found and found["dead units, 3"] == []


def test_a_dead_layer_reaches_past_what_only_passes_on():
    mon = healthy("Linear", "ReLU", "Flatten", "Dropout", "Linear", "Linear")
    mon.outputs.dead[:, 1] = 1.0
    mon.grad_data[:, [2, 4]] = 0.0
    assert causes(mon) == {"dead units, 1": ["gets no gradient, 4.weight"], "gets no gradient, 5.weight": []}
    mon = healthy("Linear", "Linear", "ReLU")  # and nothing is behind it
    mon.outputs.dead[:, 2] = 1.0
    mon.grad_data[:, 0] = 0.0
    assert causes(mon) == {"dead units, 2": ["gets no gradient, 0.weight"]}


def test_of_a_way_that_is_blocked_the_nearest_to_the_loss_is_the_cause():
    mon = healthy()
    mon.grad_data[:, [0, 2, 5]] = 0.0
    assert causes(mon) == {
        "gets no gradient, 4.bias": ["gets no gradient, 0.weight", "gets no gradient, 2.weight"]
    }
    mon = only_first(healthy())
    mon.grad_data[0, [0, 2]], mon.grad_data[0, 4] = 0.0, math.inf
    assert causes(mon) == {"gets no gradient yet, 2.weight": ["gets no gradient yet, 0.weight"]}


def test_of_saturated_layers_the_nearest_to_the_input_is_the_cause():
    mon = healthy()
    mon.outputs.saturated[:, [1, 3, 5]] = 0.9
    assert causes(mon) == {"saturated outputs, 1": ["saturated outputs, 3", "saturated outputs, 5"]}


def test_gradients_follow_from_outputs():
    for what, overall in (("exploding", 20), ("vanishing", 1 / 20)):
        mon = deep(4)
        mon.outputs.std[:, 1:8:2], mon.gradients.std[:, 1:8:2] = geometric(4, overall), geometric(4, 1 / 20)
        assert causes(mon) == {f"{what} outputs, 7": ["exploding gradients, 1"]}


def test_findings_are_sorted_by_their_severity_and_else_as_they_came():
    mon = healthy()
    mon.calls[2] = 0  # a note
    mon.outputs.saturated[:, 1], mon.moved[1:, 6] = 0.9, False
    assert [(f.severity, f.what) for f in diagnose(mon)] == [
        ("error", "does not learn:"),
        ("warning", "saturated outputs"),
        ("note", "was bypassed"),
    ]


def test_how_findings_read():
    one = Finding("error", "3", "dead units", "90%", "at most 10%", "lower the rate", 20, 2)
    network = Finding("warning", "", "first loss", "9.00", "ln 27 = 3.30", "shrink the last layer")
    assert str(one) == "3: dead units 90%, expected at most 10%: lower the rate"
    assert (one.seen, one.title) == ("2 samples from step 20", "dead units, 3")
    assert str(network) == "first loss 9.00, expected ln 27 = 3.30: shrink the last layer"
    assert (network.seen, network.title) == ("1 sample from step 0", "first loss")
    followers = [
        Finding("error", str(i), "gets no gradient", "0", "some", "look", cause=one.title) for i in range(2)
    ]
    followers.append(Finding("error", "", "loss", "nan", "a number", "look", cause=one.title))
    lines = str(Findings([one, *followers, network])).splitlines()
    assert [line.split("  ")[0] for line in lines] == ["severity", "error", "", "warning"]
    assert lines[2] == "  and so: gets no gradient (2: 0, 1); loss"
    assert "(network)" in lines[3] and lines[1].endswith("lower the rate")
    assert Findings([one, *followers, network]).sentences.splitlines() == [
        f"{one} (2 samples from step 20)",
        f"{network} (1 sample from step 0)",
    ]
