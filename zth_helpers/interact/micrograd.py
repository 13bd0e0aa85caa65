"""Lecture 1: the backward pass, one node after the other; a decision boundary while it is learned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from zth_helpers import moons
from zth_helpers.graph import below, label, operation, show
from zth_helpers.interact.explorer import Explorer, choice, slider
from zth_helpers.plots.figure import COLOURS, GRID, INK, Figure
from zth_helpers.plots.micrograd import draw_points, draw_scores, score_grid


def backward_pass(graphs: Mapping[str, object]) -> Explorer:
    """Which node passes its gradient on, and what it adds where: `graphs` by name, each the root of Values.

    A value's `_backward()` adds to the grad of the values in its `_prev`. The gradients that they hold are
    left as they were.
    """
    runs = {name: run_backward(root) for name, root in graphs.items()}
    longest = max(len(fired) for _, fired in runs.values())

    def draw(graph: str, step: int) -> Figure:
        values, fired = runs[graph]
        return _draw_backward(values, fired[: step + 1], len(fired) - 1)

    return Explorer(draw, graph=choice("expression", list(runs)), step=slider("step", 0, longest - 1, 1))


def _children_first(root: Any) -> list:
    """All values below root, each after its children."""
    order, seen, stack = [], set(), [(root, False)]
    while stack:
        value, done = stack.pop()
        if done:
            order.append(value)
        elif value not in seen:
            seen.add(value)
            stack.append((value, True))
            stack.extend((child, False) for child in value._prev)
    return order


def run_backward(root: Any) -> tuple[dict, list]:
    """The values with their names, and for each step (value that fires, {child: added}, all gradients)."""
    order = _children_first(root)
    kept = [value.grad for value in order]
    numbers = {id(v): i for i, v in enumerate(below(root))}
    names = {v: label(v) or (f"{v.data:g}" if not v._prev else f"#{numbers[id(v)]}") for v in order}
    for value in order:
        value.grad = 0.0
    root.grad = 1.0
    steps: list[tuple] = [(None, {}, {v: v.grad for v in order})]
    for value in reversed(order):
        if value._prev:
            before = {child: child.grad for child in value._prev}
            value._backward()
            added = {child: child.grad - old for child, old in before.items()}
            steps.append((value, added, {v: v.grad for v in order}))
    for value, grad in zip(order, kept):
        value.grad = grad
    return names, steps


def places(names: dict) -> dict:
    """(x, y) of each value: x by its longest way from an input, y amid its children."""
    x: dict[Any, int] = {}
    y: dict[Any, float] = {}
    column: dict[int, list[float]] = {}
    for value in names:  # children first
        x[value] = 1 + max((x[child] for child in value._prev), default=-1)
    last = max(x.values())
    for value in reversed(names):  # an input stands right before its first use
        users = [x[v] for v in names if value in v._prev]
        x[value] = last if not users else x[value] if value._prev else min(users) - 1
    free = 0
    for value in names:
        children = [y[child] for child in value._prev]
        y[value] = sum(children) / len(children) if children else free
        free += not children
        taken = column.setdefault(x[value], [])
        while any(abs(y[value] - other) < 0.9 for other in taken):
            y[value] += 0.45
        taken.append(y[value])
    return {value: (x[value], -y[value]) for value in names}


def _draw_backward(names: dict, steps: list, last: int) -> Figure:
    fires, added, grads = steps[-1]
    at, done = places(names), {value for value, _, _ in steps}
    (left, right), (low, high) = ((min(c), max(c)) for c in zip(*at.values()))
    fig = Figure(10, 1.3 + 0.75 * (high - low + 1))
    ax = fig.add_subplot()
    for value, (x, y) in at.items():
        for child in value._prev:
            active = value is fires
            style = dict(arrowstyle="<|-" if active else "-|>", color=COLOURS[1] if active else "#9aa0a6")
            size = dict(lw=2.2 if active else 1, shrinkA=30, shrinkB=30)
            ax.annotate("", (x, y), at[child], arrowprops=style | size)
        face = "#f6d6da" if value is fires else "#dcebf9" if value in added else "white"
        box = dict(boxstyle="round,pad=0.35", facecolor=face, edgecolor=INK if value in done else GRID)
        head = names[value] + (f"  = {operation(value)}" if value._prev else "")
        words = f"{head}\ndata {show(value.data)}\ngrad {show(grads[value])}"
        ax.text(x, y, words, ha="center", va="center", fontsize=9, color=INK, bbox=box)
    what = "the result's gradient is 1, all others 0"
    if fires is not None:
        parts = ", ".join(f"{show(by)} to {names[child]}" for child, by in added.items())
        what = f"{names[fires]} adds {parts}"
    title = f"step {len(steps) - 1} of {last}: {what}"
    ax.set_title(title, fontsize=11)
    ax.set(xlim=(left - 0.5, right + 0.5), ylim=(low - 0.6, high + 0.6))
    ax.axis("off")
    return fig


def decision_boundary(
    snapshots: Sequence[Sequence[float]],
    sizes: Sequence[int],
    X: ArrayLike,
    y: ArrayLike,
    history: Sequence[tuple[float, float]],
) -> Explorer:
    """The boundary before each step, from the parameters that the network had then (see `moons.scores`).

    X (n, 2) and y (n,) of -1 and +1 are the training points, `history` the (loss, accuracy) at each snapshot.
    """
    X, y = np.asarray(X), np.asarray(y)

    def draw(step: int) -> Figure:
        u, v, Z = score_grid(snapshots[step], sizes, X)
        loss, accuracy = history[step]
        wrong = np.sign(moons.scores(snapshots[step], sizes, X)) != y
        fig = Figure(7.6, 4.2)
        ax = fig.add_subplot()
        draw_scores(ax, u, v, Z)
        draw_points(ax, X, y)
        if wrong.any():
            ring = dict(s=110, facecolor="none", edgecolor=INK, linewidth=1.2)
            ax.scatter(*X[wrong].T, label="wrong", **ring)
        ax.set_title(f"before step {step}: loss {loss:.4f}, {100 * accuracy:.0f}% right")
        ax.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
        return fig

    last = len(snapshots) - 1
    return Explorer(draw, step=slider("step", 0, last, last))
