"""What a Monitor's numbers mean: findings in plain words, grouped by their cause, or "no findings"."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from numbers import Real
from typing import Any, Literal

from zth_helpers.monitor.columns import PASSIVE
from zth_helpers.monitor.core import Monitor
from zth_helpers.monitor.findings import Alarm, Finding, Findings, rank
from zth_helpers.monitor.rules import RULES, Thresholds, first_loss, owner

# What a layer through which nothing passes does to the layers before it, and behind it.
UPSTREAM = ("gets no gradient", "vanishing gradients")
DOWNSTREAM = ("dead units", "vanishing outputs", "exploding outputs")
Rule = Callable[[Monitor], Iterable[Finding] | None]


def diagnose(
    mon: Monitor,
    vocab_size: int | Literal["auto"] | None = "auto",
    *,
    thresholds: Mapping[str, Any] | None = None,
    rules: Sequence[Rule] = (),
) -> Findings:
    """Says what is wrong with the network that `mon` watches: by its samples, first loss and updates.

    vocab_size: the number of classes, for the first loss; None leaves that out. By default it is read off a
    loss that is the mean of F.cross_entropy, and any other first loss is left out. (torch 2.4 does not tell.)
    thresholds: others than those of Thresholds, by name. rules: your own checks, functions of the Monitor
    that give Findings, or None where nothing is wrong. Raises ValueError when there is no sample yet,
    TypeError for what is no Monitor, no threshold, no list of rules.
    """
    if not hasattr(mon, "update_steps"):
        raise TypeError(
            f"diagnose reads a Monitor, not a {type(mon).__name__}: mon = Monitor(model), and mon.step(loss) "
            "in the training loop"
        )
    if vocab_size == "auto":
        vocab_size = mon.classes if (mon.classes or 0) > 1 else None
    if vocab_size is not None and not (isinstance(vocab_size, Real) and vocab_size >= 2):
        raise ValueError(
            f"vocab_size={vocab_size!r}: give the number of classes, or None to leave the loss out"
        )
    if not len(mon.steps):
        raise ValueError("this Monitor has no sample yet: call mon.step(loss, lr=lr) in the training loop")
    if callable(rules):
        raise TypeError("rules= takes a list of functions: rules=[my_rule]")
    limits = Thresholds().but(thresholds or {})
    found = first_loss(mon, vocab_size, limits)
    found += [finding for rule in RULES for finding in rule(mon, limits)]
    found += [finding for rule in rules for finding in rule(mon) or ()]
    if strange := [finding for finding in found if not isinstance(finding, Finding)]:
        raise TypeError(
            f"a rule gave a {type(strange[0]).__name__}: it gives a list of Findings, or yields them"
        )
    found.sort(key=lambda finding: rank(finding.severity))
    return Findings(_by_cause(mon, found))


def stop_on(
    mon: Monitor,
    severity: str = "error",
    action: Callable[[Findings], object] | None = None,
    *,
    vocab_size: int | Literal["auto"] | None = None,
    thresholds: Mapping[str, Any] | None = None,
    rules: Sequence[Rule] = (),
) -> None:
    """From now on each sample is diagnosed, and a finding that bad or worse raises Alarm out of mon.step.

    action: called with the Findings instead of raising. The rest is as for `diagnose`; but the first loss is
    looked at only where vocab_size is given. Raises ValueError for a severity that is not "error", "warning"
    or "note", TypeError for an action that is no function, and what `diagnose` raises for thresholds.
    """
    worst = rank(severity)
    if action is not None and not callable(action):
        raise TypeError(f"action= got a {type(action).__name__}: give a function of the Findings")
    Thresholds().but(thresholds or {})

    def look(mon: Monitor) -> None:
        every = diagnose(mon, vocab_size, thresholds=thresholds, rules=rules)
        found = Findings(finding for finding in every if rank(finding.severity) <= worst)
        if found and action is None:
            raise Alarm(found)
        if found and action is not None:
            action(found)

    mon.after_sample.append(look)


def _by_cause(mon: Monitor, found: list[Finding]) -> list[Finding]:
    """Marks what follows from another finding: the causes are looked for from the surest to the vaguest."""
    place = {name: i for i, name in enumerate(mon.layer_names)}

    def at(finding: Finding) -> int:
        return place.get(finding.layer, owner(mon, finding.layer))

    def mark(cause: Finding, follows: Callable[[Finding], bool]) -> None:
        for i, other in enumerate(found):
            if other is not cause and not other.cause and follows(other):
                found[i] = replace(other, cause=cause.title)

    for cause in [f for f in found if f.what == "nan or inf"]:
        mark(cause, lambda f: f.what in ("loss", "gets no gradient") or "does not learn" in f.what)
    for cause in [f for f in found if f.what == "dead units"]:
        i = at(cause)
        if mon.outputs.dead[-1, i] > 0.99:  # nothing passes: neither the signal nor a gradient
            # the weights behind it meet zeros only, so no gradient comes to them either
            behind = (k for k in range(i + 1, len(place)) if mon.layer_kinds[k] not in PASSIVE)
            reach = next(behind, i)
            mark(cause, _all_of([f for f in found if f.what in UPSTREAM and at(f) <= reach]))
            mark(cause, _all_of([f for f in found if f.what in DOWNSTREAM and at(f) > i]))
    for what in ("gets no gradient", "gets no gradient yet", "saturated outputs"):
        alike = [f for f in found if f.what == what and not f.cause]
        if len(alike) > 1:  # of a way that is blocked, what lies nearest to the loss is the first to miss it
            cause = min(alike, key=at) if what == "saturated outputs" else max(alike, key=at)
            mark(cause, _all_of(alike))
    for cause in [f for f in found if f.what in ("vanishing outputs", "exploding outputs") and not f.cause]:
        mark(cause, lambda f: f.what in ("vanishing gradients", "exploding gradients"))
    return found


def _all_of(findings: list[Finding]) -> Callable[[Finding], bool]:
    return lambda finding: finding in findings
