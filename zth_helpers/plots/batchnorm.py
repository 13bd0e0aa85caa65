"""Figures of lesson 04 and its sequel: distributions of activations, and the first steps of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from zth_helpers.plots.figure import COLOURS, GRID, INK, Figure


def histograms(panels: Mapping[str, Tensor], bins: int = 60, reach: float | None = None) -> Figure:
    """One histogram for each {title: tensor}, side by side; `reach`: all axes from −reach to +reach.

    Values that are nan or inf are left out, and counted in the title.
    """
    fig = Figure(min(3.2 * len(panels) + 1, 10), 2.8)
    for place, (title, x) in enumerate(panels.items(), 1):
        x = x.detach().flatten().float()
        lost = len(x) - len(x := x[x.isfinite()])
        ax = fig.add_subplot(1, len(panels), place)
        edge = float(x.abs().max()) if x.any() else 1.0
        counts, edges = torch.histogram(x, bins, range=(-edge, edge))
        ax.stairs(counts.tolist(), edges.tolist(), fill=True, color=COLOURS[0])
        moments = f"mean {x.mean():+.2f}, std {x.std():.2f}" if len(x) else "no values"
        moments += f", {lost} not finite" * (lost > 0)
        ax.set(title=f"{title}\n{moments}", xlabel="value")
        ax.set_ylabel("count" if place == 1 else "")
        if reach:
            ax.set_xlim(-reach, reach)
    return fig


def first_steps(curves: Mapping[str, Sequence[float]], steps: int = 1000, block: int = 25) -> Figure:
    """The losses of the first steps of several runs, each a mean over blocks of `block` steps."""
    fig = Figure(8, 3.2)
    ax = fig.add_subplot()
    for (name, losses), style in zip(curves.items(), ("-", "--", ":", "-.")):
        losses = torch.tensor(losses[:steps], dtype=torch.float32)
        size = min(block, len(losses))
        means = losses[: len(losses) // size * size].view(-1, size).mean(1)
        at = [size * (i + 0.5) for i in range(len(means))]
        ax.plot(at, means.tolist(), style, label=name, linewidth=2)
    ax.grid(color=GRID, linewidth=0.6)
    ax.set(
        title=f"Loss over the first {steps:,} steps", xlabel="step", ylabel=f"loss (mean of {block} steps)"
    )
    ax.legend(frameon=False, labelcolor=INK)
    return fig
