"""Lecture 4's diagnostics, drawn from a Monitor.

Each function takes one Monitor, or several to compare side by side on the same axes:
`activation_histograms({"meh": before, "good": after})`. Each draws the last sample that has histograms, or
sample `at`.
The functions whose first argument is an axes draw one panel; `dashboard.py` puts four of them together.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from zth_helpers.monitor import Monitor
from zth_helpers.monitor.statistics import FLAT
from zth_helpers.plots.figure import DASHES, INK, Figure, ramp

MOST_LINES = 8  # of a deeper network evenly chosen ones are drawn
Monitors = Monitor | Mapping[str, Monitor]


def activation_histograms(mon: Monitors, at: int | None = None) -> Figure:
    """What each activation layer puts out (each layer, where a network has no Tanh, Sigmoid or ReLU).

    Healthy: about the same spread at every depth, few values in the flat parts. Source: lecture 4, 1:26:51.
    """
    return _histogram_figure(mon, at, "outputs", "output")


def gradient_histograms(mon: Monitors, at: int | None = None) -> Figure:
    """The gradients of the loss with respect to the same outputs. Healthy: the same spread at every depth.

    Source: lecture 4, 1:30:54.
    """
    return _histogram_figure(mon, at, "gradients", "gradient of the loss")


def weight_gradient_histograms(mon: Monitors, at: int | None = None) -> Figure:
    """The gradients of the weights (parameters of two or more axes), with their grad:data ratio.

    A ratio far above the others marks a layer that will train faster than the rest.
    Source: lecture 4, 1:36:15.
    """
    return _histogram_figure(mon, at, "parameter_grads", "gradient of the loss")


def update_ratios(mon: Monitors) -> Figure:
    """log10 of update:data for each weight over time, with the line at −3, the lecture's rule of thumb.

    Far below it a weight learns too slowly, far above it is thrown about. Needs lr= in mon.step, or an
    optimizer. Source: lecture 4, 1:39:55.
    """
    mons = _by_name(mon)
    figure, axes = _panels(mons)
    for (name, m), ax in zip(mons.items(), axes):
        if not draw_updates(ax, m):
            raise ValueError(
                "no update ratios were recorded: call mon.step(loss, lr=lr), or give the optimizer"
            )
        _finish(ax, _title(name, "update : data ratio of the weights"), "step", "log10 of update : data")
    _legends(figure, axes, [_legend_lines(ax) for ax in axes])
    return figure


def statistics_heatmap(mon: Monitors) -> Figure:
    """Each layer over time: log10 of its outputs' std, saturated share, log10 of its gradients' std."""
    mons = _by_name(mon)
    depth = max(len(m.layer_names) for m in mons.values())
    figure = Figure(9.0, len(mons) * (1.6 + 0.2 * depth))
    for k, (name, m) in enumerate(mons.items()):
        _need_samples(m)
        with np.errstate(divide="ignore"):
            maps = {
                "log10 of output std": np.log10(m.outputs.std),
                "saturated or dead share": m.outputs.saturated,
                "log10 of gradient std": np.log10(m.gradients.std),
            }
        half, layers = m.interval / 2, len(m.layer_names)
        extent = (m.steps[0] - half, m.steps[-1] + half, layers - 0.5, -0.5)
        for j, (what, values) in enumerate(maps.items()):
            ax = figure.add_subplot(len(mons), 3, 3 * k + j + 1)
            scale = dict(vmin=0, vmax=1) if "share" in what else {}
            values = np.where(np.isfinite(values), values, np.nan)
            image = ax.imshow(values.T, aspect="auto", interpolation="nearest", extent=extent, **scale)
            bar = figure.colorbar(image, ax=ax, pad=0.02)
            bar.ax.tick_params(labelsize=8, colors=INK)
            ax.set_yticks(range(layers), m.layer_names if j == 0 else [""] * layers)
            _finish(ax, _title(name, what), "step", "layer" if j == 0 else "")
    return figure


def newest(m: Monitor, what: str) -> int:
    """The last sample with histograms, or with nothing finite to count; see Monitor's histograms_every."""
    seen = getattr(m, what)
    has = seen.hist.any((1, 2)) | ~np.isfinite(seen.lo).any(1)
    return int(np.flatnonzero(has)[-1]) if has.any() else -1


def draw_histograms(ax: Axes, m: Monitor, what: str, at: int | None = None) -> tuple[float, float] | None:
    """A line of density for each layer (or weight) of sample `at`; gives the range to show, None without any.

    `what`: "outputs", "gradients" or "parameter_grads", as the Monitor calls them.
    """
    seen, reach = getattr(m, what), []
    at = newest(m, what) if at is None else at
    for style, i in _lines(shown(m, what, at)):
        edges, hist = seen.edges[at, i].astype(float), seen.hist[at, i]
        width = max(edges[1] - edges[0], 1e-12)
        density, label = hist / hist.sum() / width, _histogram_label(m, what, at, i)
        ax.plot((edges[1:] + edges[:-1]) / 2, density, lw=1.3, label=label, **style)
        mean, std = float(seen.mean[at, i]), max(float(seen.std[at, i]), width)
        reach.append((max(edges[0], mean - 4 * std), min(edges[-1], mean + 4 * std)))
    return (min(lo for lo, _ in reach), max(hi for _, hi in reach)) if reach else None


def histogram_lines(m: Monitor, what: str, bins: int = 40) -> list[dict[str, Any]]:
    """The lines of `draw_histograms` for the last sample as numbers: the density over about 40 bins."""
    seen, lines, at = getattr(m, what), [], newest(m, what)
    for _, i in _lines(shown(m, what, at)):
        edges, hist = seen.edges[at, i].astype(float), seen.hist[at, i].astype(float)
        merge = -(-len(hist) // bins)
        whole = np.concatenate([hist, np.zeros(-len(hist) % merge)]).reshape(-1, merge).sum(1)
        width = max(edges[1] - edges[0], 1e-12)
        mean, std = float(seen.mean[at, i]), max(float(seen.std[at, i]), width)
        ends = [edges[0], edges[0] + len(whole) * merge * width]
        ends += [max(edges[0], mean - 4 * std), min(edges[-1], mean + 4 * std)]
        density = [float(f"{v:.4g}") for v in whole / hist.sum() / (merge * width)]
        names = dict(zip(("from", "to", "low", "high"), (float(v) for v in ends)))
        lines.append({"name": _short_label(m, what, at, i), "density": density} | names)
    return lines


def _short_label(m: Monitor, what: str, at: int, i: int) -> str:
    name, std = m.layer_names[i], float(getattr(m, what).std[at, i])
    flat = float(m.outputs.saturated[at, i])
    if what == "outputs" and flat == flat:
        word = "dead" if m.layer_kinds[i] == "ReLU" else "sat."
        return f"{name}: {std:.2f}, {word} {flat:.0%}"
    return f"{name}: std {std:.2g}"


def update_lines(m: Monitor, points: int) -> tuple[np.ndarray, list[tuple[str, np.ndarray]]]:
    """Steps, and for each weight its name and log10 of update:data there, thinned to about so many points."""
    ratios = m.update_data
    thin = slice(None, None, max(1, -(-len(ratios) // points)))
    few = ratios[thin]
    with np.errstate(divide="ignore", invalid="ignore"):
        log = np.log10(few)
    weights = [i for i in _weights(m) if np.isfinite(few[:, i]).any()]
    named = [(f"{m.parameter_names[i]} {_shape(m, i)}", log[:, i]) for _, i in _lines(weights)]
    return m.update_steps[thin], named


def draw_updates(ax: Axes, m: Monitor, points: int | None = None) -> bool:
    """A line of log10 of update:data for each weight, of about so many points; False if there is nothing."""
    with np.errstate(divide="ignore", invalid="ignore"):
        log = np.log10(m.update_data)
    weights = [i for i in _weights(m) if np.isfinite(m.update_data[:, i]).any()]
    thin = slice(None, None, max(1, len(log) // points) if points else None)
    for style, i in _lines(weights):
        label = f"{m.parameter_names[i]} {_shape(m, i)}"
        ax.plot(m.update_steps[thin], log[thin, i], lw=1.0, label=label, **style)
    ax.axhline(-3, color=INK, lw=1.2, ls="--", label="_about −3 is healthy")
    return bool(weights)


def shown(m: Monitor, what: str, at: int) -> list[int]:
    """The layers (or weights) that have something to draw at a sample."""
    if not len(m.steps):
        return []
    chosen = _weights(m) if what == "parameter_grads" else _activations(m)
    seen = getattr(m, what)
    return [i for i in chosen if len(seen.hist) and seen.hist[at, i].any()]


def _histogram_label(m: Monitor, what: str, at: int, i: int) -> str:
    seen = getattr(m, what)
    mean, std = float(seen.mean[at, i]), float(seen.std[at, i])
    if std > 0:  # a mean far below the std is what cancelled: its digits are rounding noise
        mean = round(mean, 3 - math.floor(math.log10(std)))
    if what == "parameter_grads":
        ratio = float(m.grad_data[np.abs(m.steps - m.weight_steps[at]).argmin(), i])
        return f"{m.parameter_names[i]} {_shape(m, i)}: std {std:.1e}, grad:data {ratio:.1e}"
    if what == "gradients":
        return f"{m.layer_names[i]}: mean {f'{mean:+.1e}' if mean else '0'}, std {std:.1e}"
    saturated = float(m.outputs.saturated[at, i])
    word = "dead" if m.layer_kinds[i] == "ReLU" else "saturated"
    flat = "" if saturated != saturated else f", {word} {saturated:.1%}"
    return f"{m.layer_names[i]}: mean {mean:+z.2f}, std {std:.2f}{flat}"


def _histogram_figure(mon: Monitors, at: int | None, what: str, xlabel: str) -> Figure:
    mons = _by_name(mon)
    figure, axes = _panels(mons)
    reach, peaks = [], []
    for (name, m), ax in zip(mons.items(), axes):
        _need_samples(m)
        row = newest(m, what) if at is None else at
        drawn = draw_histograms(ax, m, what, row)
        if drawn is None:
            raise ValueError(_nothing(what))
        reach.append(drawn)
        peaks += [float(line.get_ydata().max()) for line in ax.lines]
        if what == "parameter_grads":
            title = f"weight gradients, step {m.weight_steps[row]}"
        else:
            of = "outputs of" if what == "outputs" else "gradients at"
            title = f"{of} {_kinds(m, shown(m, what, row))}, step {m.steps[row]}"
        _finish(ax, _title(name, title), xlabel, "density")
    _legends(figure, axes, [_legend_lines(ax) for ax in axes])
    low, high = min(lo for lo, _ in reach), max(hi for _, hi in reach)
    if low < high:
        axes[0].set_xlim(low, high)  # shared by all; the far tails are cut
    axes[0].set_ylim(0, 1.05 * min(max(peaks), 4 * float(np.median(peaks))))
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


def _panels(mons: dict[str, Monitor]) -> tuple[Figure, list[Axes]]:
    """A figure with a plot for each monitor, on shared axes, and room for a legend below each."""
    figure = Figure(8.0 if len(mons) == 1 else 5.2 * len(mons))
    grid = figure.add_gridspec(2, len(mons))
    axes: list[Axes] = []
    for i in range(len(mons)):
        share = axes[0] if axes else None
        axes.append(figure.add_subplot(grid[0, i], sharex=share, sharey=share))
    return figure, axes


def _finish(ax: Axes, title: str, xlabel: str, ylabel: str) -> None:
    ax.set_title(title, fontsize=10)
    ax.set_xlabel(xlabel)
    ax.set_ylabel(ylabel)


def _legend_lines(ax: Axes) -> list[Line2D]:
    return [line for line in ax.lines if not str(line.get_label()).startswith("_")]


def _legends(figure: Figure, axes: list[Axes], lines: list[list[Line2D]]) -> None:
    """The legend of each plot, in a place of its own below it."""
    height = 0.2 * max(map(len, lines))
    grid = axes[0].get_gridspec()
    grid.set_height_ratios((3.0, height))
    figure.set_figheight(3.4 + height)
    for i, found in enumerate(lines):
        ax = figure.add_subplot(grid[1, i])
        ax.set_axis_off()
        style = dict(fontsize=8, labelspacing=0.3, borderpad=0, frameon=False, labelcolor=INK)
        ax.legend(found, [line.get_label() for line in found], loc="upper center", **style)


def _lines(chosen: list[int]) -> list[tuple[dict[str, Any], int]]:
    """Styles for at most MOST_LINES of them, evenly over the depth: an ordered ramp, and dashes."""
    if not chosen:
        return []
    picked = sorted({chosen[round(k)] for k in np.linspace(0, len(chosen) - 1, min(MOST_LINES, len(chosen)))})
    styles = [dict(color=ramp(k, len(picked)), ls=DASHES[k % len(DASHES)]) for k in range(len(picked))]
    return list(zip(styles, picked))


def _activations(m: Monitor) -> list[int]:
    every = range(len(m.layer_names))
    return [i for i in every if m.layer_kinds[i] in FLAT] or list(every)


def _kinds(m: Monitor, chosen: list[int]) -> str:
    kinds = list(dict.fromkeys(m.layer_kinds[i] for i in chosen))
    return f"{' and '.join(kinds)} layers" if len(kinds) < 3 else "all layers"


def _weights(m: Monitor) -> list[int]:
    return [i for i, shape in enumerate(m.parameter_shapes) if len(shape) > 1]


def _shape(m: Monitor, i: int) -> str:
    return "×".join(map(str, m.parameter_shapes[i]))


def _title(name: str, what: str) -> str:
    return f"{name}: {what}" if name else what
