"""Four panels of a network that is training: outputs, gradients, loss and updates. `live` redraws it."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from zth_helpers.monitor import Monitor
from zth_helpers.plots.figure import COLOURS, INK, Figure
from zth_helpers.plots.training import draw_histograms, draw_updates

SIZE = 10.4, 5.6  # inches
POINTS = 300  # of a curve


def empty() -> Figure:
    """Keeps the place, so that the page does not jump when the first picture comes."""
    fig = Figure(*SIZE)
    fig.set_layout_engine("none")
    fig.text(0.5, 0.5, "training …", ha="center", fontsize=11, color=INK)
    return fig


def dashboard(mon: Monitor) -> Figure:
    """Outputs, gradients, loss and update ratios so far, from whatever `mon` has recorded."""
    fig = Figure(*SIZE)
    fig.set_layout_engine("none")  # fixed places: quick to draw, and nothing jumps from picture to picture
    edges = dict(left=0.065, right=0.79, bottom=0.09, top=0.945, hspace=0.42, wspace=0.2)
    outputs, gradients, loss, updates = map(fig.add_subplot, fig.add_gridspec(2, 2, **edges))
    _draw_layers(outputs, mon, "outputs", "output", "no layer has run yet")
    _draw_layers(gradients, mon, "gradients", "gradient of the loss", "call mon.retain_grads()")
    if outputs.lines:
        _beside(gradients, outputs)  # one legend for both
    _draw_loss(loss, mon)
    if draw_updates(updates, mon, POINTS):
        _beside(updates, updates)
    else:
        _note(updates, "call mon.step(loss, lr=lr)" if len(mon.steps) else "no step yet")
    _titled(updates, "Updates of the weights (about −3 is healthy)", "step", "log10 of update : data")
    return fig


def _draw_layers(ax: Axes, mon: Monitor, what: str, xlabel: str, missing: str) -> None:
    reach = draw_histograms(ax, mon, what)
    for line in ax.lines:  # the legend stands in a narrow column
        line.set_label(line.get_label().replace("mean ", "").replace("saturated ", "sat. "))
    if reach is None:
        _note(ax, missing if len(mon.steps) else "no step yet")
    elif reach[0] < reach[1]:
        ax.set_xlim(*reach)
    ax.xaxis.set_major_locator(MaxNLocator(5))
    ax.ticklabel_format(axis="x", style="sci", scilimits=(-2, 3))
    when = f", step {mon.steps[-1]}" if reach else ""
    _titled(ax, f"{what.capitalize()} of the layers{when}", xlabel, "density")


def _draw_loss(ax: Axes, mon: Monitor) -> None:
    steps, losses = mon.loss_steps, mon.losses
    size = max(1, -(-len(losses) // POINTS))
    whole = len(losses) // size * size
    title = "Loss"
    if whole:
        blocks, at = losses[:whole].reshape(-1, size), steps[:whole].reshape(-1, size).mean(1)
        if size > 1:
            ax.fill_between(at, blocks.min(1), blocks.max(1), color=COLOURS[0], alpha=0.25, lw=0)
        ax.plot(at, blocks.mean(1), color=COLOURS[0], lw=1.2)
        finite = losses[np.isfinite(losses)]
        if len(finite) and finite.min() > 0 and finite.max() > 4 * np.median(finite):
            ax.set_yscale("log")
        last = f"mean of the last {min(50, len(losses))}"
        title = f"Loss after {steps[-1] + 1:,} steps: {losses[-50:].mean():.4f} ({last})"
    _titled(ax, title, "step", "loss")


def _titled(ax: Axes, title: str, xlabel: str, ylabel: str) -> None:
    ax.set(xlabel=xlabel, ylabel=ylabel)
    ax.set_title(title, y=1.0)  # a fixed place: to look for one takes a fifth of the drawing


def _note(ax: Axes, words: str) -> None:
    ax.text(0.5, 0.6, words, ha="center", transform=ax.transAxes, fontsize=9, color=INK)


def _beside(ax: Axes, of: Axes) -> None:
    place = dict(loc="upper left", bbox_to_anchor=(1.01, 1.02), borderpad=0)
    lines = [line for line in of.lines if not str(line.get_label()).startswith("_")]
    labels = [line.get_label() for line in lines]
    ax.legend(lines, labels, frameon=False, fontsize=8, labelcolor=INK, handlelength=1.2, **place)
