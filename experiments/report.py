"""What came out of a sweep: a table of the best, and a picture of what mattered."""

from __future__ import annotations

import numpy as np
import optuna
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial, TrialState

from zth_helpers.plots import Figure
from zth_helpers.text import table


def finished(study: optuna.Study) -> list[FrozenTrial]:
    """The completed trials, the best first."""
    done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return sorted(done, key=lambda trial: trial.value)


def table_of(study: optuna.Study, count: int = 8) -> str:
    """The best trials with their settings, and how many there were of each kind."""
    best = finished(study)
    names = list(best[0].params)
    rows = [
        [t.number, t.value, t.user_attrs.get("train") or "", *(t.params[name] for name in names)]
        for t in best[:count]
    ]
    states = [trial.state for trial in study.get_trials(deepcopy=False)]
    counts = [(len(best), "complete"), (states.count(TrialState.PRUNED), "given up early")]
    counts.append((states.count(TrialState.FAIL), "failed and tried again"))
    said = ", ".join(f"{number} {what}" for number, what in counts if number)
    return table(["trial", "dev", "train", *names], rows, digits=5) + f"\n{said}"


def importances(study: optuna.Study) -> dict[str, float]:
    """The share of each setting in what tells good trials from bad ones (PED-ANOVA, Watanabe and others
    2023); empty with fewer than eight completed trials, or if all are equal."""
    if len(finished(study)) < 8:
        return {}
    try:
        return get_param_importances(study, evaluator=PedAnovaImportanceEvaluator())
    except (RuntimeError, ValueError):
        return {}


def what_mattered(study: optuna.Study) -> Figure:
    """Four plots: the dev loss trial by trial, each setting's importance, and dev against the two that
    mattered.
    """
    done, fig = finished(study), Figure(10, 7)
    fig.suptitle(f"Sweep {study.study_name}: {len(done)} completed trials, best dev {done[0].value:.4f}")
    ranked = importances(study)
    grid = fig.add_gridspec(2, 2)
    ax = fig.add_subplot(grid[0, 0])
    ordered = sorted(done, key=lambda trial: trial.number)
    numbers, values = [t.number for t in ordered], [t.value for t in ordered]
    ax.plot(numbers, values, ".", label="trial")
    ax.step(numbers, np.minimum.accumulate(values), where="post", label="best so far")
    ax.set(title="dev loss, trial by trial", xlabel="trial", ylabel="dev loss (nats)")
    ax.legend(frameon=False, fontsize=8)
    ax = fig.add_subplot(grid[0, 1])
    names = list(ranked)[::-1]
    ax.barh(names, [ranked[name] for name in names])
    ax.set(title="what mattered", xlabel="share of importance")
    for place, name in enumerate([*(list(ranked) or done[0].params)][:2]):
        ax = fig.add_subplot(grid[1, place])
        ax.plot([t.params[name] for t in done], [t.value for t in done], ".")
        if isinstance(done[0].distributions[name], optuna.distributions.FloatDistribution):
            ax.set_xscale("log" if done[0].distributions[name].log else "linear")
        ax.set(title=f"dev loss against {name}", xlabel=name, ylabel="dev loss (nats)")
    return fig
