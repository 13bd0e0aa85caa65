"""Figures that read the record of a sweep: a trial is a mapping with its settings and its losses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from zth_helpers.plots.figure import COLOURS, GRID, INK, MUTED, Figure, ramp
from zth_helpers.text import table

Trials = Sequence[Mapping[str, Any]]


def parallel_coordinates(
    trials: Trials, names: Sequence[str], loss: str = "dev", log: Sequence[str] = ()
) -> Figure:
    """An upright axis for each setting and one for the loss; a line for each trial, the best the darkest.

    The axes of `log` are logarithmic. Raises ValueError for fewer than two trials or no setting.
    """
    if len(trials) < 2 or not names:
        raise ValueError(f"{len(trials)} trials with {len(names)} settings cannot be compared")
    columns, ordered = [*names, loss], sorted(trials, key=lambda trial: trial[loss])
    is_log = np.array([name in log for name in columns])
    values = np.array([[float(trial[name]) for name in columns] for trial in ordered])
    on_axis = values.copy()
    on_axis[:, is_log] = np.log(values[:, is_log])
    low, span = on_axis.min(0), np.ptp(on_axis, axis=0)
    span[span == 0] = 1

    def read(fig: Figure) -> str:
        """The values of each line, best first."""
        [ax] = fig.axes
        drawn = np.array([line.get_ydata() for line in ax.lines if line.get_gid() == "trial"]) * span + low
        drawn[:, is_log] = np.exp(drawn[:, is_log])
        return f"{ax.get_title()}\n" + table(columns, [[float(v) for v in row] for row in drawn])

    fig = Figure(9.5, 3.8, reader=read)
    ax = fig.add_subplot()
    for i, row in enumerate((on_axis - low) / span):
        width = 2.2 if i < len(ordered) / 4 else 0.9
        ax.plot(row, color=ramp(i, len(ordered)), lw=width, zorder=2 + len(ordered) - i, gid="trial")
    for place in range(len(columns)):
        ax.axvline(place, color=MUTED, lw=0.8, zorder=1)
        for at, end, side in (
            (-0.03, values[:, place].min(), "top"),
            (1.03, values[:, place].max(), "bottom"),
        ):
            ax.text(place, at, f"{end:.4g}", ha="center", va=side, fontsize=8, color=INK)
    ax.set(xlim=(-0.3, len(columns) - 0.7), ylim=(-0.12, 1.12), xticks=range(len(columns)), yticks=[])
    ax.set_xticklabels([f"{name} (log)" if name in log else name for name in columns], color=INK)
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
    ax.set_title(f"{len(ordered)} trials, from the best (dark, wide) to the worst (light)")
    return fig


def loss_against(trials: Trials, name: str, loss: str = "dev", group: str | None = None) -> Figure:
    """Each trial's loss against one setting on a logarithmic axis; a colour for each value of `group`."""
    fig = Figure(7.5, 3.4)
    ax = fig.add_subplot()
    for i, value in enumerate(sorted({trial[group] for trial in trials}) if group else [None]):
        some = sorted(
            (t[name], t[loss]) for t in trials if group is None or t[group] == value
        )  # from left to right
        label = f"{group} {value}" if group else "trial"
        ax.plot(*zip(*some), "os^D"[i % 4], ms=5, color=COLOURS[i % 6], label=label)
    ax.set(xscale="log", xlabel=name, ylabel=f"{loss} loss (nats)", title=f"{loss} loss against {name}")
    ax.grid(color=GRID, linewidth=0.6)
    ax.legend(frameon=False, fontsize=8, labelcolor=INK)
    return fig


def winners_again(trials: Trials) -> Figure:
    """The dev loss that a trial was chosen by, the best on the left, beside the dev loss with another seed
    (`again`) and the test loss. Trials without `again` are left out.
    """
    fig = Figure(7.5, 3.4)
    ax = fig.add_subplot()
    best = sorted((trial for trial in trials if "again" in trial), key=lambda trial: trial["dev"])
    rows = {
        "dev, chosen by": [trial["dev"] for trial in best],
        "dev, another seed": [trial["again"]["dev"] for trial in best],
        "test": [trial["test"] for trial in best],
    }
    for i, (label, values) in enumerate(rows.items()):
        ax.plot(range(1, len(best) + 1), values, "os^"[i] + "-", ms=5, lw=1, color=COLOURS[i], label=label)
    ax.set(xticks=range(1, len(best) + 1), xlabel="rank in the sweep", ylabel="loss (nats)")
    ax.set_title("The best trials, and what is left of their order")
    ax.grid(color=GRID, linewidth=0.6)
    ax.legend(frameon=False, fontsize=8, labelcolor=INK)
    return fig
