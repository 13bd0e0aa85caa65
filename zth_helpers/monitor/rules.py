"""What is looked for in a Monitor's numbers: a function for each kind of fault, and where a number is one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from numbers import Real
from typing import Any

import numpy as np

from zth_helpers.monitor.core import Monitor
from zth_helpers.monitor.findings import Finding
from zth_helpers.monitor.parameters import belongs
from zth_helpers.monitor.statistics import FLAT

LINEAR = ("Linear", "Conv1d", "Conv2d", "Conv3d")
HALF = ("bfloat16", "float16")
ENOUGH = 10  # steps after which a loss, or an optimizer that has never stepped, can be judged


@dataclass(frozen=True)
class Thresholds:
    """Where a number becomes a finding; `diagnose(mon, thresholds={"saturated": 0.5})` sets others.

    [L4] is lecture 4 (activations, gradients, batch norm): what it calls right and wrong; where it names no
    number, ours lies between its healthy and its sick networks (tests/helpers/test_diagnosis.py has both).
    """

    # Times ln(vocabulary). [L4] expects ln 27 = 3.30; sick 27.88, healthy 3.28 to 3.33.
    first_loss: float = 1.2
    # Share of |tanh| > 0.97. [L4]: gain 3 has 0.40 to 0.48, gain 5/3 up to 0.20, batch norm 0.03.
    saturated: float = 0.30
    # Share of units that are flat for a whole batch. Of tanh [L4] wants none; of ReLUs a fresh He-initialised
    # network (He et al. 2015) leaves up to 0.14 dark in a batch of 32, as measured over 20 seeds.
    dead: Mapping[str, float] = field(default_factory=lambda: {"Tanh": 0.10, "Sigmoid": 0.10, "ReLU": 0.50})
    # Standard deviations that come on top for ReLUs: where the examples hardly differ, as behind a pooling
    # over whole images, each unit of a healthy layer is dark with a chance of one half. (Ours.)
    dead_spread: float = 2.0
    # Growth or decay a layer, and over all depth. [L4]: gain 0.5 decays by 2.1 and 20, linear layers with
    # gain 5/3 grow by 1.7 and 8; healthy ones stay within 1.25 and 3.
    per_layer: float = 1.5
    overall: float = 5.0
    # Of gradients where most layers are normalised: the scale of the weights is free there, and gradients of
    # other sizes do no harm (Ioffe & Szegedy 2015, section 3.3), as in a small ResNet that learns. (Ours.)
    overall_normalised: float = 100.0
    # Over all depth, however slow a layer, as in the sigmoid networks of Glorot & Bengio 2010.
    any_pace: float = 100.0
    # Correlation of the logarithm with depth that makes it a trend. (Ours.)
    steady: float = 0.9
    # Median over the weights. [L4] wants about 1e-3 and calls the 1e-4.6 of lr = 0.001 too slow. Small
    # networks, and the first steps of Adam (lr 0.001, weights of std 0.02), are healthy up to 0.03.
    update: tuple[float, float] = (1e-4, 5e-2)
    # The same, when there is one update so far: Adam's first is long, and with a momentum of 0.9 the first is
    # a tenth as long as later ones. (Ours.)
    first_update: tuple[float, float] = (1e-5, 0.15)
    # Of one weight. [L4] lets a shrunken last layer begin at 0.2; an embedding's rare rows make it slow.
    update_one: tuple[float, float] = (1e-6, 0.3)

    def but(self, changes: Mapping[str, Any]) -> Thresholds:
        """These with some changed, of `dead` also some kinds. Raises TypeError for a name that is none, and
        ValueError for a value that does not fit."""
        for name, value in changes.items():
            if name not in vars(self):
                raise TypeError(f"there is no threshold {name!r}: there are {', '.join(vars(self))}")
            usual = vars(self)[name]
            if isinstance(usual, Mapping):
                fits = isinstance(value, Mapping) and value.keys() <= usual.keys()
            elif isinstance(usual, tuple):
                fits = isinstance(value, tuple | list) and len(value) == 2
            else:
                fits = isinstance(value, Real)
            if not fits:
                raise ValueError(f"threshold {name}={value!r}: give something like {usual!r}")
        return replace(self, **{**changes, "dead": {**self.dead, **changes.get("dead", {})}})


def _trailing(mon: Monitor, shows: np.ndarray) -> dict[str, Any]:
    """since and samples of a finding that the last samples show: `shows` (S,) bool, the last of them True."""
    count = int(np.argmin(shows[::-1])) if not shows.all() else len(shows)
    return {"since": int(mon.steps[-count]), "samples": count}


def _always(mon: Monitor) -> dict[str, Any]:
    return {"since": int(mon.steps[0]), "samples": len(mon.steps)}


def first_loss(mon: Monitor, vocab_size: int | None, limits: Thresholds) -> list[Finding]:
    first = float(mon.losses[0])
    if vocab_size is None or not first > limits.first_loss * math.log(vocab_size):
        return []
    expected = f"ln {vocab_size} = {math.log(vocab_size):.2f}"
    return [Finding("warning", "", "first loss", f"{first:.2f}", expected, "shrink the last layer")]


def _nonfinite(mon: Monitor, limits: Thresholds) -> list[Finding]:
    found = []
    remedy = "lower the learning rate, clip gradients, look for log(0), 0/0 or exp of a large number there"
    if mon.nonfinite_first:
        step, layer = mon.nonfinite_first
        row = int(np.flatnonzero(mon.steps == step)[0]) if step in mon.steps else len(mon.steps) - 1
        seen: dict[str, Any] = {"since": step, "samples": len(mon.steps) - row}
        found.append(
            Finding("error", layer, "nan or inf", f"first at step {step}", "finite values", remedy, **seen)
        )
    bad = np.flatnonzero(~np.isfinite(mon.losses))
    if len(bad):
        step = int(mon.loss_steps[bad[0]])
        again = "start again from a state before that step"
        when = f"nan or inf from step {step}"
        found.append(Finding("error", "", "loss", when, "a finite loss", again, since=step, samples=len(bad)))
    return found


def _loss_has_grown(mon: Monitor, limits: Thresholds) -> list[Finding]:
    """Of a cross-entropy alone: other losses, those of a GAN among them, may grow in a healthy run."""
    late = _late_loss(mon)
    if mon.classes is None or mon.classes < 2 or len(mon.losses) < ENOUGH:
        return []
    guessing = math.log(mon.classes)
    if not late > limits.first_loss * max(guessing, float(mon.losses[0])):
        return []
    expected = f"below ln {mon.classes} = {guessing:.2f}, which guessing reaches"
    return [Finding("error", "", "loss has grown to", f"{late:.2f}", expected, "lower the learning rate")]


def _late_loss(mon: Monitor) -> float:
    """The median of the last tenth of the losses that are numbers; nan if there is none."""
    losses = mon.losses[np.isfinite(mon.losses)]
    return float(np.median(losses[-max(1, len(losses) // 10) :])) if len(losses) else math.nan


def _optimizer(mon: Monitor, limits: Thresholds) -> list[Finding]:
    """Parameters that do not move, and why."""
    names, seen = mon.parameter_names, _always(mon)
    with np.errstate(invalid="ignore"):
        # above rounding: the gradient of a bias before a batch norm is 0 but for that, and moves nothing
        has_gradient = (mon.grad_data > 1e-6).any(0) & mon.trainable
    follows = mon.optimizer_steps is not None
    missing = [name for name in names if name in mon.not_in_optimizer]
    trainable = int(mon.trainable.sum())
    if follows and missing and len(missing) == trainable:
        remedy = (
            "make the optimizer from this model's parameters(), after it was copied, moved or loaded; it now "
            "has those of another model"
        )
        what = "the optimizer has none of these parameters:"
        return [Finding("error", "", what, f"0 of {trainable}", "all that train", remedy, **seen)]
    found = []
    for layer in dict.fromkeys(_layer_of(name) for name in missing):
        mine = [name for name in missing if _layer_of(name) == layer]
        remedy = "give all of model.parameters() to the optimizer, or set requires_grad = False on purpose"
        measured = f"{len(mine)} of its parameters"
        found.append(Finding("error", layer, "is not in the optimizer:", measured, "none", remedy, **seen))
    if follows and mon.optimizer_steps == 0 and len(mon.losses) >= ENOUGH:
        measured = f"0 steps in {len(mon.losses)} calls of mon.step"
        if mon.moved[1:].any():  # moved by hand, or by an optimizer inside of this one
            remedy = "for update ratios, give the Monitor the optimizer whose step() your loop calls"
            what = "the parameters move, and not by this optimizer's step():"
            return [*found, Finding("note", "", what, measured, "one each", remedy, **seen)]
        remedy = "call optimizer.step() between backward and zero_grad"
        return [*found, Finding("error", "", "the optimizer never steps:", measured, "one", remedy, **seen)]
    never = not (mon.update_rates != 0).any() and (len(mon.losses) >= ENOUGH or len(mon.update_data) > 1)
    if follows and never and has_gradient.any() and mon.learning_rates and not any(mon.learning_rates):
        remedy = "raise the learning rate; look at the schedule"
        return [*found, Finding("error", "", "learning rate", "0", "above 0", remedy, **seen)]
    still = _still(mon) & has_gradient & ~np.isin(names, missing)
    if not still.any():
        return found
    lost = [n for n, s, dtype in zip(names, still, mon.parameter_dtypes) if s and dtype in HALF]
    if lost:
        remedy = "keep the parameters in float32 (autocast the forward pass), or raise the learning rate"
        what = "updates are lost to rounding:"
        measured = f"{len(lost)} parameters in {mon.parameter_dtypes[names.index(lost[0])]} stay as they are"
        found.append(Finding("error", lost[0], what, measured, "a change at each step", remedy, **seen))
    others = [n for n, s in zip(names, still) if s and n not in lost]
    if others:
        remedy = "look for a step that is left out, a learning rate of 0, or a copy that is trained instead"
        first = others[0] if len(others) < int(has_gradient.sum()) else ""
        measured = f"{len(others)} parameters with a gradient stay as they are"
        found.append(Finding("error", first, "does not learn:", measured, "a change", remedy, **seen))
    return found


def _still(mon: Monitor) -> np.ndarray:
    """(P,) bool: parameters that no sample has seen change, where it could have been seen.

    Nothing is to move in the first step of a warm-up from 0, or where a GradScaler leaves the update out.
    """
    updates = mon.update_data[mon.update_rates != 0]
    with np.errstate(invalid="ignore"):
        by_update = np.asarray(np.isfinite(updates).any(0) & ~(updates > 0).any(0))
    looked = mon.moved[1:]  # the first has nothing to compare with
    nothing = np.zeros(len(mon.parameter_names), bool)
    by_bits = np.asarray(~looked.any(0)) if len(looked) else nothing
    if mon.optimizer_steps is None:
        return by_bits  # the ratios are those of lr * grad, whatever was done with them
    enough = len(updates) > 1 or (len(mon.losses) >= ENOUGH and len(updates) == 1)
    return by_bits | by_update if enough else by_bits


def _layer_of(parameter: str) -> str:
    """The layer that a parameter belongs to: "0.weight" -> "0", "2 Linear bias" -> "2 Linear"."""
    for mark in (".", " "):
        if mark in parameter:
            return parameter.rpartition(mark)[0]
    return parameter


def owner(mon: Monitor, parameter: str) -> int:
    """The place of the layer that a parameter belongs to among the columns, -1 for none."""
    owners = [i for i, layer in enumerate(mon.layer_names) if belongs(parameter, layer)]
    return owners[-1] if owners else -1


def _unused(mon: Monitor, limits: Thresholds) -> list[Finding]:
    """Layers that never ran, parameters without gradient, gradients that were not recorded."""
    overflown = (mon.gradients.nonfinite > 0).any(1)  # these samples say nothing of parameters
    with np.errstate(invalid="ignore"):
        learns: np.ndarray = np.asarray((mon.grad_data > 0).any(0)) | overflown.all()  # nan is not
    found, idle, seen = [], set(), _always(mon)
    for i in np.flatnonzero(mon.calls == 0):
        name = mon.layer_names[i]
        if name in mon.without_gradients:  # a target or teacher; of a layer that is to learn, see below
            continue
        own = [j for j, p in enumerate(mon.parameter_names) if belongs(p, name)]
        if own and learns[own].any():
            remedy = "call the layer itself, not its forward() or a functional twin, for it to be seen"
            found.append(Finding("note", name, "was bypassed", "0 calls", "a call each step", remedy, **seen))
        elif _runs_between_samples(mon, name):
            idle |= set(own)
            remedy = "give another every=, such as one more, so that samples come at steps that use it"
            found.append(
                Finding("note", name, "runs at other steps", "0 calls", "some calls", remedy, **seen)
            )
        else:
            idle |= set(own)
            remedy = "use it in forward, or remove it"
            found.append(Finding("warning", name, "never ran", "0 calls", "a call each step", remedy, **seen))
    gate = _starts_at_zero(mon) and len(mon.steps) == 1
    for j in np.flatnonzero(mon.trainable & ~learns):
        name = mon.parameter_names[j]
        if j in idle or name in mon.skipped:
            continue
        if gate:
            remedy = (
                "wait a few steps: something after it is initialised to 0, and lets no gradient through yet"
            )
            found.append(Finding("note", name, "gets no gradient yet", "0", "a gradient above 0", remedy))
        else:
            remedy = "look for zeros that block the way, .detach() or .data in forward, or a layer left out"
            found.append(
                Finding("error", name, "gets no gradient", "0", "a gradient above 0", remedy, **seen)
            )
    if np.isnan(mon.gradients.std).all() and not (overflown.any() or (mon.outputs.nonfinite > 0).any()):
        remedy = (
            "of plain layers, call mon.retain_grads() between forward and backward; of modules, call "
            "loss.backward(), for torch.autograd.grad counts as a look aside"
        )
        found.append(
            Finding("note", "", "gradients of outputs", "not recorded", "one a layer", remedy, **seen)
        )
    return found


def _starts_at_zero(mon: Monitor) -> bool:
    """Is there a gate that starts at 0 (ReZero, LoRA, a zero-initialised last layer)? It gets a gradient, and
    lets nothing through at first."""
    return bool(np.isinf(mon.grad_data[0]).any())


def _flat_layers(mon: Monitor, limits: Thresholds) -> list[Finding]:
    """Saturated and dead activations; not of the output layer, which may well be sure of itself."""
    found = []
    for i, (name, kind) in enumerate(zip(mon.layer_names, mon.layer_kinds)):
        if kind not in FLAT or name in mon.output_layers or not mon.calls[i]:
            continue
        saturated, dead = mon.outputs.saturated[:, i], mon.outputs.dead[:, i]
        # units that are dark in one batch may light up in the next: the least of the last three counts
        recent = np.array([np.nanmin(dead[max(0, s - 2) : s + 1], initial=np.inf) for s in range(len(dead))])
        recent[np.isinf(recent)] = np.nan
        allowed = limits.dead[kind]
        if kind == "ReLU":
            spread = limits.dead_spread * 0.5 / math.sqrt(mon.units[i] or math.inf)
            allowed = min(allowed + spread, 0.999)
        with np.errstate(invalid="ignore"):
            is_dead, is_saturated = recent > allowed, saturated > limits.saturated
        if is_dead[-1]:
            remedy = "lower the learning rate, scale its inputs (Kaiming), or put batch norm before it"
            limit = f"at most {allowed:.0%}" if allowed < 0.995 else "below 100%"
            measured, seen = f"{recent[-1]:.0%}", _trailing(mon, is_dead)
            found.append(Finding("error", name, "dead units", measured, limit, remedy, **seen))
        elif kind != "ReLU" and is_saturated[-1]:
            remedy = "shrink the weights before it (Kaiming), or put batch norm before it"
            measured, limit = f"{saturated[-1]:.0%}", f"at most {limits.saturated:.0%}"
            seen = _trailing(mon, is_saturated)
            found.append(Finding("warning", name, "saturated outputs", measured, limit, remedy, **seen))
    return found


def _runs_between_samples(mon: Monitor, name: str) -> bool:
    """Is a layer without calls used at steps that were not sampled? Then its parameters move, or, if it has
    none, those of the block that it is in."""
    moved = np.asarray(mon.moved[1:].any(0))
    for part in (name, name.rpartition(".")[0]):
        silent = not any(c for other, c in zip(mon.layer_names, mon.calls) if belongs(other, part))
        mine = [j for j, p in enumerate(mon.parameter_names) if belongs(p, part)]
        if part and silent and moved[mine].any():
            return True
    return False


def _trends(mon: Monitor, limits: Thresholds) -> list[Finding]:
    """Outputs or gradients that grow or shrink from layer to layer: of activations, else of Linears."""
    return [finding for prefix in mon.networks for finding in _trend(mon, limits, prefix)]


def _trend(mon: Monitor, limits: Thresholds, prefix: str) -> list[Finding]:
    """Of the network whose layers' names begin so."""
    ran = [i for i, calls in enumerate(mon.calls) if calls and mon.layer_names[i].startswith(prefix)]
    chosen = [i for i in ran if mon.layer_kinds[i] in FLAT and mon.layer_names[i] not in mon.output_layers]
    if len(chosen) < 3:
        hidden = [i for i in ran if mon.layer_names[i] not in mon.output_layers][:-1]
        chosen = [i for i in hidden if mon.layer_kinds[i] in LINEAR]
    normalised = 2 * sum("Norm" in mon.layer_kinds[i] for i in ran) >= max(1, len(chosen))
    found = []
    for what, values, way in (
        ("outputs", mon.outputs.std[:, chosen], 1),
        ("gradients", _norms(mon.gradients, chosen), -1),
    ):
        overall = limits.overall_normalised if normalised and way == -1 else limits.overall
        rates = [_rate(row, way, replace(limits, overall=overall)) for row in values]
        if rates[-1] is None or (rates[-1] == 0 and _starts_at_zero(mon) and len(mon.steps) == 1):
            continue
        rate = rates[-1]
        towards = mon.layer_names[chosen[-1 if way == 1 else 0]]
        verb = "vanishing" if rate < 1 else "exploding"
        raised = "raise the gain of the weights (5/3 for tanh, √2 for ReLU), or use batch norm"
        lowered = "lower the gain of the weights (1 for linear layers, 5/3 for tanh), or use batch norm"
        measured = f"×{rate:.2f} a layer" if rate else "0"
        seen = _trailing(mon, np.array([r is not None and (r < 1) == (rate < 1) for r in rates]))
        remedy = raised if rate < 1 else lowered
        found.append(
            Finding("warning", towards, f"{verb} {what}", measured, "about ×1 a layer", remedy, **seen)
        )
    return found


def _rate(values: np.ndarray, way: int, limits: Thresholds) -> float | None:
    """By how much one layer multiplies, when that is a trend that is too steep; 0 when nothing arrives."""
    if (values == 0).any() and (values > 0).any():
        return 0.0
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log(values.astype(float))
    if len(values) < 3 or not np.isfinite(logs).all() or logs.std() == 0:
        return None
    depth = np.arange(len(values))
    if abs(np.corrcoef(depth, logs)[0, 1]) < limits.steady:
        return None
    rate = math.exp(way * np.polyfit(depth, logs, 1)[0])
    pace = max(rate, 1 / max(rate, 1e-99))
    overall = pace ** (len(values) - 1)
    steep = len(values) > 3 and overall > limits.overall and pace > limits.per_layer  # three make no trend
    return rate if steep or overall > limits.any_pace else None


def _norms(seen: Any, chosen: list[int]) -> np.ndarray:
    """(S, layers): unlike std, norms do not depend on the number of positions in an image."""
    count = seen.hist[:, chosen].sum(-1)
    last = count[np.flatnonzero(count.any(1))[-1]] if count.any() else count[-1]
    return np.sqrt(np.where(count > 0, count, last)) * np.hypot(seen.std[:, chosen], seen.mean[:, chosen])


def _updates(mon: Monitor, limits: Thresholds) -> list[Finding]:
    weights = [i for i, shape in enumerate(mon.parameter_shapes) if len(shape) > 1]
    half = len(mon.update_data) // 2
    recent = mon.update_data[half:, weights]
    usable = np.isfinite(recent) & (recent > 0)
    moving = np.flatnonzero(usable.any(0))
    if not len(moving):
        return []
    ratios = np.array([np.median(recent[usable[:, k], k]) for k in moving])
    middle = float(np.median(ratios))
    seen: dict[str, Any] = {"since": int(mon.update_steps[half]), "samples": len(recent)}
    rates, found = mon.update_rates, []
    warming_up = rates[0] < rates[-1] == rates.max()
    single = [(mon.parameter_names[weights[k]], float(r), limits.update_one) for k, r in zip(moving, ratios)]
    single = single if len(mon.update_data) > 1 else []  # the first update says little about one weight
    allowed = limits.update if single else limits.first_update
    for name, ratio, (low, high) in [("", middle, allowed), *single]:
        at_rest = ratio < low and _late_loss(mon) < 0.1 * mon.losses[0]  # it has learned
        if not low <= ratio <= high and not at_rest and not (ratio < low and warming_up):
            remedy = ("raise" if ratio < low else "lower") + " the learning rate"
            scale = "shrink" if ratio < low else "enlarge"
            remedy += f", or {scale} this weight's scale" if name else ""
            what = "update : data ratio" if name else "update : data ratio of the weights"
            found.append(Finding("warning", name, what, f"{ratio:.1e}", "about 1e-03", remedy, **seen))
    return found


RULES = (_nonfinite, _loss_has_grown, _optimizer, _unused, _flat_layers, _trends, _updates)
