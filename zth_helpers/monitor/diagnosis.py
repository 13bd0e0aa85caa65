"""What a Monitor's numbers mean: findings in plain words, or "no findings"."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from zth_helpers.monitor.core import Monitor
from zth_helpers.monitor.statistics import FLAT
from zth_helpers.text import table

# All thresholds. [L4] is lecture 4 (activations, gradients, batch norm): what it calls right and wrong; where
# it names no number, ours lies between its healthy and its sick networks (tests/test_diagnose.py has both).

# Times ln(vocabulary). [L4] expects ln 27 = 3.30; sick 27.88, healthy 3.28 to 3.33.
FIRST_LOSS = 1.2
# Share of |tanh| > 0.97. [L4]: gain 3 has 0.40 to 0.48, gain 5/3 up to 0.20, batch norm 0.03.
SATURATED = 0.30
# Share of units that are flat for a whole batch. Of tanh [L4] wants none; of ReLUs a fresh He-initialised
# network (He et al. 2015) leaves up to 0.14 dark in a batch of 32, as measured over 20 seeds.
DEAD = {"Tanh": 0.10, "Sigmoid": 0.10, "ReLU": 0.50}
# Growth or decay a layer, and over all depth. [L4]: gain 0.5 decays by 2.1 and 20, linear layers with gain
# 5/3 grow by 1.7 and 8; healthy ones stay within 1.25 and 3.
PER_LAYER, OVERALL = 1.5, 5.0
# Over all depth, however slow a layer, as in the sigmoid networks of Glorot & Bengio 2010.
ANY_PACE = 100.0
# Correlation of the logarithm with depth that makes it a trend. (Ours.)
STEADY = 0.9
# Median over the weights. [L4] wants about 1e-3 and calls the 1e-4.6 of lr = 0.001 too slow.
UPDATE = (1e-4, 1e-2)
# Of one weight. [L4] lets a shrunken last layer begin at 0.2; an embedding's rare rows make it slow.
UPDATE_ONE = (1e-6, 0.3)
SEVERITIES = ("error", "warning", "note")


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong; `str` gives it as a sentence. `layer` is "" for the whole network."""

    severity: str
    layer: str
    what: str
    measured: str
    expected: str
    remedy: str

    def __str__(self) -> str:
        subject = f"{self.layer}: {self.what}" if self.layer else self.what
        return f"{subject} {self.measured}, expected {self.expected}: {self.remedy}"


class Findings(list):
    """A list of Finding, the worst first; prints as a table, or as "no findings"."""

    def __str__(self) -> str:
        if not self:
            return "no findings"
        header = ("severity", "layer", "what", "measured", "expected", "remedy")
        rows = [(f.severity, f.layer or "(network)", f.what, f.measured, f.expected, f.remedy) for f in self]
        return table(header, rows)

    __repr__ = __str__

    @property
    def sentences(self) -> str:
        """One line a finding."""
        return "\n".join(map(str, self)) or "no findings"


def diagnose(mon: Monitor, vocab_size: int | None = 27) -> Findings:
    """Says what is wrong with the network that `mon` watches: by its last sample, first loss and updates.

    vocab_size: the number of classes, for the first loss; None when the loss is no cross-entropy.
    Raises ValueError when there is no sample yet.
    """
    if vocab_size is not None and vocab_size < 2:
        raise ValueError(
            f"vocab_size={vocab_size}: give the number of classes, or None to leave the loss out"
        )
    if not len(mon.steps):
        raise ValueError("this Monitor has no sample yet: call mon.step(loss, lr=lr) in the training loop")
    checks = (_nonfinite, _unused, _flat_layers, _trends, _updates)
    found = _first_loss(mon, vocab_size) + [finding for check in checks for finding in check(mon)]
    return Findings(sorted(found, key=lambda finding: SEVERITIES.index(finding.severity)))


def _first_loss(mon: Monitor, vocab_size: int | None) -> list[Finding]:
    if vocab_size is None or not (first := float(mon.losses[0])) > FIRST_LOSS * math.log(vocab_size):
        return []
    expected = f"ln {vocab_size} = {math.log(vocab_size):.2f}"
    return [Finding("warning", "", "first loss", f"{first:.2f}", expected, "shrink the last layer")]


def _nonfinite(mon: Monitor) -> list[Finding]:
    found = []
    remedy = "lower the learning rate, clip gradients, look for log(0), 0/0 or exp of a large number there"
    if mon.nonfinite_first:
        step, layer = mon.nonfinite_first
        found.append(Finding("error", layer, "nan or inf", f"first at step {step}", "finite values", remedy))
    bad = np.flatnonzero(~np.isfinite(mon.losses))
    if len(bad):
        when = f"nan or inf from step {mon.loss_steps[bad[0]]}"
        found.append(
            Finding("error", "", "loss", when, "a finite loss", "start again from a state before that step")
        )
    return found


def _unused(mon: Monitor) -> list[Finding]:
    """Layers that never ran, parameters without gradient, gradients that were not recorded."""
    learns = (mon.grad_data > 0).any(0)  # nan is not
    found, idle = [], []
    for i in np.flatnonzero(mon.calls == 0):
        name = mon.layer_names[i]
        own = [j for j, p in enumerate(mon.parameter_names) if p.startswith((name + ".", name + " "))]
        if own and learns[own].any():
            remedy = "call the layer itself, not its forward() or a functional twin, for it to be seen"
            found.append(Finding("note", name, "was bypassed", "0 calls", "a call each step", remedy))
        else:
            idle += own
            remedy = "use it in forward, or remove it"
            found.append(Finding("warning", name, "never ran", "0 calls", "a call each step", remedy))
    for j in np.flatnonzero(mon.trainable & ~learns):
        if j not in idle:
            remedy = "look for zeros that block the way, .detach() or .data in forward, or a layer left out"
            found.append(
                Finding(
                    "error", mon.parameter_names[j], "gets no gradient", "0", "a gradient above 0", remedy
                )
            )
    if np.isnan(mon.gradients.std).all() and not (mon.outputs.nonfinite > 0).any():
        remedy = "call mon.retain_grads() between forward and backward"
        found.append(Finding("note", "", "gradients of outputs", "not recorded", "one a layer", remedy))
    return found


def _flat_layers(mon: Monitor) -> list[Finding]:
    found = []
    for i, (name, kind) in enumerate(zip(mon.layer_names, mon.layer_kinds)):
        if kind not in FLAT:
            continue
        saturated, dead = float(mon.outputs.saturated[-1, i]), float(mon.outputs.dead[-3:, i].min())
        if dead > DEAD[kind]:
            remedy = "lower the learning rate, scale its inputs (Kaiming), or put batch norm before it"
            limit = f"at most {DEAD[kind]:.0%}"
            found.append(Finding("error", name, "dead units", f"{dead:.0%}", limit, remedy))
        elif kind != "ReLU" and saturated > SATURATED:
            remedy = "shrink the weights before it (Kaiming), or put batch norm before it"
            limit = f"at most {SATURATED:.0%}"
            found.append(Finding("warning", name, "saturated outputs", f"{saturated:.0%}", limit, remedy))
    return found


def _trends(mon: Monitor) -> list[Finding]:
    """Outputs or gradients that grow or shrink from layer to layer: of activations, else of Linears."""
    ran = [i for i, calls in enumerate(mon.calls) if calls]
    chosen = [i for i in ran if mon.layer_kinds[i] in FLAT]
    if len(chosen) < 3:
        chosen = [i for i in ran[:-1] if mon.layer_kinds[i] == "Linear"]
    found = []
    for what, values, way in (
        ("outputs", mon.outputs.std[-1, chosen], 1),
        ("gradients", _norms(mon.gradients, chosen), -1),
    ):
        depth = np.arange(len(chosen))
        with np.errstate(divide="ignore"):
            logs = np.log(values.astype(float))
        if (values == 0).any() and (values > 0).any():
            rate, overall = 0.0, math.inf  # nothing arrives
        elif len(chosen) < 3 or not np.isfinite(logs).all() or logs.std() == 0:
            continue
        else:
            if abs(np.corrcoef(depth, logs)[0, 1]) < STEADY:
                continue
            rate = math.exp(way * np.polyfit(depth, logs, 1)[0])
            overall = max(rate, 1 / rate) ** (len(chosen) - 1)
        steep = overall > OVERALL and max(rate, 1 / max(rate, 1e-99)) > PER_LAYER
        if not (steep or overall > ANY_PACE):
            continue
        towards = mon.layer_names[chosen[-1 if way == 1 else 0]]
        verb = "vanishing" if rate < 1 else "exploding"
        remedy = (
            "raise the gain of the weights (5/3 for tanh, √2 for ReLU), or use batch norm"
            if rate < 1
            else "lower the gain of the weights (1 for linear layers, 5/3 for tanh), or use batch norm"
        )
        measured = f"×{rate:.2f} a layer" if rate else "0"
        found.append(Finding("warning", towards, f"{verb} {what}", measured, "about ×1 a layer", remedy))
    return found


def _norms(seen, chosen: list[int]) -> np.ndarray:
    """Norms of the last sample: unlike std they do not depend on the number of places in an image."""
    count = seen.hist[-1, chosen].sum(1)
    return np.sqrt(count) * np.hypot(seen.std[-1, chosen], seen.mean[-1, chosen])


def _updates(mon: Monitor) -> list[Finding]:
    weights = [i for i, shape in enumerate(mon.parameter_shapes) if len(shape) > 1]
    recent = mon.update_data[len(mon.update_data) // 2 :, weights]
    moving = [i for i, column in zip(range(len(weights)), recent.T) if (column > 0).any()]
    if not moving or not np.isfinite(recent[:, moving]).all():
        return []
    ratios = np.median(recent[:, moving], axis=0)
    middle = float(np.median(ratios))
    found = []
    single = [(mon.parameter_names[weights[i]], float(ratio), UPDATE_ONE) for i, ratio in zip(moving, ratios)]
    single = single if len(mon.update_data) > 1 else []  # the first update says little about one weight
    for name, ratio, (low, high) in [("", middle, UPDATE)] + single:
        if not low <= ratio <= high:
            remedy = ("raise" if ratio < low else "lower") + " the learning rate"
            remedy += (
                ", or " + ("shrink" if ratio < low else "enlarge") + " this weight's scale" if name else ""
            )
            what = "update : data ratio" if name else "update : data ratio of the weights"
            found.append(Finding("warning", name, what, f"{ratio:.1e}", "about 1e-03", remedy))
    return found
