"""Findings are grouped by their cause, say since when, and take thresholds and rules of one's own."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.helpers.loops import deep_net, found, one_step, train
from zth_helpers import Monitor, diagnose
from zth_helpers.monitor import Alarm, Finding, stop_on


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
