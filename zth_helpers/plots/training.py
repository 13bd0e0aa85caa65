"""Lecture 4's diagnostics, drawn from a Monitor.

Each function takes one Monitor, or several to compare side by side on the same axes:
`activation_histograms({"meh": before, "good": after})`. Each draws the last sample, or sample `at`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from matplotlib.lines import Line2D

from zth_helpers.monitor import Monitor
from zth_helpers.plots.figure import COLOURS, INK, Figure, table
from zth_helpers.samples import FLAT

MOST_LINES = 8  # more lines than colours cannot be told apart: evenly chosen ones are drawn, the twin has all
Monitors = Monitor | Mapping[str, Monitor]


def activation_histograms(mon: Monitors, at: int = -1) -> Figure:
    """What each activation layer puts out (each layer, where a network has no Tanh, Sigmoid or ReLU).

    Healthy: about the same spread at every depth, few values in the flat parts.
    """
    return _histograms(mon, at, "outputs", "output")


def gradient_histograms(mon: Monitors, at: int = -1) -> Figure:
    """The gradients of the loss with respect to the same outputs. Healthy: the same spread at every depth."""
    return _histograms(mon, at, "gradients", "gradient of the loss")


def weight_gradient_histograms(mon: Monitors, at: int = -1) -> Figure:
    """The gradients of the weights (parameters of two or more axes), with their grad:data ratio.

    A ratio far above the others marks a layer that will train faster than the rest.
    """
    return _histograms(mon, at, "parameter_grads", "gradient of the loss")


def update_ratios(mon: Monitors) -> Figure:
    """log10 of update:data for each weight over time, with the line at −3, the lecture's rule of thumb.

    Far below it a weight learns too slowly, far above it is thrown about. Needs lr= in mon.step, or an
    optimizer.
    """
    mons = _by_name(mon)
    figure, axes = _panels(mons)
    rows, legends = [], []
    for (name, m), ax in zip(mons.items(), axes):
        weights = [i for i in _weights(m) if np.isfinite(m.update_data[:, i]).any()]
        if not weights:
            raise ValueError(
                "no update ratios were recorded: call mon.step(loss, lr=lr), or give the optimizer"
            )
        with np.errstate(divide="ignore"):
            log = np.log10(m.update_data)
        labels = []
        for colour, i in _lines(weights):
            ax.plot(m.update_steps, log[:, i], color=colour, lw=0.9)
            labels.append((colour, f"{m.parameter_names[i]} {_shape(m, i)}"))
        ax.axhline(-3, color=INK, lw=1.2, ls="--")
        legends.append(labels)
        _finish(ax, _title(name, "update : data ratio of the weights"), "step", "log10 of update : data")
        middle = len(log) // 2
        for i in weights:
            row = (m.parameter_names[i], _shape(m, i), *(float(log[t, i]) for t in (0, middle, -1)))
            rows.append(_named(mons, name, row))
    _legends(figure, axes, legends)
    when = [f"step {m.update_steps[t]}" for t in (0, middle, -1)]
    figure.twin = "log10 of update : data (about −3 is healthy)\n" + table(
        _named(mons, "run", ("weight", "shape", *when)), rows
    )
    return figure


def statistics_heatmap(mon: Monitors) -> Figure:
    """Each layer over time: log10 of its outputs' std, saturated share, log10 of its gradients' std."""
    mons = _by_name(mon)
    depth = max(len(m.layer_names) for m in mons.values())
    figure = Figure(9.0, len(mons) * (1.6 + 0.2 * depth))
    rows = []
    for k, (name, m) in enumerate(mons.items()):
        _need_samples(m)
        with np.errstate(divide="ignore"):
            maps = {
                "log10 of output std": np.log10(m.outputs.std),
                "saturated or dead share": m.outputs.saturated,
                "log10 of gradient std": np.log10(m.gradients.std),
            }
        for j, (what, values) in enumerate(maps.items()):
            ax = figure.add_subplot(len(mons), 3, 3 * k + j + 1)
            scale = dict(vmin=0, vmax=1) if "share" in what else {}
            values = np.where(np.isfinite(values), values, np.nan)
            extent = (
                m.steps[0] - m.interval / 2,
                m.steps[-1] + m.interval / 2,
                len(m.layer_names) - 0.5,
                -0.5,
            )
            image = ax.imshow(values.T, aspect="auto", interpolation="nearest", extent=extent, **scale)
            bar = figure.colorbar(image, ax=ax, pad=0.02)
            bar.ax.tick_params(labelsize=8, colors=INK)
            ax.set_yticks(range(len(m.layer_names)), m.layer_names if j == 0 else [""] * len(m.layer_names))
            ax.set_title(_title(name, what), fontsize=10)
            ax.set_xlabel("step")
        for i, layer in enumerate(m.layer_names):
            pairs = [
                float(v) for s in (m.outputs.std, m.outputs.saturated, m.gradients.std) for v in s[[0, -1], i]
            ]
            rows.append(_named(mons, name, (layer, *pairs)))
    spans = [f"{what} {when}" for what in ("std", "saturated", "gradient std") for when in ("first", "last")]
    figure.twin = table(_named(mons, "run", ("layer", *spans)), rows)
    return figure


def _histograms(mon: Monitors, at: int, what: str, xlabel: str) -> Figure:
    mons = _by_name(mon)
    figure, axes = _panels(mons)
    header, rows, reach, peaks, legends = ("layer", "mean", "std", "saturated"), [], [], [], []
    for (name, m), ax in zip(mons.items(), axes):
        _need_samples(m)
        seen, weights = getattr(m, what), what == "parameter_grads"
        steps = m.weight_steps if weights else m.steps
        chosen = _weights(m) if weights else _activations(m)
        chosen = [i for i in chosen if seen.hist[at, i].any()]
        if not chosen:
            raise ValueError(_nothing(what))
        labels = []
        for i in chosen:
            mean, std = float(seen.mean[at, i]), float(seen.std[at, i])
            if std > 0:  # a mean far below the std is what cancelled: its digits are rounding noise
                mean = round(mean, 3 - math.floor(math.log10(std)))
            if weights:
                header = ("weight", "shape", "mean", "std", "grad:data")
                ratio = float(m.grad_data[np.abs(m.steps - steps[at]).argmin(), i])
                rows.append(_named(mons, name, (m.parameter_names[i], _shape(m, i), mean, std, ratio)))
                labels.append(f"{m.parameter_names[i]} {_shape(m, i)}: std {std:.1e}, grad:data {ratio:.1e}")
            else:
                saturated = float(m.outputs.saturated[at, i])
                rows.append(_named(mons, name, (m.layer_names[i], mean, std, saturated)))
                flat = "" if saturated != saturated else f", {_flat_word(m, i)} {saturated:.1%}"
                form = "+z.2f" if what == "outputs" else "+.1e"
                labels.append(f"{m.layer_names[i]}: mean {mean:{form}}, std {std:{form[-3:]}}{flat}")
        for colour, i in _lines(chosen):
            edges, hist = seen.edges[at, i].astype(float), seen.hist[at, i]
            width = max(edges[1] - edges[0], 1e-12)
            density = hist / hist.sum() / width
            ax.plot((edges[1:] + edges[:-1]) / 2, density, color=colour, lw=1.1)
            peaks.append(density.max())
            mean, std = seen.mean[at, i], max(float(seen.std[at, i]), width)
            reach.append((max(edges[0], mean - 4 * std), min(edges[-1], mean + 4 * std)))
        kind = "weights" if weights else _kinds(m, chosen)
        title = {"outputs": f"outputs of {kind}", "gradients": f"gradients at {kind}"}.get(
            what, "weight gradients"
        )
        legends.append([(colour, labels[chosen.index(i)]) for colour, i in _lines(chosen)])
        _finish(ax, _title(name, f"{title}, step {steps[at]}"), xlabel, "density")
    _legends(figure, axes, legends)
    low, high = min(lo for lo, _ in reach), max(hi for _, hi in reach)
    if low < high:
        axes[0].set_xlim(low, high)  # shared by all; the far tails are cut
    axes[0].set_ylim(0, 1.05 * min(max(peaks), 4 * float(np.median(peaks))))
    figure.twin = f"{title}, step {steps[at]}\n" + table(_named(mons, "run", header), rows)
    return figure


def _nothing(what: str) -> str:
    if what == "gradients":
        return "no gradients of outputs were recorded: call mon.retain_grads() between forward and backward"
    return "nothing to draw: no layer has finite values" if what == "outputs" else "no weight has a gradient"


def _by_name(mon: Monitors) -> dict[str, Monitor]:
    mons = dict(mon) if isinstance(mon, Mapping) else {"": mon}
    if not mons or not all(isinstance(m, Monitor) for m in mons.values()):
        raise TypeError('give a Monitor, or several by name: {"meh": before, "good": after}')
    return mons


def _need_samples(m: Monitor) -> None:
    if not len(m.steps):
        raise ValueError("this Monitor has no sample yet: call mon.step(loss, lr=lr) in the training loop")


def _panels(mons: dict[str, Monitor]) -> tuple[Figure, list]:
    """A figure with a plot for each monitor, on shared axes, and room for a legend below each."""
    figure = Figure(8.0 if len(mons) == 1 else 5.2 * len(mons))
    grid = figure.add_gridspec(2, len(mons))
    axes = []
    for i in range(len(mons)):
        share = axes[0] if axes else None
        axes.append(figure.add_subplot(grid[0, i], sharex=share, sharey=share))
    return figure, axes


def _finish(ax, title: str, xlabel: str, ylabel: str) -> None:
    ax.set_title(title, fontsize=10)
    ax.set_xlabel(xlabel)
    ax.set_ylabel(ylabel)


def _legends(figure: Figure, axes: list, labels: list[list[tuple[str, str]]]) -> None:
    """The legend of each plot, (colour, label) a line, in a place of its own below it."""
    lines = 0.2 * max(map(len, labels))
    grid = axes[0].get_gridspec()
    grid.set_height_ratios((3.0, lines))
    figure.set_figheight(3.4 + lines)
    for i, pairs in enumerate(labels):
        ax = figure.add_subplot(grid[1, i])
        ax.set_axis_off()
        handles = [Line2D([], [], color=colour) for colour, _ in pairs]
        style = dict(fontsize=8, labelspacing=0.3, borderpad=0, frameon=False, labelcolor=INK)
        ax.legend(handles, [label for _, label in pairs], loc="upper center", **style)


def _lines(chosen: list[int]) -> list[tuple[str, int]]:
    """Colours for at most MOST_LINES of them, evenly over the depth."""
    picked = sorted({chosen[round(k)] for k in np.linspace(0, len(chosen) - 1, min(MOST_LINES, len(chosen)))})
    return list(zip(COLOURS, picked))


def _activations(m: Monitor) -> list[int]:
    every = range(len(m.layer_names))
    return [i for i in every if m.layer_kinds[i] in FLAT] or list(every)


def _kinds(m: Monitor, chosen: list[int]) -> str:
    kinds = list(dict.fromkeys(m.layer_kinds[i] for i in chosen))
    return f"{' and '.join(kinds)} layers" if len(kinds) < 3 else "all layers"


def _flat_word(m: Monitor, i: int) -> str:
    return "dead" if m.layer_kinds[i] == "ReLU" else "saturated"


def _weights(m: Monitor) -> list[int]:
    return [i for i, shape in enumerate(m.parameter_shapes) if len(shape) > 1]


def _shape(m: Monitor, i: int) -> str:
    return "×".join(map(str, m.parameter_shapes[i]))


def _title(name: str, what: str) -> str:
    return f"{name}: {what}" if name else what


def _named(mons: dict[str, Monitor], name: str, row: tuple) -> tuple:
    """Several monitors share a table: its first column tells them apart."""
    return row if list(mons) == [""] else (name, *row)
