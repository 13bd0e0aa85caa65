"""`live`: see a network while it trains.

    for i in live(mon, steps):
        ...forward, mon.retain_grads(), backward, update, mon.step(loss, lr=lr)

One picture (loss, activations, gradients, updates) is redrawn in place under the cell, above a bar with the
time left, and stays when the loop ends, is interrupted, or fails. No widget is involved, so what is saved is
what was last seen. Outside of a notebook there is the bar alone; under ZTH_QUIET=1 only the last picture.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

import numpy as np
from matplotlib.ticker import MaxNLocator

from zth_helpers.ledger import progress
from zth_helpers.monitor import Monitor
from zth_helpers.names import switched_on
from zth_helpers.plots.figure import COLOURS, INK, Figure, table
from zth_helpers.plots.training import _activations, _lines, _shape, _weights

AT_MOST_EVERY = 0.5  # seconds
FIRST = 2.0  # until then the place is kept by an empty picture: a short run is not held up by drawing
SHARE = 1 / 33  # of the loop's time that drawing may take; the last picture comes on top
SIZE = 10.4, 5.6  # inches
POINTS = 300  # of a curve


def live(mon: Monitor, steps: int | Iterable, label: str = "training") -> Iterator:
    """Goes through range(steps), or any iterable, and shows what `mon` records meanwhile."""
    screen = Screen(mon)
    try:
        for step in progress(steps, label):
            yield step
            screen.refresh()
    finally:  # also when the loop is interrupted: its frame lets go of this generator
        screen.finish()


class Screen:
    """The place in the notebook where the picture stands; None of it where there is no notebook."""

    def __init__(self, mon: Monitor):
        self.mon, self.handle, self.due = mon, None, float("inf")
        self.notebook = in_notebook()
        if self.notebook and not switched_on("ZTH_QUIET"):
            from IPython.display import DisplayHandle

            self.handle = DisplayHandle()
            self.show(first=True)

    def refresh(self) -> None:
        if time.perf_counter() >= self.due:
            self.show()

    def show(self, first: bool = False) -> None:
        start = time.perf_counter()
        shown = empty() if first else picture(self.mon)
        data = {"image/png": shown.png(), "text/plain": f"{self.mon!r}, still training"}
        (self.handle.display if first else self.handle.update)(data, raw=True)
        end = time.perf_counter()
        self.due = end + (FIRST if first else max(AT_MOST_EVERY, (end - start) * (1 / SHARE - 1)))

    def finish(self) -> None:
        self.due = float("inf")
        if self.handle:
            self.handle.update(picture(self.mon))
        elif self.notebook:
            from IPython.display import display

            display(picture(self.mon))


def in_notebook() -> bool:
    """Is there a kernel, so that something can show pictures?"""
    try:
        from IPython import get_ipython
    except ImportError:
        return False
    return hasattr(get_ipython(), "kernel")


def empty() -> Figure:
    """Holds the place, so that the page does not jump when the first picture comes."""
    fig = Figure(*SIZE)
    fig.set_layout_engine("none")
    fig.text(0.5, 0.5, "training …", ha="center", fontsize=11, color=INK)
    return fig


def picture(mon: Monitor) -> Figure:
    """Outputs, gradients, loss and update ratios so far, from whatever `mon` has recorded."""
    fig = Figure(*SIZE)
    fig.set_layout_engine("none")  # fixed places: quick, and nothing jumps from picture to picture
    edges = dict(left=0.065, right=0.79, bottom=0.09, top=0.945, hspace=0.42, wspace=0.2)
    outputs, gradients, loss, updates = map(fig.add_subplot, fig.add_gridspec(2, 2, **edges))
    draw_histograms(outputs, mon, "outputs", "output", "no layer has run yet")
    draw_histograms(gradients, mon, "gradients", "gradient of the loss", "call mon.retain_grads()")
    draw_loss(loss, mon)
    draw_updates(updates, mon)
    fig.twin = twin(mon)
    return fig


def shown_layers(mon: Monitor, what: str) -> list[int]:
    if not len(mon.steps):
        return []
    return [i for i in _activations(mon) if getattr(mon, what).hist[-1, i].any()]


def draw_histograms(ax, mon: Monitor, what: str, xlabel: str, missing: str) -> None:
    """The last sample's histograms, a line for each activation layer."""
    seen, chosen, reach = getattr(mon, what), shown_layers(mon, what), []
    if not chosen:
        note(ax, missing if len(mon.steps) else "no step yet")
    for colour, i in _lines(chosen) if chosen else ():
        edges, counts = seen.edges[-1, i].astype(float), seen.hist[-1, i]
        width = max(edges[1] - edges[0], 1e-12)
        flat = mon.outputs.saturated[-1, i]
        name = f"{mon.layer_names[i]}" + ("" if np.isnan(flat) else f", {flat:.0%} flat")
        ax.plot((edges[1:] + edges[:-1]) / 2, counts / counts.sum() / width, color=colour, lw=1, label=name)
        mean, std = float(seen.mean[-1, i]), float(seen.std[-1, i])
        reach.append((max(edges[0], mean - 4 * std), min(edges[-1], mean + 4 * std)))
    if reach and min(lo for lo, _ in reach) < max(hi for _, hi in reach):
        ax.set_xlim(min(lo for lo, _ in reach), max(hi for _, hi in reach))
    ax.xaxis.set_major_locator(MaxNLocator(5))
    ax.ticklabel_format(axis="x", style="sci", scilimits=(-2, 3))
    when = f", step {mon.steps[-1]}" if chosen else ""
    titled(ax, f"{what.capitalize()} of the layers{when}", xlabel, "density")
    if what == "gradients" and shown_layers(mon, "outputs"):  # one legend for both
        beside(ax, *ax.figure.axes[0].get_legend_handles_labels())


def draw_loss(ax, mon: Monitor) -> None:
    steps, losses = mon.loss_steps, mon.losses
    size = max(1, -(-len(losses) // POINTS))
    whole = len(losses) // size * size
    if whole:
        blocks, at = losses[:whole].reshape(-1, size), steps[:whole].reshape(-1, size).mean(1)
        if size > 1:
            ax.fill_between(at, blocks.min(1), blocks.max(1), color=COLOURS[0], alpha=0.25, lw=0)
        ax.plot(at, blocks.mean(1), color=COLOURS[0], lw=1.2)
        finite = losses[np.isfinite(losses)]
        if len(finite) and finite.min() > 0 and finite.max() > 4 * np.median(finite):
            ax.set_yscale("log")
    now = f": {losses[-50:].mean():.4f}, mean of the last {min(50, len(losses))}" if whole else ""
    titled(ax, f"Loss{now}", "step", "loss")


def draw_updates(ax, mon: Monitor) -> None:
    with np.errstate(divide="ignore", invalid="ignore"):
        log = np.log10(mon.update_data)
    thin = slice(None, None, max(1, len(log) // POINTS))
    weights = [i for i in _weights(mon) if len(log) and np.isfinite(log[:, i]).any()]
    if not weights:
        note(ax, "call mon.step(loss, lr=lr)" if len(mon.steps) else "no step yet")
    for colour, i in _lines(weights) if weights else ():
        label = f"{mon.parameter_names[i]} {_shape(mon, i)}"
        ax.plot(mon.update_steps[thin], log[thin, i], color=colour, lw=0.9, label=label)
    if weights:
        beside(ax, *ax.get_legend_handles_labels())
    ax.axhline(-3, color=INK, lw=1.2, ls="--")
    titled(ax, "Updates of the weights (about −3 is healthy)", "step", "log10 of update : data")


def titled(ax, title: str, xlabel: str, ylabel: str) -> None:
    ax.set(xlabel=xlabel, ylabel=ylabel)
    ax.set_title(title, y=1.0)  # a fixed place: to look for one takes a fifth of the drawing


def note(ax, words: str) -> None:
    ax.text(0.5, 0.6, words, ha="center", transform=ax.transAxes, fontsize=9, color=INK)


def beside(ax, handles: list, labels: list[str]) -> None:
    place = dict(loc="upper left", bbox_to_anchor=(1.01, 1.02), borderpad=0)
    ax.legend(handles, labels, frameon=False, fontsize=8, labelcolor=INK, handlelength=1.2, **place)


def twin(mon: Monitor) -> str:
    if not len(mon.losses):
        return "no step yet"
    last = f"{mon.losses[-50:].mean():.4f} (mean of the last {min(50, len(mon.losses))})"
    lines = [f"{mon.loss_steps[-1] + 1} steps, loss {mon.losses[0]:.4f} → {last}"]
    if len(mon.steps):
        columns = mon.outputs.std, mon.outputs.saturated, mon.gradients.std
        rows = [
            [mon.layer_names[i], *(float(c[-1, i]) for c in columns)] for i in shown_layers(mon, "outputs")
        ]
        lines += [f"at step {mon.steps[-1]}:", table(["layer", "std", "saturated", "gradient std"], rows)]
    if len(mon.update_data):
        with np.errstate(divide="ignore"):
            log = np.log10(mon.update_data[-1])
        ratios = [[mon.parameter_names[i], _shape(mon, i), float(log[i])] for i in _weights(mon)]
        lines.append(table(["weight", "shape", "log10 of update : data"], ratios))
    return "\n".join(lines)
