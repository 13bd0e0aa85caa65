"""Four panels of a network that is training: outputs, gradients, loss and updates. What `live` shows.

`dashboard` is the figure that stays, `dashboard_data` the few hundred numbers that the page draws meanwhile.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from zth_helpers.monitor import Monitor
from zth_helpers.plots.data import array, loss_curve
from zth_helpers.plots.figure import COLOURS, INK, Figure
from zth_helpers.plots.training import draw_histograms, draw_updates, histogram_lines, newest, update_lines

SIZE = 8.4, 5.44  # inches; as high as js/live.js with its words, so that nothing jumps at the end
POINTS = 300  # of a curve
FEWER = 120  # of a curve that is sent to the page
LAST = 50  # losses in the mean that the title gives
NO_STEP = "no step yet"
NO_UPDATES = "no update yet: give mon.step(loss, lr=lr),\nor Monitor(model, optimizer=optimizer)"


def dashboard(mon: Monitor | Sequence[float]) -> Figure:
    """Outputs, gradients, loss and updates so far, from whatever `mon` has recorded; or losses alone.

    Raises TypeError for what is neither a Monitor nor a list of losses.
    """
    if not isinstance(mon, Monitor):
        losses = losses_of(mon)
        if np.isfinite(losses).all():
            return loss_curve(losses, window=max(1, len(losses) // 20))
        fig = Figure(8, 3.4)
        _draw_loss(fig.add_subplot(), losses, np.arange(len(losses)))
        return fig
    fig = Figure(*SIZE)
    fig.set_layout_engine("none")  # fixed places: quick to draw
    edges = dict(left=0.07, right=0.785, bottom=0.09, top=0.945, hspace=0.42, wspace=0.2)
    outputs, gradients, loss, updates = map(fig.add_subplot, fig.add_gridspec(2, 2, **edges))
    _draw_layers(outputs, mon, "outputs", "output", "no layer has run yet")
    _draw_layers(gradients, mon, "gradients", "gradient of the loss", "call mon.retain_grads()")
    if outputs.lines:
        _beside(gradients, outputs)  # one legend for both
    _draw_loss(loss, mon.losses, mon.loss_steps)
    if draw_updates(updates, mon, POINTS):
        _beside(updates, updates)
    else:
        _note(updates, NO_UPDATES if len(mon.steps) else NO_STEP)
    _titled(updates, "Updates (about −3 is healthy)", "step", "log10 of update : data")
    return fig


def dashboard_data(mon: Monitor | Sequence[float]) -> dict[str, Any]:
    """The same as numbers for js/live.js: at most 8 layers, 8 weights and 120 points of each curve."""
    if isinstance(mon, Monitor):
        losses, at_steps = mon.losses, mon.loss_steps
    else:
        losses = losses_of(mon)
        at_steps = np.arange(len(losses))
    steps, lows, means, highs = _blocks(losses, at_steps, FEWER)
    done = int(at_steps[-1]) + 1 if len(losses) else 0
    last = f"{float(losses[-LAST:].mean()):.4f}" if done else ""
    words = (
        f"After {done:,} steps the loss is {last} (mean of the last {min(LAST, done)})." if done else NO_STEP
    )
    curve = {"steps": _plain(steps), "low": _plain(lows), "mean": _plain(means), "high": _plain(highs)}
    loss: dict[str, Any] = curve | {"log": _needs_log(losses), "last": last}
    if not isinstance(mon, Monitor):
        return {"step": done, "words": words, "loss": loss, "missing": {"loss": NO_STEP}}
    at, weights = update_lines(mon, FEWER)
    some = len(mon.steps) > 0
    if some:
        words += f" Layers as at step {int(mon.steps[newest(mon, 'outputs')]):,}."
    return {
        "step": done,
        "words": words,
        "outputs": histogram_lines(mon, "outputs"),
        "gradients": histogram_lines(mon, "gradients"),
        "loss": loss,
        "updateSteps": _plain(at),
        "updates": [{"name": name, "values": _plain(values)} for name, values in weights],
        "missing": {
            "outputs": "no layer has run yet" if some else NO_STEP,
            "gradients": "call mon.retain_grads()" if some else NO_STEP,
            "loss": NO_STEP,
            "updates": NO_UPDATES if some else NO_STEP,
        },
    }


def losses_of(found: Sequence[float]) -> np.ndarray:
    """(T,): a list of losses as an array."""
    try:
        return array(list(found), "losses", ("steps",)).astype(float)
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(
            f"give a Monitor, or the list to which the loop appends its losses; got a {type(found).__name__}"
        ) from None


def _plain(values: np.ndarray) -> list[float | None]:
    """Numbers for JSON, which has no nan: six digits, None for what is not finite."""
    return [float(f"{v:.6g}") if np.isfinite(v) else None for v in values]


def _blocks(
    losses: np.ndarray, steps: np.ndarray, points: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Step, lowest, mean and highest loss of at most so many blocks."""
    size = max(1, -(-len(losses) // points))
    whole = len(losses) // size * size
    if not whole:
        return losses, losses, losses, losses
    blocks, at = losses[:whole].reshape(-1, size), steps[:whole].reshape(-1, size)
    return at.mean(1), blocks.min(1), blocks.mean(1), blocks.max(1)


def _needs_log(losses: np.ndarray) -> bool:
    finite = losses[np.isfinite(losses)]
    return bool(len(finite) and finite.min() > 0 and finite.max() > 4 * np.median(finite))


def _draw_layers(ax: Axes, mon: Monitor, what: str, xlabel: str, missing: str) -> None:
    reach = draw_histograms(ax, mon, what)
    for line, numbers in zip(ax.lines, histogram_lines(mon, what)):  # the legend stands in a narrow column
        line.set_label(numbers["name"])
    if reach is None:
        _note(ax, missing if len(mon.steps) else NO_STEP)
    elif reach[0] < reach[1]:
        ax.set_xlim(*reach)
    ax.xaxis.set_major_locator(MaxNLocator(5))
    ax.ticklabel_format(axis="x", style="sci", scilimits=(-2, 3))
    when = f", step {mon.steps[newest(mon, what)]:,}" if reach else ""
    _titled(ax, f"{what.capitalize()}{when}", xlabel, "density")


def _draw_loss(ax: Axes, losses: np.ndarray, at_steps: np.ndarray) -> None:
    steps, lows, means, highs = _blocks(losses, at_steps, POINTS)
    title, xlabel = "Loss", "step"
    if len(steps):
        if len(losses) > POINTS:
            ax.fill_between(steps, lows, highs, color=COLOURS[0], alpha=0.25, lw=0)
        ax.plot(steps, means, color=COLOURS[0], lw=1.2)
        if _needs_log(losses):
            ax.set_yscale("log")
        title = f"Loss after {at_steps[-1] + 1:,} steps: {losses[-LAST:].mean():.4f}"
        xlabel = f"step (above: the mean of the last {min(LAST, len(losses))})"
    _titled(ax, title, xlabel, "loss")


def _titled(ax: Axes, title: str, xlabel: str, ylabel: str) -> None:
    ax.set(xlabel=xlabel, ylabel=ylabel)
    ax.set_title(title, y=1.0, fontsize=10)  # a fixed place: to look for one takes a fifth of the drawing


def _note(ax: Axes, words: str) -> None:
    ax.text(0.5, 0.6, words, ha="center", transform=ax.transAxes, fontsize=9, color=INK)


def _beside(ax: Axes, of: Axes) -> None:
    place = dict(loc="upper left", bbox_to_anchor=(1.01, 1.02), borderpad=0)
    lines = [line for line in of.lines if not str(line.get_label()).startswith("_")]
    labels = [line.get_label() for line in lines]
    ax.legend(lines, labels, frameon=False, fontsize=7, labelcolor=INK, handlelength=1.6, **place)
